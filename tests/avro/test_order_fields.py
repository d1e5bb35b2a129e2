"""Every Avro type as files spell it: what is written in the usual form is read as the same value."""

import base64
import csv
import io
import json
import struct
import tempfile
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, Callable, Dict, List, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orderflow.avro.codec import OrderDecoder, OrderEncoder, load_schema, single_object_prefix
from orderflow.avro.order_fields import Field, fields_of
from orderflow.produce.order_file import BadLine, Item, OrderFile


class Kind(NamedTuple):
    """One type of a schema: what it is, its values, and how a file spells them, without the reader's help."""

    avro: Any
    values: "st.SearchStrategy[Any]"
    spelt: Callable[[Any], Any]
    """The JSON value; a CSV cell has it as text."""


def logical(kind: str, name: str, **more: Any) -> Dict[str, Any]:
    return {"type": kind, "logicalType": name, **more}


def b64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def iso(value: Any) -> str:
    return str(value.isoformat())


def whole_millis(value: Any) -> Any:
    return value.replace(microsecond=value.microsecond // 1000 * 1000)


TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=8)
MOMENTS = st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1))
EAST, WEST = timezone(timedelta(hours=5, minutes=45)), timezone(-timedelta(hours=3))
ZONES = st.sampled_from([timezone.utc, EAST, WEST])
ZONED = st.builds(lambda moment, zone: moment.replace(tzinfo=zone), MOMENTS, ZONES)
CENTS = st.integers(-99_999_999, 99_999_999).map(lambda cents: Decimal(cents).scaleb(-2))
MONEY = logical("bytes", "decimal", precision=8, scale=2)
LINE = {
    "type": "record",
    "name": "Line",
    "fields": [
        {"name": "sku", "type": "string"},
        {"name": "paid", "type": MONEY},
    ],
}

KINDS: Dict[str, Kind] = {
    "string": Kind("string", TEXT, str),
    "int": Kind("int", st.integers(-(2**31), 2**31 - 1), int),
    "long": Kind("long", st.integers(-(2**63), 2**63 - 1), int),
    "double": Kind("double", st.floats(allow_nan=False, allow_infinity=False), float),
    "float": Kind("float", st.floats(width=32, allow_nan=False, allow_infinity=False), float),
    "boolean": Kind("boolean", st.booleans(), bool),
    "bytes": Kind("bytes", st.binary(), b64),
    "fixed": Kind({"type": "fixed", "name": "Bytes", "size": 4}, st.binary(min_size=4, max_size=4), b64),
    "enum": Kind({"type": "enum", "name": "Size", "symbols": ["S", "L"]}, st.sampled_from(["S", "L"]), str),
    "uuid": Kind(logical("string", "uuid"), st.uuids(), str),
    "decimal": Kind(MONEY, CENTS, str),
    "fixed decimal": Kind({**MONEY, "type": "fixed", "name": "Four", "size": 4}, CENTS, str),
    "date": Kind(logical("int", "date"), st.dates(), iso),
    "time-millis": Kind(logical("int", "time-millis"), st.times().map(whole_millis), iso),
    "time-micros": Kind(logical("long", "time-micros"), st.times(), iso),
    "timestamp-millis": Kind(logical("long", "timestamp-millis"), ZONED.map(whole_millis), iso),
    "timestamp-micros": Kind(logical("long", "timestamp-micros"), ZONED, iso),
    "local-timestamp-millis": Kind(logical("long", "local-timestamp-millis"), MOMENTS.map(whole_millis), iso),
    "local-timestamp-micros": Kind(logical("long", "local-timestamp-micros"), MOMENTS, iso),
    "nullable": Kind(["null", "int"], st.one_of(st.none(), st.integers(0, 9)), lambda value: value),
    "array": Kind(
        {"type": "array", "items": logical("string", "uuid")},
        st.lists(st.uuids(), max_size=2),
        lambda value: [str(item) for item in value],
    ),
    "map": Kind(
        {"type": "map", "values": "bytes"},
        st.dictionaries(TEXT, st.binary(), max_size=2),
        lambda value: {key: b64(item) for key, item in value.items()},
    ),
    "record": Kind(
        LINE,
        st.fixed_dictionaries({"sku": TEXT, "paid": CENTS}),
        lambda value: {**value, "paid": str(value["paid"])},
    ),
}
NAMES = [name.replace("-", "_").replace(" ", "_") for name in KINDS]
SCHEMA = load_schema(
    json.dumps(
        {
            "type": "record",
            "name": "Order",
            "fields": [{"name": name, "type": kind.avro} for name, kind in zip(NAMES, KINDS.values())],
        }
    )
)
ORDERS = st.fixed_dictionaries({name: kind.values for name, kind in zip(NAMES, KINDS.values())})


