"""Whether all that a topic held at the start has been seen through, by whichever member of the group.

Owns: where each partition ended at the start, and the reading of what is committed for those of others.
Does not know: how our own partitions are getting on.
Used by: consumer.py, for `--until-drained`.
"""

from typing import Callable, Container, Dict, Optional

from confluent_kafka import KafkaException

from orderflow.ledger import read_metadata
from orderflow.session import Session

LOOK_EVERY_S = 1.0
TIMEOUT_S = 5.0


class Drain:
    """Ends of every partition, taken once; then, now and then, a look at what is committed."""

    def __init__(self, session: Session, clock: Callable[[], float]) -> None:
        """Raises KafkaException where the topic cannot be asked."""
        self._session = session
        self._clock = clock
        self._ends: Dict[int, int] = {}
        self._next_look_s = 0.0
        for number in session.partitions(TIMEOUT_S):
            first, end = session.bounds(number, TIMEOUT_S)
            if end > first:
                self._ends[number] = end

    def others_are_done(self, ours: Container[int]) -> bool:
        """Whether the partitions that are not `ours` are drained; looks once a second, else says no."""
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
        if offset is None:
            return False
        commit = read_metadata(metadata, offset)
        if commit is None:
            return offset >= self._ends[number]
        return not commit.entries and commit.next >= self._ends[number]
