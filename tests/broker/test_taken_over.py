"""A writer whose transactional id somebody else has taken, on a real broker."""

import time
from typing import Any, Callable

import pytest

from orderflow.kafka.transactions import Fenced, Transactions
from orderflow.model.records import Outgoing
from tests.support.dlq_tools import make_topic

pytestmark = pytest.mark.broker
PATIENCE_S = 20.0


def test_a_writer_that_hears_it_while_sending_says_who_it_was(
    kafka: Any, topic: Callable[[str], str]
) -> None:
    """The client then refuses each record with nothing but `Local: Fatal error`."""
    name = topic("taken-over")
    make_topic(kafka.bootstrap_servers, name)
    client = {"bootstrap.servers": kafka.bootstrap_servers}
    first, second = (Transactions(client, f"{name}-writer", print) for _ in range(2))
    first.open()
    first.send(Outgoing(name, b"k", b"v", []), "1")

    second.open()
    with pytest.raises(Fenced, match="another replayer has taken over"):
        send_until_refused(first, name)


def send_until_refused(writer: Transactions, topic: str) -> None:
    """Without a commit, which would tell it too."""
    until_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < until_s:
        writer.send(Outgoing(topic, b"k", b"v", []), "2")