ENCODER = OrderEncoder(SCHEMA, single_object_prefix(SCHEMA))
DECODER = OrderDecoder(SCHEMA, lambda ref: SCHEMA, 1_000_000)


def read(content: str, fields: List[Field]) -> List[Item]:
    with tempfile.TemporaryFile() as stream:
        stream.write(content.encode())
        stream.seek(0)
        return [item for item in OrderFile(stream, "f", fields) if item is not None]


def through_the_topic(order: Any) -> Dict[str, Any]:
    """The order as a handler gets it."""
    return DECODER.decode(ENCODER.encode(order))


def cell(spelt: Any) -> str:
    """A JSON value as a cell has it."""
    if spelt is None:
        return ""
    return spelt if isinstance(spelt, str) else json.dumps(spelt)


@settings(max_examples=40)
@given(ORDERS)
def test_an_order_of_every_type_comes_through_a_file_and_the_topic_as_it_was(order: Dict[str, Any]) -> None:
    """In CSV and in JSON Lines."""
    spelt = {name: kind.spelt(order[name]) for name, kind in zip(NAMES, KINDS.values())}
    table = io.StringIO(newline="")
    csv.writer(table).writerows([NAMES, [cell(value) for value in spelt.values()]])
    fields = fields_of(SCHEMA.parsed)

    for content in (table.getvalue(), json.dumps(spelt)):
        items = read(content, fields)
        assert [through_the_topic(item) for item in items] == [order]


def reading_of(avro: Any, text: str) -> Any:
    """What a cell and a JSON text of one type are read as; the reason where they are not."""
    schema = {"type": "record", "name": "R", "fields": [{"name": "f", "type": avro}]}
    table = io.StringIO(newline="")
    csv.writer(table, quoting=csv.QUOTE_ALL).writerows([["f"], [text]])
    (item,) = read(table.getvalue(), fields_of(load_schema(json.dumps(schema)).parsed))
    assert isinstance(item, (dict, BadLine))
    return item["f"] if isinstance(item, dict) else item.reason


UTC = timezone.utc


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("timestamp-millis", "1732492800123", datetime(2024, 11, 25, 0, 0, 0, 123000, UTC)),
        ("timestamp-millis", "2024-11-25T00:00Z", datetime(2024, 11, 25, tzinfo=UTC)),
        ("timestamp-millis", "2024-11-25 01:00:00.5+0100", datetime(2024, 11, 25, 0, 0, 0, 500000, UTC)),
        ("timestamp-micros", "2024-11-25T00:00:00,000001Z", datetime(2024, 11, 25, 0, 0, 0, 1, UTC)),
        ("timestamp-millis", "2024-11-25T00:00:00", "' has no time zone: add Z or +01:00"),
        ("timestamp-millis", "2024-11-25T00:00:00.0001Z", "' is finer than milliseconds"),
        ("timestamp-millis", "1732492800123456789", "'1732492800123456789' is out of range in milliseconds"),
        ("timestamp-millis", "yesterday", "'yesterday' is not a time such as 2026-11-28T12:30:00Z"),
        ("timestamp-millis", "2024-13-25T00:00:00Z", "'2024-13-25T00:00:00Z' is not a time such as"),
        ("local-timestamp-millis", "2024-11-25T00:00:00Z", "'2024-11-25T00:00:00Z' has a time zone"),
        ("time-millis", "86400000", "'86400000' is no time of day in milliseconds"),
        ("time-millis", "12:30", time(12, 30)),
        ("date", "20000", date(2024, 10, 4)),
        ("date", "25.11.2024", "'25.11.2024' is not a date such as 2026-11-28"),
        ("decimal", "12.3400", Decimal("12.34")),
        ("decimal", "1e3", Decimal(1000)),
        ("decimal", "12.345", "'12.345' has more than 2 decimals"),
        ("decimal", "1234567.89", "'1234567.89' has more than 8 digits"),
        ("decimal", "NaN", "'NaN' is not a decimal"),
        ("uuid", "{0f8fad5b}", "'{0f8fad5b}' is not a UUID such as 0f8fad5b-d9cb-469f-a165-70867728950e"),
        ("enum", "XL", "'XL' is none of S, L"),
        ("bytes", "é", "'é' is not base64"),
        ("fixed", "AAAA", "'AAAA' has 3 bytes, not 4"),
        ("float", "1e300", "1e+300 cannot be held exactly"),
        ("float", "16777217", "16777217.0 cannot be held exactly"),
        ("float", "67108870", "67108870.0 cannot be held exactly"),
        ("float", "9007199254740994", "9007199254740994.0 cannot be held exactly"),
        ("float", "123456789.5", "123456789.5 cannot be held exactly"),
        ("float", "0.123456789", "0.123456789 cannot be held exactly"),
        ("float", "1e-46", "1e-46 cannot be held exactly"),
        ("float", "2e-45", "2e-45 cannot be held exactly"),
        ("float", "3.4028236e38", "3.4028236e+38 cannot be held exactly"),
        ("float", "3.4028235e38", 3.4028235e38),
        ("float", "0.1", 0.1),
        ("float", "0.100000001", 0.100000001),
        ("float", "0.10000000149011612", 0.10000000149011612),
        ("float", "-1234567.8", -1234567.8),
        ("float", "1.4e-45", 1.4e-45),
        ("float", "1e30", 1e30),
        ("float", "-0.0", -0.0),
        ("double", "4e-324", "4e-324' cannot be held exactly"),
        ("double", "5e-324", 5e-324),
        ("array", "{}", "{} is not a list"),
        ("record", '{"sku": "a"}', "lacks paid"),
        ("record", '{"sku": "a", "paid": "x"}', "paid: 'x' is not a decimal"),
    ],
)
def test_a_value_is_read_as_it_is_meant_or_named(kind: str, text: str, value: Any) -> None:
    """Nothing is rounded, cut or guessed."""
    found = reading_of(KINDS[kind].avro, text)

    assert found == value or (isinstance(value, str) and value in found)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False), st.integers(6, 9))
