"""Parses the fields of an order, JSON values or CSV cells, by the schema's types.

Each type has its usual spelling: times in ISO 8601 (or Avro's own number), decimals as digits, bytes in
base64, nested values as JSON. No value is rounded or cut: what does not fit is refused.
"""

import json
import math
import re
from decimal import Decimal
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Sequence

from orderflow.avro.json_value import LongNumber, as_decimal, json_value, reads_back
from orderflow.avro.logical_fields import base64_bytes, logical_type, quoted
from orderflow.avro.meaning import default_value, is_single
from orderflow.avro.schema import definition_of, definitions, describe, kind_of
from orderflow.model.text import escape, plural

Read = Callable[[Any], Any]


class Spelling(NamedTuple):
    """How files spell a type. Both parsers raise ValueError, saying what is wrong."""

    from_json: Read
    from_text: Callable[[str], Any]
    """Parses a CSV cell."""


class Field(NamedTuple):
    """One field of the order schema, as files see it."""

    name: str
    spelling: Spelling
    required: bool
    default: Any
    """The value if the file has none; meaningless if the field is required."""


def fields_of(schema: Mapping[str, Any]) -> List[Field]:
    """The fields of an Avro record schema, given in fastavro's form."""
    return Types(definitions(schema)).fields(schema["fields"])


class Types:
    """The parsers for every type of one schema."""

    def __init__(self, named: Dict[str, Any]) -> None:
        self._named = named

    def fields(self, definitions_of_fields: List[Any]) -> List[Field]:
        """The fields of a record, as files see them."""
        return [self._field(field) for field in definitions_of_fields]

    def _field(self, field: Any) -> Field:
        spelling = self.spelling(field["type"])
        try:
            default = default_value(field["type"], field["default"], self._named)
        except (KeyError, ValueError):
            # It has no default, or one that is no value of its type, such as "" for a UUID.
            return Field(field["name"], spelling, True, None)
        if not (_is_string(field["type"]) or kind_of(field["type"]) == "union"):  # those take an empty cell
            read = spelling.from_text
            spelling = spelling._replace(from_text=lambda text: read(text) if text else default)
        return Field(field["name"], spelling, False, default)

    def spelling(self, part: Any) -> Spelling:
        """How files spell a part of the schema."""
        part = definition_of(part, self._named)
        kind = kind_of(part)
        logical = logical_type(part)
        if logical:
            return Spelling(logical, logical)
        if kind == "union":
            return self._union(part)
        if kind in _PLAIN:
            return _PLAIN[kind]
        if kind in ("enum", "fixed"):
            named = _enum(part) if kind == "enum" else _fixed(part)
            return Spelling(named, named)
        nested = {"array": self._array, "map": self._map, "record": self._record}[kind](part)
        return Spelling(nested, lambda text: nested(json_value(text)))

    def _union(self, branches: List[Any]) -> Spelling:
        nullable = "null" in map(kind_of, branches)
        solid = [branch for branch in branches if kind_of(branch) != "null"]
        if not solid:
            return Spelling(_null, _null_text)
        # Any cell is text, so narrower spellings come first.
        texts = [self.spelling(branch) for branch in sorted(solid, key=_is_string)]
        jsons = [self.spelling(branch).from_json for branch in solid]
        from_json = _first_of(jsons, describe(branches))
        from_text = _first_of([spelling.from_text for spelling in texts], describe(branches))
        if not nullable:
            return Spelling(from_json, from_text)
        return Spelling(
            lambda value: None if value is None else from_json(value),
            lambda text: from_text(text) if text else None,
        )

    def _array(self, part: Any) -> Read:
        read_item = self.spelling(part["items"]).from_json

        def read(value: Any) -> List[Any]:
            if not isinstance(value, list):
                raise ValueError(f"{shown(value)} is not a list")
            return [read_item(item) for item in value]

        return read

    def _map(self, part: Any) -> Read:
        read_item = self.spelling(part["values"]).from_json

        def read(value: Any) -> Dict[str, Any]:
            if not isinstance(value, dict):
                raise ValueError(f"{shown(value)} is not an object")
            return {_string(key): read_item(item) for key, item in value.items()}

        return read

    def _record(self, part: Any) -> Read:
        return record_reader(self.fields(part["fields"]), part["name"])


def _is_string(part: Any) -> bool:
    return kind_of(part) == "string" and logical_type(part) is None


def record_reader(fields: Sequence[Field], name: str = "an order") -> Callable[[Any], Dict[str, Any]]:
    """A parser for a JSON object: every field of its type, defaults for missing ones."""
    readers = {field.name: field.spelling.from_json for field in fields}
    required = {field.name for field in fields if field.required}
    defaults = {field.name: field.default for field in fields if not field.required}

    def read(value: Any) -> Dict[str, Any]:
        if not isinstance(value, dict):
            raise ValueError(f"{shown(value)} is not an object")
        missing = sorted(required.difference(value))
        if missing:
            raise ValueError(f"lacks {', '.join(missing)}")
        unknown = [escape(key[:_NAME_CHARS]) for key in value if key not in readers][:_NAMES]
        if unknown:
            raise ValueError(f"has fields that {name} does not have: {', '.join(unknown)}")
        try:
            return {**defaults, **{key: readers[key](part) for key, part in value.items()}}
        except (ValueError, RecursionError):
            raise faults((key, readers[key], part) for key, part in value.items()) from None

    return read


