"""A start waits for what passes, and for nothing else."""

from typing import Any, Callable, List

import pytest
from confluent_kafka import KafkaError

from orderflow.consume import ledger_topic
from orderflow.consume.readiness import LONGEST_S, until_ready
from orderflow.exits import CommandError, NotReady
from orderflow.kafka import topics
from orderflow.testing.memory import Clock


class Cluster:
    """Answers after it has failed so often, each time with the next of these errors, or the last one."""

    def __init__(self, fails: int, *errors: CommandError) -> None:
        self.asked = 0
        self.told: List[str] = []
        self.clock = Clock()
        self._fails, self._errors = fails, errors

    def ask(self) -> str:
        """What the start needs."""
        self.asked += 1
        if self.asked <= self._fails:
            raise self._errors[min(self.asked, len(self._errors)) - 1]
        return "ready"

    def wait(self, is_over: Callable[[], bool] = lambda: False) -> str:
        """Wait for it."""
        return until_ready(self.ask, self.told.append, is_over, self.clock, self.clock.pass_by)


def test_a_passing_trouble_is_waited_out_and_each_reason_is_told_once() -> None:
    """A topic has no leader for some seconds, as a node was killed."""
    cluster = Cluster(9, NotReady("no leader"), NotReady("no leader"), NotReady("no answer"))

    assert cluster.wait() == "ready"
    assert cluster.told == ["no leader", "no answer"]
    assert cluster.clock() == 9.0


def test_it_ends_after_a_minute() -> None:
    """Whoever starts us decides what then."""
    cluster = Cluster(1_000, NotReady("no leader"))

    with pytest.raises(NotReady, match="no leader"):
        cluster.wait()

    assert cluster.clock() == LONGEST_S


def test_a_stop_is_obeyed_meanwhile() -> None:
    """Ctrl-C need not wait for the minute to pass."""
    cluster = Cluster(1_000, NotReady("no leader"))

    with pytest.raises(NotReady):
        cluster.wait(lambda: cluster.clock() >= 3)

    assert cluster.clock() == 3.0


def test_what_lasts_is_said_at_once() -> None:
    """A missing right does not come back by waiting."""
    cluster = Cluster(1, CommandError("not allowed"))

    with pytest.raises(CommandError, match="not allowed"):
        cluster.wait()

    assert cluster.asked == 1


@pytest.mark.parametrize(
    ("code", "passes"),
    [
        (KafkaError.LEADER_NOT_AVAILABLE, True),
        (KafkaError._TIMED_OUT, True),
        (KafkaError.REQUEST_TIMED_OUT, True),
        (KafkaError.INVALID_REPLICATION_FACTOR, True),
        (KafkaError.NOT_COORDINATOR, True),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, False),
        (KafkaError.CLUSTER_AUTHORIZATION_FAILED, False),
        (KafkaError.TOPIC_EXCEPTION, False),
        (KafkaError.POLICY_VIOLATION, False),
    ],
)
def test_what_passes_is_told_from_what_lasts(code: int, passes: bool) -> None:
    """By Kafka's own error code."""
    assert topics.is_passing(KafkaError(code)) is passes


def test_a_ledger_topic_without_leader_is_no_reason_to_go_on_without_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Until the next start, that is: for as long as the process lives."""

    def no_leader(*_: Any) -> None:
        raise NotReady("topic orders-waiting was created, but has no leader after 10 s")

    monkeypatch.setattr(topics, "ensure_topics", no_leader)

    with pytest.raises(NotReady):
        ledger_topic.ledger_topic({}, "orders-waiting", 3, "group")
