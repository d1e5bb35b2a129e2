"""What stands in topics is data: however wrong, dlq_handler.py reads it, names it, and does no harm by it."""

from pathlib import Path
from typing import Any, Callable, List

import pytest
from confluent_kafka import Producer

from orderflow.model.records import Outgoing
from tests.support.dlq_tools import make_topic, ours
from tests.support.replay_tools import Desk

pytestmark = pytest.mark.broker
FAST = ("--yes", "--rate", "none")


@pytest.fixture
def desk(kafka: Any, topic: Callable[[str], str], tmp_path: Path) -> Desk:
    """A desk without a dead letter."""
    return Desk(kafka.bootstrap_servers, topic("d")[-60:], tmp_path)


def letters(desk: Desk, number: int) -> List[Outgoing]:
    """So many dead letters that may all be sent."""
    return [ours(n + 1, topic=desk.orders_topic, partition=n % 3) for n in range(number)]


def test_a_canary_that_nobody_read_does_not_pass(desk: Desk) -> None:
    """Its records lie behind an open transaction, where a reader of committed records sees no end move."""
    desk.fill(letters(desk, 4))
    other = Producer({"bootstrap.servers": desk.bootstrap_servers, "transactional.id": desk.topic})
    other.init_transactions(20)
    other.begin_transaction()
    for partition in range(3):
        other.produce(desk.orders_topic, b"not committed", partition=partition)
    assert other.flush(20) == 0

    run = desk.run("replay", "--all", "--canary", "2", "--canary-timeout", "1", *FAST)

    other.abort_transaction(20)
    assert run.code == 5, run.err
    assert "canary passed" not in run.err
    assert "2 of 4 were sent" in run.err


def test_a_canary_that_went_elsewhere_does_not_pass(desk: Desk) -> None:
    """Where nothing of it went to the topic that the group reads, there is nothing to judge by."""
    other = f"{desk.topic}-more"
    desk.fill([ours(n + 1, topic=other) for n in range(3)])
    make_topic(desk.bootstrap_servers, other)

    run = desk.run("replay", "--source-topic", other, "--canary", "2", "--stale", "allow", *FAST)

    assert run.code == 5, run.err
    assert "none of it went to" in run.err
