"""Orders of last year's and next year's producers: each row of the table in docs/avro.md is one case here."""

from datetime import datetime, timezone
from decimal import Decimal
from typing import Any, Dict, List, NamedTuple, Optional

import pytest

from orderflow.avro import evolution
from orderflow.avro.codec import OrderEncoder, Schema, confluent_prefix, read
from orderflow.avro.projection import projection
from orderflow.errors import Undecodable
from tests.support.schemas_for_tests import (
    ORDER,
    ROOT,
    SHIPPED,
    Fields,
    decoder,
    encode,
    field,
    order_schema,
    shipped_fields,
)

Change = Dict[str, Any]
NO = "no"
READ = "read"


class Row(NamedTuple):
    """One way to change a schema, and what becomes of orders written on the other side of it."""

    name: str
    older: Schema
    newer: Schema
    old_order: Change
    """What an order has beside the shipped fields."""
    new_order: Change
    backward: Any
    """What the newer reader makes of the old order: its extra fields, or NO."""
    forward: Any
    """What the older reader makes of the new order."""
    special: Optional[Change] = None
    """A new order that the older reader cannot read, where it depends on the order."""


def enum(*symbols: str, **more: Any) -> Dict[str, Any]:
    return {"type": "enum", "name": "Status", "symbols": list(symbols), **more}


def decimal(scale: int) -> Dict[str, Any]:
    return {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": scale}


def lines(*fields: Dict[str, Any]) -> Dict[str, Any]:
    return {"type": "array", "items": {"type": "record", "name": "Line", "fields": list(fields)}}


def extra(*fields: Dict[str, Any]) -> Schema:
    return order_schema(*fields)


SKU = field("sku", "string")
MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
MICROS = {"type": "long", "logicalType": "timestamp-micros"}
SECOND = datetime(1970, 1, 1, 0, 0, 1, tzinfo=timezone.utc)
RENAMED: Fields = [
    {**each, "name": "customer", "aliases": ["customer_id"]} if each["name"] == "customer_id" else each
    for each in shipped_fields()
]

ROWS = [
    Row(
        "field added, with a default",
        SHIPPED,
        extra(field("note", "string", default="-")),
        {},
        {"note": "x"},
        {"note": "-"},
        {},
    ),
    Row("field added, without a default", SHIPPED, extra(field("note", "string")), {}, {"note": "x"}, NO, {}),
    Row(
        "field removed that had a default",
        extra(field("note", "string", default="-")),
        SHIPPED,
        {"note": "x"},
        {},
        {},
        {"note": "-"},
    ),
    Row("field removed that had none", extra(field("note", "string")), SHIPPED, {"note": "x"}, {}, {}, NO),
    Row(
        "field renamed, the old name an alias",
        extra(field("memo", "string")),
        extra(field("note", "string", aliases=["memo"])),
        {"memo": "x"},
        {"note": "y"},
        {"note": "x"},
        NO,
    ),
    Row(
        "int to long",
        extra(field("points", "int")),
        extra(field("points", "long")),
        {"points": 7},
        {"points": 2**40},
        {"points": 7},
        NO,
    ),
    Row(
        "int or long to double",
        extra(field("points", "int")),
        extra(field("points", "double")),
        {"points": 7},
        {"points": 7.5},
        {"points": 7.0},
        NO,
    ),
    Row(
        "float to double",
        extra(field("weight", "float")),
        extra(field("weight", "double")),
        {"weight": 0.5},
        {"weight": 0.1},
        {"weight": 0.5},
        NO,
    ),
    Row(
        "string to bytes, or bytes to string",
        extra(field("tag", "string")),
        extra(field("tag", "bytes")),
        {"tag": "é"},
        {"tag": b"e"},
        {"tag": "é".encode()},
        {"tag": "e"},
        special={"tag": b"\xff"},
    ),
    Row(
        "any other change of type",
        extra(field("tag", "string")),
        extra(field("tag", "long")),
        {"tag": "7"},
        {"tag": 7},
        NO,
        NO,
    ),
    Row(
        "enum symbol added, with a default for unknown ones",
        extra(field("s", enum("NEW", "NONE", default="NONE"))),
        extra(field("s", enum("NEW", "PAID", "NONE", default="NONE"))),
        {"s": "NEW"},
        {"s": "PAID"},
        {"s": "NEW"},
        {"s": "NONE"},
    ),
    Row(
        "enum symbol added, without a default",
        extra(field("s", enum("NEW"))),
        extra(field("s", enum("NEW", "PAID"))),
        {"s": "NEW"},
        {"s": "NEW"},
        {"s": "NEW"},
        {"s": "NEW"},
        special={"s": "PAID"},
    ),
    Row(
        "field made nullable",
        extra(field("note", "string")),
        extra(field("note", ["null", "string"])),
        {"note": "x"},
        {"note": "y"},
        {"note": "x"},
        {"note": "y"},
        special={"note": None},
    ),
    Row(
        "union widened",
        extra(field("note", ["null", "string"])),
        extra(field("note", ["null", "string", "long"])),
        {"note": "x"},
        {"note": None},
        {"note": "x"},
        {"note": None},
        special={"note": 7},
    ),
    Row("fields reordered", SHIPPED, order_schema(fields=list(reversed(shipped_fields()))), {}, {}, {}, {}),
    Row(
        "logical type added to a number or string",
        extra(field("due", "long")),
        extra(field("due", MILLIS)),
        {"due": 1000},
        {"due": SECOND},
        {"due": SECOND},
        {"due": 1000},
    ),
    Row(
        "logical type changed: milliseconds to microseconds",
        extra(field("due", MILLIS)),
        extra(field("due", MICROS)),
        {"due": SECOND},
        {"due": SECOND},
        NO,
        NO,
    ),
    Row(
        "decimal of another scale",
        extra(field("total", decimal(2))),
        extra(field("total", decimal(3))),
        {"total": Decimal("1.23")},
        {"total": Decimal("1.234")},
        NO,
        NO,
    ),
    Row(
        "nested line items added, empty by default",
        SHIPPED,
        extra(field("lines", lines(SKU), default=[])),
        {},
        {"lines": [{"sku": "a"}]},
        {"lines": []},
        {},
    ),
    Row(
        "field added to line items, with a default",
        extra(field("lines", lines(SKU))),
        extra(field("lines", lines(SKU, field("count", "int", default=1)))),
        {"lines": [{"sku": "a"}]},
        {"lines": [{"sku": "b", "count": 2}]},
        {"lines": [{"sku": "a", "count": 1}]},
        {"lines": [{"sku": "b"}]},
    ),
    Row(
        "field added to line items, without a default",
        extra(field("lines", lines(SKU))),
        extra(field("lines", lines(SKU, field("count", "int")))),
        {"lines": [{"sku": "a"}]},
        {"lines": [{"sku": "b", "count": 2}]},
        NO,
        {"lines": [{"sku": "b"}]},
    ),
    Row("namespace changed", SHIPPED, order_schema(name="com.shop.Order"), {}, {}, {}, {}),
    Row("record renamed", SHIPPED, order_schema(name="com.orders.Purchase"), {}, {}, NO, NO),
]


each_row = pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])


