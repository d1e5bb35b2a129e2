"""Tells why a partition takes in nothing, since when, and until when. Pure: the time is an argument."""

from typing import Dict, Iterable, List, Mapping, NamedTuple, Optional, Set, Tuple

from orderflow.consume.figures import PartitionReading, Stop


class Why(NamedTuple):
    """A reason to take in nothing."""

    short: str
    """For a status line."""
    words: str
    next_step: str
    """What a person does about it."""


WHY: Dict[str, Why] = {
    "kafka_lost": Why(
        "Kafka lost",
        "no broker is reached",
        "look at Kafka and the network; the consumer goes on by itself when one is back",
    ),
    "restoring": Why(
        "restoring",
        "it was just assigned, and what is committed is being read",
        "nothing for a few seconds; after that, the lines `restoring is delayed` say what Kafka answers",
    ),
    "blocked": Why(
        "Kafka refuses",
        "Kafka does not accept what is finished",
        "see the lines `cannot forward` or `not settled`: a right, a topic or a replica is missing",
    ),
    "outage": Why(
        "outage brake",
        "nearly every order fails (outage brake)",
        "repair what the handler calls; one order a second is tried, and the first two that succeed end it",
    ),
    "full": Why(
        "ledger full",
        "its ledger is full of waiting orders",
        "see why they wait: `dlq_handler.py waiting`, and the lines `retry`. The rest stays in Kafka",
    ),
    "registry": Why(
        "registry down",
        "the schema registry does not answer",
        "look at the registry; nothing is dead-lettered meanwhile",
    ),
    "stuck": Why(
        "loop hangs",
        "the consumer's loop hangs",
        "`/livez` names the place; restart the process, and report the line",
    ),
    "careful": Why(
        "careful",
        "orders that may have ended a process are called first",
        "nothing: it takes seconds. If it comes again, an order ends the process, and will be dead-lettered",
    ),
    "handler": Why(
        "slow handler",
        "handler calls take long",
        "see `orders_longest_call_seconds` and `orders_handler_seconds`; more WORKERS or more processes",
    ),
    "undelivered": Why(
        "not delivered",
        "the Kafka client delivers nothing, though there is something",
        "see whether the partition has a leader; if it has, restart the process and report it",
    ),
}
"""Every reason. Where several hold, the first one is told."""
STILL_S = 5.0
"""A partition that is behind and has not moved for this long is stopped, even if nothing holds it."""
UNDELIVERED_S = 30.0
"""How long the client may take to find a new leader, before it is to blame."""
TOLD_AFTER_S = 10.0
"""Stops that last this long are reported: a partition may stop and go on several times a second."""


class Surroundings(NamedTuple):
    """What applies to all partitions alike."""

    is_kafka_lost: bool = False
    is_stuck: bool = False
    """The loop hangs."""
    is_careful: bool = False
    """Orders are called with care, because an owner died."""
    is_calling: bool = False
    """Handler calls are running, or were lately."""


class Change(NamedTuple):
    """These partitions take in nothing, or take in orders again, after so long."""

    has_stopped: bool
    reason: str
    partitions: Tuple[int, ...]
    for_s: float


class _State(NamedTuple):
    """What is known of one partition."""

    place: Optional[int]
    moved_at_s: float
    since_s: float
    reason: Optional[str] = None
    is_told: bool = False


class IntakeStates:
    """Why each assigned partition takes in nothing, if it does not."""

    def __init__(self) -> None:
        self._states: Dict[int, _State] = {}

    def look(
        self,
        partitions: Mapping[int, PartitionReading],
        behind: Set[int],
        around: Surroundings,
        now_s: float,
    ) -> List[Change]:
        """Note how things are; returns what is worth telling. `behind`: partitions with unseen orders."""
        changes = []
        for number in set(self._states) - set(partitions):
            changes += _end(number, self._states.pop(number), now_s)
        for number, reading in partitions.items():
            before = self._states.get(number, _State(reading.next, now_s, now_s))
            is_still = number in behind and reading.next == before.place
            moved_at_s = before.moved_at_s if is_still else now_s
            reason = _reason(reading, now_s - moved_at_s, around)
            after = before._replace(place=reading.next, moved_at_s=moved_at_s)
            if reason != before.reason:
                changes += _end(number, before, now_s)
                since_s = moved_at_s if is_still and before.reason is None else now_s
                after = after._replace(reason=reason, since_s=since_s, is_told=False)
            self._states[number] = after
        return _grouped([*changes, *self._begin(now_s)])

    def _begin(self, now_s: float) -> List[Change]:
        """The stops that have lasted long enough to be told."""
        changes = []
        for number, state in self._states.items():
            for_s = now_s - state.since_s
            if state.reason is not None and not state.is_told and for_s >= TOLD_AFTER_S:
                self._states[number] = state._replace(is_told=True)
                changes.append(Change(True, state.reason, (number,), for_s))
        return changes

    def stops(self, now_s: float) -> Dict[int, Stop]:
        """The partitions that take in nothing now."""
        return {
            number: Stop(state.reason, max(0.0, now_s - state.since_s))
            for number, state in self._states.items()
            if state.reason is not None
        }


def _reason(reading: PartitionReading, still_s: float, around: Surroundings) -> Optional[str]:
    """Why a partition takes in nothing that has not moved for this long; None if it does take in orders."""
    if around.is_kafka_lost:
        return "kafka_lost"
    if not reading.is_restored:
        return "restoring"
    if reading.is_braked:
        return "outage"
    held = next((why for why in WHY if why in reading.holds), None)
    if held is not None or still_s < STILL_S:
        return held
    return _why_still(reading, still_s, around)


def _why_still(reading: PartitionReading, still_s: float, around: Surroundings) -> Optional[str]:
    if around.is_stuck:
        return "stuck"
    if around.is_careful:
        return "careful"
    if around.is_calling or reading.holds:
        return "handler"
    return "undelivered" if still_s >= UNDELIVERED_S else None


def _end(number: int, state: _State, now_s: float) -> List[Change]:
    if state.reason is None or not state.is_told:
        return []
    return [Change(False, state.reason, (number,), now_s - state.since_s)]


def _grouped(changes: Iterable[Change]) -> List[Change]:
    """One change for all partitions to which the same happens; the longest time counts."""
    groups: Dict[Tuple[bool, str], List[Change]] = {}
    for change in changes:
        groups.setdefault(change[:2], []).append(change)
    return [_together(group) for group in groups.values()]


def _together(group: List[Change]) -> Change:
    numbers = sorted(number for change in group for number in change.partitions)
    return group[0]._replace(partitions=tuple(numbers), for_s=max(change.for_s for change in group))
