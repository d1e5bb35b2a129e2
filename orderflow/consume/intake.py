"""Records polled but not called yet, and how far each partition has been admitted.

A record is admitted once it is called, or listed in its partition's ledger. Records polled beyond that are
kept aside: `next`, and so every commit, ends before them.
"""

from typing import Dict, Iterable, List, NamedTuple, Optional, Sequence, Set, Tuple

from confluent_kafka import KafkaException

from orderflow.consume.admission import Gap
from orderflow.consume.assignment import Assignment
from orderflow.consume.pace import MAX_BATCH
from orderflow.consume.partition import REGISTRY, Partition
from orderflow.consume.session import Session
from orderflow.consume.waiting_bytes import size_of
from orderflow.consume.world import World
from orderflow.model.records import Message

SPAN = 4 * MAX_BATCH
"""Offsets one batch may span, gaps included, when working out how many heads fit."""
MIN_BACKLOG, MAX_BACKLOG = 500, 2_000
"""Unadmitted records at which fetching resumes, and at which it pauses. A pause costs a fetch."""
LOSS_LOOK_S = 30.0
"""For so long, a gap in the offsets is taken for harmless where a larger one was: nearly all are markers."""


class LostTrack(Exception):
    """Client and engine disagree on what was read: restore everything from the committed offsets."""


class Polled(NamedTuple):
    """The result of one poll."""

    records: List[Message]
    """In offset order within each partition."""
    lost: Set[int]
    """Partitions revoked meanwhile."""


