"""The whole pipeline on a real Kafka: a waiting order holds up its key and no other, kill -9 changes nothing.

The short form of tests/chaos/, for every run. ORDERFLOW_ORDERS names a CSV file to use instead of the sample.
"""

import itertools
from collections import defaultdict
from typing import Callable, Dict, List, Sequence

import pytest

from tests.support.account import missing_from_topic
from tests.support.engine_tools import INSTANCE
from tests.support.handlers import is_unlucky
from tests.support.pipeline import Call, Pipeline, eventually, reason
from tests.support.troublemaker import ORDERS, crash_consumers, order_ids

NewPipeline = Callable[..., Pipeline]
CALLS_OF_A_BATCH = 40
"""A batch ends after 200 ms of handler time; a call takes 5 ms below."""

LONG = pytest.mark.chaos
"""Left to `make chaos`, so that `make test` stays short."""


@pytest.mark.broker
@pytest.mark.parametrize("guarantee", ["exactly-once", pytest.param("at-least-once", marks=LONG)])
def test_killed_consumers_lose_nothing_and_double_nothing(
    pipeline: NewPipeline, sessions: Sequence[str], guarantee: str
) -> None:
    """Real orders, two consumers, a handler that fails for 2 % of them, kill -9 at random moments."""
    shop = pipeline(GUARANTEE=guarantee, CALL_S="0.0005")
    shop.succeed("producer.py", "--input", str(ORDERS))
    shop.begin_trouble()
    crash_consumers(shop, "unlucky_ones_fail", 2, kills=2, orders=len(order_ids()), sessions=sessions)
    shop.end_trouble()
    shop.drain("unlucky_ones_fail", *sessions)

    taken = shop.assert_account_closes(repeats_allowed=guarantee == "at-least-once")
    assert taken.published == len(order_ids())
    assert missing_from_topic(order_ids(), shop.orders()) == []


@pytest.mark.broker
def test_a_waiting_order_holds_up_its_key_and_no_other(pipeline: NewPipeline) -> None:
    """While an order waits for its retry, all others are processed; those of its key afterwards, in order."""
    shop = pipeline(ORDER_KEY="customer_id", RETRY_BACKOFF="1", RETRY_BACKOFF_MAX="1", MAX_RETRIES="30")
    rows = [(f"A{number:04}", "BAD" if number % 10 == 0 else f"C{number % 50}") for number in range(1000)]
    shop.begin_trouble()
    shop.publish(rows)
    running = shop.consume("customer_fails", "--until-drained")
    eventually(lambda: len(_called(shop)) == 900, why=running.describe)
    waiting = [call for call in shop.calls() if call.key == "BAD"]
    shop.end_trouble()

    assert running.wait().code == 0
    assert {call.delivery for call in waiting} == {waiting[0].delivery}, "a later order of the key overtook"
    assert _in_key_order(_called(shop)) and len(_called(shop)) == 1000
    assert shop.assert_account_closes().processed == 1000


@pytest.mark.broker
def test_attempts_survive_kill_9(pipeline: NewPipeline) -> None:
    """An order that waits for its retry is neither forgotten nor given a new budget by a restart."""
    shop = pipeline(RETRY_BACKOFF="1.5", RETRY_BACKOFF_MAX="1.5", MAX_RETRIES="2")
    shop.publish([("POISON-1", "C"), *((f"A{number}", "C") for number in range(50))])
    running = shop.consume("poison_fails", *INSTANCE)
    eventually(lambda: len(_called(shop)) == 50, why=running.describe)
    eventually(lambda: len(shop.results()) == 50, why=running.describe)
    running.kill()
    shop.drain("poison_fails", *INSTANCE)

    assert [call.attempt for call in shop.calls() if call.key == "POISON-1"] == [1, 2, 3]
    assert [letter.header("__dlq.errors.delivery.count") for letter in shop.dead_letters()] == ["3"]
    shop.assert_account_closes()


