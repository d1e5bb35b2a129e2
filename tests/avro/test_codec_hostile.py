"""Bytes that were made to harm: each has a reason code, ends no process, and decodes to no other order."""

import time
import uuid
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any, Dict, List, Optional

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orderflow.avro.codec import Schema, confluent_prefix, order_reader, single_object_prefix, write
from orderflow.errors import InvalidOrder, OrderError, Undecodable
from tests.support.codec_promise import RICH, RICH_ORDER, TARGETS, Target, check, check_input
from tests.support.schemas_for_tests import ORDER, SHIPPED, decoder, encode, encoder, field, order_schema
from tools.fuzz_codec import corpus

MIB = 1 << 20
PREFIX = single_object_prefix(SHIPPED)


def varint(number: int, groups: int = 1) -> bytes:
    """A zig-zag number, in at least the given number of bytes."""
    rest = (number << 1) ^ (number >> 63)
    out: List[int] = []
    while rest > 127 or len(out) < groups - 1:
        out.append(rest & 127 | 128)
        rest >>= 7
    return bytes([*out, rest])


def body(**changed: bytes) -> bytes:
    """The shipped order's fields, encoded by hand, some replaced."""
    parts = {
        "order_id": b"\x02o",
        "customer_id": b"\x02c",
        "product_id": b"\x02p",
        "quantity": varint(3),
        "price": b"\x00" * 8,
        "timestamp": varint(1_732_492_800_123),
        "rest": b"",
    }
    return PREFIX + b"".join({**parts, **changed}.values())


def error_of(value: Optional[bytes], schema: Schema = SHIPPED) -> OrderError:
    with pytest.raises(OrderError) as caught:
        order_reader(decoder(schema))(value)
    return caught.value


@pytest.mark.parametrize(
    ("value", "reason", "position"),
    [
        (body(rest=b"\x00"), "decode.trailing_bytes", 31),
        (body(quantity=varint(2**31)), "decode.int_range", 16),
        (body(quantity=varint(-(2**31) - 1)), "decode.int_range", 16),
        (body(quantity=varint(3, groups=2)), "decode.not_canonical", 16),
        (body(quantity=varint(3, groups=5)), "decode.not_canonical", 16),
        (body(quantity=b"\x86\x80\x80\x80\x80\x80\x80\x80\x80\x00"), "decode.not_canonical", 16),
        (body(timestamp=varint(1, groups=10)), "decode.not_canonical", 25),
        (body(timestamp=b"\x80" * 10 + b"\x01"), "decode.varint", 25),
        (body(timestamp=b"\x80" * 1000), "decode.varint", 25),
        (body(timestamp=b"\xff" * 9 + b"\x7f"), "decode.varint", 25),
        (body(timestamp=b"\xff" * 9 + b"\x02"), "decode.varint", 25),
        (body(order_id=varint(1, groups=2) + b"o"), "decode.not_canonical", 10),
        (body(order_id=varint(-1) + b"o"), "decode.length", 10),
        (body(order_id=varint(-(2**63)) + b"o"), "decode.length", 10),
        (body(order_id=varint(2**62) + b"o"), "decode.truncated", 20),
        (body(order_id=varint(2**31) + b"o"), "decode.truncated", 15),
        (body(order_id=b"\x04a\xff"), "decode.utf8", 12),
        (body(order_id=b"\x06\xed\xa0\x80"), "decode.utf8", 11),
        (body(order_id=b"\x04\xc0\x80"), "decode.utf8", 11),
    ],
)
def test_damage_to_a_flat_record_has_reason_and_place(value: bytes, reason: str, position: int) -> None:
    """Also where the decoder underneath would take the bytes for an order."""
    error = error_of(value)

    assert isinstance(error, Undecodable)
    assert (reason, position) == (error.reason, error.position)
    assert f"byte {position}" in str(error)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"price": float("nan")}, "validate.price"),
        ({"price": float("inf")}, "validate.price"),
        ({"price": float("-inf")}, "validate.price"),
        ({"price": -0.0}, None),
        ({"quantity": 2**31 - 1}, None),
        ({"timestamp": 0}, "validate.timestamp"),
        ({"timestamp": -(2**63)}, "validate.timestamp"),
        ({"timestamp": 253_402_300_799_999}, None),
        ({"timestamp": 2**63 - 1}, None),
        ({"order_id": "\x00\x1b[31m\u202e"}, None),
    ],
)
def test_strange_values_are_left_to_the_rules(changes: Dict[str, Any], reason: Optional[str]) -> None:
    """They decode as they are; the rules say by name which are wrong."""
    value = encode({**ORDER, **changes})
    if reason is None:
        assert {**ORDER, **changes} == order_reader(decoder())(value)
        return

    error = error_of(value)
    assert isinstance(error, InvalidOrder)
    assert reason == error.reason


