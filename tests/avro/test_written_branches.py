"""What is encoded is read back as the value that was given, whichever branches a union has."""

from datetime import date, datetime, time, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given

from orderflow.avro.codec import Unencodable, read
from tests.support.resolved import Change, body, changes
from tests.support.schemas_for_tests import encode, field, order_schema

LARGE = 2**53 + 1
DAY = {"type": "int", "logicalType": "date"}
MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2}
FIXED_DECIMAL = {
    "type": "fixed",
    "name": "F",
    "size": 2,
    "logicalType": "decimal",
    "precision": 4,
    "scale": 3,
}
FINE = {"type": "fixed", "name": "Fine", "size": 8, "logicalType": "decimal", "precision": 18, "scale": 6}
SMALL = {"type": "fixed", "name": "Small", "size": 2, "logicalType": "decimal", "precision": 4, "scale": 2}
TIMES = [{"type": "int", "logicalType": "time-millis"}, {"type": "long", "logicalType": "time-micros"}]
MOMENT = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


def record(name: str, *fields: Any) -> Any:
    return {"type": "record", "name": name, "fields": list(fields)}


def back(kind: Any, value: Any) -> Any:
    """The value of a field, written and read again."""
    schema = order_schema(fields=[field("x", kind), field("tags", {"type": "array", "items": "string"})])
    return read(encode({"x": value, "tags": []}, schema), 10, schema.parsed)["x"]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (["null", "double", "long"], LARGE),
        (["null", "double", "long"], 5),
        (["null", "double", "long"], 5.0),
        (["null", "double", "long"], None),
        ([{"type": "string", "logicalType": "uuid"}, "bytes"], UUID(int=1)),
        (["float", "double"], 0.1),
        (["int", "float"], 0.5),
        (["double", "boolean"], True),
        (["double", MILLIS], MOMENT),
        (["int", MILLIS], MOMENT),
        ([DAY, MILLIS], MOMENT),
        ([DAY, MILLIS], date(2026, 1, 1)),
        ([{"type": "array", "items": "long"}, DECIMAL], Decimal("12.34")),
        ([{"type": "array", "items": "int"}, "bytes"], b"ab"),
        (TIMES, time(12, 30, 0, 123456)),
        (TIMES, time(12, 30, 0, 123000)),
        ({"type": "array", "items": TIMES}, [time(12, 30, 0, 123456), time(12)]),
        ([DECIMAL, FINE], Decimal("12.34")),
        ([DECIMAL, FINE], Decimal("1.234567")),
        ([DECIMAL, FINE], Decimal("12345.678900")),
        ([SMALL, DECIMAL], Decimal("-12.34")),
        ([SMALL, DECIMAL], Decimal("-1234.00")),
        ([DAY, "string"], "soon"),
        ([DAY, "string"], "2026-01-01"),
        ([record("A", field("v", DECIMAL)), record("B", field("v", FINE))], {"v": Decimal("1.234567")}),
        ([record("A", field("v", DAY)), record("B", field("v", "string"))], {"v": "soon"}),
        ([record("A", field("v", DAY)), record("B", field("v", "int"))], {"v": 5}),
        (["null", record("R", field("a", ["null", "double", MILLIS]))], {"a": MOMENT}),
        (["null", record("R", field("a", ["double", "long"]))], {"a": LARGE}),
        ([record("A", field("a", ["double", "long"])), record("B", field("b", "int"))], {"b": 1}),
        ([DAY, "string"], "next week"),
        ([DAY, "null", {"type": "enum", "name": "E", "symbols": ["SOON"]}], "SOON"),
        (TIMES, time(12, 30, 0, 5)),
        (TIMES, time(12, 30, 0, 5000)),
        (["null", FIXED_DECIMAL, DECIMAL], Decimal("1234.56")),
        (["null", DECIMAL, FIXED_DECIMAL], Decimal("1.234")),
        ({"type": "bytes", "logicalType": "decimal", "precision": 3, "scale": 3}, Decimal("0.000")),
        (["null", record("R", field("a", [DAY, "string"]))], {"a": "soon"}),
        ({"type": "array", "items": ["double", "long"]}, [LARGE, 1.5]),
        ({"type": "map", "values": ["double", "long"]}, {"a": LARGE}),
    ],
)
def test_a_value_is_read_back_as_it_was_given(kind: Any, value: Any) -> None:
    """With its type."""
    assert repr(value) == repr(back(kind, value))


def test_a_fraction_may_be_the_nearest_float_of_its_spelling() -> None:
    """19.99 is what a float of 32 bits can mean, in a union as elsewhere."""
    assert pytest.approx(19.99) == back(["int", "float"], 19.99)
    assert pytest.approx(0.100000001) == back(["int", "float"], 0.100000001)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (["int", "float"], 16777217.5),
        (["int", "float"], 1e11),
        ([TIMES[0], "string"], time(12, 30, 0, 123456)),
        (["null", "int", "float"], 2**31 + 1),
        (["null", "float", "double"], LARGE),
        (["null", "double"], LARGE),
        ({"type": "array", "items": "double"}, [LARGE]),
        (record("R", field("a", "double")), {"a": LARGE}),
        ("double", 10**400),
        ("double", LARGE),
        (TIMES[0], time(12, 30, 0, 5)),
        ([MILLIS, "string"], MOMENT.replace(microsecond=5)),
        ({"type": "array", "items": MILLIS}, [MOMENT.replace(microsecond=5)]),
        (DECIMAL, Decimal("12345")),
        (["null", DECIMAL], Decimal("0.001")),
        (FIXED_DECIMAL, Decimal("-9999.9")),
    ],
)
def test_a_value_that_no_branch_holds_exactly_is_refused(kind: Any, value: Any) -> None:
    """By its field; it is not rounded."""
    with pytest.raises(Unencodable, match=r"field x: .* cannot be held exactly"):
        back(kind, value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (DECIMAL, Decimal("1.234")),
        (DECIMAL, Decimal("NaN")),
        (SMALL, Decimal("-1234")),
        (DAY, "soon"),
    ],
)
def test_a_value_that_a_logical_type_does_not_hold_is_refused_by_its_field(kind: Any, value: Any) -> None:
    """It is not cut, and the field is named where fastavro's own error names none."""
    with pytest.raises(Unencodable, match=r"field x: |\.x is <"):
        back(kind, value)


@given(changes())
def test_any_order_that_was_read_is_written_with_the_same_values(change: Change) -> None:
    """As a replay with a repair does."""
    writer, _ = change.schemas
    for value in change.values:
        order = read(body(value, change.writer, writer), 0, writer.parsed)

        assert repr(order) == repr(read(encode(order, writer), 10, writer.parsed))