@pytest.mark.broker
@pytest.mark.parametrize("handler", [pytest.param("poison_kills", marks=LONG), "poison_crashes"])
def test_an_order_that_kills_the_process_is_dead_lettered(pipeline: NewPipeline, handler: str) -> None:
    """Under a plain restart loop it uses up its budget, even as the group's first order; no other suffers."""
    shop = pipeline(MAX_RETRIES="1", RETRY_BACKOFF="0.1")
    shop.publish([("POISON-1", "C"), *((f"A{number}", "C") for number in range(200))])
    deaths = _restart_until_drained(shop, handler)

    taken = shop.assert_account_closes()
    assert (taken.processed, taken.dead_lettered) == (200, 1)
    assert [reason(letter) for letter in shop.dead_letters()] == ["process.killed_consumer"]
    assert deaths <= 4


@pytest.mark.broker
def test_workers_handle_orders_in_parallel_one_of_a_key_at_a_time(pipeline: NewPipeline) -> None:
    """Eight workers on slow calls are faster than one could be, and keep the order of each key."""
    shop = pipeline(ORDER_KEY="customer_id", WORKERS="8", CALL_S="0.05")
    shop.publish([(f"A{number:04}", f"C{number % 40}") for number in range(200)])
    shop.drain("works")

    calls = shop.calls()
    assert len(calls) == 200
    assert calls[-1].at_s - calls[0].at_s < 200 * 0.05 / 2
    assert _in_key_order(calls)
    assert shop.assert_account_closes().processed == 200


@pytest.mark.broker
def test_a_result_has_the_partition_of_its_order(pipeline: NewPipeline) -> None:
    """Who reads both topics finds a customer's orders and their results in partitions of one number."""
    shop = pipeline()
    shop.publish([(f"A{number:04}", "C") for number in range(60)])
    shop.drain("works")

    partitions = {order.key: order.position.partition for order in shop.orders()}
    assert {result.key: result.position.partition for result in shop.results()} == partitions
    assert len(set(partitions.values())) == 3


@LONG
@pytest.mark.broker
def test_two_consumers_share_the_work(pipeline: NewPipeline) -> None:
    """Both get partitions; a stop of one in the middle repeats nothing, and a handover at most one batch."""
    shop = pipeline(CALL_S="0.005")
    shop.publish([(f"A{number:04}", "C") for number in range(1500)])
    first, second = shop.consume("works"), shop.consume("works")
    eventually(lambda: len({call.pid for call in shop.calls()}) == 2, why=second.describe)
    assert first.stop().code == 143
    eventually(lambda: len(shop.calls()) >= 1500, timeout_s=60, why=second.describe)
    assert second.stop().code == 143
    shop.drain("works")

    assert len(shop.calls()) <= 1500 + CALLS_OF_A_BATCH
    assert shop.assert_account_closes().processed == 1500


def test_the_unlucky_are_about_two_percent() -> None:
    """The failures that the runs above rest on are really there."""
    unlucky = sum(is_unlucky(order) for order in order_ids())

    assert 0.01 < unlucky / len(order_ids()) < 0.03


def _called(shop: Pipeline) -> List[Call]:
    return [call for call in shop.calls() if call.outcome == "called"]


def _in_key_order(calls: List[Call]) -> bool:
    """Whether the calls of each key came in the order of its orders in the topic."""
    offsets: Dict[str, List[int]] = defaultdict(list)
    for call in calls:
        offsets[call.key].append(call.position.offset)
    return all(of_key == sorted(of_key) for of_key in offsets.values())


def _restart_until_drained(shop: Pipeline, handler: str) -> int:
    """Start the consumer again whenever it dies, under one name, so that the group knows it at once."""
    for deaths in itertools.count():
        finished = shop.consume(handler, "--until-drained", *INSTANCE).wait()
        if finished.code == 0:
            return deaths
        assert deaths < 10, finished.err
    raise AssertionError
