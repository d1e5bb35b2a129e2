"""Takes readings: what the engine knows of itself at one moment, about once a second.

The only place that looks into the engine's parts to show how they are. It changes nothing.
"""

from itertools import islice
from typing import Dict, Tuple

from orderflow.consume.assignment import Assignment
from orderflow.consume.calls import Calls
from orderflow.consume.figures import PartitionReading, Reading
from orderflow.consume.intake import Intake
from orderflow.consume.outcomes import Outcomes
from orderflow.consume.partition import Partition
from orderflow.consume.session import Session
from orderflow.consume.settling import Settling
from orderflow.model.records import Message

LOOKED_AT = 1_000
"""How many of the records that are polled but not admitted are looked at; there may be 20,000."""


class Readings:
    """Reads one engine. Called by the thread that runs its loop."""

    def __init__(
        self,
        session: Session,
        assignment: Assignment,
        intake: Intake,
        calls: Calls,
        outcomes: Outcomes,
        settling: Settling,
    ) -> None:
        self._session = session
        self._assignment = assignment
        self._intake = intake
        self._calls = calls
        self._outcomes = outcomes
        self._settling = settling

    def take(self, now_s: float) -> Reading:
        """How things are now."""
        coming = {number: PartitionReading(place) for number, place in self._assignment.coming().items()}
        ready = {number: self._ready(each) for number, each in self._assignment.ready.items()}
        return Reading(
            now_s,
            self._settling.counts.processed,
            self._settling.progress.settled_at_s,
            not self._settling.is_idle or bool(self._calls.in_flight),
            self._session.member_id() is not None,
            self._session.rebalances,
            self._calls.oldest_call_at_s,
            self._outcomes.key_brake.held(),
            {**coming, **ready},
            self._times_s(),
            self._outcomes.call_times.histograms(),
            self._settling.durations.histograms(),
        )

    def _ready(self, partition: Partition) -> PartitionReading:
        ledger = partition.ledger
        return PartitionReading(
            ledger.next,
            self._session.known_end(partition.number),
            len(ledger.heads) - partition.in_flight,
            partition.in_flight,
            ledger.queued,
            ledger.held.bytes,
            ledger.max_queued,
            ledger.held.of.limit,
            len(ledger.heads) + ledger.room,
            True,
            tuple(partition.holds),
            self._outcomes.outage.holds(partition.number),
            partition.careful_left + len(ledger.suspects),
        )

    def _times_s(self) -> Dict[int, Tuple[int, float]]:
        """By partition, the first record found that is not admitted, or else one that was polled lately."""
        newest = [] if self._intake.newest is None else [self._intake.newest]
        found: Dict[int, Message] = {}
        for message in [*islice(self._intake.leftover, LOOKED_AT), *newest]:
            found.setdefault(message.partition(), message)
        stamps = ((number, each.offset(), each.timestamp()[1]) for number, each in found.items())
        return {number: (offset, stamp_ms / 1000) for number, offset, stamp_ms in stamps if stamp_ms > 0}
