"""When a run with --until-drained is over."""

from typing import Any, List, Tuple, cast

import pytest

from orderflow.consume.drain import ASK_AGAIN_S, LOOK_EVERY_S, SAY_EVERY_S, Drain
from orderflow.consume.ledger import Ledger
from orderflow.consume.partition import Partition
from orderflow.consume.session import Session
from tests.support.scripted_ends import ScriptedEnds
from tests.support.scripted_session import Clock, ScriptedSession, Topic


class Draining:
    """A drain check of a topic in which each partition holds one order."""

    def __init__(self) -> None:
        self.topic = Topic(partitions=3)
        for number in range(3):
            self.topic.put(number, b"key", b"value")
        self.clock = Clock()
        self.log = ScriptedEnds(self.topic)
        self.told: List[Tuple[str, Any]] = []
        self.session = ScriptedSession(self.topic)

    def begin(self) -> Drain:
        """As at the start of a run."""
        return Drain(cast(Session, self.session), self.log, range(3), self.clock, self._report)

    def _report(self, event: str, **fields: Any) -> None:
        self.told.append((event, fields))

    def later(self, drain: Drain, seconds: float) -> None:
        """Some time passes, and what is known by then is noted."""
        self.clock.now_s += seconds
        drain.note_ends()
        drain.note_ends()


@pytest.fixture
def draining() -> Draining:
    return Draining()


def all_read(*numbers: int) -> Any:
    """Partitions of ours that have been read past their order."""
    return {number: Partition(number, Ledger(1), end=1) for number in numbers}


def test_partitions_that_are_read_to_their_ends_are_done(draining: Draining) -> None:
    drain = draining.begin()
    drain.note_ends()

    assert drain.ours_are_done(all_read(0, 1, 2))
    assert drain.others_are_done(all_read(0, 1, 2))


def test_nothing_is_done_before_the_ends_are_known(draining: Draining) -> None:
    draining.log.is_silent = True
    drain = draining.begin()
    drain.note_ends()

    assert not drain.ours_are_done(all_read(0))
    assert not drain.others_are_done(all_read(0))


def test_a_partition_of_ours_without_a_leader_is_not_done(draining: Draining) -> None:
    draining.log.leaderless = {2}
    drain = draining.begin()
    drain.note_ends()

    assert not drain.ours_are_done(all_read(0, 1, 2))


def test_a_partition_of_others_without_a_leader_is_not_done(draining: Draining) -> None:
    draining.log.leaderless = {2}
    drain = draining.begin()
    drain.note_ends()

    assert drain.ours_are_done(all_read(0, 1))
    assert not drain.others_are_done(all_read(0, 1))


def test_a_partition_that_has_a_leader_again_is_asked_for_its_end(draining: Draining) -> None:
    draining.log.leaderless = {2}
    drain = draining.begin()
    draining.log.leaderless = set()
    draining.later(drain, ASK_AGAIN_S)

    assert drain.ours_are_done(all_read(0, 1, 2))
    assert draining.log.asked == [{0, 1, 2}, {2}]


def test_orders_that_come_after_the_end_was_noted_are_not_waited_for(draining: Draining) -> None:
    drain = draining.begin()
    draining.topic.put(0, b"key", b"later")
    draining.later(drain, ASK_AGAIN_S)

    assert drain.ours_are_done(all_read(0, 1, 2))


def test_what_it_waits_for_is_said_now_and_then(draining: Draining) -> None:
    draining.log.leaderless = {1, 2}
    drain = draining.begin()
    draining.later(drain, ASK_AGAIN_S - 0.1)
    assert draining.told == []
    draining.later(drain, 0.1)
    draining.later(drain, SAY_EVERY_S - 0.1)
    assert draining.told == [("end_unknown", {"partitions": [1, 2]})]
    draining.later(drain, 0.1)

    assert len(draining.told) == 2


def test_an_answer_that_came_during_a_slow_start_is_heard_first(draining: Draining) -> None:
    """It was there all the time, and nothing is waited for."""
    drain = draining.begin()
    draining.clock.now_s += ASK_AGAIN_S
    drain.note_ends()

    assert draining.told == []


@pytest.mark.parametrize(("then", "told"), [(2, 0), (1, 1)], ids=["coming", "held back"])
def test_only_orders_that_do_not_come_are_said_to_be_held_back(
    draining: Draining, then: int, told: int
) -> None:
    """The end of a partition that had no leader may be noted after more orders have come."""
    for _ in range(2):
        draining.topic.put(2, b"key", b"more")
    drain = draining.begin()
    draining.later(drain, LOOK_EVERY_S)
    assert not drain.ours_are_done({2: Partition(2, Ledger(1), end=1)})
    draining.later(drain, LOOK_EVERY_S)
    assert not drain.ours_are_done({2: Partition(2, Ledger(then), end=1)})

    assert len(draining.told) == told


def test_an_empty_partition_is_done(draining: Draining) -> None:
    draining.topic = Topic(partitions=3)
    draining.log = ScriptedEnds(draining.topic)
    drain = draining.begin()
    drain.note_ends()

    assert drain.others_are_done({})