def test_what_a_float_prints_is_read_as_that_float(number: float, digits: int) -> None:
    """And what is taken, however it is written, is printed again: no digit of it is lost."""
    text = f"{number:.{digits}g}"
    try:
        found = fields_of({"fields": [{"name": "a", "type": "float"}]})[0].spelling.from_text(text)
    except ValueError:
        assert struct.pack("f", float(text)) != struct.pack("f", number) or number.is_integer()
    else:
        held = struct.unpack("f", struct.pack("f", found))[0]
        assert float(f"{held:.{digits}g}") == float(text)


def test_nanoseconds_stay_a_number_as_no_python_type_holds_them() -> None:
    """In ISO 8601 they have nine digits."""
    nanos = logical("long", "timestamp-nanos")

    assert reading_of(nanos, "1970-01-01T00:00:01.000000001Z") == 1_000_000_001
    assert reading_of(nanos, "1000000001") == 1_000_000_001


@pytest.mark.parametrize("name", ["timestamp-nanos", "local-timestamp-nanos"])
def test_nanoseconds_that_no_long_holds_are_out_of_range(name: str) -> None:
    """Those of a year after 2262: the encoder would refuse them in its own words."""
    zone = "" if name.startswith("local") else "Z"
    late = f"2262-04-11T23:47:16.854775808{zone}"

    assert f"'{late}' is out of range in nanoseconds" in reading_of(logical("long", name), late)


def test_a_decimal_written_as_a_json_number_keeps_every_digit() -> None:
    """Python reads such a number as a double, which would round it."""
    schema = {
        "type": "record",
        "name": "R",
        "fields": [
            {"name": "f", "type": logical("bytes", "decimal", precision=30, scale=10)},
        ],
    }

    fields = fields_of(load_schema(json.dumps(schema)).parsed)

    digits = "1234567890123456789.0123456789"
    assert read(f'{{"f": {digits}}}', fields) == [{"f": Decimal(digits)}]


@pytest.mark.parametrize(
    ("avro", "default", "value"),
    [
        ("int", 3, 3),
        ("bytes", "\u00ff\u0000", b"\xff\x00"),
        (logical("bytes", "decimal", precision=4, scale=2), "\u0004\u00d2", Decimal("12.34")),
        (logical("int", "date"), 1, date(1970, 1, 2)),
        ({"type": "enum", "name": "Size", "symbols": ["S", "L"]}, "L", "L"),
        (["null", "int"], None, None),
        (["string", "null"], "x", "x"),
        ({"type": "array", "items": "bytes"}, ["\u00ff"], [b"\xff"]),
        ({"type": "map", "values": "long"}, {"a": 1}, {"a": 1}),
        (LINE, {"sku": "a", "paid": "\u0001"}, {"sku": "a", "paid": Decimal("0.01")}),
    ],
)
def test_a_field_with_a_default_has_it_where_the_file_is_silent(avro: Any, default: Any, value: Any) -> None:
    """A missing column, a missing name, and an order that can be encoded."""
    schema = load_schema(
        json.dumps(
            {
                "type": "record",
                "name": "R",
                "fields": [
                    {"name": "id", "type": "string"},
                    {"name": "f", "type": avro, "default": default},
                ],
            }
        )
    )
    for content in ("id\na\n", '{"id": "a"}\n'):
        (order,) = read(content, fields_of(schema.parsed))
        assert order == {"id": "a", "f": value}
        assert OrderEncoder(schema, b"").encode(order)
