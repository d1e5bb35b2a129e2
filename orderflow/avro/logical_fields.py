"""Parses times, decimals, UUIDs and bytes as files spell them.

Times are ISO 8601 or Avro's own number, in JSON and in text alike. A fraction finer than the type is refused,
not rounded; so are a timestamp without a time zone and a local time with one.
"""

import base64
import re
from datetime import date, datetime, timedelta, timezone
from decimal import Context, Decimal, InvalidOperation
from typing import Any, Callable, Dict, Optional, Tuple
from uuid import UUID

from orderflow.avro.schema import MAX_DECIMAL_DIGITS
from orderflow.model.moments import LocalTimestampNanos, TimestampNanos, offset
from orderflow.model.text import escape, plural

Read = Callable[[Any], Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?(Z|[+-]\d\d:?\d\d)?", re.ASCII
)
_TIME = re.compile(r"()(\d\d:\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?(Z)?", re.ASCII)
_UNITS = {"millis": 1_000, "micros": 1_000_000, "nanos": 1_000_000_000}
_WORDS = {"millis": "milliseconds", "micros": "microseconds", "nanos": "nanoseconds"}


def logical_type(part: Any) -> Optional[Read]:
    """A parser for a part's logical type, from JSON or text; None if it has none that we know."""
    if not isinstance(part, dict):
        return None
    name, kind = part.get("logicalType", ""), part["type"]
    if name == "decimal" and kind in ("bytes", "fixed"):
        return _decimal(part)
    if name == "uuid" and kind == "string":
        return _uuid
    if name == "uuid" and kind == "fixed":
        return lambda value: _uuid(value).bytes
    if name == "date" and kind == "int":
        return _date
    shape, _, unit = name.rpartition("-")
    known = _KINDS.get(shape, {}).get(unit)
    return _moment(shape, unit) if known == kind else None


_LEAST_LONG, _MOST_LONG = -(1 << 63), (1 << 63) - 1

_KINDS: Dict[str, Dict[str, str]] = {
    "time": {"millis": "int", "micros": "long"},
    "timestamp": dict.fromkeys(_UNITS, "long"),
    "local-timestamp": dict.fromkeys(_UNITS, "long"),
}
"""The logical types of time, with the Avro type of each."""


def base64_bytes(value: Any) -> bytes:
    """Bytes in base64, or as `{"b64": …}`, as our tools show them."""
    text = value["b64"] if isinstance(value, dict) and value.keys() == {"b64"} else value
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError):
        raise _refusal(value, "is not base64") from None


def quoted(value: Any) -> str:
    """A value as errors quote it: escaped and shortened."""
    text = escape(str(value))
    return f"{text[:40]}…" if len(text) > 40 else f"'{text}'"


def _refusal(value: Any, why: str) -> ValueError:
    return ValueError(f"{quoted(value)} {why}")


def _uuid(value: Any) -> UUID:
    if not re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", str(value)):
        raise _refusal(value, "is not a UUID such as 0f8fad5b-d9cb-469f-a165-70867728950e")
    return UUID(str(value))


def _decimal(part: Any) -> Read:
    digits, scale = part["precision"], part.get("scale", 0)
    low, high = _range(part)
    context = Context(prec=MAX_DECIMAL_DIGITS + 10)

    def read(value: Any) -> Decimal:
        text = repr(value) if isinstance(value, float) else str(value)
        if not _DECIMAL.fullmatch(text) or len(text) > MAX_DECIMAL_DIGITS:
            raise _refusal(value, "is not a decimal")
        number = Decimal(text)
        try:
            held = number.quantize(Decimal(1).scaleb(-scale), context=context)
        except InvalidOperation:
            raise _refusal(value, f"has more than {plural(digits, 'digit')}") from None
        if held != number:
            raise _refusal(value, f"has more than {plural(scale, 'decimal')}")
        if len(held.as_tuple().digits) > digits:
            raise _refusal(value, f"has more than {plural(digits, 'digit')}")
        if not low <= int(held.scaleb(scale, context=context)) <= high:
            raise _refusal(value, f"does not fit into {plural(part['size'], 'byte')}")
        return held

    return read


_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")


def _range(part: Any) -> Tuple[int, int]:
    bits = 8 * part["size"] if part["type"] == "fixed" else 4 * MAX_DECIMAL_DIGITS
    return -(1 << bits - 1), (1 << bits - 1) - 1


def _date(value: Any) -> date:
    raw = _raw_number(value)
    try:
        if raw is not None:
            return date(1970, 1, 1) + timedelta(days=raw)
        if re.fullmatch(r"\d{4}-\d\d-\d\d", str(value), re.ASCII):
            return date.fromisoformat(value)
    except (ValueError, OverflowError):
        pass
    raise _refusal(value, "is not a date such as 2026-11-28")


def _raw_number(value: Any) -> Optional[int]:
    """A time given as Avro's number; None if it is spelt in another way."""
    if type(value) is int:
        return value
    return int(value) if isinstance(value, str) and re.fullmatch("-?[0-9]{1,19}", value) else None


def _moment(shape: str, unit: str) -> Read:
    per_s, word = _UNITS[unit], _WORDS[unit]

    def read(value: Any) -> Any:
        raw = _raw_number(value)
        units = _units(value, shape, unit) if raw is None else raw
        try:
            found = _EPOCH + timedelta(microseconds=units * 1_000_000 // per_s)
        except OverflowError:
            raise _refusal(value, f"is out of range in {word}") from None
        if unit == "nanos":
            if not _LEAST_LONG <= units <= _MOST_LONG:
                raise _refusal(value, "is out of range in nanoseconds")
            return TimestampNanos(units) if shape == "timestamp" else LocalTimestampNanos(units)
        if shape == "time":
            if not 0 <= units < 86400 * per_s:
                raise _refusal(value, f"is no time of day in {word}")
            return found.time()
        return found if shape == "timestamp" else found.replace(tzinfo=None)

    return read


def _units(value: Any, shape: str, unit: str) -> int:
    """Avro's number for a time in ISO 8601."""
    match = (_TIME if shape == "time" else _MOMENT).fullmatch(str(value))
    if not match:
        raise _refusal(value, f"is not {_EXAMPLES[shape]}")
    day, clock, second, fraction, zone = match.groups()
    if (zone is not None) != (shape == "timestamp"):
        raise _refusal(value, "has no time zone: add Z or +01:00" if zone is None else "has a time zone")
    fraction_ns, per_s = int((fraction or "0").ljust(9, "0")), _UNITS[unit]
    if fraction_ns * per_s % 1_000_000_000:
        raise _refusal(value, f"is finer than {_WORDS[unit]}")
    try:
        whole = datetime.fromisoformat(f"{day or '1970-01-01'}T{clock}:{second or '00'}")
    except ValueError:
        raise _refusal(value, f"is not {_EXAMPLES[shape]}") from None
    since = whole.replace(tzinfo=timezone.utc) - _EPOCH - offset(zone)
    return (since.days * 86400 + since.seconds) * per_s + fraction_ns * per_s // 1_000_000_000


_EXAMPLES = {
    "time": "a time of day such as 12:30:00",
    "timestamp": "a time such as 2026-11-28T12:30:00Z",
    "local-timestamp": "a local time such as 2026-11-28T12:30:00",
}