SPECIAL = [row for row in ROWS if row.special]


def outcome(order: Change, writer: Schema, reader: Schema) -> Any:
    """What the reader makes of an order: its fields beside the shipped ones, or NO."""
    # By id: two schemas that differ in logical types only have one fingerprint.
    value = OrderEncoder(writer, confluent_prefix(2)).encode({**ORDER, **order})
    seen = decoder(reader, [writer]).inspect(value)
    if seen.order is None:
        assert isinstance(seen.error, Undecodable)
        assert "decode.unresolvable" == seen.error.reason, str(seen.error)
        return NO
    assert ORDER == {name: seen.order.pop(name) for name in ORDER}
    return seen.order


@each_row
def test_an_older_order_for_a_newer_reader(row: Row) -> None:
    """Backward: the consumer was upgraded first."""
    assert row.backward == outcome(row.old_order, row.older, row.newer)


@each_row
def test_a_newer_order_for_an_older_reader(row: Row) -> None:
    """Forward: the producer was upgraded first."""
    assert row.forward == outcome(row.new_order, row.newer, row.older)


@pytest.mark.parametrize("row", SPECIAL, ids=[row.name for row in SPECIAL])
def test_only_the_orders_that_use_the_difference_are_dead_lettered(row: Row) -> None:
    """The others of the same writer are read."""
    assert row.special is not None
    assert NO == outcome(row.special, row.newer, row.older)


@each_row
def test_an_order_always_decodes_with_its_own_schema(row: Row) -> None:
    """So what cannot be resolved today replays cleanly once the consumer is upgraded."""
    assert row.new_order == outcome(row.new_order, row.newer, row.newer)


@each_row
def test_the_check_of_two_schemas_says_the_same_as_their_orders(row: Row) -> None:
    """`make check-schema` can be believed: what it finds is what happens to records, and nothing else is."""
    for reader, writer, result in ((row.newer, row.older, row.backward), (row.older, row.newer, row.forward)):
        found = evolution.all_problems(reader, writer)
        assert (NO == result) == any(problem.always for problem in found)
        assert not found or NO == result or row.special
    if row.special:
        assert [False] == [problem.always for problem in evolution.all_problems(row.older, row.newer)]


