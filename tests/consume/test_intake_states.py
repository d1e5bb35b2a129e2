"""Why a partition takes in nothing: which reason is told, since when, and until when."""

from typing import Any, List, Optional

import pytest

from orderflow.consume.figures import PartitionReading, Stop
from orderflow.consume.intake_states import (
    STILL_S,
    TOLD_AFTER_S,
    UNDELIVERED_S,
    WHY,
    Change,
    IntakeStates,
    Surroundings,
)

NOWHERE = Surroundings()
FLOWS = PartitionReading(next=5, is_restored=True)


def held(*why: str, **more: Any) -> PartitionReading:
    """A partition that is held for these reasons."""
    return FLOWS._replace(holds=why, **more)


def reason(reading: PartitionReading, around: Surroundings = NOWHERE, still_s: float = 0.0) -> Optional[str]:
    """The reason of a partition with unseen orders that has stood still for so long."""
    states = IntakeStates()
    for now_s in (0.0, still_s):
        states.look({0: reading}, {0}, around, now_s)
    return states.stops(still_s)[0].reason if states.stops(still_s) else None


@pytest.mark.parametrize(
    ("reading", "around", "still_s", "expected"),
    [
        (FLOWS, NOWHERE, 0.0, None),
        (PartitionReading(), NOWHERE, 0.0, "restoring"),
        (FLOWS, Surroundings(is_kafka_lost=True), 0.0, "kafka_lost"),
        (held("full"), NOWHERE, 0.0, "full"),
        (held("blocked"), NOWHERE, 0.0, "blocked"),
        (held("registry"), NOWHERE, 0.0, "registry"),
        (held("backlog", "full"), NOWHERE, 0.0, "full"),
        (held("full", "blocked"), NOWHERE, 0.0, "blocked"),
        (held("full", is_braked=True), NOWHERE, 0.0, "outage"),
        (FLOWS._replace(is_braked=True), NOWHERE, 0.0, "outage"),
        (held("backlog"), NOWHERE, 0.0, None),
        (held("backlog"), NOWHERE, STILL_S, "handler"),
        (FLOWS, Surroundings(is_calling=True), STILL_S - 0.1, None),
        (FLOWS, Surroundings(is_calling=True), STILL_S, "handler"),
        (FLOWS, Surroundings(is_stuck=True), STILL_S, "stuck"),
        (FLOWS, Surroundings(is_careful=True, is_calling=True), STILL_S, "careful"),
        (FLOWS, NOWHERE, STILL_S, None),
        (FLOWS, NOWHERE, UNDELIVERED_S, "undelivered"),
    ],
)
def test_the_reason(
    reading: PartitionReading, around: Surroundings, still_s: float, expected: Optional[str]
) -> None:
    """The cause and not its consequence: a ledger fills up because of an outage, not the other way round."""
    assert reason(reading, around, still_s) == expected


def test_every_reason_has_words() -> None:
    """They are shown on the status line, in the log and by /readyz; the page says what to do."""
    assert all(why.words and why.next_step for why in WHY.values())


def test_a_partition_without_unseen_orders_does_not_stand_still() -> None:
    """There is nothing to take in."""
    states = IntakeStates()
    for now_s in range(100):
        states.look({0: FLOWS}, set(), Surroundings(is_calling=True), float(now_s))

    assert states.stops(99.0) == {}


def test_a_partition_that_moves_is_not_stopped_however_slowly() -> None:
    """A handler of four seconds is slow, and the partition goes on."""
    states = IntakeStates()
    for now_s in range(100):
        moving = held("backlog")._replace(next=now_s // 4)
        states.look({0: moving}, {0}, Surroundings(is_calling=True), float(now_s))
        assert states.stops(float(now_s)) == {}


def test_a_stop_counts_from_its_beginning() -> None:
    """Standing still is noticed after a while, and counts from the last move."""
    states = IntakeStates()
    for now_s in range(8):
        states.look({0: held("backlog")}, {0}, NOWHERE, 100.0 + now_s)

    assert states.stops(110.0) == {0: Stop("handler", 10.0)}


def told(states: IntakeStates, reading: PartitionReading, now_s: float, *numbers: int) -> List[Change]:
    """What is worth telling after a look at these partitions, which are all in this state."""
    reading = reading if reading.holds else reading._replace(next=int(now_s))
    return states.look(dict.fromkeys(numbers or (0,), reading), {0}, NOWHERE, now_s)


def test_a_stop_and_its_end_are_told_once() -> None:
    """Since when and until when; partitions that share a reason share a line."""
    states = IntakeStates()
    assert told(states, held("full"), 0.0, 0, 1, 2) == []
    assert told(states, held("full"), TOLD_AFTER_S, 0, 1, 2) == [
        Change(True, "full", (0, 1, 2), TOLD_AFTER_S)
    ]
    assert told(states, held("full"), 500.0, 0, 1, 2) == []
    assert told(states, FLOWS, 600.0, 0, 1, 2) == [Change(False, "full", (0, 1, 2), 600.0)]
    assert told(states, FLOWS, 700.0, 0, 1, 2) == []


def test_a_short_stop_is_not_told() -> None:
    """A partition may stop and go on several times a second."""
    states = IntakeStates()
    for now_s in range(0, 200, 2):
        assert told(states, held("full"), float(now_s)) == []
        assert told(states, FLOWS, now_s + 1.0) == []


def test_another_reason_is_another_stop() -> None:
    """The first one ends when the next begins."""
    states = IntakeStates()
    told(states, held("full"), 0.0)
    told(states, held("full"), 20.0)
    assert told(states, held("blocked"), 30.0) == [Change(False, "full", (0,), 30.0)]

    assert states.stops(31.0) == {0: Stop("blocked", 1.0)}
    assert told(states, held("blocked"), 40.0) == [Change(True, "blocked", (0,), 10.0)]


def test_the_stop_of_a_partition_that_is_given_up_ends() -> None:
    """Its next owner takes in orders, or says why not."""
    states = IntakeStates()
    told(states, held("full"), 0.0)
    told(states, held("full"), 20.0)

    assert states.look({}, set(), NOWHERE, 30.0) == [Change(False, "full", (0,), 30.0)]
    assert states.stops(30.0) == {}
