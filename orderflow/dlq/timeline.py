"""When something happened, counted in few numbers whatever the span, and the span in which most of it did."""

from typing import Dict, Iterable, List, NamedTuple, Optional, Tuple

MOST_BINS = 64
"""Different times that one timeline tells apart; with more, neighbours are counted together."""
TAIL = 0.01
"""Share of the earliest, and of the latest, that an incident's span may leave out."""

LEAST_MS = 1_000
"""Of an incident's span, before its first time and after its last."""


class Window(NamedTuple):
    """A span of time in equal parts. Times are epoch milliseconds."""

    begin_ms: int
    end_ms: int
    parts: int = 8

    def part(self, at_ms: int) -> Optional[int]:
        """Which part the time falls in, or None outside."""
        if not self.begin_ms <= at_ms < self.end_ms:
            return None
        return (at_ms - self.begin_ms) * self.parts // (self.end_ms - self.begin_ms)


class Timeline:
    """How often something happened when: exact for few times, in steps of a power of two beyond that."""

    __slots__ = ("_counts", "_shift")

    def __init__(self) -> None:
        self._shift = 10  # about a second, which is as fine as anybody looks
        self._counts: Dict[int, int] = {}

    @property
    def half_step_ms(self) -> int:
        """How far what happened may lie from the middle of its step."""
        return (1 << self._shift) >> 1

    def add(self, at_ms: int, number: int = 1) -> None:
        """Count as many at this time."""
        counts, place = self._counts, at_ms >> self._shift
        counts[place] = counts.get(place, 0) + number
        if len(counts) > MOST_BINS:
            self._coarsen()

    def take(self, other: "Timeline") -> None:
        """Count all of another one here too."""
        for at_ms, number in other.times():
            self.add(at_ms, number)

    def times(self) -> Iterable[Tuple[int, int]]:
        """Times, the middles of their steps, with how often it happened then."""
        middle = self.half_step_ms
        return (((place << self._shift) + middle, number) for place, number in self._counts.items())

    def parts(self, window: Window) -> List[int]:
        """The counts in each part of the window."""
        counts, half = [0] * window.parts, self.half_step_ms
        for at_ms, number in self.times():
            # A step at the edge counts as within: its middle may lie outside while what happened does not.
            if window.begin_ms - half <= at_ms < window.end_ms + half:
                within_ms = min(max(at_ms, window.begin_ms), window.end_ms - 1)
                part = window.part(within_ms)
                counts[part or 0] += number
        return counts

    def _coarsen(self) -> None:
        while len(self._counts) > MOST_BINS:
            finer, self._counts = self._counts, {}
            self._shift += 1
            for place, number in finer.items():
                self._counts[place >> 1] = self._counts.get(place >> 1, 0) + number


def incident(timelines: Iterable[Timeline], parts: int) -> Optional[Window]:
    """The span that holds all of it but the few earliest and latest; None if nothing has a time."""
    told = list(timelines)
    counts: Dict[int, int] = {}
    for timeline in told:  # thousands of them share a few hundred times, which are soon sorted
        for at_ms, number in timeline.times():
            counts[at_ms] = counts.get(at_ms, 0) + number
    times = sorted(counts.items())
    if not times:
        return None
    around_ms = max(LEAST_MS, *(timeline.half_step_ms for timeline in told))
    few = int(sum(number for _, number in times) * TAIL)
    begin_ms, end_ms = _without(times, few), _without(times[::-1], few)
    return Window(begin_ms - around_ms, end_ms + around_ms, parts)


def _without(times: List[Tuple[int, int]], few: int) -> int:
    """The first time that is left when a few are passed over."""
    for at_ms, number in times:
        few -= number
        if few < 0:
            return at_ms
    return times[-1][0]
