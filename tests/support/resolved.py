"""Schema resolution as the Avro specification has it, written plainly and apart from ours, and pairs to try.

A value of a union is a `Branch`, so the reference never guesses.
"""

import copy
import json
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from io import BytesIO
from typing import Any, Dict, List, NamedTuple
from uuid import UUID

from fastavro import schemaless_writer
from hypothesis import strategies as st

from orderflow.avro.codec import Schema, load_schema

PROMOTIONS = {
    "int": ("long", "float", "double"),
    "long": ("float", "double"),
    "float": ("double",),
    "string": ("bytes",),
    "bytes": ("string",),
}
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Branch(NamedTuple):
    """A value, and the number of the union's branch that it is written as."""

    number: int
    value: Any


class NotReadable(Exception):
    """The value has none in the reader's schema."""


def kind(part: Any) -> str:
    return "union" if isinstance(part, list) else str(part["type"] if isinstance(part, dict) else part)


def written(value: Any, part: Any) -> Any:
    """The value as fastavro writes it, with every branch named."""
    if isinstance(value, Branch):
        branch = part[value.number]
        return _told_by(branch), written(value.value, branch)
    if kind(part) == "array":
        return [written(item, part["items"]) for item in value]
    if kind(part) == "map":
        return {key: written(item, part["values"]) for key, item in value.items()}
    if kind(part) == "record":
        return {field["name"]: written(value[field["name"]], field["type"]) for field in part["fields"]}
    return value


def body(value: Any, definition: Any, schema: Schema) -> bytes:
    """The bytes of a value of these plain types."""
    stream = BytesIO()
    schemaless_writer(stream, schema.raw, written(value, definition))
    return stream.getvalue()


def matches(reader: Any, writer: Any) -> bool:
    """Whether a part, no union, may be read as another."""
    if kind(reader) != kind(writer):
        return kind(reader) in PROMOTIONS.get(kind(writer), ())
    return kind(reader) not in ("record", "enum", "fixed") or writer["name"] in names(reader)


def names(part: Any) -> List[str]:
    return [part["name"], *part.get("aliases", ())]


def resolved(value: Any, reader: Any, writer: Any) -> Any:
    """The value that a reader gets. Raises `NotReadable`."""
    if isinstance(writer, list):
        return resolved(value.value, reader, writer[value.number])
    if isinstance(reader, list):
        return resolved(value, branch_of(reader, writer), writer)
    if not matches(reader, writer):
        raise NotReadable
    if kind(reader) == "array":
        return [resolved(item, reader["items"], writer["items"]) for item in value]
    if kind(reader) == "map":
        return {key: resolved(item, reader["values"], writer["values"]) for key, item in value.items()}
    if kind(reader) == "record":
        return {field["name"]: resolved_field(value, field, writer) for field in reader["fields"]}
    if kind(reader) == "enum":
        return symbol(value, reader)
    return meant(promoted(value, kind(reader), kind(writer)), reader)


def branch_of(reader: Any, writer: Any) -> Any:
    fitting = [branch for branch in reader if matches(branch, writer)]
    own = [branch for branch in fitting if kind(branch) == kind(writer)]
    for branch in [*own, *fitting]:
        return branch
    raise NotReadable


def resolved_field(value: Any, field: Any, writer: Any) -> Any:
    types = {each["name"]: each["type"] for each in writer["fields"]}
    for name in names(field):
        if name in types:
            return resolved(value[name], field["type"], types[name])
    if "default" not in field:
        raise NotReadable
    return of_default(field["default"], field["type"])


def symbol(value: str, reader: Any) -> str:
    if value in reader["symbols"]:
        return value
    if "default" not in reader:
        raise NotReadable
    return str(reader["default"])


def promoted(value: Any, reader: str, writer: str) -> Any:
    if reader == writer:
        return value
    try:
        if reader == "string":
            return value.decode()
        if reader == "bytes":
            return value.encode()
    except UnicodeDecodeError:
        raise NotReadable from None
    if reader == "long" or writer == "float":
        return value
    if int(float(value)) != value:
        raise NotReadable
    return float(value)