def table() -> List[str]:
    """The rows as docs/avro.md shows them."""
    head = "| Change | older orders, newer reader | newer orders, older reader | compatible |"
    lines = [head, "|---|---|---|---|"]
    for row in ROWS:
        forward = f"{READ}, but for orders that use it" if row.special else NO if row.forward == NO else READ
        backward = NO if row.backward == NO else READ
        lines.append(f"| {row.name} | {backward} | {forward} | {verdict(backward, forward)} |")
    return lines


def verdict(backward: str, forward: str) -> str:
    """The name that registries give it."""
    names = {(READ, READ): "full", (NO, NO): "none", (NO, READ): "forward"}
    return names.get((backward, forward), "backward")


def test_the_table_in_the_documentation_is_this_one() -> None:
    """A row there is a case here."""
    text = (ROOT / "docs" / "avro.md").read_text(encoding="utf-8")

    assert "\n".join(table()) in text


def test_a_problem_names_the_field_deep_inside() -> None:
    """With its path and the reason."""
    reader = extra(field("lines", lines(SKU, field("count", "int"))))
    writer = extra(field("lines", lines(SKU)))

    found = evolution.problems(reader, writer)

    why = "field lines[].count: not in the writer's schema, and the reader has no default for it"
    assert [why] == [str(problem) for problem in found]


def test_a_number_too_large_for_a_double_is_not_rounded() -> None:
    """Avro would promote it to the nearest double: another number than was written."""
    older, newer = extra(field("points", "long")), extra(field("points", "double"))

    assert {"points": 2.0**53} == outcome({"points": 2**53}, older, newer)
    assert NO == outcome({"points": 2**53 + 1}, older, newer)


@each_row
def test_the_short_way_of_resolving_gives_what_fastavro_gives(row: Row) -> None:
    """Wherever fields only move, the order is the one that the specification's resolution makes."""
    ways = ((row.newer, row.older, row.old_order), (row.older, row.newer, row.new_order))
    for reader, writer, order in ways:
        project = projection(reader, writer)
        if project is None or evolution.problems(reader, writer):
            continue
        body = encode({**ORDER, **order}, writer)[10:]
        short = project(read(body, 0, writer.raw))
        long = read(body, 0, writer.raw, reader.raw)

        assert long == short
        assert {name: type(value) for name, value in long.items()} == {
            name: type(value) for name, value in short.items()
        }


DEFAULTS = [
    field("b", "boolean", default=True),
    field("i", "int", default=-1),
    field("l", "long", default=2**40),
    field("f", "float", default=1),
    field("d", "double", default=0.1),
    field("s", "string", default="é"),
    field("n", "null", default=None),
    field("u", ["null", "string"], default=None),
    field("w", ["double", "null"], default=3),
]


@pytest.mark.parametrize("added", DEFAULTS, ids=[each["name"] for each in DEFAULTS])
def test_a_default_is_taken_the_short_way_too(added: Dict[str, Any]) -> None:
    """With the value that fastavro gives it; a whole number for a double is made one."""
    reader, value = extra(added), encode(ORDER)
    short = decoder(reader, [SHIPPED]).decode(value)
    long = read(value, 10, SHIPPED.raw, reader.raw)

    assert projection(reader, SHIPPED) is not None
    assert long == short
    assert type(added["default"]) is type(short[added["name"]]) or float is type(short[added["name"]])


def test_bytes_as_default_are_bytes() -> None:
    """In JSON they stand as text."""
    reader = extra(field("raw", "bytes", default="\u00ff"))

    assert b"\xff" == decoder(reader, [SHIPPED]).decode(encode(ORDER))["raw"]


def test_a_list_as_default_is_not_shared_between_orders() -> None:
    """A handler that appends to it must not change the next order."""
    reader = extra(field("tags", {"type": "array", "items": "string"}, default=[]))
    known = decoder(reader, [SHIPPED])
    known.decode(encode(ORDER))["tags"].append("mine")

    assert [] == known.decode(encode(ORDER))["tags"]


def test_damage_is_the_better_reason() -> None:
    """Bytes of an unresolvable writer are judged first."""
    writer = extra(field("tag", "string"))
    value = encode({**ORDER, "tag": "x"}, writer)

    with pytest.raises(Undecodable) as caught:
        decoder(extra(field("tag", "long")), [writer]).decode(value[:-1])

    assert "decode.truncated" == caught.value.reason


def test_the_writers_logical_types_are_not_forced_on_the_reader() -> None:
    """`timestamp` stays a number for the rules, whatever the writer calls it."""
    writer = order_schema(fields=shipped_fields(timestamp={"type": MILLIS}))
    value = encode({**ORDER, "timestamp": SECOND}, writer)

    assert 1000 == decoder(SHIPPED, [writer]).decode(value)["timestamp"]
