"""Kafka freezes under the verbs that follow the dead letters: no client reports that, so they notice it."""

import time
from pathlib import Path
from typing import Callable, Iterator

import pytest

from tests.broker.test_consumer_figures import asked, free_port
from tests.conftest import start_kafka
from tests.support.dlq_tools import Handler, handler_of_one, ours, send
from tests.support.pipeline import eventually
from tools.local_kafka import LocalKafka

pytestmark = [pytest.mark.chaos, pytest.mark.broker]

LOST = "is lost (no answer for "


@pytest.fixture(scope="module")
def alone() -> Iterator[LocalKafka]:
    """A broker to freeze."""
    with start_kafka() as kafka:
        yield kafka


@pytest.fixture
def handler(alone: LocalKafka, topic: Callable[[str], str], tmp_path: Path) -> Handler:
    """A topic with one dead letter."""
    return handler_of_one(alone.bootstrap_servers, topic("dlq"), tmp_path)


def test_tail_says_that_kafka_does_not_answer_and_that_it_does_again(
    alone: LocalKafka, handler: Handler
) -> None:
    with handler.start("tail", "--json") as run:
        run.wait_for(lambda run: run.out.count("\n") == 1)
        alone.pause()
        try:
            run.wait_for(lambda run: LOST in run.err, timeout_s=20)
        finally:
            alone.resume()
        run.wait_for(lambda run: "is back after" in run.err, timeout_s=60)
        send(handler.bootstrap_servers, handler.topic, [ours(2)])
        run.wait_for(lambda run: run.out.count("\n") == 2)
        run.stop()

    assert run.err.count(LOST) == run.err.count("is back after") == 1


def test_serve_is_not_ready_meanwhile(alone: LocalKafka, handler: Handler) -> None:
    """Also where there is no audit topic yet, for which it looks now and then."""
    port = free_port()
    with handler.start("serve", "--listen", f"127.0.0.1:{port}") as run:
        eventually(lambda: asked(port, "/readyz")[0] == 200, timeout_s=40)
        alone.pause()
        try:
            began_s = time.monotonic()
            run.wait_for(lambda run: LOST in run.err, timeout_s=20)
            eventually(lambda: asked(port, "/readyz")[0] == 503, timeout_s=10)
            assert time.monotonic() - began_s < 20
        finally:
            alone.resume()
        run.wait_for(lambda run: "is back after" in run.err, timeout_s=60)
        eventually(lambda: asked(port, "/readyz")[0] == 200, timeout_s=30)
        run.stop()
