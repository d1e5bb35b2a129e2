"""Tells whether orders written with one schema can be read with another and, if not, which field is why.

It applies the schema resolution rules of the Avro specification, and is stricter in one point: logical types
that differ (another decimal scale, milliseconds and microseconds) are never read as each other, since the
numbers would change their meaning.
"""

from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Set, Tuple

from orderflow.avro.schema import Schema, definition_of, definitions, describe, kind_of
from orderflow.model.text import plural

PROMOTIONS = {
    "int": {"long", "float", "double"},
    "long": {"float", "double"},
    "float": {"double"},
    "string": {"bytes"},
    "bytes": {"string"},
}


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
    return list(_Comparison(reader.parsed, writer.parsed).record(reader.parsed, writer.parsed, ""))


def promoted_integers(reader: Schema, writer: Schema) -> List[Tuple[str, str]]:
    """Fields promoted from int or long to float or double: name written, name read."""
    written = {field["name"]: kind_of(field["type"]) for field in writer.raw["fields"]}
    pairs = [(source_of(field, written), field) for field in reader.raw["fields"]]
    return [
        (source, field["name"])
        for source, field in pairs
        if source and written[source] in ("int", "long") and kind_of(field["type"]) in ("float", "double")
    ]


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


class _Comparison:
    """Walks both schemas together. Every method yields the problems below one pair of parts."""

    def __init__(self, reader: Any, writer: Any) -> None:
        self._reader_names = definitions(reader)
        self._writer_names = definitions(writer)
        self._seen: Set[Tuple[str, str]] = set()

    def record(self, reader: Any, writer: Any, path: str) -> Iterator[Problem]:
        if not _same_name(reader, writer):
            yield Problem(path, f"record {writer['name']} is not {reader['name']}, nor an alias of it", True)
            return
        pair = (reader["name"], writer["name"])
        if pair in self._seen:
            return
        self._seen.add(pair)
        written = {field["name"]: field for field in writer["fields"]}
        for field in reader["fields"]:
            yield from self._field(field, written, f"{path}.{field['name']}" if path else field["name"])

    def _field(self, field: Any, written: Dict[str, Any], path: str) -> Iterator[Problem]:
        source = source_of(field, written)
        if source is not None:
            yield from self.pair(field["type"], written[source]["type"], path)
        elif "default" not in field:
            yield Problem(path, "not in the writer's schema, and the reader has no default for it", True)

    def pair(self, reader: Any, writer: Any, path: str) -> Iterator[Problem]:
        """The problems of reading one part as another."""
        reader = definition_of(reader, self._reader_names)
        writer = definition_of(writer, self._writer_names)
        if isinstance(writer, list):
            yield from self._written_union(reader, writer, path)
        elif isinstance(reader, list):
            yield from self._read_union(reader, writer, path)
        else:
            yield from self._plain(reader, writer, path)

    def _written_union(self, reader: Any, writer: List[Any], path: str) -> Iterator[Problem]:
        found = [list(self.pair(reader, branch, path)) for branch in writer]
        every = bool(found) and all(any(problem.always for problem in branch) for branch in found)
        for branch in found:
            for problem in branch:
                yield problem._replace(always=every)

    def _read_union(self, reader: List[Any], writer: Any, path: str) -> Iterator[Problem]:
        found = [list(self.pair(branch, writer, path)) for branch in reader]
        if all(any(problem.always for problem in branch) for branch in found):
            choices = ", ".join(describe(branch) for branch in reader)
            yield Problem(path, f"{describe(writer)} is none of: {choices}", True)

    def _plain(self, reader: Any, writer: Any, path: str) -> Iterator[Problem]:
        kinds = kind_of(reader), kind_of(writer)
        if kinds[0] != kinds[1] and kinds[0] not in PROMOTIONS.get(kinds[1], ()):
            yield Problem(path, f"{describe(writer)} cannot be read as {describe(reader)}", True)
            return
        yield from self._logical(reader, writer, path)
        if kinds == ("record", "record"):
            yield from self.record(reader, writer, path)
        elif kinds == ("enum", "enum"):
            yield from self._enum(reader, writer, path)
        elif kinds == ("fixed", "fixed"):
            yield from self._fixed(reader, writer, path)
        elif kinds == ("array", "array"):
            yield from self.pair(reader["items"], writer["items"], f"{path}[]")
        elif kinds == ("map", "map"):
            yield from self.pair(reader["values"], writer["values"], f"{path}[]")

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
