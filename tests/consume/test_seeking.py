"""A client that refuses to seek: for a moment it is waited for, and not for ever."""

import pytest
from confluent_kafka import KafkaError, KafkaException

from orderflow.consume.seeking import STUCK_S
from orderflow.consume.settlement import SessionLost
from tests.support.scripted_session import Life, ScriptedSession, Topic


class Stuck(ScriptedSession):
    """A session whose client has lost track of its assignment, for so many seeks."""

    refusals = 10**9

    def resume_at(self, partition: int, offset: int) -> None:
        """Refuse, as the client does for a partition that it does not fetch."""
        if self.refusals:
            self.refusals -= 1
            raise KafkaException(KafkaError(KafkaError._STATE))
        super().resume_at(partition, offset)


class StuckForAMoment(Stuck):
    """One that begins to fetch after some tries."""

    refusals = 5


def orders() -> Topic:
    """A topic with a few of them."""
    topic = Topic()
    topic.fill(5)
    return topic


def test_a_client_that_never_begins_to_fetch_ends_the_session() -> None:
    """It looked like a member at work, which gives its partitions to nobody, and would have for ever."""
    life = Life(orders(), lambda order: None, connect=Stuck)

    with pytest.raises(SessionLost, match="has not begun to fetch what it was assigned"):
        life.until(lambda: life.clock() > 2 * STUCK_S + 60)


def test_a_client_that_refuses_for_a_moment_is_waited_for() -> None:
    """As in every rebalance."""
    life = Life(orders(), lambda order: None, connect=StuckForAMoment)

    life.drain()

    assert "partition_ready" in life.names()
