"""Inlines the types that a schema references, as registries share types between subjects."""

import json
from typing import Any, Dict, Sequence, Set

from orderflow.avro.schema import PRIMITIVES, SchemaRefused

NAMED = ("record", "error", "enum", "fixed")


def whole(text: str, referenced: Sequence[str]) -> str:
    """The schema with every type inlined that the referenced texts define. May raise `SchemaRefused`."""
    try:
        definitions = [json.loads(each) for each in referenced]
        known = {_full_name(definition, ""): definition for definition in definitions}
        return json.dumps(_embed(json.loads(text), "", known, set()))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise SchemaRefused(f"a schema and its references do not fit together: {error!r}") from None


def _embed(part: Any, namespace: str, known: Dict[str, Any], placed: Set[str]) -> Any:
    """A part of a schema. Names without a dot belong to `namespace`; each known type is inlined once."""
    if isinstance(part, list):
        return [_embed(branch, namespace, known, placed) for branch in part]
    if isinstance(part, str):
        name = _in_namespace(part, namespace)
        return _embed(known[name], "", known, placed) if name in known and name not in placed else name
    if part["type"] in NAMED:
        return _embed_named(part, namespace, known, placed)
    inner = [key for key in ("type", "items", "values") if key in part]
    return {**part, **{key: _embed(part[key], namespace, known, placed) for key in inner}}


def _embed_named(part: Any, namespace: str, known: Dict[str, Any], placed: Set[str]) -> Any:
    name = _full_name(part, namespace)
    placed.add(name)
    rest = {key: value for key, value in part.items() if key != "namespace"}
    inside = name.rpartition(".")[0]
    if "fields" in part:
        types = [_embed(field["type"], inside, known, placed) for field in part["fields"]]
        rest["fields"] = [{**field, "type": kind} for field, kind in zip(part["fields"], types)]
    return {**rest, "name": name}


def _full_name(part: Any, namespace: str) -> str:
    return _in_namespace(part["name"], part.get("namespace", namespace))


def _in_namespace(name: str, namespace: str) -> str:
    bare = "." in name or name in PRIMITIVES or name in (*NAMED, "array", "map") or not namespace
    return name if bare else f"{namespace}.{name}"
