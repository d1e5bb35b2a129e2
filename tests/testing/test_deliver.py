"""The test kit tells what a consumer would have done, without Kafka and without waiting."""

import asyncio
import contextlib
import functools
import json
import random
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

import pytest

from orderflow import InvalidOrder, Publish, RejectOrder, RetryLater
from orderflow.avro.encoder import Unencodable
from orderflow.avro.schema_store import load_file
from orderflow.consume.handler import Delivery, HandlerUnusable, load
from orderflow.model.dead_letter import DELIVERY_COUNT
from orderflow.produce.made_up import made_up_orders
from orderflow.testing import Fate, deliver
from tests.support.pipeline import ROOT
from tests.support.scenes import SCENES
from tests.support.schemas_for_tests import encode, field, order_schema

ORDER = {
    "order_id": "A-1",
    "customer_id": "C-1",
    "product_id": "CD",
    "quantity": 2,
    "price": 9.5,
    "timestamp": 1_764_000_000_000,
}
T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
Order = Dict[str, Any]


def one(handler: Any, order: Any = ORDER, **settings: Any) -> Fate:
    (fate,) = deliver(handler, [order], **settings)
    return fate


def test_a_processed_order_has_its_results() -> None:
    """As they would be published: under the order's key."""

    def charge(order: Order) -> Any:
        return {"total": order["quantity"] * order["price"]}

    fate = one(charge)

    assert (fate.processed, fate.attempts, fate.retries, fate.dead_letter) == (True, 1, 0, None)
    assert [(result.key, result.json()) for result in fate.results] == [(b"A-1", {"total": 19.0})]


def test_a_retry_is_told_with_its_failure_and_its_wait() -> None:
    """The back-off of the settings, with nothing added by chance."""

    def third_time_lucky(order: Order, delivery: Delivery) -> None:
        if delivery.attempt < 3:
            raise TimeoutError("no answer")

    fate = one(third_time_lucky, retry_backoff_s=5)

    assert (fate.processed, fate.attempts, fate.retries, fate.waited_s) == (True, 3, 2, 15.0)
    assert [failure.message for failure in fate.failures] == ["no answer", "no answer"]


def failing(order: Order) -> None:
    raise KeyError("discount")


@pytest.mark.parametrize(("max_retries", "waited_s"), [(0, 0.0), (3, 35.0), (10, 390.0)])
def test_an_order_that_always_fails_is_dead_lettered_after_its_retries(
    max_retries: int, waited_s: float
) -> None:
    """It is no outage: each order stands for itself."""
    fate = one(failing, max_retries=max_retries)

    assert (fate.attempts, fate.waited_s) == (max_retries + 1, waited_s)
    assert fate.dead_lettered == "process.retries_exhausted"
    assert fate.dead_letter is not None
    assert (fate.dead_letter.error_class, fate.dead_letter.message) == ("KeyError", "'discount'")


def test_a_rejected_order_is_dead_lettered_at_once() -> None:
    def reject(order: Order) -> None:
        raise RejectOrder("too dear", reason="process.too_dear")

    assert (one(reject).dead_lettered, one(reject).attempts) == ("process.too_dear", 1)


def test_hours_of_waiting_cost_no_time() -> None:
    def closed(order: Order) -> None:
        raise RetryLater("closed for the night", after=12 * 3600)

    assert one(closed).waited_s == 3 * 12 * 3600


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"junk", "decode.framing"),
        (b"", "decode.empty"),
        (None, "decode.empty"),
        ({**ORDER, "quantity": 0}, "validate.quantity"),
    ],
)
def test_what_is_no_order_never_reaches_the_handler(value: Any, reason: str) -> None:
    assert one(failing, value).dead_lettered == reason


def test_rules_of_ones_own_judge_first() -> None:
    def check(order: Order) -> None:
        if order["price"] > 9:
            raise InvalidOrder("price", "is too high")

    assert one(failing, rules=check).dead_lettered == "validate.price"


def test_a_handler_may_find_an_order_invalid_as_rules_do() -> None:
    """At once, and by its field."""

    def charge(order: Order) -> None:
        raise InvalidOrder("price", "is not the catalogue's")

    fate = one(charge)

    assert (fate.dead_lettered, fate.attempts) == ("validate.price", 1)


def test_another_schema_needs_its_path_only() -> None:
    """Decimals, dates and nested records arrive as they would from Kafka."""
    path = ROOT / "examples" / "shipments" / "shipment.avsc"
    seen: List[Order] = []
    made = next(made_up_orders(load_file(path).schema, random.Random(1)))
    fate = one(lambda order: seen.append(order), made, schema=path, key="tracking_number")

    assert fate.processed
    assert seen == [made]


