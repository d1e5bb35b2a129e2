"""An order of another schema has exactly the values that were written, of the reader's types."""

from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any, Dict, List

import pytest
from hypothesis import given

from orderflow.avro import evolution
from orderflow.avro.codec import OrderDecoder, single_object_prefix
from orderflow.errors import Undecodable
from tests.support.resolved import Branch, Change, NotReadable, body, changes, resolved
from tests.support.schemas_for_tests import field

NO = "decode.unresolvable"
DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2}
MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
DAY = {"type": "int", "logicalType": "date"}
STRINGS = {"type": "array", "items": "string"}
LARGE = 2**53 + 1


def record(*fields: Dict[str, Any], name: str = "O") -> Dict[str, Any]:
    return {"type": "record", "name": name, "fields": list(fields)}


def read(change: Change) -> List[Any]:
    """What the reader gets of each value: an order, or the reason code."""
    writer, reader = change.schemas
    decoder = OrderDecoder(reader, lambda ref: writer, 1 << 20)
    outcomes: List[Any] = []
    for value in change.values:
        try:
            outcomes.append(decoder.decode(single_object_prefix(writer) + body(value, change.writer, writer)))
        except Undecodable as error:
            outcomes.append(error.reason)
    return outcomes


def expected(change: Change) -> List[Any]:
    """The same by the specification."""
    outcomes: List[Any] = []
    for value in change.values:
        try:
            outcomes.append(resolved(value, change.reader, change.writer))
        except NotReadable:
            outcomes.append(NO)
    return outcomes


@given(changes())
def test_an_order_is_what_the_specification_says(change: Change) -> None:
    """Value, type and order of the fields; what would be rounded or guessed is refused by name."""
    assert repr(expected(change)) == repr(read(change))


@given(changes())
def test_the_check_of_two_schemas_tells_what_becomes_of_orders(change: Change) -> None:
    """With no problem every order is read; with one that is for all orders, none is."""
    writer, reader = change.schemas
    found = evolution.all_problems(reader, writer)
    refused = [order == NO for order in read(change)]

    assert found or not any(refused)
    assert all(refused) or not any(problem.always for problem in found)


def one(writer: Any, reader: Any, value: Any) -> Any:
    """What a reader's field `x` gets of a writer's `x`, beside a list, so that nothing is simple."""
    tags = field("tags", STRINGS)
    change = Change(
        record(field("x", writer), tags),
        record(field("x", reader), tags, field("new", "int", default=0)),
        [{"x": value, "tags": []}],
    )
    (order,) = read(change)
    return order if order == NO else order["x"]


@pytest.mark.parametrize("beside", [[], [field("tags", STRINGS)]], ids=["simple", "complex"])
@pytest.mark.parametrize(
    ("reader", "result"),
    [
        ([field("new", "long", aliases=["old"])], {"new": 1}),
        ([field("own", "long", aliases=["old"])], {"own": 2}),
        ([field("a", "long", aliases=["old"]), field("b", "long", aliases=["old"])], {"a": 1, "b": 1}),
        ([field("new", "long", aliases=["old"]), field("old", "long", default=7)], {"new": 1, "old": 1}),
        ([field("new", "long", aliases=["own", "old"])], {"new": 2}),
    ],
    ids=["renamed", "own name", "two of one", "beside the old", "first alias"],
)
def test_a_fields_own_name_wins_over_its_aliases(beside: Any, reader: Any, result: Any) -> None:
    """On either way of resolving."""
    rest: Dict[str, Any] = {each["name"]: [] for each in beside}
    for written in (
        [field("old", "long"), field("own", "long")],
        [field("own", "long"), field("old", "long")],
    ):
        change = Change(record(*written, *beside), record(*reader, *beside), [{"old": 1, "own": 2, **rest}])

        assert [{**result, **rest}] == read(change)


def test_two_fields_of_one_source_have_a_list_each() -> None:
    """A handler that appends to one does not change the other."""
    aliased = [field(name, STRINGS, aliases=["tags"]) for name in ("a", "b")]
    (order,) = read(Change(record(field("tags", STRINGS)), record(*aliased), [{"tags": ["x"]}]))
    order["a"].append("mine")

    assert ["x"] == order["b"]


FIXED = {"type": "fixed", "name": "F", "size": 2}
DEFAULTS = [
    (DECIMAL, "\u0001\u00ff", Decimal("5.11")),
    ([DECIMAL, "null"], "\u0000", Decimal("0.00")),
    (FIXED, "\u00ff\u0000", b"\xff\x00"),
    ({"type": "fixed", "name": "U", "size": 16, "logicalType": "uuid"}, "\u0000" * 16, bytes(16)),
    ({"type": "array", "items": "bytes"}, ["\u00ff"], [b"\xff"]),
    ({"type": "array", "items": "double"}, [1], [1.0]),
    ({"type": "map", "values": "double"}, {"a": 1}, {"a": 1.0}),
    (record(field("a", "bytes"), name="R"), {"a": "\u00ff"}, {"a": b"\xff"}),
    (record(field("a", DECIMAL, default="\u0001"), name="R"), {}, {"a": Decimal("0.01")}),
    (record(field("a", "int", default=1), field("b", "int"), name="R"), {"b": 2}, {"a": 1, "b": 2}),
    ("bytes", "\u00ff", b"\xff"),
    (MILLIS, 0, datetime(1970, 1, 1, tzinfo=timezone.utc)),
]