class Intake:
    """Polls, and keeps records that cannot be called yet. Raises LostTrack."""

    def __init__(self, session: Session, assignment: Assignment, world: World) -> None:
        self.leftover: List[Message] = []
        """Polled but not admitted."""
        self.busy = assignment.busy
        """Keys with a waiting order in any of our ledgers."""
        self.stopped: Dict[int, int] = {}
        """Partitions that admit nothing more of this batch, and the offset to continue from."""
        self.newest: Optional[Message] = None
        """A record of the last poll that found any."""
        self._session = session
        self._assignment = assignment
        self._ready = assignment.ready
        self._world = world
        self._harmless: Dict[int, Tuple[int, float]] = {}
        """By partition: the largest gap that was no loss, and until when that counts."""

    # --- polling ---------------------------------------------------------------------------------

    def poll(self, most: int, timeout_s: float) -> Polled:
        """Poll Kafka. Partitions may be revoked in here, once their finished work is settled."""
        records = self._session.poll(most, timeout_s)
        if records:
            self.newest = records[-1]
        return Polled(records, self._session.take_lost())

    def new_ones(self, records: List[Message]) -> List[Message]:
        """The records not delivered before, of partitions that are ours."""
        sifted = self._assignment.admission.sift(records, self._world.clock())
        for message in sifted.late:
            self._admit_late(message)
        for number, offset in sifted.back_to:
            self.go_back(number, offset)
        for number, messages in _by_partition(sifted.repeated).items():
            if number in self._ready:
                self._note_repeated(number, messages)
        return sifted.fresh

    def _admit_late(self, message: Message) -> None:
        """Its offset was taken for a gap. It must be processed, whatever happened to its key meanwhile."""
        partition = self._ready[message.partition()]
        self._world.report("came_late", partition=partition.number, offset=message.offset())
        head = partition.ledger.admit(message, message.offset(), None, size=size_of(message))
        partition.ledger.wait(head, self._world.clock())

    def _note_repeated(self, number: int, messages: Sequence[Message]) -> None:
        """Ignore them, unless the log has lost its end: then these offsets now hold other records."""
        first, last = messages[0].offset(), messages[-1].offset()
        self._world.report("handed_over_again", partition=number, first=first, last=last)
        bounds = self._assignment.bounds(number)
        if bounds is not None and bounds[1] < self._assignment.admission.expected(number):
            raise LostTrack(f"partition {number} now ends at offset {bounds[1]}, before our position")

    def go_back(self, number: int, offset: int) -> None:
        """Have the client read from there again, as if it had delivered nothing beyond."""
        if number not in self._ready:
            return
        try:
            self._session.seek(number, offset)
        except KafkaException as error:
            raise LostTrack(f"cannot seek back: {error.args[0].str()}") from error
        self._assignment.admission.go_back(number, offset)

    # --- keeping ---------------------------------------------------------------------------------

    def keep(self, fresh: List[Message]) -> None:
        """Keep records until they are admitted; they come before those polled next."""
        self.leftover = self.leftover + fresh if self.leftover else fresh

    def put_back(self, records: List[Message]) -> None:
        """Of all that was kept, only these were not admitted."""
        self.leftover = self._without_stopped(records)

    def weed(self) -> None:
        """Drop records of partitions that are not ours, not ready yet, or held for want of the registry."""
        if not self._assignment.is_settled:
            self.leftover = self._of_ready(self.leftover)
        held = {number: one for number, one in self._ready.items() if REGISTRY in one.holds}
        if held:
            firsts = _first_offsets(self.leftover)
            for number, partition in held.items():
                if number in firsts:
                    self.stop(partition, firsts[number], REGISTRY, partition.holds[REGISTRY])
            self.leftover = self._without_stopped(self.leftover)

    def drop(self, numbers: Iterable[int]) -> None:
        """These partitions are given up."""
        for number in numbers:
            self.stopped.pop(number, None)
            self._harmless.pop(number, None)
        self.leftover = self._of_ready(self.leftover)

    def _of_ready(self, records: List[Message]) -> List[Message]:
        return [message for message in records if message.partition() in self._ready]

    # --- admitting -------------------------------------------------------------------------------

    def plan(self) -> None:
        """Fix how many heads each partition may list during the next batch."""
        for partition in self._ready.values():
            partition.ledger.plan_intake(SPAN)

    def queue(self, message: Message) -> bool:
        """Queue the record behind the head of its key, if its partition has one."""
        partition = self._ready[message.partition()]
        key = message.key()
        if key not in partition.ledger.by_key:
            return False
        partition.ledger.queue(key, message, message.offset(), size_of(message))
        self.stop_if_full(partition, message)
        return True

    def queues(self, message: Message) -> bool:
        """The same, for a record whose key may not be busy in any ledger."""
        return message.key() in self.busy and self.queue(message)

    def partition_of(self, message: Message) -> Partition:
        """The partition of a record."""
        return self._ready[message.partition()]

    def is_stopped(self, number: int) -> bool:
        """Whether this partition admits no more of this batch."""
        return number in self.stopped

    def stop_if_full(self, partition: Partition, admitted: Message) -> None:
        """Admit no more from a partition that has reached its limit of waiting orders."""
        limit = partition.ledger.limit_reached
        if limit is not None:
            self.stop(partition, admitted.offset() + 1, "full")
            waiting = partition.ledger.unfinished
            if partition.in_flight > waiting // 2:
                return  # mostly calls that are running: it has room again in a moment
            self._world.report("ledger_full", partition=partition.number, waiting=waiting, limit=limit)

    def stop(self, partition: Partition, offset: int, why: str, until_s: Optional[float] = None) -> None:
        """Admit nothing from `offset` on for now; Kafka keeps it."""
        self.stopped[partition.number] = offset
        self._assignment.hold(partition, why, until_s)

    def _without_stopped(self, records: List[Message]) -> List[Message]:
        if not self.stopped:
            return records
        return [message for message in records if message.partition() not in self.stopped]

    # --- progress --------------------------------------------------------------------------------

    def note_positions(self, kept: Dict[int, int]) -> List[int]:
        """Advance each `next` to the first record not admitted, past markers and gaps.

        `kept`: by partition, the first offset kept elsewhere. Returns the partitions that advanced.
        """
        places = _first_offsets(self.leftover)
        places.update(kept)
        places.update(self.stopped)
        positions = self._session.positions(list(self._ready))
        for number in self._ready:
            if number not in places:
                places[number] = self._reached(number, positions.get(number))
        further = [number for number, place in places.items() if self._advance(number, place)]
        for gap in self._assignment.admission.take_gaps():
            self._look_for_loss(gap)
        stopped = dict(self.stopped)
        self.stopped.clear()
        for number, offset in stopped.items():
            self.go_back(number, offset)
        return further

    def _advance(self, number: int, place: int) -> bool:
        partition = self._ready.get(number)
        if partition is None or place <= partition.ledger.next:
            return False
        partition.ledger.advance_to(place)
        return True

    def _reached(self, number: int, position: Optional[int]) -> int:
        """Where it has got with nothing kept. `position`: the client's, which it has none of after a seek.

        What was delivered before the seek has been admitted all the same: a commit must not end before it.
        """
        admission = self._assignment.admission
        if position is None:
            return admission.expected(number)
        reached = admission.reached(number, position, self._world.clock())
        if reached is None:
            reached = admission.expected(number)
            self.go_back(number, reached)
        return reached

    def _look_for_loss(self, gap: Gap) -> None:
        """Report skipped offsets if retention deleted them before we got there."""
        number, now_s = gap.partition, self._world.clock()
        size, until_s = self._harmless.get(number, (0, 0.0))
        if number not in self._ready or (gap.size <= size and now_s < until_s):
            return
        bounds = self._assignment.bounds(number)
        if bounds is None:
            return
        if bounds[0] <= gap.first:
            self._harmless[number] = max(size, gap.size), now_s + LOSS_LOOK_S
            return
        until = min(bounds[0], gap.end)
        self._world.report("lost_by_retention", partition=number, offset=gap.first, until=until)

    def steer(self) -> None:
        """Pause fetching while there is more than can be called, and resume afterwards."""
        self._assignment.release_expired()
        backlog = len(self.leftover)
        for partition in self._ready.values():
            if backlog > MAX_BACKLOG or backlog < MIN_BACKLOG:
                self._assignment.hold_if(partition, "backlog", backlog > MAX_BACKLOG)
            if "full" in partition.holds and partition.ledger.has_room:
                self._assignment.release(partition, "full")


def _first_offsets(messages: Sequence[Message]) -> Dict[int, int]:
    """By partition, the offset of its first record."""
    return {message.partition(): message.offset() for message in reversed(messages)}


def _by_partition(messages: Sequence[Message]) -> Dict[int, List[Message]]:
    found: Dict[int, List[Message]] = {}
    for message in messages:
        found.setdefault(message.partition(), []).append(message)
    return found