_NAMES, _NAME_CHARS = 10, 40
"""How much of an untrusted value a message quotes."""


def faults(parts: Any) -> ValueError:
    """What is wrong with each field (name, parser, value), in one sentence."""
    reasons = []
    for name, read, value in parts:
        try:
            read(value)
        except (ValueError, RecursionError) as error:
            reasons.append(f"{name}: {error}")
    return ValueError("; ".join(reasons))


def shown(value: Any) -> str:
    """A value as errors quote it: escaped and shortened."""
    if isinstance(value, str):
        return quoted(value)
    text = escape(json.dumps(value, default=str))
    return f"{text[:40]}…" if len(text) > 40 else text


# --- Plain types ---


def _whole(bits: int) -> Callable[[Any], int]:
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1

    def check(value: Any) -> int:
        if type(value) is not int:
            raise ValueError(f"{shown(value)} is not a whole number")
        if not low <= value <= high:
            raise ValueError(f"{shown(value)} does not fit into {bits} bits")
        return value

    return check


def _double(value: Any) -> float:
    if type(value) is float:
        return value
    if isinstance(value, LongNumber):
        return _number_text(str(value))
    if type(value) is int and not _is_exact(value):
        raise ValueError(f"{shown(value)} cannot be held exactly")
    if type(value) is not int:
        raise ValueError(f"{shown(value)} is not a number")
    return float(value)


def _is_exact(value: int) -> bool:
    try:
        return float(value) == value
    except OverflowError:
        return False


def _single(value: Any) -> float:
    number = _double(value)
    if math.isfinite(number) and not is_single(number):
        raise ValueError(f"{shown(value)} cannot be held exactly")
    return number


def _string(value: Any) -> str:
    if type(value) is not str:
        raise ValueError(f"{shown(value)} is not text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{shown(value)} is not valid Unicode") from None
    return value


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError(f"{shown(value)} is neither true nor false")
    return value


def _null(value: Any) -> None:
    if value is not None:
        raise ValueError(f"{shown(value)} is not null")


def _null_text(text: str) -> None:
    if text:
        raise ValueError(f"{shown(text)} is not empty")


_is_integer = re.compile("[+-]?[0-9]{1,40}", re.ASCII).fullmatch


def _integer_text(text: str) -> int:
    if not _is_integer(text):
        raise ValueError(f"{shown(text)} is not a whole number")
    return int(text)


def _number_text(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"{shown(text)} is not a number") from None
    if "_" in text or not text.isascii():
        raise ValueError(f"{shown(text)} is not a number")
    in_words = number - number != 0 and not re.search("[0-9]", text)  # nan, inf and their like
    if not (reads_back(text, number) or in_words or as_decimal(text) == Decimal(number)):
        raise ValueError(f"{shown(text)} cannot be held exactly")
    return number


def _boolean_text(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(f"{shown(text)} is neither true nor false")
    return text == "true"


def _then(parse: Read, check: Read) -> Read:
    return lambda text: check(parse(text))


_PLAIN: Dict[str, Spelling] = {
    "null": Spelling(_null, _null_text),
    "string": Spelling(_string, str),
    "bytes": Spelling(base64_bytes, base64_bytes),
    "int": Spelling(_whole(32), _then(_integer_text, _whole(32))),
    "long": Spelling(_whole(64), _then(_integer_text, _whole(64))),
    "float": Spelling(_single, _then(_number_text, _single)),
    "double": Spelling(_double, _number_text),
    "boolean": Spelling(_boolean, _boolean_text),
}


def _enum(part: Any) -> Read:
    symbols = list(part["symbols"])

    def read(value: Any) -> str:
        if value not in symbols:
            raise ValueError(f"{shown(value)} is none of {', '.join(symbols)}")
        return str(value)

    return read


def _fixed(part: Any) -> Read:
    size = part["size"]

    def read(value: Any) -> bytes:
        found = base64_bytes(value)
        if len(found) != size:
            raise ValueError(f"{shown(value)} has {plural(len(found), 'byte')}, not {size}")
        return found

    return read


def _first_of(readers: List[Read], meant: str) -> Read:
    """A parser that tries others in turn and uses the first that accepts the value."""
    if len(readers) == 1:
        return readers[0]

    def read(value: Any) -> Any:
        for reader in readers:
            try:
                return reader(value)
            except (ValueError, TypeError):
                continue
        raise ValueError(f"{shown(value)} is no {meant}")

    return read
