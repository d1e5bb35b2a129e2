"""A writer's schema whose values tell which branch of a union they were written as.

A value alone does not tell it: 1000 in a union of int and timestamp-millis is a number or a time. Here each
branch of such a union is wrapped in a record of one field, named after the branch's index. A record takes no
bytes of its own, so the same bytes are read, and the value is `{"1": 1000}`.
"""

from dataclasses import replace
from typing import Any, Dict, Iterator

from orderflow.avro.schema import Schema, kind_of, parts


def tells_branches(union: Any) -> bool:
    """Whether a union's values must be told apart: all but null have more than one type."""
    return sum(kind_of(branch) != "null" for branch in union) > 1


def with_told_branches(schema: Schema) -> Schema:
    """The schema that reads the same bytes to values that tell their branches."""
    if not any(isinstance(part, list) and tells_branches(part) for part in parts(schema.parsed)):
        return schema
    parsed = _Telling().whole(schema.parsed)
    raw = parsed if schema.raw is schema.parsed else _Telling().whole(schema.raw)
    return replace(schema, parsed=parsed, raw=raw)


class _Telling:
    """Rewrites one parsed schema."""

    def __init__(self) -> None:
        self._named: Dict[str, Any] = {}
        self._numbers: Iterator[int] = iter(range(1_000_000_000))

    def whole(self, parsed: Any) -> Any:
        # fastavro's marks of a parsed schema: parsed again, names could get another namespace.
        return {**self._part(parsed), "__fastavro_parsed": True, "__named_schemas": self._named}

    def _part(self, part: Any) -> Any:
        if isinstance(part, list):
            return self._union(part)
        if not isinstance(part, dict):
            return part
        told = {key: value for key, value in part.items() if not key.startswith("__")}
        for key in ("items", "values"):
            if key in part:
                told[key] = self._part(part[key])
        if "fields" in part:
            told["fields"] = [
                {"name": field["name"], "type": self._part(field["type"])} for field in part["fields"]
            ]
        if "name" in part:
            self._named[part["name"]] = told
        return told

    def _union(self, branches: Any) -> Any:
        told = [self._part(branch) for branch in branches]
        if not tells_branches(branches):
            return told
        return [self._wrapped(str(index), branch) for index, branch in enumerate(told)]

    def _wrapped(self, index: str, branch: Any) -> Any:
        # A hyphen is in no name of Avro's, so this is no type of the schema's own.
        name = f"branch-{next(self._numbers)}"
        self._named[name] = {"type": "record", "name": name, "fields": [{"name": index, "type": branch}]}
        return self._named[name]
