"""Orders that nobody placed: plausible, reproducible, and bad in every way that is needed."""

import itertools
import json
import random
from functools import lru_cache
from typing import Any, Dict, List, Tuple

import pytest

import config
from orderflow.avro.codec import (
    OrderDecoder,
    OrderEncoder,
    confluent_prefix,
    load_schema,
    single_object_prefix,
)
from orderflow.errors import OrderError, UnknownSchema
from orderflow.model.orders import validate
from orderflow.produce.fake_orders import DEFECTS, FakeOrders, Spoiler, steady_clock_ms

SCHEMA = load_schema(config.ORDER_SCHEMA.read_text(encoding="utf-8"))
PREFIXES = [single_object_prefix(SCHEMA), confluent_prefix(7)]


def first(number: int, seed: int = 1) -> List[Dict[str, Any]]:
    return list(itertools.islice(FakeOrders(random.Random(seed), steady_clock_ms()), number))


def test_made_up_orders_keep_every_rule() -> None:
    for order in first(1000):
        validate(order)


def test_made_up_orders_differ_as_real_ones_do() -> None:
    orders = first(1000)

    assert len({order["order_id"] for order in orders}) == 1000
    assert len({order["customer_id"] for order in orders}) > 500
    assert {order["quantity"] for order in orders} >= {1, 2, 3}
    prices: Dict[str, float] = {}
    for order in orders:
        assert prices.setdefault(order["product_id"], order["price"]) == order["price"]


def test_the_same_seed_makes_the_same_orders_and_another_seed_others() -> None:
    assert json.dumps(first(100)) == json.dumps(first(100))
    assert first(1)[0]["order_id"] != first(1, seed=2)[0]["order_id"]


def test_two_runs_without_a_seed_share_no_order_id() -> None:
    one, other = (itertools.islice(FakeOrders(random.Random()), 50) for _ in range(2))

    assert not {order["order_id"] for order in one} & {order["order_id"] for order in other}


@lru_cache(maxsize=None)
def decoder() -> OrderDecoder:
    def find_writer(ref: Any) -> Any:
        if ref.schema_id == 7 or ref.fingerprint == SCHEMA.fingerprint:
            return SCHEMA
        raise UnknownSchema(f"{ref} is not known")

    return OrderDecoder(SCHEMA, find_writer, 1_000_000)


def fate(value: bytes) -> str:
    """The reason code under which a consumer would dead-letter the value."""
    try:
        validate(decoder().decode(value))
    except OrderError as error:
        return error.reason
    return "processed"


@pytest.mark.parametrize("prefix", PREFIXES, ids=["single-object", "confluent"])
def test_every_kind_of_bad_order_meets_the_reason_that_it_was_made_for(prefix: bytes) -> None:
    spoiler = Spoiler(OrderEncoder(SCHEMA, prefix).encode, random.Random(1))
    spoilt = [spoiler.spoil(order) for order in first(300)]

    expected = list(itertools.islice(itertools.cycle(defect.reason for defect in DEFECTS), 300))
    assert [fate(value) for _, value in spoilt] == expected
    assert spoiler.made == 300


def test_a_free_order_can_be_given_a_negative_price_too() -> None:
    spoiler = Spoiler(OrderEncoder(SCHEMA, PREFIXES[0]).encode, random.Random(1))

    assert fate(spoiler.spoil({**first(1)[0], "price": 0.0})[1]) == "validate.price"


def test_a_bad_order_never_bears_the_id_of_the_order_that_it_was_made_from() -> None:
    spoiler = Spoiler(OrderEncoder(SCHEMA, PREFIXES[0]).encode, random.Random(1))
    order = first(1)[0]
    made: List[Tuple[Dict[str, Any], bytes]] = [spoiler.spoil(order) for _ in range(12)]

    ids = [meant["order_id"] for meant, _ in made]
    assert order["order_id"] not in ids
    assert ids.count("") == 2
    assert len(set(ids)) == 11