def rich(**changed: Any) -> bytes:
    """The rich order with one field's bytes replaced by hand."""
    parts: List[bytes] = []
    for each in RICH.parsed["fields"]:
        name, kind = each["name"], each["type"]
        alone = {"type": "record", "name": "One", "fields": [{"name": name, "type": kind}]}
        parts.append(changed.get(name, write({name: RICH_ORDER[name]}, alone)))
    return single_object_prefix(RICH) + b"".join(parts)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"status": varint(-1)}, "decode.choice"),
        ({"status": varint(2)}, "decode.choice"),
        ({"status": varint(2**40)}, "decode.int_range"),
        ({"note": varint(-1) + varint(5)}, "decode.choice"),
        ({"note": varint(3)}, "decode.choice"),
        ({"note": varint(2) + varint(2**31)}, "decode.int_range"),
        ({"lines": varint(-1) + varint(4) + b"\x02a\x04\x01" + b"\x00"}, "decode.not_canonical"),
        ({"lines": (varint(1) + b"\x02a\x04\x01") * 2 + b"\x00"}, "decode.not_canonical"),
        ({"lines": varint(1) + b"\x02a\x04\x02" + b"\x00"}, "decode.not_canonical"),
        ({"lines": varint(-(2**62)) + varint(0)}, "decode.not_canonical"),
        ({"lines": varint(0, groups=2)}, "decode.not_canonical"),
        ({"extra": varint(2) + b"\x02x\x02\x02" + b"\x02x\x02\x04" + b"\x00"}, "decode.not_canonical"),
    ],
)
def test_damage_to_choices_and_lists_has_a_reason(changes: Dict[str, bytes], reason: str) -> None:
    """Index out of range, blocks that hide their size, a repeated key: never the last symbol or branch."""
    error = error_of(rich(**changes), RICH)

    assert reason == error.reason, str(error)


@pytest.mark.parametrize("count", [2, 2**26, 2**28, 2**40, 2**62])
@pytest.mark.parametrize("name", ["lines", "extra", "hashes"])
def test_a_count_of_items_that_are_not_there_is_a_truncation(name: str, count: int) -> None:
    """However many are claimed, no more time or memory is used than the bytes can fill."""
    schema = order_schema(
        field(
            name,
            {
                "lines": {"type": "array", "items": "string"},
                "extra": {"type": "map", "values": "double"},
                "hashes": {"type": "array", "items": {"type": "fixed", "name": "Hash", "size": 4}},
            }[name],
        )
    )

    value = single_object_prefix(schema) + body()[10:] + varint(count)

    assert "decode.truncated" == quickly(value, schema).reason


def test_the_whole_rich_order_decodes() -> None:
    """The hand-made bytes of these tests are right where nothing was changed."""
    assert encode(RICH_ORDER, RICH) == rich()
    assert RICH_ORDER == decoder(RICH).decode(rich())


@pytest.mark.parametrize("schema", [SHIPPED, RICH])
def test_every_truncation_has_a_reason(schema: Schema) -> None:
    """Cut after each byte: never an order, never another error."""
    value = encode(ORDER if schema is SHIPPED else RICH_ORDER, schema)
    read = order_reader(decoder(schema))
    for size in range(len(value)):
        with pytest.raises(Undecodable) as caught:
            read(value[:size])
        expected = "decode.empty" if not size else "decode.framing" if size < 10 else "decode.truncated"
        assert expected == caught.value.reason


