"""Schema resolution for the simple cases: fields removed, renamed, reordered, widened or with a default.

fastavro resolves the rest. Without this, an upgrade would slow the consumer down while both versions are in
use.
"""

from typing import Any, Callable, Dict, List, Optional

from orderflow.avro.evolution import source_of
from orderflow.avro.schema import PRIMITIVES, Schema

Order = Dict[str, Any]

SAME_VALUE = {("int", "long"), ("float", "double")}
"""Promotions that do not change a value in Python."""


def projection(reader: Schema, writer: Schema) -> Optional[Callable[[Order], Order]]:
    """A function from the writer's raw order to the reader's; None if some field is not simple."""
    written = {field["name"]: field["type"] for field in writer.raw["fields"]}
    names: Dict[str, Any] = {}
    items: List[str] = []
    for number, field in enumerate(reader.raw["fields"]):
        source = source_of(field, written)
        if source is None:
            expression = f"default_{number}" if _has_plain_default(field) else None
            names[f"default_{number}"] = _default(field)
        else:
            expression = _carried_over(f"order[{source!r}]", written[source], field["type"])
        if expression is None:
            return None
        items.append(f"{field['name']!r}: {expression}")
    project: Callable[[Order], Order] = eval(f"lambda order: {{{', '.join(items)}}}", names)  # nosec B307
    return project


def _carried_over(value: str, writer: Any, reader: Any) -> Optional[str]:
    """The expression that reads a field as another type; None if the types alone do not decide."""
    writer, reader = _unwrapped(writer), _unwrapped(reader)
    if writer == reader:
        return value if _is_plain(writer) else None
    if not isinstance(writer, str):
        return None
    if isinstance(reader, list):
        return value if reader in (["null", writer], [writer, "null"]) and writer in PRIMITIVES else None
    if not isinstance(reader, str):
        return None
    if (writer, reader) in SAME_VALUE:
        return value
    return f"float({value})" if writer in ("int", "long") and reader in ("float", "double") else None


def _unwrapped(kind: Any) -> Any:
    """`{"type": "long"}` is `"long"`, in a union too."""
    if isinstance(kind, list):
        return [_unwrapped(branch) for branch in kind]
    return kind["type"] if isinstance(kind, dict) and kind["type"] in PRIMITIVES else kind


def _is_plain(kind: Any) -> bool:
    branches = kind if isinstance(kind, list) else [kind]
    return all(isinstance(branch, str) and branch in PRIMITIVES for branch in branches)


def _has_plain_default(field: Any) -> bool:
    """Whether the default is one immutable value: a list would be shared between orders."""
    return "default" in field and _is_plain(field["type"])


def _default(field: Any) -> Any:
    """The value of a default given in JSON; a union's default belongs to its first branch."""
    first = field["type"][0] if isinstance(field["type"], list) else field["type"]
    default = field.get("default")
    if first in ("float", "double") and isinstance(default, int):
        return float(default)
    # The specification: characters up to 255 stand for bytes.
    return default.encode("latin-1") if first == "bytes" and isinstance(default, str) else default
