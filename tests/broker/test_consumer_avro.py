"""Avro through the whole consumer: hostile bytes, both framings in one topic, and a registry that fails."""

import json
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import pytest

from orderflow.avro.codec import confluent_prefix, single_object_prefix
from tests.support.account import Line
from tests.support.pipeline import Pipeline, eventually, reason
from tests.support.registered import registered
from tests.support.schemas_for_tests import ORDER, SHIPPED, encode, field, order_schema
from tools.local_registry import LocalRegistry

pytestmark = pytest.mark.broker

MIB = 1 << 20


def body(order_id: str = "bad") -> bytes:
    """An order's bytes without framing."""
    return encode({**ORDER, "order_id": order_id})[10:]


HOSTILE: List[Tuple[str, Optional[bytes]]] = [
    ("decode.empty", None),
    ("decode.empty", b""),
    ("decode.framing", b"\x01" + bytes(16) + body()),
    ("decode.framing", json.dumps(ORDER).encode()),
    ("decode.unknown_schema", b"\xc3\x01" + b"\xee" * 8 + body()),
    ("decode.unknown_schema", confluent_prefix(7) + body()),
    ("decode.truncated", single_object_prefix(SHIPPED) + body()[:-1]),
    ("decode.truncated", single_object_prefix(SHIPPED) + b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"),
    ("decode.trailing_bytes", single_object_prefix(SHIPPED) + body() + b"\x00"),
    ("decode.length", single_object_prefix(SHIPPED) + b"\x01" + body()),
    ("decode.utf8", single_object_prefix(SHIPPED) + b"\x02\xff" + body()),
    ("decode.varint", single_object_prefix(SHIPPED) + b"\xff" * 500),
    ("decode.not_canonical", single_object_prefix(SHIPPED) + b"\x86\x00" + body()[1:]),
    ("decode.too_large", single_object_prefix(SHIPPED) + bytes(5000)),
    ("validate.price", encode({**ORDER, "price": float("nan")})),
    ("validate.quantity", encode({**ORDER, "quantity": 0})),
    ("validate.timestamp", encode({**ORDER, "timestamp": -1})),
]


def test_each_hostile_value_is_one_dead_letter_with_its_reason(pipeline: Callable[..., Pipeline]) -> None:
    """The process goes on, the good order behind them is processed, and the bytes are kept as they were."""
    made = pipeline(MAX_ORDER_BYTES="4096")
    made.publish([("first", "c")])
    made.publish_bytes([value for _, value in HOSTILE])
    made.publish([("last", "c")])

    made.drain("works")

    letters = made.dead_letters()
    assert sorted((str(code), value or b"") for code, value in HOSTILE) == sorted(
        (str(reason(letter)), letter.value or b"") for letter in letters
    )
    assert 2 == len(made.results())
    made.assert_account_closes()


@pytest.mark.registry
def test_both_framings_and_two_versions_in_one_topic(
    pipeline: Callable[..., Pipeline], real: LocalRegistry
) -> None:
    """Our producers with and without a registry, and another team's newer schema: all are processed."""
    made = pipeline()
    made.publish([("single", "c")])
    made.environ["SCHEMA_REGISTRY_URL"] = real.url
    made.publish([("confluent", "c")])
    newer = order_schema(field("note", ["null", "string"], default=None))
    schema_id = registered(real.url, f"{made.orders_topic}-value", newer)
    theirs = encode({**ORDER, "order_id": "newer", "note": "x"}, newer)[10:]
    made.publish_bytes([confluent_prefix(schema_id) + theirs], b"newer")

    made.drain("works")

    starts = sorted(line.value[:1] for line in made.orders() if line.value)
    assert [b"\x00", b"\x00", b"\xc3"] == starts
    assert 3 == len(made.results())
    made.assert_account_closes()


@pytest.mark.registry
def test_a_registry_outage_pauses_and_dead_letters_nothing(
    pipeline: Callable[..., Pipeline], real: LocalRegistry
) -> None:
    """It hangs when the first order comes; the group is kept; when it answers again all is processed."""
    made = pipeline(SCHEMA_REGISTRY_URL=real.url)
    made.publish([(f"o{number}", "c") for number in range(20)])
    real.pause()
    try:
        consumer = made.consume("works")
        eventually(lambda: "registry" in consumer.err, why=consumer.describe)
        assert [] == made.results()
        assert [] == made.dead_letters()
        assert consumer.running
    finally:
        real.resume()

    eventually(lambda: 20 == len(made.results()), why=consumer.describe)
    consumer.stop()
    assert [] == made.dead_letters()
    made.assert_account_closes()


@pytest.mark.registry
def test_an_unknown_id_is_retried_then_dead_lettered(
    pipeline: Callable[..., Pipeline], real: LocalRegistry
) -> None:
    """With the reason that says so, after the budget; the orders around it are processed."""
    made = pipeline(SCHEMA_REGISTRY_URL=real.url, MAX_RETRIES="2")
    made.publish([("before", "c")])
    made.publish_bytes([confluent_prefix(3_000_000) + body()], b"unknown")
    made.publish([("after", "c")])

    made.drain("works")

    (letter,) = made.dead_letters()
    assert "decode.unknown_schema" == reason(letter)
    assert "3" == letter.header("__dlq.errors.delivery.count")
    assert 2 == len(made.results())


@pytest.mark.registry
def test_an_unresolvable_order_is_dead_lettered_by_field(
    pipeline: Callable[..., Pipeline], real: LocalRegistry
) -> None:
    """Next year's producer made an int a long: the reason is there, and `show` has it."""
    made = pipeline(SCHEMA_REGISTRY_URL=real.url)
    fields: List[Dict[str, Any]] = [
        {**each, "type": "long"} if each["name"] == "quantity" else each
        for each in json.loads(SHIPPED.text)["fields"]
    ]
    newer = order_schema(fields=fields)
    schema_id = registered(real.url, f"{made.orders_topic}-next-value", newer)
    made.publish([("first", "c")])
    made.publish_bytes([confluent_prefix(schema_id) + encode(ORDER, newer)[10:]], b"newer")

    made.drain("works")

    (letter,) = made.dead_letters()
    assert "decode.unresolvable" == reason(letter)
    assert "quantity" in str(letter.header("__dlq.errors.message"))
    shown = made.succeed("dlq_handler.py", "show", "0:0")
    assert "decode.unresolvable" in shown.out


@pytest.mark.registry
def test_a_producer_with_an_incompatible_schema_sends_nothing(
    pipeline: Callable[..., Pipeline], real: LocalRegistry, tmp_path: Path
) -> None:
    """It says which field and why, and exits 1."""
    made = pipeline(SCHEMA_REGISTRY_URL=real.url)
    registered(real.url, f"{made.orders_topic}-value", order_schema(name="com.shop.Purchase"))

    finished = made.run("producer.py", "--count", "5")

    assert 1 == finished.code
    assert "cannot read version 1: record com.shop.Purchase is not com.orders.Order" in finished.err
    assert [] == orders_or_none(made)


def orders_or_none(made: Pipeline) -> List[Line]:
    """The orders, none where even the topic is not there."""
    try:
        return made.orders()
    except AssertionError:
        return []


def test_an_older_consumer_holds_newer_orders_back_until_it_knows_their_schema(
    pipeline: Callable[..., Pipeline], tmp_path: Path
) -> None:
    """A rolling deployment without a registry: nothing is dead-lettered, and each key stays in order."""
    newer, folder = order_schema(field("note", "string", default="")), tmp_path / "schemas"
    folder.mkdir()
    (tmp_path / "newer.avsc").write_text(newer.text, encoding="utf-8")
    made = pipeline(SCHEMA_VERSIONS=str(folder), UNKNOWN_SCHEMA_BACKOFF="0.5", MAX_RETRIES="30")
    made.publish([("first", "other")])
    made.publish_bytes([encode({**ORDER, "order_id": "new", "note": "n"}, newer)], b"c")
    made.publish_bytes([encode({**ORDER, "order_id": "old"})], b"c")
    running = made.consume("works", "--until-drained")
    eventually(lambda: "decode.unknown_schema: fingerprint" in running.err, why=lambda: running.err)

    (folder / "newer.avsc").write_text(newer.text, encoding="utf-8")
    finished = running.wait()

    assert (0, []) == (finished.code, made.dead_letters())
    first, second = made.calls()[-2:]
    assert first.position.offset < second.position.offset