@pytest.mark.parametrize("schema", [SHIPPED, RICH])
def test_every_flipped_bit_is_seen_or_is_another_order_in_its_own_right(schema: Schema) -> None:
    """What decodes after one bit was flipped encodes to exactly those bytes."""
    value = encode(ORDER if schema is SHIPPED else RICH_ORDER, schema)
    for bit in range(len(value) * 8):
        flipped = bytearray(value)
        flipped[bit // 8] ^= 1 << bit % 8
        check(bytes(flipped), TARGETS[0] if schema is SHIPPED else TARGETS[1])


PIECE = st.one_of(
    st.binary(max_size=12),
    st.builds(varint, st.integers(-(2**63), 2**63 - 1), st.integers(1, 11)),
    st.builds(varint, st.integers(-3, 70), st.integers(1, 2)),
    st.text(max_size=5).map(lambda text: varint(len(text.encode())) + text.encode()),
    st.floats(width=64).map(
        lambda number: write(
            {"x": number}, {"type": "record", "name": "X", "fields": [{"name": "x", "type": "double"}]}
        )
    ),
)


@given(st.lists(PIECE, max_size=14).map(b"".join), st.sampled_from(TARGETS), st.booleans())
@example(b"", TARGETS[0], True)
@settings(max_examples=500)
def test_any_bytes_after_a_good_prefix_keep_the_promise(tail: bytes, target: Target, confluent: bool) -> None:
    """The bytes give exactly the order that they encode, or a reason."""
    number = 2 if target.writer is not target.known.reader else 1
    check((confluent_prefix(number) if confluent else single_object_prefix(target.writer)) + tail, target)


@given(st.binary(max_size=40))
def test_any_bytes_at_all_keep_the_promise(value: bytes) -> None:
    """With or without a prefix that is known."""
    check(value, TARGETS[0])


def test_what_the_fuzzer_kept_keeps_the_promise() -> None:
    """Inputs that once reached code that no other did."""
    for data in corpus():
        check_input(data)


def quickly(value: bytes, schema: Schema, within_s: float = 1) -> OrderError:
    start = time.process_time()
    known = decoder(schema, limit=MIB + 100)
    with pytest.raises(Undecodable) as caught:
        known.decode(value)
    assert time.process_time() - start < within_s
    return caught.value


TWELVE_DIGITS = {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}
DECIMAL = order_schema(field("total", TWELVE_DIGITS))


def test_a_huge_decimal_costs_no_time() -> None:
    """Its decoding is quadratic in its length (minutes for 1 MB), so the length is checked first."""
    huge = varint(MIB - 200) + b"\x7f" * (MIB - 200)
    value = single_object_prefix(DECIMAL) + body()[10:] + huge

    assert "decode.decimal" == quickly(value, DECIMAL).reason


def test_a_huge_decimal_written_as_bytes_costs_no_time() -> None:
    """The writer has plain bytes, the reader makes a decimal of them."""
    writer = order_schema(field("total", "bytes"))
    value = encode({**ORDER, "total": b"\x7f" * (MIB - 200)}, writer)
    known = decoder(DECIMAL, [writer])
    start = time.process_time()

    with pytest.raises(Undecodable) as caught:
        known.decode(value)

    assert "decode.decimal" == caught.value.reason
    assert time.process_time() - start < 1


def test_a_decimal_of_full_precision_decodes() -> None:
    """The bound on its length is not one byte too tight."""
    for text in ("9999999999.99", "-9999999999.99", "0.00", "-0.01"):
        order = {**ORDER, "total": Decimal(text)}
        assert order == decoder(DECIMAL).decode(encode(order, DECIMAL))


LOGICAL = order_schema(
    field("day", {"type": "int", "logicalType": "date"}),
    field("at", {"type": "long", "logicalType": "timestamp-micros"}),
    field("ref", {"type": "string", "logicalType": "uuid"}),
)


def test_logical_types_decode_to_their_values() -> None:
    """A UUID in capitals is not how it would be written again, but it is what was written."""
    order = {
        **ORDER,
        "day": date(2026, 11, 25),
        "at": datetime(2026, 11, 25, 1, 2, 3, 4, tzinfo=timezone.utc),
        "ref": uuid.UUID("0f8fad5b-d9cb-469f-a165-70867728950e"),
    }
    value = encode(order, LOGICAL)

    assert order == decoder(LOGICAL).decode(value)
    assert order == decoder(LOGICAL).decode(value[:-36] + value[-36:].upper())


@pytest.mark.parametrize(
    "tail",
    [
        varint(2**31 - 1) + varint(0) + varint(36) + b"0f8fad5b-d9cb-469f-a165-70867728950e",
        varint(0) + varint(2**62) + varint(36) + b"0f8fad5b-d9cb-469f-a165-70867728950e",
        varint(0) + varint(0) + varint(4) + b"nope",
    ],
)
def test_a_value_that_a_logical_type_cannot_hold_has_a_reason(tail: bytes) -> None:
    """The bytes are right, the date or UUID does not exist."""
    value = single_object_prefix(LOGICAL) + body()[10:] + tail

    assert "decode.logical_type" == error_of(value, LOGICAL).reason


FIVE_DIGITS = {"type": "bytes", "logicalType": "decimal", "precision": 5, "scale": 2}
FIXED_FIVE = {**FIVE_DIGITS, "type": "fixed", "name": "Three", "size": 3}
MILLIS = {"type": "int", "logicalType": "time-millis"}
MICROS = {"type": "long", "logicalType": "time-micros"}


@pytest.mark.parametrize(
    ("part", "plain", "written", "reason"),
    [
        (FIVE_DIGITS, "bytes", (123_456).to_bytes(3, "big"), "decode.decimal"),
        (FIVE_DIGITS, "bytes", (-100_000).to_bytes(3, "big", signed=True), "decode.decimal"),
        (FIXED_FIVE, {"type": "fixed", "name": "Three", "size": 3}, b"\x01\xe2\x40", "decode.decimal"),
        (MILLIS, "int", -1, "decode.logical_type"),
        (MILLIS, "int", 86_400_000, "decode.logical_type"),
        (MICROS, "long", -1, "decode.logical_type"),
    ],
)
def test_a_value_that_its_logical_type_does_not_have_is_not_read_as_a_neighbour(
    part: Any, plain: Any, written: Any, reason: str
) -> None:
    """1234.56 with five digits would become 1234.6, and -1 a time after midnight: money and hours changed."""
    writer = order_schema(field("amount", plain))
    newer = order_schema(field("amount", part), {"name": "note", "type": "string", "default": ""})
    value = encode({**ORDER, "amount": written}, writer)

    for known in (decoder(order_schema(field("amount", part))), decoder(newer, [writer])):
        with pytest.raises(Undecodable, match="field amount: ") as caught:
            known.decode(value)
        assert reason == caught.value.reason


@pytest.mark.parametrize("part", [FIVE_DIGITS, FIXED_FIVE])
@pytest.mark.parametrize("text", ["999.99", "-999.99", "0.00", "-0.01", "1.50"])
def test_a_decimal_keeps_its_digits(part: Any, text: str) -> None:
    """Those behind the point, too."""
    schema = order_schema(field("amount", part))
    order = decoder(schema).decode(encode({**ORDER, "amount": Decimal(text)}, schema))

    assert text == str(order["amount"])


def test_a_union_with_two_branches_for_one_value_is_read_as_it_was_written() -> None:
    """Encoding again would choose the other branch; the walk over the bytes proves them right."""
    schema = order_schema(field("amount", ["int", "long"]))
    value = single_object_prefix(schema) + body()[10:] + varint(1) + varint(7)

    assert 7 == decoder(schema).decode(value)["amount"]
    assert "decode.choice" == error_of(value[:-2] + varint(-1) + varint(7), schema).reason


def test_a_mebibyte_of_small_items_stays_small() -> None:
    """The cheapest items that a schema may have take memory in proportion to the bytes."""
    schema = order_schema(field("flags", {"type": "array", "items": "boolean"}))
    count = 1_000_000
    value = single_object_prefix(schema) + body()[10:] + varint(count) + b"\x01" * count + b"\x00"

    assert count == len(decoder(schema).decode(value)["flags"])
    assert "decode.truncated" == quickly(value[:-1], schema, within_s=10).reason


def test_the_encoder_of_a_rich_schema_bends_nothing_either() -> None:
    """An int out of range deep inside is refused, by name."""
    bad = {**RICH_ORDER, "lines": [{"sku": "a", "count": 2**31, "gift": True}]}

    with pytest.raises(ValueError, match="count"):
        encoder(RICH).encode(bad)
