"""Kafka itself dies, freezes and comes back under running consumers."""

import time
from typing import Callable, Iterator

import pytest

from tests.support.pipeline import Pipeline, Running, eventually
from tools.local_kafka import LocalKafka

pytestmark = [pytest.mark.chaos, pytest.mark.broker]
NewPipeline = Callable[..., Pipeline]
LOST_AFTER = 3
"""Lines that say so, half a minute apart: longer than any transaction of ours may be open."""
ORDERS = [(f"A{number:05}", f"C{number % 101}") for number in range(3000)]


@pytest.fixture
def kafka() -> Iterator[LocalKafka]:
    """A broker of this test's own, which may be killed."""
    with LocalKafka() as broker:
        yield broker


@pytest.mark.parametrize("guarantee", ["exactly-once", "at-least-once"])
def test_a_killed_broker_delays_and_loses_nothing(
    kafka: LocalKafka, pipeline: NewPipeline, guarantee: str
) -> None:
    """Ten seconds without a broker: the consumer resumes where it was."""
    shop = pipeline(GUARANTEE=guarantee, CALL_S="0.002")
    running = _amid_the_work(shop)
    kafka.kill()
    time.sleep(10)
    kafka.restart()
    _work_to_the_end(shop, running)

    shop.assert_account_closes(repeats_allowed=guarantee == "at-least-once")


@pytest.mark.parametrize("guarantee", ["exactly-once", "at-least-once"])
def test_a_frozen_broker_delays_and_loses_nothing(
    kafka: LocalKafka, pipeline: NewPipeline, guarantee: str
) -> None:
    """Twenty seconds without an answer, longer than any session or transaction: the results stay exact."""
    shop = pipeline(GUARANTEE=guarantee, CALL_S="0.002")
    running = _amid_the_work(shop)
    kafka.pause()
    time.sleep(20)
    kafka.resume()
    _work_to_the_end(shop, running)

    shop.assert_account_closes(repeats_allowed=guarantee == "at-least-once")


@pytest.mark.parametrize("guarantee", ["exactly-once", "at-least-once"])
def test_a_lost_kafka_is_told_and_so_is_its_return(
    kafka: LocalKafka, pipeline: NewPipeline, guarantee: str
) -> None:
    """A line when it goes, soon, and one when it is back; few, however many errors the client reports.

    A client that reconnects may lose the broker once or twice more, and then says so again.
    """
    shop = pipeline(GUARANTEE=guarantee, CALL_S="0.002")
    running = _amid_the_work(shop)
    kafka.kill()
    eventually(lambda: "is lost" in running.err, timeout_s=20, why=running.describe)
    kafka.restart()
    eventually(lambda: "is back after" in running.err, timeout_s=60, why=running.describe)
    _work_to_the_end(shop, running)

    assert 1 <= running.err.count("is lost") == running.err.count("is back after") <= 3


def _amid_the_work(shop: Pipeline) -> Running:
    """A consumer that has handled some of the orders."""
    shop.publish(ORDERS)
    running = shop.consume("works")
    eventually(lambda: len(shop.calls()) > 300, why=running.describe)
    return running


def _work_to_the_end(shop: Pipeline, running: Running) -> None:
    """All the others are handled: by the same process, or by its successor if it gave up, and said so."""
    eventually(lambda: _all_handled(shop) or not running.running or _is_lost(running), 120, running.describe)
    if _is_lost(running):
        pytest.xfail("Kafka has lost the end of a transaction, and it is told: 1 of 25 kills under load")
    if not running.running:
        finished = running.wait()
        assert finished.code == 1 and "restart the consumer" in finished.err, running.describe()
        running = shop.consume("works")
    eventually(lambda: _all_handled(shop), 120, running.describe)
    assert running.stop().code == 143
    shop.drain("works")


def _is_lost(running: Running) -> bool:
    """Whether Kafka goes on hiding what is committed, as after it has skipped the end of a transaction."""
    return running.err.count("an open transaction hides what is committed") >= LOST_AFTER


def _all_handled(shop: Pipeline) -> bool:
    return len({call.delivery for call in shop.calls()}) == len(ORDERS)
