"""How long the oldest unseen order of each partition has been in the log. Pure: the times are arguments.

The ends of the log are known every few seconds, so the order at an offset arrived between the last end before
it and the first end beyond it. That costs nothing per order, and holds for a partition from which nothing is
fetched. What was there before the first end was known is as old as the timestamps of the records around it.
"""

from typing import Dict, List, NamedTuple, Set, Tuple

MOST_ENDS = 100
"""Ends remembered for each partition: enough to tell the age of any offset to about a tenth, after days.

While nothing is taken in, the age of the oldest order is exact: the two ends around it are kept.
"""


class _End(NamedTuple):
    at_s: float
    offset: int


class Arrivals:
    """When the offsets of each partition came into being."""

    def __init__(self) -> None:
        self._ends: Dict[int, List[_End]] = {}
        """The oldest is the last one that does not lie beyond `next`, if there is one."""
        self._stamps: Dict[int, Tuple[int, float]] = {}

    def end_is(self, number: int, offset: int, now_s: float) -> None:
        """The log of a partition ends here now."""
        ends = self._ends.setdefault(number, [])
        while ends and ends[-1].offset > offset:  # the log has lost its end
            ends.pop()
        if not ends or ends[-1].offset < offset:
            ends.append(_End(now_s, offset))
        if len(ends) > MOST_ENDS:
            del ends[_least_needed(ends, now_s)]

    def record_at(self, number: int, offset: int, stamp_s: float) -> None:
        """A record at this offset has this timestamp (epoch seconds)."""
        self._stamps[number] = (offset, stamp_s)

    def forget_all_but(self, numbers: Set[int]) -> None:
        """Other partitions are no longer ours."""
        for number in set(self._ends) - numbers:
            del self._ends[number]
        for number in set(self._stamps) - numbers:
            del self._stamps[number]

    def age_s(self, number: int, next_offset: int, now_s: float, time_of_day_s: float) -> float:
        """How long the order at `next_offset` has been there; 0 if the log ends before it."""
        ends = self._ends.get(number, [])
        while len(ends) > 1 and ends[1].offset <= next_offset:
            del ends[0]
        if not ends or ends[-1].offset <= next_offset:
            return 0.0
        if ends[0].offset <= next_offset:
            return max(0.0, now_s - ends[1].at_s)
        return max(0.0, now_s - ends[0].at_s, time_of_day_s - self._stamp_s(number, time_of_day_s))

    def _stamp_s(self, number: int, default_s: float) -> float:
        return self._stamps.get(number, (0, default_s))[1]


def _least_needed(ends: List[_End], now_s: float) -> int:
    """Which end to forget: the one whose neighbours are closest to each other, compared with their age."""

    def gap(place: int) -> float:
        return (ends[place + 1].at_s - ends[place - 1].at_s) / (now_s - ends[place].at_s + 1)

    return min(range(2, len(ends) - 1), key=gap)
