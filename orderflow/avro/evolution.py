"""Tells whether orders written with one schema can be read with another and, if not, which field is why.

It applies the schema resolution rules of the Avro specification, and is stricter in one point: logical types
that differ (another decimal scale, milliseconds and microseconds) are never read as each other, since the
numbers would change their meaning.
"""

from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from orderflow.avro.meaning import default_value, joined
from orderflow.avro.schema import Schema, definition_of, definitions, describe, kind_of
from orderflow.model.text import plural

PROMOTIONS = {
    "int": {"long", "float", "double"},
    "long": {"float", "double"},
    "float": {"double"},
    "string": {"bytes"},
    "bytes": {"string"},
}
DEPENDS_ON_DATA = {
    ("long", "float"): "a long without an exact double is not rounded to one",
    ("long", "double"): "a long without an exact double is not rounded to one",
    ("bytes", "string"): "bytes that are not UTF-8 are no string",
}
"""The promotions that some values cannot take, and why."""

MAX_PROBLEMS = 100
"""How many a record tells at most: a small schema can refer to one part in a great many ways."""


class Problem(NamedTuple):
    """One difference that resolution cannot bridge."""

    field: str
    """Path of the field; empty for the record itself."""
    why: str
    always: bool
    """True: no order of the writer can be read. False: only those that use the symbol or branch cannot."""

    def __str__(self) -> str:
        return f"field {self.field}: {self.why}" if self.field else self.why


def problems(reader: Schema, writer: Schema) -> List[Problem]:
    """What makes every order of `writer` unreadable with `reader`; empty if nothing does."""
    return [problem for problem in all_problems(reader, writer) if problem.always]


def all_problems(reader: Schema, writer: Schema) -> List[Problem]:
    """Like `problems`, plus what makes only some orders unreadable, depending on their data."""
    return list(dict.fromkeys(Comparison(reader.parsed, writer.parsed).whole()))


def source_of(field: Any, written: Dict[str, Any]) -> Optional[str]:
    """The name under which the writer has a field of the reader: its own or an alias."""
    return next((name for name in (field["name"], *field.get("aliases", ())) if name in written), None)


def value_type(part: Any) -> str:
    """A field's type as a handler sees it: the logical type if there is one, else the Avro type."""
    return logical_type(part) or kind_of(part)


def value_types(part: Any) -> List[str]:
    """The same for each branch of a union; one type for anything else."""
    return [value_type(branch) for branch in part] if isinstance(part, list) else [value_type(part)]


def logical_type(part: Any) -> str:
    """A part's logical type; empty if it has none."""
    return str(part.get("logicalType", "")) if isinstance(part, dict) else ""


