"""Checks whether every order the topic held at the start is done, by any member of the group."""

from typing import Callable, Container, Dict, Iterable, Mapping, Optional, Set

from confluent_kafka import KafkaException

from orderflow.consume.monitor import Ends
from orderflow.consume.partition import Partition
from orderflow.consume.session import Session
from orderflow.consume.world import Report
from orderflow.model.commit_metadata import of_another_topic

LOOK_EVERY_S = 1.0
ASK_AGAIN_S = 3.0
"""For the end of a partition without a leader. A request to a lost broker keeps a CPU busy, so not sooner."""
SAY_EVERY_S = 30.0
TIMEOUT_S = 5.0


class Drain:
    """Notes the end of every partition once, then checks the committed offsets from time to time."""

    def __init__(
        self,
        session: Session,
        log: Ends,
        partitions: Iterable[int],
        clock: Callable[[], float],
        report: Report,
        topic_id: Optional[str] = None,
    ) -> None:
        """`log`: its ends include records that open transactions hold back.

        `topic_id`: what was committed for another topic of this name does not count.
        """
        self._session = session
        self._log = log
        self._clock = clock
        self._report = report
        self._topic_id = topic_id
        self._ends: Dict[int, int] = {}
        self._unknown: Set[int] = set(partitions)
        """Where these end has not been told yet."""
        self._held: Dict[int, int] = {}
        """The next offsets of ours that had not reached their ends at the last look."""
        self._next_look_s = 0.0
        self._say_at_s = clock() + LOOK_EVERY_S
        self._say_unknown_at_s = self._ask_at_s = clock() + ASK_AGAIN_S
        log.ask(self._unknown)

    def note_ends(self) -> None:
        """Note what is known by now of where the partitions end. Never waits for an answer.

        A partition without a leader must not keep the others from being worked on.
        """
        if self._unknown and not self._log.is_asking:
            self._take_ends()
        self._say_unknown()

    def _take_ends(self) -> None:
        told = self._log.take()
        self._unknown -= set(told)
        self._ends.update({number: end for number, end in told.items() if end})
        if self._unknown and self._clock() >= self._ask_at_s:
            self._ask_at_s = self._clock() + ASK_AGAIN_S
            self._log.ask(self._unknown)

    def _say_unknown(self) -> None:
        if self._unknown and self._clock() >= self._say_unknown_at_s:
            self._say_unknown_at_s = self._clock() + SAY_EVERY_S
            self._report("end_unknown", partitions=sorted(self._unknown))

    def ours_are_done(self, ours: Mapping[int, Partition]) -> bool:
        """Whether we have read past everything our partitions held; reports what is missing now and then.

        The client sees the log end before the first open transaction, so reaching that end proves nothing.
        """
        if not self._unknown.isdisjoint(ours):
            return False
        held = {
            number: partition.ledger.next
            for number, partition in ours.items()
            if partition.ledger.next < self._ends.get(number, 0)
        }
        if held and self._clock() >= self._say_at_s:
            self._say_held(held)
        return not held

    def _say_held(self, held: Dict[int, int]) -> None:
        """Say what is held back: where nothing has been read since the last look. Else orders just come."""
        still = {number: offset for number, offset in held.items() if self._held.get(number) == offset}
        self._held = held
        self._say_at_s = self._clock() + (SAY_EVERY_S if still else LOOK_EVERY_S)
        for number, offset in still.items():
            self._report("open_transaction", partition=number, offset=offset, until=self._ends[number])

    def others_are_done(self, ours: Container[int]) -> bool:
        """Whether all partitions but `ours` are drained; checks once a second, and says no in between."""
        if any(number not in ours for number in self._unknown):
            return False
        numbers = [number for number in self._ends if number not in ours]
        if not numbers:
            return True
        if self._clock() < self._next_look_s:
            return False
        self._next_look_s = self._clock() + LOOK_EVERY_S
        try:
            committed = self._session.committed(numbers, TIMEOUT_S)
        except KafkaException:
            return False
        return all(self._is_done(number, *committed[number]) for number in numbers)

    def _is_done(self, number: int, offset: Optional[int], metadata: str) -> bool:
        if offset is None or of_another_topic(metadata, offset, self._topic_id) is not None:
            return False
        return offset >= self._ends[number]  # the lowest unfinished one
