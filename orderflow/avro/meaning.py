"""What the plain values of Avro mean: logical types, promoted numbers, and defaults, which stand as JSON."""

import struct
from decimal import Context, Decimal
from typing import Any, Callable, Dict, Optional

from fastavro.read import LOGICAL_READERS

from orderflow.avro.schema import (
    MAX_DECIMAL_DIGITS,
    decimal_bytes,
    definition_of,
    describe,
    is_free_decimal,
    kind_of,
)
from orderflow.model.moments import LocalTimestampNanos, TimestampNanos
from orderflow.model.text import plural

Convert = Callable[[Any], Any]
ReadLogical = Callable[..., Any]
"""From a plain value, the part of the writer's schema that it has, and the reader's."""

EXACT = Context(prec=MAX_DECIMAL_DIGITS)
"""Rounds no decimal that a schema can have."""


class Unfit(ValueError):
    """A value that is no value of the type it is read as."""

    def __init__(self, reason: str, what: str, field: str = "") -> None:
        super().__init__(f"field {field}: {what}" if field else what)
        self.reason = reason
        """A `decode.*` reason code."""
        self.what = what
        self.field = field
        """Path of the field, such as `lines[].count`; empty for the value itself."""

    def within(self, name: str) -> "Unfit":
        """The same, of a value that holds this one under this name, `[]` for an item."""
        return Unfit(self.reason, self.what, joined(name, self.field))


def _decimal(unscaled: bytes, part: Any, *_: Any) -> Decimal:
    """A decimal, never rounded: fastavro makes 1234.6 of 1234.56 if its type has five digits."""
    number, digits = int.from_bytes(unscaled, "big", signed=True), part["precision"]
    if abs(number) >= 10**digits:
        raise Unfit("decode.decimal", f"the decimal has more than {plural(digits, 'digit')}")
    return Decimal(number).scaleb(-part.get("scale", 0), EXACT)


def _time_of_day(read: ReadLogical, a_day: int) -> ReadLogical:
    """A reader that takes no negative time: fastavro takes -1 for a moment before 00:00:01."""

    def checked(number: int, *parts: Any) -> Any:
        if not 0 <= number < a_day:
            raise Unfit("decode.logical_type", f"{number} is no time of day")
        return read(number, *parts)

    return checked


_READERS: Dict[str, ReadLogical] = {
    **LOGICAL_READERS,
    "bytes-decimal": _decimal,
    "fixed-decimal": _decimal,
    "int-time-millis": _time_of_day(LOGICAL_READERS["int-time-millis"], 86_400_000),
    "long-time-micros": _time_of_day(LOGICAL_READERS["long-time-micros"], 86_400_000_000),
    # fastavro does not know these two, and returns bare numbers, which nobody can read.
    "long-timestamp-nanos": lambda number, *_: TimestampNanos(number),
    "long-local-timestamp-nanos": lambda number, *_: LocalTimestampNanos(number),
}
"""By type and logical type. Not in fastavro's own table: a handler may read other data with fastavro."""


def joined(name: str, path: str) -> str:
    """The path of a field below another: `lines` and `[].count` are `lines[].count`."""
    return name + path if not name or not path or path.startswith("[") else f"{name}.{path}"


def exact_double(number: int) -> float:
    """A long as a double. Raises `Unfit` if that would be another number."""
    double = float(number)
    if double != number:
        raise Unfit("decode.unresolvable", f"the number has no exact double: {number}")
    return double


def is_single(number: float) -> bool:
    """Whether a 32-bit float holds the number, or prints it again with as many digits, as 0.1.

    What may have been counted, a whole number below 2**53, has to be held itself.
    """
    try:
        held = struct.unpack("<f", struct.pack("<f", number))[0]
    except OverflowError:
        return False
    if held == number or number != number:
        return True
    is_counted = number.is_integer() and abs(number) < 2**53
    return not is_counted and any(float(f"{held:.{digits}g}") == number for digits in _DIGITS_OF_SINGLE)


_DIGITS_OF_SINGLE = range(1, 10)
"""With nine digits, each 32-bit float differs from its neighbours."""


