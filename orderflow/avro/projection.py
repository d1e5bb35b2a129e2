"""Schema resolution for the simple cases: fields removed, renamed, reordered, widened or with a default.

resolution.py resolves the rest. Without this, an upgrade would slow the consumer down while both versions are
in use.
"""

from typing import Any, Callable, Dict, List, Optional

from orderflow.avro.evolution import source_of
from orderflow.avro.meaning import Unfit, default_value, exact_double
from orderflow.avro.schema import PRIMITIVES, Schema

Order = Dict[str, Any]

SAME_VALUE = {("int", "long"), ("float", "double")}
"""Promotions that do not change a value in Python."""


def projection(reader: Schema, writer: Schema) -> Optional[Callable[[Order], Order]]:
    """A function from the writer's raw order to the reader's; None if some field is not simple.

    For schemas that have no `evolution.problems`, and a reader without logical types. The function raises
    `Unfit` for a number that would be rounded.
    """
    written = {field["name"]: field["type"] for field in writer.raw["fields"]}
    names: Dict[str, Any] = {"exact": _exact}
    items: List[str] = []
    for number, field in enumerate(reader.raw["fields"]):
        source = source_of(field, written)
        if source is None:
            expression = f"default_{number}" if _has_plain_default(field) else None
            names[f"default_{number}"] = (
                default_value(field["type"], field["default"], {}) if expression else None
            )
        else:
            expression = _carried_over(f"order[{source!r}]", written[source], field)
        if expression is None:
            return None
        items.append(f"{field['name']!r}: {expression}")
    project: Callable[[Order], Order] = eval(f"lambda order: {{{', '.join(items)}}}", names)  # nosec B307
    return project


def _exact(number: int, field: str) -> float:
    try:
        return exact_double(number)
    except Unfit as unfit:
        raise unfit.within(field) from None


def _carried_over(value: str, writer: Any, field: Any) -> Optional[str]:
    """The expression that reads a part as a field of the reader; None if the types alone do not decide."""
    writer, reader = _unwrapped(writer), _unwrapped(field["type"])
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
    if reader not in ("float", "double"):
        return None
    return {"int": f"float({value})", "long": f"exact({value}, {field['name']!r})"}.get(writer)


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