def meant(value: Any, part: Any) -> Any:
    logical = part.get("logicalType") if isinstance(part, dict) else None
    if logical == "decimal":
        return Decimal(int.from_bytes(value, "big", signed=True)).scaleb(-part["scale"])
    if logical == "timestamp-millis":
        return EPOCH + timedelta(milliseconds=value)
    if logical == "date":
        return date(1970, 1, 1) + timedelta(days=value)
    return UUID(value) if logical == "uuid" else value


def of_default(default: Any, part: Any) -> Any:
    if kind(part) == "union":
        return of_default(default, part[0])
    if kind(part) in ("bytes", "fixed"):
        return meant(default.encode("latin-1"), part)
    if kind(part) in ("float", "double"):
        return float(default)
    if kind(part) == "array":
        return [of_default(item, part["items"]) for item in default]
    if kind(part) == "map":
        return {key: of_default(item, part["values"]) for key, item in default.items()}
    if kind(part) == "record":
        inner = {field["name"]: field.get("default") for field in part["fields"]}
        whole = {**inner, **default}
        return {field["name"]: of_default(whole[field["name"]], field["type"]) for field in part["fields"]}
    return meant(default, part)


# --- Pairs of schemas, and values


class Change(NamedTuple):
    """Two schemas and some values of the writer's."""

    writer: Any
    reader: Any
    values: List[Any]

    @property
    def schemas(self) -> Any:
        """The writer's and the reader's, loaded."""
        return load_schema(json.dumps(self.writer)), load_schema(json.dumps(self.reader))


PRIMITIVES: List[Any] = ["boolean", "int", "long", "float", "double", "bytes", "string"]
LOGICAL: List[Any] = [
    {"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2},
    {"type": "long", "logicalType": "timestamp-millis"},
    {"type": "int", "logicalType": "date"},
    {"type": "string", "logicalType": "uuid"},
]
LONGS = st.sampled_from([0, -1, 2**31, 2**53, 2**53 + 1, 2**63 - 1, -(2**63)])
PLAIN: Dict[str, Any] = {
    "null": st.none(),
    "boolean": st.booleans(),
    "int": st.sampled_from([0, -1, 2**31 - 1, -(2**31)]),
    "long": LONGS,
    "float": st.floats(width=32, allow_nan=False),
    "double": st.floats(allow_nan=False),
    "bytes": st.binary(max_size=3),
    "string": st.text("ab€", max_size=3),
}
MEANT: Dict[str, Any] = {
    "decimal": st.integers(-999_999, 999_999).map(
        lambda number: number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True)
    ),
    "timestamp-millis": st.integers(-(10**12), 10**12),
    "date": st.integers(-1000, 50_000),
    "uuid": st.uuids().map(str),
}