def test_bytes_of_an_older_version_are_read_as_a_consumer_reads_them(tmp_path: Path) -> None:
    """The folder beside the schema has it; a field that is new since then has its default."""
    older, newer = order_schema(), order_schema(field("note", "string", default="none"))
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "1.avsc").write_text(older.text, encoding="utf-8")
    (tmp_path / "order.avsc").write_text(newer.text, encoding="utf-8")

    fate = one(lambda order: order["note"], encode(ORDER, older), schema=tmp_path / "order.avsc")

    assert [result.value for result in fate.results] == [b"none"]


@pytest.mark.parametrize(
    ("prefix", "says", "attempts"),
    [
        (b"\xc3\x01unknown.", "is neither the reader's nor in schemas/", 4),
        (b"\0\0\0\0\7", "SCHEMA_REGISTRY_URL is not set", 1),
    ],
)
def test_an_unknown_schema_fails_as_in_a_consumer_without_a_registry(
    prefix: bytes, says: str, attempts: int
) -> None:
    """A fingerprint may be that of a deployment under way, so it is waited for; no restart is needed then."""
    fate = one(failing, prefix + encode(ORDER)[10:])

    assert fate.dead_letter is not None and says in fate.dead_letter.message
    assert (fate.dead_lettered, fate.attempts) == ("decode.unknown_schema", attempts)


def test_an_order_that_does_not_fit_the_schema_is_a_fault_of_the_test() -> None:
    """Nothing of the kind could have been published."""
    with pytest.raises(Unencodable, match="price"):
        one(failing, {**ORDER, "price": "dear"})


def test_a_handler_that_a_consumer_would_refuse_is_refused() -> None:
    with pytest.raises(HandlerUnusable, match="neither"):
        one(lambda order, delivery, more: None)


@pytest.mark.parametrize("handler", [None, 5, property(failing), functools.partialmethod(failing)])
def test_what_cannot_be_called_is_refused(handler: Any) -> None:
    """It would fail for each order, as if the orders were to blame."""
    with pytest.raises(HandlerUnusable, match="is no function"):
        one(handler)


def test_a_factory_that_a_consumer_would_refuse_is_refused() -> None:
    def shop() -> Iterator[Any]:
        yield failing

    with pytest.raises(HandlerUnusable, match="put @contextmanager"):
        one(shop)


async def check_async(order: Order) -> None:
    """Never runs."""


def check_lazily(order: Order) -> Iterator[None]:
    yield


class Check:
    """Rules as somebody may name them by mistake."""

    def __init__(self, order: Order) -> None:
        self.order = order


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        (check_async, "is async"),
        (check_lazily, "is a generator"),
        (Check, "is a class"),
        (lambda: None, "must take one argument"),
        (lambda order, more: None, "must take one argument"),
    ],
)
def test_rules_that_a_consumer_would_refuse_are_refused(rules: Any, says: str) -> None:
    with pytest.raises(HandlerUnusable, match=says):
        one(lambda order: None, rules=rules)


def test_without_a_topic_for_results_a_publish_needs_one() -> None:
    """As the scripts are by default: plain results are dropped, whatever they hold."""
    lost = one(lambda order: Publish({"a": 1}), processed_topic=None)
    dropped = one(lambda order: float("nan"), processed_topic=None)

    assert lost.dead_lettered == "publish.invalid"
    assert lost.dead_letter is not None
    assert "PROCESSED_TOPIC is not set" in lost.dead_letter.message
    assert (dropped.processed, dropped.results) == (True, ())


def test_the_topic_for_results_is_the_one_that_is_given() -> None:
    (result,) = one(lambda order: {"a": 1}, processed_topic="receipts").results

    assert result.topic == "receipts"


def test_a_result_for_the_dead_letter_topic_is_a_result() -> None:
    """It is published as a consumer would: what a handler chooses is no dead letter of its order."""
    fate = one(lambda order: Publish("x", topic="orders-dlq"))

    assert fate.processed
    assert [(result.topic, result.value) for result in fate.results] == [("orders-dlq", b"x")]


@pytest.mark.parametrize("order", [None, b"junk", {**ORDER, "quantity": 0}])
def test_an_order_that_its_handler_never_saw_was_tried_once(order: Any) -> None:
    """As its dead letter says."""
    fate = one(failing, order)

    assert fate.dead_letter is not None
    told = dict(fate.dead_letter.record.headers)[DELIVERY_COUNT]
    assert (1, b"1") == (fate.attempts, told)


def test_retries_may_be_unlimited() -> None:
    """Spelt as in MAX_RETRIES."""

    def at_last(order: Order, delivery: Delivery) -> None:
        if delivery.attempt < 50:
            raise TimeoutError

    fate = one(at_last, max_retries="unlimited")

    assert (fate.processed, fate.attempts) == (True, 50)


