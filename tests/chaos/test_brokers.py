"""Kafka itself dies, freezes and comes back under running consumers."""

import time
from pathlib import Path
from typing import Callable, Iterator

import pytest

from tests.pipeline import QUICK, Pipeline, eventually
from tools.local_kafka import LocalKafka

pytestmark = [pytest.mark.chaos, pytest.mark.broker]
ORDERS = [(f"A{number:05}", f"C{number % 101}") for number in range(3000)]


@pytest.fixture
def own_kafka() -> Iterator[LocalKafka]:
    """A broker that may be killed."""
    with LocalKafka() as kafka:
        yield kafka


@pytest.mark.parametrize("guarantee", ["exactly-once", "at-least-once"])
def test_a_killed_broker_delays_and_loses_nothing(
    own_kafka: LocalKafka, topic: Callable[..., str], tmp_path: Path, guarantee: str
) -> None:
    """The consumer says once that Kafka is lost and once that it is back, and goes on."""
    settings = {**QUICK, "GUARANTEE": guarantee, "CALL_S": "0.002"}
    shop = Pipeline(own_kafka.bootstrap_servers, topic, tmp_path, **settings)
    shop.publish(ORDERS)
    running = shop.consume("works")
    eventually(lambda: len(shop.calls()) > 300, why=running.describe)
    own_kafka.kill()
    eventually(lambda: "is lost" in running.err, why=running.describe)
    own_kafka.restart()
    eventually(lambda: "is back" in running.err, why=running.describe)
    eventually(lambda: len({call.delivery for call in shop.calls()}) == len(ORDERS), 90, running.describe)
    assert running.stop().code == 143
    shop.drain("works")

    assert running.err.count("is lost") == running.err.count("is back") == 1
    shop.assert_account_closes(repeats_allowed=guarantee == "at-least-once")


@pytest.mark.parametrize("guarantee", ["exactly-once", "at-least-once"])
def test_a_frozen_broker_delays_and_loses_nothing(
    own_kafka: LocalKafka, topic: Callable[..., str], tmp_path: Path, guarantee: str
) -> None:
    """Twenty seconds without an answer, longer than any session or transaction: the results stay exact."""
    settings = {**QUICK, "GUARANTEE": guarantee, "CALL_S": "0.002"}
    shop = Pipeline(own_kafka.bootstrap_servers, topic, tmp_path, **settings)
    shop.publish(ORDERS)
    running = shop.consume("works")
    eventually(lambda: len(shop.calls()) > 300, why=running.describe)
    own_kafka.pause()
    time.sleep(20)
    own_kafka.resume()
    eventually(lambda: len({call.delivery for call in shop.calls()}) == len(ORDERS), 90, running.describe)
    assert running.stop().code == 143
    shop.drain("works")

    shop.assert_account_closes(repeats_allowed=guarantee == "at-least-once")
