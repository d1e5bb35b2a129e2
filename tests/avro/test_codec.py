"""Orders to bytes and back, in both framings; what decodes is exactly what was written."""

from datetime import datetime, timezone
from typing import Any, Callable, Dict, Optional

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orderflow.avro.codec import (
    OrderDecoder,
    OrderEncoder,
    Schema,
    Unencodable,
    confluent_prefix,
    order_reader,
    single_object_prefix,
)
from orderflow.avro.schema import crc_64_avro
from orderflow.errors import InvalidOrder, OrderError, Undecodable, UnknownSchema
from orderflow.model.orders import own_rules, validate
from tests.support.schemas_for_tests import (
    ORDER,
    SHIPPED,
    decoder,
    encode,
    encoder,
    field,
    order_schema,
    shipped_fields,
)

MILLIS = {"type": "long", "logicalType": "timestamp-millis"}

ANY_ORDER = st.fixed_dictionaries(
    {
        "order_id": st.text(),
        "customer_id": st.text(max_size=300),
        "product_id": st.text(),
        "quantity": st.integers(-(2**31), 2**31 - 1),
        "price": st.floats(allow_nan=False),
        "timestamp": st.integers(-(2**63), 2**63 - 1),
    }
)


def reason_of(value: Optional[bytes]) -> str:
    with pytest.raises(Undecodable) as caught:
        decoder().decode(value)
    return caught.value.reason


@pytest.mark.parametrize(
    ("canonical", "fingerprint"),
    [
        ('"null"', 7195948357588979594),
        ('"boolean"', -6970731678124411036),
        ('{"name":"foo","type":"fixed","size":15}', 1756455273707447556),
        ('{"name":"foo","type":"record","fields":[{"name":"f1","type":"boolean"}]}', 7843277075252814651),
    ],
)
def test_fingerprints_are_those_of_the_avro_project(canonical: str, fingerprint: int) -> None:
    """CRC-64-AVRO gives the values that the Avro project publishes with its specification."""
    assert (fingerprint % 2**64).to_bytes(8, "little") == crc_64_avro(canonical)


@given(ANY_ORDER)
def test_an_order_comes_back_as_it_was_written(order: Dict[str, Any]) -> None:
    """Both framings, any value that the schema can hold; and it encodes to the same bytes again."""
    for prefix in (single_object_prefix(SHIPPED), confluent_prefix(1)):
        value = OrderEncoder(SHIPPED, prefix).encode(order)
        back = decoder().decode(value)

        assert order == back
        assert value == OrderEncoder(SHIPPED, prefix).encode(back)


def test_both_framings_may_share_a_topic() -> None:
    """The same decoder reads them in turn."""
    read = order_reader(decoder())

    for prefix in (single_object_prefix(SHIPPED), confluent_prefix(1)) * 3:
        assert ORDER == read(OrderEncoder(SHIPPED, prefix).encode(ORDER))


def test_the_prefixes_are_those_of_the_specifications() -> None:
    """C3 01 and the fingerprint, little-endian; 00 and the id, big-endian."""
    assert "c301" + "d5fdfacc87ef4650" == single_object_prefix(SHIPPED).hex()
    assert "0000000102" == confluent_prefix(258).hex()


@pytest.mark.parametrize(
    ("value", "reason", "says"),
    [
        (None, "decode.empty", "null"),
        (b"", "decode.empty", "no bytes"),
        (b"\xc3", "decode.framing", "cut after 1 byte"),
        (b"\x00\x00\x00\x01", "decode.framing", "cut after 4 bytes"),
        (b"\x01" + bytes(16) + b"abc", "decode.framing", "header-id framing"),
        (b'{"order_id": "1"}', "decode.framing", "JSON"),
        (b"Obj\x01abc", "decode.framing", "container file"),
        (b"hello, world", "decode.framing", "68 65 6c 6c"),
        (b"\xc3\x01" + b"\xff" * 8 + b"abc", "decode.unknown_schema", "fingerprint ffffffffffffffff"),
        (b"\x00\x00\x00\x00\x63abc", "decode.unknown_schema", "id 99"),
        (b"\x00" * (1 << 20) + b"\x00", "decode.too_large", "1,048,577"),
    ],
)
def test_an_unframed_or_unknown_value_has_a_reason(value: Optional[bytes], reason: str, says: str) -> None:
    """It is refused before a byte of the body is read."""
    with pytest.raises(Undecodable, match=says) as caught:
        order_reader(decoder())(value)

    assert reason == caught.value.reason
    assert caught.value.retryable == isinstance(caught.value, UnknownSchema)


def test_the_reader_for_the_engine_applies_the_rules() -> None:
    """Decoding and validating are one call there."""
    with pytest.raises(InvalidOrder, match="quantity must be at least 1: 0"):
        order_reader(decoder())(encode({**ORDER, "quantity": 0}))


def outcome(read: Callable[[bytes], Dict[str, Any]], value: bytes) -> Any:
    """The order, or the reason why there is none."""
    try:
        return read(value)
    except OrderError as error:
        return error.reason, str(error)


WITH_NOTE = order_schema(field("note", ["null", "string"], default=None))


@given(ANY_ORDER, st.sampled_from([SHIPPED, WITH_NOTE]))
@example({**ORDER, "quantity": 0}, SHIPPED)
@example({**ORDER, "quantity": 0, "timestamp": 2**63 - 1}, SHIPPED)
@example({**ORDER, "product_id": ""}, WITH_NOTE)
def test_the_reader_for_the_engine_is_decoding_and_then_the_rules(
    order: Dict[str, Any], writer: Schema
) -> None:
    """On every path: compiled with the rules, walked byte by byte, or resolved."""
    known = decoder(writers=[WITH_NOTE])

    def in_two_steps(value: bytes) -> Dict[str, Any]:
        decoded = known.decode(value)
        validate(decoded)
        return decoded

    value = encode({**order, "note": None} if writer is WITH_NOTE else order, writer)

    assert outcome(in_two_steps, value) == outcome(order_reader(known), value)