def meaning(part: Any) -> Optional[Convert]:
    """From a plain value to the one that a part's logical type gives it; None if it stays as it is.

    The function raises `Unfit` for a value that does not exist, such as a date after 9999.
    """
    logical = part.get("logicalType") if isinstance(part, dict) else None
    read = _READERS.get(f"{part['type']}-{logical}") if logical else None
    if read is None:
        return None
    most_bytes = decimal_bytes(part["precision"]) if is_free_decimal(part) else None

    def mean(value: Any) -> Any:
        if most_bytes is not None and len(value) > most_bytes:
            what = f"{len(value)} bytes, and {describe(part)} takes at most {most_bytes}"
            raise Unfit("decode.decimal", what)
        try:
            return read(value, part, None)
        except Unfit:
            raise
        except Exception as error:
            raise Unfit("decode.logical_type", f"{type(error).__name__}: {error}") from error

    return mean


def default_value(part: Any, default: Any, named: Dict[str, Any]) -> Any:
    """The value of a field's default, which a schema gives in JSON: bytes as Latin-1, times as numbers.

    A union's default is one of the first branch; where it cannot be, of the first that it can, as Avro 1.12
    has it. A record gets its inner defaults for what its own lacks. Raises ValueError for anything that is
    no value of the part's type. Lists and dicts are made anew with each call.
    """
    part = definition_of(part, named)
    if isinstance(part, list):
        return _default_of_union(part, default, named)
    kind = kind_of(part)
    if kind == "array" and isinstance(default, list):
        return [default_value(part["items"], item, named) for item in default]
    if kind == "map" and isinstance(default, dict):
        return {key: default_value(part["values"], item, named) for key, item in default.items()}
    if kind == "record" and isinstance(default, dict):
        return {field["name"]: _inner_default(field, default, named) for field in part["fields"]}
    if kind not in _PLAIN:
        raise _no_value(part, default)
    value = _PLAIN[kind](part, default)
    mean = meaning(part)
    try:
        return mean(value) if mean else value
    except Unfit:
        raise _no_value(part, default) from None


def _default_of_union(branches: Any, default: Any, named: Dict[str, Any]) -> Any:
    for branch in branches:
        try:
            return default_value(branch, default, named)
        except ValueError:
            continue
    raise _no_value(branches, default)


def _inner_default(field: Any, outer: Dict[str, Any], named: Dict[str, Any]) -> Any:
    name = field["name"]
    if name not in outer and "default" not in field:
        raise ValueError(f"the default has no {name}")
    return default_value(field["type"], outer[name] if name in outer else field["default"], named)


def _no_value(part: Any, default: Any) -> ValueError:
    return ValueError(f"the default is no {describe(part)}: {default!r}")


def _of_type(kind: type) -> Callable[[Any, Any], Any]:
    def take(part: Any, default: Any) -> Any:
        if type(default) is not kind:
            raise _no_value(part, default)
        return default

    return take


def _whole(bits: int) -> Callable[[Any, Any], int]:
    def take(part: Any, default: Any) -> int:
        if type(default) is not int or not -(1 << bits - 1) <= default < 1 << bits - 1:
            raise _no_value(part, default)
        return default

    return take


def _floating(part: Any, default: Any) -> float:
    if type(default) is int:
        return exact_double(default)
    if type(default) is not float:
        raise _no_value(part, default)
    return default


def _bytes(part: Any, default: Any) -> bytes:
    if type(default) is not str:
        raise _no_value(part, default)
    return default.encode("latin-1")


def _fixed(part: Any, default: Any) -> bytes:
    value = _bytes(part, default)
    if len(value) != part["size"]:
        raise _no_value(part, default)
    return value


def _symbol(part: Any, default: Any) -> str:
    if default not in part["symbols"]:
        raise _no_value(part, default)
    return str(default)


_PLAIN: Dict[str, Callable[[Any, Any], Any]] = {
    "null": _of_type(type(None)),
    "boolean": _of_type(bool),
    "string": _of_type(str),
    "int": _whole(32),
    "long": _whole(64),
    "float": _floating,
    "double": _floating,
    "bytes": _bytes,
    "fixed": _fixed,
    "enum": _symbol,
}
