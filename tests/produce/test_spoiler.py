"""Orders broken on purpose: each meets the reason that it was made for, whatever the schema."""

import itertools
import json
import random
from typing import Any, Dict, List, Tuple

import pytest

import config
from orderflow.avro.codec import (
    OrderDecoder,
    OrderEncoder,
    Schema,
    confluent_prefix,
    load_schema,
    order_reader,
    single_object_prefix,
)
from orderflow.errors import OrderError, UnknownSchema
from orderflow.produce.fake_orders import steady_clock_ms
from orderflow.produce.made_up import made_up_orders
from orderflow.produce.spoiler import Spoiler, defects_for

SCHEMA = load_schema(config.ORDER_SCHEMA.read_text(encoding="utf-8"))
DEFECTS = defects_for(SCHEMA, own_rules=False)
PREFIXES = [single_object_prefix(SCHEMA), confluent_prefix(7)]


def made_up(schema: Schema, number: int) -> List[Dict[str, Any]]:
    return list(itertools.islice(made_up_orders(schema, random.Random(1), steady_clock_ms()), number))


def decoder(schema: Schema = SCHEMA) -> OrderDecoder:
    def find_writer(ref: Any) -> Any:
        if ref.schema_id == 7 or ref.fingerprint == schema.fingerprint:
            return schema
        raise UnknownSchema(f"{ref} is not known")

    return OrderDecoder(schema, find_writer, 1_000_000)


def fate(value: bytes, schema: Schema = SCHEMA) -> str:
    """The reason code under which a consumer would dead-letter the value."""
    try:
        order_reader(decoder(schema))(value)
    except OrderError as error:
        return error.reason
    return "processed"


@pytest.mark.parametrize("prefix", PREFIXES, ids=["single-object", "confluent"])
def test_every_kind_of_bad_order_meets_the_reason_that_it_was_made_for(prefix: bytes) -> None:
    spoiler = Spoiler(OrderEncoder(SCHEMA, prefix).encode, random.Random(1), SCHEMA, DEFECTS)
    spoilt = [spoiler.spoil(order) for order in made_up(SCHEMA, 300)]

    expected = list(itertools.islice(itertools.cycle(defect.reason for defect in DEFECTS), 300))
    assert [fate(value) for _, value in spoilt] == expected
    assert spoiler.made == 300


def test_a_free_order_can_be_given_a_negative_price_too() -> None:
    spoiler = Spoiler(OrderEncoder(SCHEMA, PREFIXES[0]).encode, random.Random(1), SCHEMA, DEFECTS)

    assert fate(spoiler.spoil({**made_up(SCHEMA, 1)[0], "price": 0.0})[1]) == "validate.price"


def test_a_bad_order_never_bears_the_id_of_the_order_that_it_was_made_from() -> None:
    spoiler = Spoiler(OrderEncoder(SCHEMA, PREFIXES[0]).encode, random.Random(1), SCHEMA, DEFECTS)
    order = made_up(SCHEMA, 1)[0]
    made: List[Tuple[Dict[str, Any], bytes]] = [spoiler.spoil(order) for _ in range(12)]

    ids = [meant["order_id"] for meant, _ in made]
    assert order["order_id"] not in ids
    assert ids.count("") == 2
    assert len(set(ids)) == 11


DAMAGED = ["decode.truncated", "decode.unknown_schema", "decode.framing"]
UUID_TYPE = {"type": "string", "logicalType": "uuid"}
DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 2, "scale": 2}


@pytest.mark.parametrize(
    ("fields", "reasons"),
    [
        ({"shipment_id": "string", "city": "string"}, DAMAGED),
        ({"id": UUID_TYPE}, DAMAGED),
        ({"number": "long"}, DAMAGED),
        ({"express": "boolean"}, DAMAGED),
        ({"id": "long", "price": DECIMAL}, ["validate.price", *DAMAGED]),
        ({"price": ["null", "long"], "quantity": "int"}, ["validate.price", "validate.quantity", *DAMAGED]),
        ({"customer_id": "string"}, ["validate.customer_id", *DAMAGED]),
    ],
)
def test_any_schema_has_the_kinds_of_bad_orders_that_make_sense_for_it(
    fields: Dict[str, Any], reasons: List[str]
) -> None:
    """The bytes of every order can be broken, and the rules that the schema's fields must keep."""
    columns = [{"name": name, "type": part} for name, part in fields.items()]
    schema = load_schema(json.dumps({"type": "record", "name": "Shipment", "fields": columns}))
    encode = OrderEncoder(schema, single_object_prefix(schema)).encode
    spoiler = Spoiler(encode, random.Random(1), schema, defects_for(schema, own_rules=False))
    spoilt = [spoiler.spoil(order) for order in made_up(schema, 5 * len(reasons))]

    assert [fate(value, schema) for _, value in spoilt] == reasons * 5


def test_with_rules_of_ones_own_only_bytes_are_broken() -> None:
    """The producer does not know which values these rules refuse."""
    assert [defect.reason for defect in defects_for(SCHEMA, own_rules=True)] == DAMAGED


@pytest.mark.parametrize("part", ["string", "long", UUID_TYPE])
def test_a_bad_order_has_another_id_of_any_type(part: Any) -> None:
    """Good orders would wait behind it if they had its key."""
    text = json.dumps({"type": "record", "name": "A", "fields": [{"name": "id", "type": part}]})
    schema = load_schema(text)
    spoiler = Spoiler(
        OrderEncoder(schema, single_object_prefix(schema)).encode, random.Random(1), schema, DEFECTS[3:4]
    )
    order = made_up(schema, 1)[0]

    assert order["id"] != spoiler.spoil(order)[0]["id"]
