"""LOG_FORMAT=json, to the end: each line of a running consumer is an object, however it ends."""

import json
import signal
from collections import Counter
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import pytest

from tests.conftest import Kafka, start_kafka
from tests.support.engine_tools import rows
from tests.support.pipeline import QUICK, Finished, Pipeline, eventually

HANDLER = """
import logging, threading, warnings
from contextlib import contextmanager

def die():
    raise KeyError("in a thread")

@contextmanager
def open_shop():
    def handle(order):
        logging.getLogger("shop").warning("charged", extra={"order_id": order["order_id"]})
        warnings.warn("old", DeprecationWarning)
        threading.Thread(target=die).start()
        raise ValueError("no")
    yield handle
    raise OSError("cannot close")
"""


def events(ended: Finished) -> "Counter[str]":
    """What was said, by event; each line of both streams is an object."""
    said: List[Dict[str, Any]] = [json.loads(line) for line in (ended.out + ended.err).splitlines()]
    assert all(each["time"] and each["level"] and each["event"] for each in said)
    return Counter(each["event"] for each in said)


@pytest.mark.broker
def test_every_line_of_a_run_that_is_stopped_is_an_object(
    pipeline: Callable[..., Pipeline], tmp_path: Path
) -> None:
    """Although its handler fails, warns, has a thread that dies, and cannot be closed."""
    shop = pipeline(LOG_FORMAT="json", PYTHONWARNINGS="always")
    shop.publish(rows(2))
    (tmp_path / "shop.py").write_text(HANDLER, encoding="utf-8")
    running = shop.start("consumer.py", "--handler", f"{tmp_path / 'shop.py'}:open_shop", "-v")
    eventually(lambda: '"retry"' in running.err, why=running.describe)
    ended = running.stop(signal.SIGINT)

    told = events(ended)
    assert ended.code == 1, "it could not be closed"
    assert (told["stopping"], told["not_closed"], told["failed"]) == (1, 1, 0)
    assert min(told["started"], told["retry"], told["first_of_its_kind"], told["ended"]) >= 1
    assert "in a thread" in ended.err


@pytest.mark.broker
def test_every_line_of_processes_that_are_ended_at_once_is_an_object(
    pipeline: Callable[..., Pipeline],
) -> None:
    """Ctrl-C, and again."""
    shop = pipeline(LOG_FORMAT="json")
    shop.publish([("POISON-1", "C")])
    running = shop.consume("poison_hangs", "--processes", "2")
    eventually(shop.calls, why=running.describe)
    running.send(signal.SIGINT)
    eventually(lambda: '"stopping"' in running.err, why=running.describe)
    running.send(signal.SIGINT)

    ended = running.wait(30)
    assert (ended.code, events(ended)["stopping"]) == (130, 1)


@pytest.fixture(scope="module")
def narrow_kafka() -> Iterator[Kafka]:
    """A broker that leaves no transaction open for as long as we ask for, and has groups of one member."""
    settings = {"transaction.max.timeout.ms": "5000", "group.consumer.max.size": "1"}
    with start_kafka(settings=settings) as broker:
        yield broker


@pytest.fixture
def narrow(narrow_kafka: Kafka, topic: Callable[..., str], tmp_path: Path) -> Iterator[Pipeline]:
    """A shop on it."""
    shop = Pipeline(narrow_kafka.bootstrap_servers, topic, tmp_path, **QUICK, LOG_FORMAT="json")
    yield shop
    shop.kill_all()


@pytest.mark.broker
def test_a_broker_that_leaves_transactions_open_for_less_is_asked_for_less(narrow: Pipeline) -> None:
    """Nobody has to set anything: not for the consumer, and not for a replay."""
    narrow.publish(rows(5))
    consumed = narrow.drain("works")
    narrow.publish_bytes([b"no order"])
    again = narrow.drain("works")
    replayed = narrow.succeed(
        "dlq_handler.py", "replay", "--all", "--yes", "--unchecked", "--reason", "a test"
    )

    assert len(narrow.orders()) == 7
    for ended in (consumed, again):
        assert events(ended)["failed"] == 0
    assert "%0|" not in replayed.err


@pytest.mark.broker
def test_what_ends_the_client_is_an_object_too(narrow: Pipeline) -> None:
    """A second member of a group that takes one: the client calls that fatal, and would write it as it is."""
    narrow.publish(rows(1))
    first = narrow.consume("works", "-X", "group.protocol=consumer")
    eventually(lambda: '"partition_ready"' in first.err, why=first.describe)
    second = narrow.consume("works", "-X", "group.protocol=consumer").wait()
    first.stop()

    assert events(second)["failed"] == 1, second.err
    assert "maximum size" in second.err
