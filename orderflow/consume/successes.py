"""Counts the successes of a batch without a look-up for each."""

from typing import Dict, Optional, Sequence, Set

from orderflow.model.records import Message


class Successes:
    """The successes of one batch by partition, and only as many as matter.

    Counting each as it happens would cost a look-up for every successful order. A few matter, so they are
    looked for where they are near: behind the failure that was counted last, else back from the end.
    """

    def __init__(self, records: Sequence[Message]) -> None:
        self.others: Set[int] = set()
        """Places in the batch, from 1, of orders that did not succeed: failed, queued, or never handled."""
        self._size = 0
        self._records = records
        self._counted: Dict[int, int] = {}

    def end_at(self, place: int) -> None:
        """The batch was processed up to and including this place."""
        self._size = place

    def count(self, number: int, most: int, until: Optional[int] = None) -> int:
        """Successes of a partition since its last count, up to and including `until`, at most `most`."""
        until = self._size if until is None else until
        floor, found = self._counted.get(number, 0), 0
        self._counted[number] = until
        if not most:
            return 0
        for place in range(floor + 1, until + 1) if floor else range(until, 0, -1):
            if place not in self.others and self._records[place - 1].partition() == number:
                found += 1
                if found == most:
                    break
        return found
