"""An Avro schema that is safe to decode with: parsed, checked and fingerprinted once.

Some schemas turn a few bytes into a crash or gigabytes, whatever checks the data passes later. They are
refused here, when loaded.
"""

import json
import re
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, List, Mapping, Tuple

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form

PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})

MAX_SCHEMA_CHARS = 1_000_000
MAX_DEPTH = 64
MAX_DECIMAL_DIGITS = 1_000
MAX_VALUES_PER_BYTE = 8
MAX_FREE_VALUES = 10_000


class SchemaRefused(ValueError):
    """A schema that is invalid, or unsafe for reading untrusted bytes. Says which part and why."""


@dataclass(frozen=True)
class Schema:
    """One record schema, ready for reading and writing."""

    text: str
    """The JSON as given."""
    name: str
    """Full name of the record."""
    parsed: Any
    """fastavro's form of it."""
    raw: Any
    """The same without logical types: the plain values that the bytes encode."""
    fingerprint: bytes
    """CRC-64-AVRO of the parsing canonical form, 8 bytes, little-endian."""
    flat: bool
    """Has only primitives and no logical types, so cheap checks prove its bytes."""
    logical: bool
    """Has logical types, so `raw` differs from `parsed`."""
    decimals: bool
    """Has decimals of variable length, whose decoding time is quadratic in that length."""


def load_schema(text: str) -> Schema:
    """Parse and check a record schema given as JSON text. Raises `SchemaRefused`."""
    definition = _read_json(text)
    _refuse_private_keys(definition)
    parsed, named = _parse(_without_logical_types(definition, _means_nothing))
    _Judge(named).judge(parsed)
    canonical = to_parsing_canonical_form(parsed)
    logical = any(isinstance(part, dict) and "logicalType" in part for part in parts(parsed))
    kinds = [field["type"] for field in parsed["fields"]]
    return Schema(
        text=text,
        name=parsed["name"],
        parsed=parsed,
        raw=_parse(_without_logical_types(definition, lambda part: True))[0] if logical else parsed,
        fingerprint=crc_64_avro(canonical),
        flat=all(isinstance(kind, str) and kind in PRIMITIVES for kind in kinds),
        logical=logical,
        decimals=any(is_free_decimal(part) for part in parts(parsed)),
    )


def _read_json(text: str) -> Any:
    if len(text) > MAX_SCHEMA_CHARS:
        raise SchemaRefused(f"the schema has {len(text):,} characters, more than {MAX_SCHEMA_CHARS:,}")
    try:
        definition = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SchemaRefused(f"the schema is not JSON: {error}") from None
    if not isinstance(definition, dict) or definition.get("type") != "record":
        raise SchemaRefused('the schema is not a record: an order needs {"type": "record", …}')
    return definition


def _refuse_private_keys(definition: Any, depth: int = 0) -> None:
    """Refuse `__fastavro_parsed_schema` and the like: fastavro trusts a schema that carries its marker."""
    if depth > 4 * MAX_DEPTH:
        raise SchemaRefused(f"the schema is nested more than {MAX_DEPTH} levels deep")
    if isinstance(definition, list):
        for part in definition:
            _refuse_private_keys(part, depth + 1)
    if isinstance(definition, dict):
        for key, part in definition.items():
            if key.startswith("__"):
                raise SchemaRefused(f"the schema has the reserved key {key!r}")
            _refuse_private_keys(part, depth + 1)


def _parse(definition: Any) -> Tuple[Any, Dict[str, Any]]:
    named: Dict[str, Any] = {}
    try:
        return fastavro.parse_schema(definition, named_schemas=named), named
    except Exception as error:  # noqa: BLE001 - a foreign schema may break the parser anywhere
        raise SchemaRefused(f"the schema is not valid Avro: {type(error).__name__}: {error}") from None


def _without_logical_types(definition: Any, unwanted: Callable[[Any], bool]) -> Any:
    """The definition without the logical type of each part that is unwanted."""
    if isinstance(definition, list):
        return [_without_logical_types(part, unwanted) for part in definition]
    if not isinstance(definition, dict):
        return definition
    left_out = "logicalType" if "logicalType" in definition and unwanted(definition) else None
    # A default is data, in which the key may mean something else.
    return {
        key: part if key == "default" else _without_logical_types(part, unwanted)
        for key, part in definition.items()
        if key != left_out
    }