def test_a_reader_schema_without_the_fields_of_an_order_still_decodes() -> None:
    """Only the rules need them."""
    schema = order_schema(fields=[field("x", "int")])

    assert {"x": 3} == decoder(schema).decode(encode({"x": 3}, schema))


def test_the_size_limit_holds_on_every_path() -> None:
    """Also for a value whose prefix was seen before."""
    value = encode(ORDER)
    limited = decoder(limit=len(value) - 1)
    assert {**ORDER, "order_id": "1"} == limited.decode(encode({**ORDER, "order_id": "1"}))

    with pytest.raises(Undecodable) as caught:
        order_reader(limited)(value)

    assert "decode.too_large" == caught.value.reason


@pytest.mark.parametrize(
    ("field_name", "value"),
    [
        ("quantity", 2**31),
        ("quantity", 1.0),
        ("quantity", True),
        ("quantity", "3"),
        ("timestamp", 2**63),
        ("price", "9.99"),
        ("price", True),
        ("price", None),
        ("order_id", 7),
        ("order_id", "\ud800"),
    ],
)
def test_nothing_is_written_as_something_else(field_name: str, value: Any) -> None:
    """A value that fastavro would coerce to the type, or write out of range, is refused by field name."""
    with pytest.raises(Unencodable):
        encode({**ORDER, field_name: value})


@pytest.mark.parametrize(("change", "says"), [({"color": "red"}, "color"), ({"price": ...}, "price")])
def test_a_missing_or_an_unknown_field_is_not_written(change: Dict[str, Any], says: str) -> None:
    """The order has exactly the fields of the schema."""
    order = {name: value for name, value in {**ORDER, **change}.items() if value is not ...}

    with pytest.raises(Unencodable, match=says):
        encode(order)


def test_the_writer_of_a_value_is_named() -> None:
    """Framing and schema for the dead letter's header; the name once the schema is known."""
    known = decoder()
    value = encode(ORDER)
    assert "single-object fingerprint d5fdfacc87ef4650" == known.writer_of(value)
    known.decode(value)

    assert "single-object fingerprint d5fdfacc87ef4650 com.orders.Order" == known.writer_of(value)
    assert "confluent id 9" == known.writer_of(confluent_prefix(9))
    assert "unknown framing" == known.writer_of(b"{}") == known.writer_of(None)


def test_inspecting_a_value_never_raises() -> None:
    """`show` gets the order, or the error with its place, and the writer where it is known."""
    value = encode(ORDER)
    whole = decoder().inspect(value)
    cut = decoder().inspect(value[:-1])
    empty = decoder().inspect(None)

    assert ("single-object", ORDER, None, SHIPPED) == (whole.framing, whole.order, whole.error, whole.writer)
    assert isinstance(cut.error, Undecodable)
    assert ("decode.truncated", len(value) - 1) == (cut.error.reason, cut.error.position)
    assert (None, None) == (empty.framing, empty.order)


def test_a_reader_schema_need_not_have_a_field_that_the_rules_know() -> None:
    """The shipped rules judge those of their fields that are there, with types that they can check."""
    schema = order_schema(fields=[*shipped_fields(timestamp={"type": MILLIS})[3:4], field("city", "string")])
    read, write = order_reader(decoder(schema)), encoder(schema).encode

    assert {"quantity": 1, "city": ""} == read(write({"quantity": 1, "city": ""}))
    with pytest.raises(InvalidOrder, match="quantity must be at least 1"):
        read(write({"quantity": 0, "city": ""}))


@pytest.mark.parametrize("logical", [False, True])
def test_rules_of_ones_own_judge_every_decoded_order(logical: bool) -> None:
    """In place of the shipped ones, whichever way the schema's values are read."""

    def no_round_prices(order: Dict[str, Any]) -> None:
        if order["price"] == 2.0:
            raise InvalidOrder("price", "must not be 2")

    fields = [*shipped_fields(), field("at", MILLIS)] if logical else shipped_fields()
    schema = order_schema(fields=fields)
    order = {**ORDER, "at": datetime(2026, 1, 1, tzinfo=timezone.utc)} if logical else ORDER
    judged = OrderDecoder(schema, lambda ref: schema, 1000, lambda: own_rules(no_round_prices, "shop:rules"))
    read, write = order_reader(judged), encoder(schema).encode

    assert 0 == read(write({**order, "quantity": 0}))["quantity"]
    with pytest.raises(InvalidOrder, match="price must not be 2") as caught:
        read(write({**order, "price": 2.0}))
    assert "validate.price" == caught.value.reason


def test_a_reader_schema_with_more_fields_is_read_as_carefully() -> None:
    """Optional fields, line items, enums, decimals: the order has them all."""
    schema = order_schema(
        field("note", ["null", "string"], default=None),
        field("status", {"type": "enum", "name": "Status", "symbols": ["NEW", "PAID"]}),
        field("tags", {"type": "array", "items": "string"}),
        field("extra", {"type": "map", "values": "long"}),
    )
    order = {**ORDER, "note": "hé", "status": "PAID", "tags": ["a", "b"], "extra": {"x": 1, "y": -1}}

    assert order == order_reader(decoder(schema))(encoder(schema).encode(order))