@pytest.mark.parametrize(("kind", "default", "value"), DEFAULTS, ids=[repr(row[2]) for row in DEFAULTS])
def test_a_default_has_the_value_that_the_bytes_would_have(kind: Any, default: Any, value: Any) -> None:
    """At the top and in line items."""
    added = field("added", kind, default=default)
    old, new = record(field("sku", "string"), name="L"), record(field("sku", "string"), added, name="L")
    lines = [field("lines", {"type": "array", "items": each}) for each in (old, new)]
    top = Change(record(field("id", "string")), record(field("id", "string"), added), [{"id": "1"}])
    nested = Change(record(lines[0]), record(lines[1]), [{"lines": [{"sku": "a"}]}])

    assert repr([{"id": "1", "added": value}]) == repr(read(top))
    assert repr([{"lines": [{"sku": "a", "added": value}]}]) == repr(read(nested))


@pytest.mark.parametrize(
    ("kind", "default"),
    [
        ("int", 2**40),
        ("double", "NaN"),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, "C"),
        ({"type": "string", "logicalType": "uuid"}, ""),
        (FIXED, "\u0000"),
        (record(field("a", "int"), name="R"), {}),
    ],
)
def test_a_default_that_is_no_value_of_its_type_is_told_by_the_check(kind: Any, default: Any) -> None:
    """Older orders are refused with the field's name; the handler is not given such a value."""
    change = Change(
        record(field("id", "string")), record(field("added", kind, default=default)), [{"id": "1"}]
    )
    writer, reader = change.schemas

    (problem,) = evolution.problems(reader, writer)

    assert "added" == problem.field and "the default" in problem.why
    assert [NO] == read(change)


@pytest.mark.parametrize(
    ("union", "value", "meant"),
    [
        (["null", "long", DAY], Branch(2, 20454), date(2026, 1, 1)),
        (["null", "long", DAY], Branch(1, 20454), 20454),
        (["null", "double", MILLIS], Branch(2, 0), datetime(1970, 1, 1, tzinfo=timezone.utc)),
        (["null", "int", MILLIS], Branch(2, 1000), datetime(1970, 1, 1, 0, 0, 1, tzinfo=timezone.utc)),
        (["null", {"type": "array", "items": "long"}, DECIMAL], Branch(2, b"\x04\xd2"), Decimal("12.34")),
        (["null", "double", "long"], Branch(2, LARGE), LARGE),
    ],
)
def test_a_value_of_a_union_keeps_its_branch_through_a_change(union: Any, value: Any, meant: Any) -> None:
    """Though only an unrelated field was added."""
    assert repr(meant) == repr(one(union, union, value))


@pytest.mark.parametrize(
    ("writer", "reader", "value"),
    [
        ("long", "double", LARGE),
        ("long", ["null", "double"], LARGE),
        (["null", "long"], "double", Branch(1, LARGE)),
        (["null", "long"], ["null", "double"], Branch(1, LARGE)),
        ({"type": "array", "items": "long"}, {"type": "array", "items": "double"}, [LARGE]),
        ({"type": "map", "values": "long"}, {"type": "map", "values": "double"}, {"a": LARGE}),
        (record(field("a", "long"), name="R"), record(field("a", "double"), name="R"), {"a": LARGE}),
    ],
)
def test_a_long_is_not_rounded_wherever_it_stands(writer: Any, reader: Any, value: Any) -> None:
    """The order is refused, and the check says that some are."""
    assert NO == one(writer, reader, value)

    change = Change(record(field("x", writer)), record(field("x", reader)), [])
    newer, older = reversed(change.schemas)
    told = [problem for problem in evolution.all_problems(newer, older) if "exact double" in problem.why]
    assert [False] == [problem.always for problem in told]


def test_a_part_that_stands_twice_is_checked_at_both_places() -> None:
    """An order is unreadable if the second is, though the first, a union, is so for some orders only."""
    old, new = record(field("a", "string"), name="R"), record(field("a", "long"), name="R")
    change = Change(
        record(field("first", ["null", old]), field("second", "R")),
        record(field("first", ["null", new]), field("second", "R")),
        [],
    )
    writer, reader = change.schemas

    assert ["second.a"] == [problem.field for problem in evolution.problems(reader, writer)]


def test_the_message_names_the_field_deep_inside() -> None:
    """With its path."""
    lines = [{"type": "array", "items": record(field("n", kind), name="L")} for kind in ("long", "double")]
    change = Change(record(field("lines", lines[0])), record(field("lines", lines[1])), [])
    writer, reader = change.schemas
    value = single_object_prefix(writer) + body({"lines": [{"n": LARGE}]}, change.writer, writer)

    with pytest.raises(Undecodable, match=r"field lines\[\]\.n: the number has no exact double"):
        OrderDecoder(reader, lambda ref: writer, 1 << 20).decode(value)