_TIMES = {f"{local}timestamp-{unit}" for local in ("", "local-") for unit in ("millis", "micros", "nanos")}
_BASES: Mapping[str, Tuple[str, ...]] = {
    "decimal": ("bytes", "fixed"),
    "uuid": ("string", "fixed"),
    "date": ("int",),
    "time-millis": ("int",),
    "time-micros": ("long",),
    **dict.fromkeys(_TIMES, ("long",)),
}
"""The types that can have each logical type."""
_UUID_BYTES = 16


def _means_nothing(part: Any) -> bool:
    """Whether a part's logical type is none that it can have. The specification has such a one ignored."""
    kind, logical = part.get("type"), part["logicalType"]
    if not isinstance(logical, str) or not logical:
        return True
    if logical == "uuid" and kind == "fixed":
        return bool(part.get("size") != _UUID_BYTES)
    return logical in _BASES and kind not in _BASES[logical]


class _Judge:
    """Walks a parsed schema, each named type once, and refuses what a few hostile bytes could blow up.

    Each visit returns how many values one instance may hold beyond `MAX_VALUES_PER_BYTE` times its bytes
    ("free" values). Array items must have none, since the data chooses how many items there are.
    """

    def __init__(self, named: Dict[str, Any]) -> None:
        self._named = named
        self._free: Dict[str, int] = {}
        self._open: List[str] = []

    def judge(self, parsed: Any) -> None:
        free = self._visit(parsed, 0)
        if free > MAX_FREE_VALUES:
            raise SchemaRefused(f"one record may hold {free:,} values that cost no bytes")

    def _visit(self, part: Any, depth: int) -> int:
        if depth > MAX_DEPTH:
            raise SchemaRefused(f"the schema is nested more than {MAX_DEPTH} levels deep")
        if isinstance(part, list):
            _refuse_bad_branches(part)
            return 1 - MAX_VALUES_PER_BYTE + max(self._visit(branch, depth + 1) for branch in part)
        kind = kind_of(part)
        if kind in PRIMITIVES:
            self._check_decimal(part)
            return 1 - MAX_VALUES_PER_BYTE * _WIDTHS[kind]
        if kind in ("array", "map"):
            return self._visit_items(part, kind, depth)
        return self._visit_named(part, kind, depth)

    def _visit_items(self, part: Any, kind: str, depth: int) -> int:
        items = part["items"] if kind == "array" else part["values"]
        key_bytes = 0 if kind == "array" else 1
        free = self._visit(items, depth + 1) - key_bytes * MAX_VALUES_PER_BYTE
        if free > 0:
            whose = f"the items of {'an array' if kind == 'array' else 'a map'} ({describe(items)})"
            raise SchemaRefused(f"{whose} take almost no bytes each: a few bytes could claim millions")
        return 1 - MAX_VALUES_PER_BYTE

    def _visit_named(self, part: Any, kind: str, depth: int) -> int:
        definition = self._named[kind] if isinstance(part, str) else part
        name = definition["name"]
        if name in self._open:
            raise SchemaRefused(f"type {name} contains itself: recursive schemas are refused")
        if name not in self._free:
            self._open.append(name)
            self._free[name] = self._measure(definition, depth)
            self._open.pop()
        return self._free[name]

    def _measure(self, definition: Any, depth: int) -> int:
        if definition["type"] not in _NAMED:
            raise SchemaRefused(
                f"type {definition['name']} is of kind {definition['type']}, which no order can hold"
            )
        _refuse_bad_names(definition)
        if definition["type"] == "enum":
            return 1 - MAX_VALUES_PER_BYTE
        if definition["type"] == "fixed":
            _refuse_bad_size(definition)
            self._check_decimal(definition)
            return 1 - MAX_VALUES_PER_BYTE * int(definition["size"])
        return 1 + sum(self._visit(field["type"], depth + 1) for field in definition["fields"])

    @staticmethod
    def _check_decimal(part: Any) -> None:
        if not isinstance(part, dict) or part.get("logicalType") != "decimal":
            return
        digits, scale = part.get("precision", 0), part.get("scale", 0)
        if type(digits) is not int or digits < 1:
            raise SchemaRefused("a decimal has no precision: it needs the number of its digits")
        if type(scale) is not int:
            raise SchemaRefused(f"a decimal has the scale {scale!r}, which is no number of digits")
        if digits > MAX_DECIMAL_DIGITS or part.get("size", 0) > MAX_DECIMAL_DIGITS:
            raise SchemaRefused(f"a decimal may have at most {MAX_DECIMAL_DIGITS} digits")


