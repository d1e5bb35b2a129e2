"""Finds the offsets that a range of a topic covers: positions and times are looked up, not scanned for."""

from collections import deque
from typing import Callable, Deque, Dict, List, Mapping, Sequence, TypeVar

from orderflow.kafka.positions import END, Position, Range
from orderflow.kafka.reader import Bounds, Reader, Span
from orderflow.model.records import BY_ITS_BROKER, Record

CLOCK_SLACK_MS = 600_000
"""Brokers' clocks differ: for this long past the end time, a record in time may still follow."""

Told = TypeVar("Told")


def spans_of(reader: Reader, wanted: Range) -> List[Span]:
    """The offsets that the range covers now. Raises CommandError for a partition that does not exist."""
    partitions = reader.chosen(wanted.partitions)
    places = _Places(reader, {partition: reader.bounds(partition) for partition in partitions})
    begins = places.of(wanted.begin)
    ends = places.of(wanted.end or END)
    if wanted.since_ms is not None:
        begins = _later(begins, places.of(Position("time", wanted.since_ms)))
    if wanted.until_ms is not None:
        ends = places.until(wanted.until_ms, ends)
    return [Span(partition, begins[partition], ends[partition]) for partition in partitions]


class _Places:
    """Positions as an offset in each of some partitions, clamped to what the partition holds."""

    def __init__(self, reader: Reader, bounds: Mapping[int, Bounds]) -> None:
        self._reader = reader
        self._bounds = bounds

    def of(self, position: Position) -> Dict[int, int]:
        """The offset of the position in each partition."""
        if position.kind == "time":
            return self._at_time(position.value)
        if position.kind == "back":
            return {each: self._back(each, position.value, held) for each, held in self._bounds.items()}
        return {partition: _place(position, held) for partition, held in self._bounds.items()}

    def until(self, until_ms: int, ends: Mapping[int, int]) -> Dict[int, int]:
        """The ends, nearer where it is certain that no record of an earlier time lies behind."""
        late = self._at_time(until_ms + CLOCK_SLACK_MS)
        near = {p for p, end in ends.items() if late[p] < end and self._is_by_time(p, late[p])}
        return {p: late[p] if p in near else end for p, end in ends.items()}

    def _at_time(self, timestamp_ms: int) -> Dict[int, int]:
        found = self._reader.offsets_at(timestamp_ms, self._bounds)
        ends = {partition: held.high for partition, held in self._bounds.items()}
        return {p: ends[p] if offset is None else offset for p, offset in found.items()}

    def _back(self, partition: int, number: int, held: Bounds) -> int:
        """Where the last so many records begin."""
        if number == 0:
            return held.high
        offsets = self._of_last(partition, number, held, lambda record: record.offset)
        return offsets[0] if len(offsets) == number else held.low

    def _of_last(
        self, partition: int, number: int, held: Bounds, told: Callable[[Record], Told]
    ) -> Sequence[Told]:
        """What the last so many records tell, fewer if there are no more.

        They are read, since offsets do not count them: transactions' markers take offsets too.
        """
        size = number
        while True:
            begin = max(held.low, held.high - size)
            last: Deque[Told] = deque(maxlen=number)
            for batch in self._reader.read([Span(partition, begin, held.high)]):
                last.extend(map(told, batch))
            if len(last) == number or begin == held.low:
                return last
            size *= 2

    def _is_by_time(self, partition: int, begin: int) -> bool:
        """Whether all from here on lie in the order of their times, since their broker dated them.

        Elsewhere an older record may stand behind any number of newer ones.
        """
        first = self._reader.record_at(partition, begin)
        if first is None or first.timestamp_type != BY_ITS_BROKER:
            return False
        last = self._of_last(partition, 1, self._bounds[partition], lambda record: record.timestamp_type)
        return list(last) == [BY_ITS_BROKER]


def _place(position: Position, held: Bounds) -> int:
    offset = {
        "beginning": held.low,
        "end": held.high,
        "offset": position.value,
    }[position.kind]
    return min(max(offset, held.low), held.high)


def _later(one: Mapping[int, int], other: Mapping[int, int]) -> Dict[int, int]:
    return {partition: max(place, other[partition]) for partition, place in one.items()}