class Drawn:
    """Draws the parts of one change."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self._names = 0

    def name(self) -> str:
        """A name that nothing else has."""
        self._names += 1
        return f"n{self._names}"

    def chance(self, one_in: int) -> bool:
        """True once in so many times."""
        return bool(self.draw(st.integers(1, one_in)) == one_in)

    def part(self, depth: int) -> Any:
        """Any type."""
        shape = self.draw(st.sampled_from(["plain", "plain", "logical", "enum", "fixed", "nested", "union"]))
        if shape == "plain" or (depth > 2 and shape in ("nested", "union")):
            return self.draw(st.sampled_from(PRIMITIVES))
        if shape == "logical":
            return dict(self.draw(st.sampled_from(LOGICAL)))
        if shape == "enum":
            return {"type": "enum", "name": self.name(), "symbols": ["A", "B"]}
        if shape == "fixed":
            return {"type": "fixed", "name": self.name(), "size": 2}
        return self.union(depth + 1) if shape == "union" else self.nested(depth + 1)

    def nested(self, depth: int) -> Any:
        """An array, a map or a record."""
        shape = self.draw(st.sampled_from(["array", "map", "record"]))
        if shape == "record":
            return self.record(self.name(), depth)
        return {"type": shape, "items" if shape == "array" else "values": self.part(depth)}

    def union(self, depth: int) -> Any:
        """A union with null."""
        drawn = ["null", *(self.part(depth) for _ in range(self.draw(st.integers(1, 3))))]
        branches = {_told_by(branch): branch for branch in drawn if kind(branch) != "union"}
        return self.draw(st.permutations(list(branches.values())))

    def record(self, name: str, depth: int) -> Any:
        """A record of a few fields."""
        count = self.draw(st.integers(1, 3))
        fields = [{"name": self.name(), "type": self.part(depth)} for _ in range(count)]
        return {"type": "record", "name": name, "fields": fields}

    def value(self, part: Any) -> Any:
        """A plain value of a part."""
        if kind(part) == "union":
            index = self.draw(st.integers(0, len(part) - 1))
            return Branch(index, self.value(part[index]))
        if kind(part) == "array":
            return [self.value(part["items"]) for _ in range(self.draw(st.integers(0, 2)))]
        if kind(part) == "map":
            return {key: self.value(part["values"]) for key in self.draw(st.sampled_from(["", "a", "ab"]))}
        if kind(part) == "record":
            return {field["name"]: self.value(field["type"]) for field in part["fields"]}
        if kind(part) == "enum":
            return self.draw(st.sampled_from(part["symbols"]))
        if kind(part) == "fixed":
            return self.draw(st.binary(min_size=2, max_size=2))
        logical = part.get("logicalType") if isinstance(part, dict) else None
        return self.draw(MEANT[logical] if logical else PLAIN[kind(part)])

    def default(self, part: Any) -> Any:
        """A default in JSON; of a record sometimes one that leaves all to the inner defaults."""
        if kind(part) == "union":
            return self.default(part[0])
        if kind(part) == "record":
            for field in part["fields"]:
                field["default"] = self.default(field["type"])
            return {} if self.chance(2) else {field["name"]: field["default"] for field in part["fields"]}
        if kind(part) == "array":
            return [self.default(part["items"])]
        if kind(part) == "map":
            return {"k": self.default(part["values"])}
        if kind(part) in ("float", "double"):
            return 1
        value = self.value(part)
        return value.decode("latin-1") if isinstance(value, bytes) else value

    def changed(self, part: Any) -> Any:
        """The reader's form of a part: most of it stays."""
        if kind(part) == "union":
            changed = [self.changed(branch) for branch in part]
            return self.draw(st.permutations(changed)) if _distinct(changed) else part
        if kind(part) == "record":
            return self.changed_record(part)
        if kind(part) == "enum" and self.chance(3):
            return {**part, "symbols": ["A"], **({"default": "A"} if self.chance(2) else {})}
        for key in ("items", "values"):
            if isinstance(part, dict) and key in part:
                return {**part, key: self.changed(part[key])}
        if isinstance(part, str) and part in PROMOTIONS and self.chance(4):
            return self.draw(st.sampled_from(PROMOTIONS[part]))
        return part

    def changed_record(self, part: Any) -> Any:
        """A record whose fields are moved, renamed and joined by others."""
        fields = [self.changed_field(field, part) for field in part["fields"]]
        for _ in range(self.draw(st.integers(0, 2))):
            kind_added = self.part(2)
            fields.append({"name": self.name(), "type": kind_added, "default": self.default(kind_added)})
        return {**part, "fields": self.draw(st.permutations(fields))}

    def changed_field(self, field: Any, record: Any) -> Any:
        """A field whose type, name or aliases may be others."""
        changed = {**field, "type": self.changed(field["type"])}
        if self.chance(4) and kind(changed["type"]) != "union":
            changed["type"] = ["null", changed["type"]]
        others = [each["name"] for each in record["fields"]]
        if self.chance(4):
            changed["aliases"] = [self.draw(st.sampled_from(others))]  # its own name wins
        elif self.chance(6):
            changed.update(name=self.name(), aliases=[field["name"]])
        return changed


def _told_by(branch: Any) -> str:
    """What no other branch of a union may have."""
    return str(branch["name"]) if kind(branch) in ("record", "enum", "fixed") else kind(branch)


def _distinct(branches: List[Any]) -> bool:
    return len({_told_by(branch) for branch in branches}) == len(branches)


@st.composite
def changes(draw: Any) -> Change:
    """A schema, what became of it, and some values of it."""
    drawn = Drawn(draw)
    writer = drawn.record("O", 0)
    reader = drawn.changed(copy.deepcopy(writer))
    return Change(writer, reader, [drawn.value(writer) for _ in range(3)])