def _refuse_bad_names(definition: Any) -> None:
    """Check names by the specification's rules; fastavro accepts any, and duplicate fields."""
    kind, own = definition["type"], definition["name"]
    inside = (
        definition["symbols"] if kind == "enum" else [each["name"] for each in definition.get("fields", ())]
    )
    for name in [*own.split("."), *inside]:
        if not isinstance(name, str) or not _NAME.match(name):
            raise SchemaRefused(f"{kind} {own}: {name!r} is not a name in Avro")
    if len(set(inside)) < len(inside):
        raise SchemaRefused(f"{kind} {own} has one name twice")
    if kind == "enum" and not (inside and isinstance(inside, list)):
        raise SchemaRefused(f"enum {own} has no symbols")


def _refuse_bad_size(definition: Any) -> None:
    size = definition["size"]
    if type(size) is not int or not 0 <= size < 1 << 31:
        raise SchemaRefused(f"fixed {definition['name']}: size {size!r} is no number of bytes")


def _refuse_bad_branches(union: Any) -> None:
    if not union:
        raise SchemaRefused("a union has no branches")
    kinds = [kind_of(branch) for branch in union]
    if "union" in kinds:
        raise SchemaRefused("a union stands directly within a union")
    twice = next((kind for kind in kinds if kinds.count(kind) > 1 and kind not in _NAMED), None)
    if twice is not None:
        raise SchemaRefused(f"a union has two branches of type {twice}")


_NAMED = ("record", "enum", "fixed")
"""The kinds of type that have a name: a union may have several of each."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_WIDTHS = {"null": 0, "boolean": 1, "int": 1, "long": 1, "float": 4, "double": 8, "bytes": 1, "string": 1}


def kind_of(part: Any) -> str:
    """A schema part's type: `record`, `array`, `int` …, `union`, or the name that it refers to."""
    if isinstance(part, list):
        return "union"
    return str(part["type"] if isinstance(part, dict) else part)


def describe(part: Any) -> str:
    """A schema part in a short phrase for messages."""
    kind = kind_of(part)
    if kind == "union":
        return "union of " + ", ".join(describe(branch) for branch in part)
    if kind in ("record", "enum", "fixed"):
        return f"{kind} {part['name']}"
    if kind == "array":
        return f"array of {describe(part['items'])}"
    if kind == "map":
        return f"map of {describe(part['values'])}"
    logical = part.get("logicalType") if isinstance(part, dict) else None
    return f"{kind} ({logical})" if logical else kind


def parts(parsed: Any) -> Iterator[Any]:
    """Every part of a parsed schema, each definition once."""
    yield parsed
    if isinstance(parsed, list):
        for branch in parsed:
            yield from parts(branch)
    elif isinstance(parsed, dict):
        for field in parsed.get("fields", ()):
            yield from parts(field["type"])
        for key in ("items", "values"):
            if key in parsed:
                yield from parts(parsed[key])


def definitions(parsed: Any) -> Dict[str, Any]:
    """The named types of a parsed schema by full name."""
    return {part["name"]: part for part in parts(parsed) if isinstance(part, dict) and "name" in part}


def definition_of(part: Any, named: Dict[str, Any]) -> Any:
    """The part, or its definition among these named types if it only names one of them."""
    return named.get(part, part) if isinstance(part, str) else part


def is_free_decimal(part: Any) -> bool:
    """Whether a schema part is a decimal whose length the data chooses."""
    return isinstance(part, dict) and part.get("logicalType") == "decimal" and part["type"] == "bytes"


def decimal_bytes(digits: int) -> int:
    """How many bytes the largest unscaled value with this many digits takes, sign included."""
    largest: int = 10**digits - 1
    return largest.bit_length() // 8 + 1


def crc_64_avro(canonical: str) -> bytes:
    """The fingerprint of a schema's canonical form as framings use it: 8 bytes, little-endian."""
    return bytes.fromhex(fingerprint(canonical, "CRC-64-AVRO"))