def test_another_word_for_the_retries_is_refused() -> None:
    with pytest.raises(ValueError, match=r"max_retries: .*unlimited"):
        one(failing, max_retries="many")


def test_each_order_has_a_delivery_id_of_its_own_that_survives_its_retries() -> None:
    ids: List[str] = []

    def note(order: Order, delivery: Delivery) -> None:
        ids.append(delivery.id)
        if delivery.attempt == 1:
            raise OSError

    deliver(note, [ORDER, ORDER])

    assert ids[0] == ids[1] != ids[2] == ids[3]


class Till:
    """A handler with a method and a `__call__`."""

    def charge(self, order: Order, delivery: Optional[Delivery] = None) -> Any:
        """By position."""
        return None if delivery is None else delivery.id

    def __call__(self, order: Order, *, delivery: Optional[Delivery] = None) -> Any:
        """By name."""
        return None if delivery is None else delivery.id


async def charge_by_name(order: Order, *, delivery: Optional[Delivery] = None) -> Any:
    return None if delivery is None else delivery.id


@functools.wraps(charge_by_name)
def wrapped(*arguments: Any, **named: Any) -> Any:
    return charge_by_name(*arguments, **named)


@pytest.mark.parametrize(
    "handler",
    [
        lambda order, delivery=None: delivery.id,
        lambda order, database=None, delivery=None: delivery.id,
        lambda order=None, *, delivery=None: delivery.id,
        lambda order=None, delivery=None: delivery.id,
        functools.partial(lambda order, bank, delivery=None: delivery.id, bank="bank"),
        charge_by_name,
        wrapped,
        Till(),
        Till().charge,
    ],
)
def test_a_parameter_named_delivery_gets_it_whether_it_has_a_default_or_not(handler: Any) -> None:
    """A default is for the tests of a handler; the idempotency key must not be missing in production."""
    (result,) = one(handler).results

    assert result.value == b"orders-0-0@in-memory"


@pytest.mark.parametrize("name", SCENES)
def test_it_tells_what_the_specification_says(name: str) -> None:
    """The same scenes that are played to a real consumer."""
    scene = SCENES[name]
    fate = one(lambda order, delivery: scene.does(delivery.attempt))

    assert (fate.attempts, fate.dead_lettered) == (scene.expected.calls, scene.expected.reason)


def test_a_shipped_example_is_tested_in_one_line() -> None:
    """The bug of the demo: more CDs than its table of discounts has entries."""
    charge = load(f"{ROOT}/examples/checkout.py:charge")
    few, many = deliver(charge, [ORDER, {**ORDER, "quantity": 12}])

    assert few.results[0].json()["charged"] == 19.0
    assert many.dead_lettered == "process.retries_exhausted"


def test_a_factory_is_opened_once_and_closed_at_the_end() -> None:
    """What it opens is shared by all orders, as in a consumer."""
    story: List[str] = []

    @contextlib.contextmanager
    def shop() -> Iterator[Any]:
        story.append("opened")
        yield lambda order: story.append("called")
        story.append("closed")

    deliver(shop, [ORDER, ORDER])

    assert story == ["opened", "called", "called", "closed"]


def test_an_async_handler_runs_on_an_event_loop() -> None:
    """With its retries, and its results with topic and headers."""

    async def charge(order: Order, delivery: Delivery) -> Any:
        await asyncio.sleep(0)
        if delivery.attempt == 1:
            raise TimeoutError("no answer")
        return [Publish({"paid": True}), Publish("x", topic="mails", key="k", headers={"a": "b"})]

    fate = one(charge)

    assert (fate.attempts, fate.waited_s) == (2, 5.0)
    assert [(result.topic, result.key) for result in fate.results] == [
        ("orders-processed", b"A-1"),
        ("mails", b"k"),
    ]
    assert ("a", b"b") in fate.results[1].headers


@pytest.mark.parametrize(
    ("part", "value", "key"),
    [
        (["null", "string"], None, None),
        ("bytes", b"\xff\x00", b"\xff\x00"),
        ({"type": "long", "logicalType": "timestamp-millis"}, T0, b"2026-01-02T03:04:05+00:00"),
        ("int", 7, b"7"),
    ],
)
def test_the_key_is_the_one_that_the_producer_makes(
    part: Any, value: Any, key: Optional[bytes], tmp_path: Path
) -> None:
    """None, bytes and times too: what waits behind what depends on it."""
    path = tmp_path / "shipment.avsc"
    seen: List[Optional[bytes]] = []
    fields = [{"name": "sent_as", "type": part}]
    path.write_text(json.dumps({"type": "record", "name": "Shipment", "fields": fields}), encoding="utf-8")

    def note(order: Order, delivery: Delivery) -> None:
        seen.append(delivery.key)

    assert one(note, {"sent_as": value}, schema=path, key="sent_as").processed
    assert seen == [key]
