"""Which records are new: what the client hands over is believed only as far as it can be checked.

A client can repeat what it has handed over, after a pause and a resume, for instance, when its next fetch
begins at a stale offset (librdkafka issues 4637 and 2593); it can skip, and it can deliver late. So:
- an offset that was handed over once is never handed on again;
- a jump forward is believed at the second look: the client is sent back to where it jumped from. Logs do
  have holes (markers of transactions, aborted records, compaction), so where three jumps in a row proved
  to be holes, only one in five seconds is looked into, and each that follows a resume;
- a record that comes late, out of a hole that was believed, is handed on, once.
"""

import re
from itertools import groupby
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

from orderflow.model.records import Message

TRUSTED_AFTER = 3
"""Jumps of a partition that proved to be holes before jumps are only looked into now and then."""
LOOK_EVERY_S = 5.0
HOLES_KEPT = 256
"""The last holes of a partition in which a late record is recognised."""

_RUN = re.compile(rb"(.)\1*", re.DOTALL)


class Sifted(NamedTuple):
    """What to make of one batch."""

    fresh: List[Message]
    """New records, each partition's in the order of its offsets."""
    late: Sequence[Message] = ()
    """New ones from before the last: their place was taken for a hole."""
    repeated: Sequence[Message] = ()
    """Handed over before: nothing is to be done with them, but someone may want to know."""
    back_to: Sequence[Tuple[int, int]] = ()
    """(partition, offset) to which the client has to be sent back, since it jumped forward from there."""


class _Place:
    """How far one partition has been handed over."""

    __slots__ = ("_asked", "_believed", "_doubted", "_holes", "_look_at_s", "next")

    def __init__(self, offset: int) -> None:
        self.next = offset
        """The first offset that was not handed over."""
        self._asked = True
        """The client was told to begin here, and nothing has come since."""
        self._doubted: Optional[Tuple[int, int]] = None
        """The jump, from and to, that is being looked into."""
        self._believed = 0
        """Jumps in a row that proved to be holes."""
        self._look_at_s = 0.0
        self._holes: List[Tuple[int, int]] = []

    def go_back(self, offset: int) -> None:
        """The client is sent there."""
        self.next, self._asked = offset, True

    def reach(self, offset: int) -> None:
        """Everything below was handed over, record by record."""
        self.next, self._asked = offset, False

    def believes(self, to: int, now_s: float) -> bool:
        """Judge a jump forward: whether it is a hole in the log. If not yet, it is doubted from now on."""
        if self._doubted == (self.next, to):
            self._doubted = None
            self._believed += 1
            self._look_at_s = now_s + LOOK_EVERY_S
            return True
        if self._believed >= TRUSTED_AFTER and not self._asked and now_s < self._look_at_s:
            return True
        self._doubted = (self.next, to)
        return False

    def jump(self, to: int) -> None:
        """Take what lies between for a hole."""
        if to > self.next:
            self._holes = [*self._holes[1 - HOLES_KEPT :], (self.next, to)]
            self.next = to

    def fill(self, offset: int) -> bool:
        """Whether the offset lies in a hole that was believed; it does not any more."""
        for index, (first, end) in enumerate(self._holes):
            if first <= offset < end:
                self._holes[index : index + 1] = [(first, offset), (offset + 1, end)]
                return True
        return False


class Admission:
    """Sifts what the client hands over. Told where it was sent; never sends it anywhere by itself."""

    def __init__(self) -> None:
        self._places: Dict[int, _Place] = {}

    def begin(self, number: int, offset: int) -> None:
        """A partition is ready, and is read from this offset on."""
        self._places[number] = _Place(offset)

    def go_back(self, number: int, offset: int) -> None:
        """The client was sent to this offset: what it handed over from there on counts as never seen."""
        self._places[number].go_back(offset)

    def expected(self, number: int) -> int:
        """The first offset that was not handed over: where the client has to go on after a pause."""
        return self._places[number].next

    def forget(self, number: int) -> None:
        """A partition is no longer ours: nothing of it is new to us."""
        self._places.pop(number, None)

    def reached(self, number: int, position: int, now_s: float) -> Optional[int]:
        """How far a partition has got where the client stands at `position` and has nothing more to give.

        None where that position is a jump that has to be looked into: send the client to `expected`.
        """
        place = self._places[number]
        if position <= place.next:
            return place.next
        if not place.believes(position, now_s):
            return None
        place.jump(position)
        return position

    def sift(self, records: List[Message], now_s: float) -> Sifted:
        """What of these is new. The list itself where all of it is, in unbroken order: the usual case."""
        places, odd = self._places, set()
        reached: Dict[int, int] = {}
        for number, start, end in _runs(records):
            first = reached.get(number) or (places[number].next if number in places else -1)
            if not _is_unbroken(records, start, end, first):
                odd.add(number)
            reached[number] = first + end - start
        for number in set(reached) - odd:
            places[number].reach(reached[number])
        return self._sift_odd(records, odd, now_s) if odd else Sifted(records)

    def _sift_odd(self, records: List[Message], odd: Set[int], now_s: float) -> Sifted:
        fresh = [message for message in records if message.partition() not in odd]
        late: List[Message] = []
        repeated: List[Message] = []
        back_to: List[Tuple[int, int]] = []
        for number in sorted(odd & set(self._places)):
            place = self._places[number]
            for message in sorted(_of(number, records), key=_offset):
                offset = message.offset()
                if offset < place.next:
                    (late if place.fill(offset) else repeated).append(message)
                elif offset > place.next and not place.believes(offset, now_s):
                    back_to.append((number, place.next))
                    break
                else:
                    place.jump(offset)
                    place.reach(offset + 1)
                    fresh.append(message)
        return Sifted(fresh, late, repeated, back_to)


def _runs(records: Sequence[Message]) -> Iterator[Tuple[int, int, int]]:
    """Partition, start and end of each unbroken run of one partition's records."""
    if not records:
        return
    numbers = list(map(type(records[0]).partition, records))
    if max(numbers) < 256:
        for found in _RUN.finditer(bytes(numbers)):
            yield numbers[found.start()], found.start(), found.end()
        return
    start = 0
    for number, run in groupby(numbers):
        end = start + len(list(run))
        yield number, start, end
        start = end


def _is_unbroken(records: Sequence[Message], start: int, end: int, first: int) -> bool:
    """Whether the records of a run stand at each offset from `first` on. The whole cost of the usual case."""
    run = records if end - start == len(records) else records[start:end]
    return list(map(type(run[0]).offset, run)) == list(range(first, first + end - start))


def _of(number: int, records: Sequence[Message]) -> List[Message]:
    return [message for message in records if message.partition() == number]


def _offset(message: Message) -> int:
    return message.offset()