class Comparison:
    """Walks both schemas together. The private methods yield the problems below one pair of parts."""

    def __init__(self, reader: Any, writer: Any) -> None:
        self._reader, self._writer = reader, writer
        self._reader_names = definitions(reader)
        self._writer_names = definitions(writer)
        self._records: Dict[Tuple[str, str], List[Problem]] = {}
        """By the names of two records what is below them, with paths from there."""

    def whole(self) -> Iterator[Problem]:
        """The problems of the two schemas."""
        return self._record(self._reader, self._writer, "")

    def obstacle(self, reader: Any, writer: Any) -> Optional[Problem]:
        """What makes every value of one part unreadable as another; None if nothing does."""
        return next((problem for problem in self._pair(reader, writer, "") if problem.always), None)

    def branch(self, reader: List[Any], writer: Any) -> Optional[Any]:
        """The branch of a union that a part, no union itself, is read as; None if it can be read as none.

        It is the first of the same type, by its own name before an alias, else the first that it is promoted
        to: a long is not a double because that stands before the long.
        """
        writer = definition_of(writer, self._writer_names)
        fitting = [branch for branch in reader if self.obstacle(branch, writer) is None]
        return min(fitting, key=lambda branch: self._distance(branch, writer), default=None)

    def _distance(self, reader: Any, writer: Any) -> int:
        reader = definition_of(reader, self._reader_names)
        if kind_of(reader) != kind_of(writer):
            return 3
        if not isinstance(reader, dict) or "name" not in reader or reader["name"] == writer["name"]:
            return 0
        return 1 if _short(reader["name"]) == _short(writer["name"]) else 2

    def _record(self, reader: Any, writer: Any, path: str) -> Iterator[Problem]:
        if not _same_name(reader, writer):
            yield Problem(path, f"record {writer['name']} is not {reader['name']}, nor an alias of it", True)
            return
        for problem in self._below(reader, writer):
            yield problem._replace(field=joined(path, problem.field))

    def _below(self, reader: Any, writer: Any) -> List[Problem]:
        pair = (reader["name"], writer["name"])
        if pair not in self._records:
            written = {field["name"]: field for field in writer["fields"]}
            found = [problem for field in reader["fields"] for problem in self._field(field, written)]
            # The worst first, so that none of them is cut.
            self._records[pair] = sorted(found, key=lambda each: not each.always)[:MAX_PROBLEMS]
        return self._records[pair]

    def _field(self, field: Any, written: Dict[str, Any]) -> Iterator[Problem]:
        name, source = field["name"], source_of(field, written)
        if source is not None:
            yield from self._pair(field["type"], written[source]["type"], name)
        elif "default" not in field:
            yield Problem(name, "not in the writer's schema, and the reader has no default for it", True)
        else:
            yield from self._default(field)

    def _default(self, field: Any) -> Iterator[Problem]:
        try:
            default_value(field["type"], field["default"], self._reader_names)
        except ValueError as error:
            yield Problem(field["name"], f"not in the writer's schema, and {error}", True)

    def _pair(self, reader: Any, writer: Any, path: str) -> Iterator[Problem]:
        reader = definition_of(reader, self._reader_names)
        writer = definition_of(writer, self._writer_names)
        if isinstance(writer, list):
            yield from self._written_union(reader, writer, path)
        elif isinstance(reader, list):
            yield from self._read_union(reader, writer, path)
        else:
            yield from self._plain(reader, writer, path)

    def _written_union(self, reader: Any, writer: List[Any], path: str) -> Iterator[Problem]:
        found = [list(self._pair(reader, branch, path)) for branch in writer]
        every = bool(found) and all(any(problem.always for problem in branch) for branch in found)
        for branch in found:
            for problem in branch:
                yield problem._replace(always=every)

    def _read_union(self, reader: List[Any], writer: Any, path: str) -> Iterator[Problem]:
        branch = self.branch(reader, writer)
        if branch is not None:
            yield from self._pair(branch, writer, path)
            return
        choices = ", ".join(describe(definition_of(each, self._reader_names)) for each in reader)
        yield Problem(path, f"{describe(writer)} is none of: {choices}", True)

    def _plain(self, reader: Any, writer: Any, path: str) -> Iterator[Problem]:
        kinds = kind_of(reader), kind_of(writer)
        if kinds[0] != kinds[1] and kinds[0] not in PROMOTIONS.get(kinds[1], ()):
            yield Problem(path, f"{describe(writer)} cannot be read as {describe(reader)}", True)
            return
        yield from self._logical(reader, writer, path)
        if (kinds[1], kinds[0]) in DEPENDS_ON_DATA:
            yield Problem(path, DEPENDS_ON_DATA[kinds[1], kinds[0]], False)
        if kinds == ("record", "record"):
            yield from self._record(reader, writer, path)
        elif kinds == ("enum", "enum"):
            yield from self._enum(reader, writer, path)
        elif kinds == ("fixed", "fixed"):
            yield from self._fixed(reader, writer, path)
        elif kinds == ("array", "array"):
            yield from self._pair(reader["items"], writer["items"], f"{path}[]")
        elif kinds == ("map", "map"):
            yield from self._pair(reader["values"], writer["values"], f"{path}[]")

    @staticmethod
    def _logical(reader: Any, writer: Any, path: str) -> Iterator[Problem]:
        meanings = _meaning(reader), _meaning(writer)
        if all(meanings) and meanings[0] != meanings[1]:
            yield Problem(path, f"{meanings[1]} would change its value if read as {meanings[0]}", True)

    @staticmethod
    def _enum(reader: Any, writer: Any, path: str) -> Iterator[Problem]:
        if not _same_name(reader, writer):
            yield Problem(path, f"enum {writer['name']} is not {reader['name']}", True)
            return
        unknown = [symbol for symbol in writer["symbols"] if symbol not in reader["symbols"]]
        if unknown and "default" not in reader:
            every = len(unknown) == len(writer["symbols"])
            yield Problem(path, f"the reader does not know the symbols: {', '.join(unknown)}", every)

    @staticmethod
    def _fixed(reader: Any, writer: Any, path: str) -> Iterator[Problem]:
        if not _same_name(reader, writer) or reader["size"] != writer["size"]:
            written = f"{writer['name']} of {plural(writer['size'], 'byte')}"
            sizes = f"{written} is not {reader['name']} of {reader['size']}"
            yield Problem(path, f"fixed {sizes}", True)


def _same_name(reader: Any, writer: Any) -> bool:
    """Whether unqualified names match, as the specification requires; an alias counts, qualified or not."""
    names = [reader["name"], *reader.get("aliases", ())]
    return _short(writer["name"]) in [_short(name) for name in names]


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _meaning(part: Any) -> str:
    logical = logical_type(part)
    if logical == "decimal":
        return f"decimal({part.get('precision')}, {part.get('scale', 0)})"
    return logical
