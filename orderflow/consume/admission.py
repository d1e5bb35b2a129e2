"""Decides which records are new: the client's deliveries are trusted only as far as they can be checked.

The client can repeat records, for instance when its first fetch after a pause and resume starts at a stale
offset (librdkafka issues 4637 and 2593); it can skip records, and it can deliver them late. So:
- no offset is passed on twice;
- a jump forward is accepted only if it happens again after a seek back to where it started. Logs do have
  gaps (transaction markers, aborted records, compaction), so after three confirmed gaps in a row, only one
  jump every five seconds is checked, plus any that follows a resume;
- a late record from inside an accepted gap is passed on, once.
"""

import re
from itertools import groupby
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

from orderflow.model.records import Message

TRUSTED_AFTER = 3
"""After this many confirmed gaps in a row in a partition, jumps are only checked occasionally."""
LOOK_EVERY_S = 5.0
HOLES_KEPT = 256
"""How many recent gaps of a partition are remembered, to recognise late records."""

_RUN = re.compile(rb"(.)\1*", re.DOTALL)


class Sifted(NamedTuple):
    """One batch, sorted out."""

    fresh: List[Message]
    """New records, in offset order within each partition."""
    late: Sequence[Message] = ()
    """New records from inside an accepted gap, delivered after later ones."""
    repeated: Sequence[Message] = ()
    """Delivered before: ignore them, but report them."""
    back_to: Sequence[Tuple[int, int]] = ()
    """(partition, offset) pairs to seek back to, because the client jumped forward from there."""


class Gap(NamedTuple):
    """Offsets that hold no record for us, whatever the reason."""

    partition: int
    first: int
    end: int

    @property
    def size(self) -> int:
        """How many offsets."""
        return self.end - self.first


class _Place:
    """How far one partition has been delivered."""

    __slots__ = ("_asked", "_believed", "_doubted", "_holes", "_look_at_s", "next")

    def __init__(self, offset: int) -> None:
        self.next = offset
        """The first offset not delivered yet."""
        self._asked = True
        """The client was sent to this offset, and nothing has arrived since."""
        self._doubted: Optional[Tuple[int, int]] = None
        """The jump (from, to) being checked."""
        self._believed = 0
        """Confirmed gaps in a row."""
        self._look_at_s = 0.0
        self._holes: List[Tuple[int, int]] = []

    def go_back(self, offset: int) -> None:
        """The client was sent to this offset."""
        self.next, self._asked = offset, True

    def reach(self, offset: int) -> None:
        """Every record below this offset has been delivered."""
        self.next, self._asked = offset, False

    def judge_jump(self, to: int, now_s: float) -> bool:
        """Whether to accept a jump forward as a gap in the log. If not yet, remember it as doubted."""
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
        """Accept everything up to `to` as a gap."""
        self._holes = [*self._holes[1 - HOLES_KEPT :], (self.next, to)]
        self.next = to

    def fill(self, offset: int) -> bool:
        """Whether the offset is inside an accepted gap; if so, remove it from the gap."""
        for index, (first, end) in enumerate(self._holes):
            if first <= offset < end:
                self._holes[index : index + 1] = [(first, offset), (offset + 1, end)]
                return True
        return False


class Admission:
    """Sorts the client's deliveries. It is notified of seeks but never seeks itself."""

    def __init__(self) -> None:
        self._places: Dict[int, _Place] = {}
        self._gaps: List[Gap] = []

    def begin(self, number: int, offset: int) -> None:
        """A partition is ready and will be read from this offset."""
        self._places[number] = _Place(offset)

    def go_back(self, number: int, offset: int) -> None:
        """The client was sent to this offset: anything it delivered from there on counts as unseen."""
        self._places[number].go_back(offset)

    def expected(self, number: int) -> int:
        """The first offset not delivered yet, which is where to resume after a pause."""
        return self._places[number].next

    def forget(self, number: int) -> None:
        """A partition is no longer ours: ignore its records."""
        self._places.pop(number, None)

    def reached(self, number: int, position: int, now_s: float) -> Optional[int]:
        """How far a partition has got when the client is at `position` with nothing left to deliver.

        None if that position is a jump that has to be checked: seek the client to `expected`.
        """
        place = self._places[number]
        if position <= place.next:
            return place.next
        if not place.judge_jump(position, now_s):
            return None
        self._jump(number, position)
        return position

    def take_gaps(self) -> List[Gap]:
        """The jumps that were accepted since the last call."""
        gaps, self._gaps = self._gaps, []
        return gaps

    def _jump(self, number: int, to: int) -> None:
        place = self._places[number]
        if to > place.next:
            self._gaps.append(Gap(number, place.next, to))
            place.jump(to)

    def sift(self, records: List[Message], now_s: float) -> Sifted:
        """Sort a batch. Returns the same list if all of it is new and consecutive, the usual case."""
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
                elif offset > place.next and not place.judge_jump(offset, now_s):
                    back_to.append((number, place.next))
                    break
                else:
                    self._jump(number, offset)
                    place.reach(offset + 1)
                    fresh.append(message)
        return Sifted(fresh, late, repeated, back_to)


def _runs(records: Sequence[Message]) -> Iterator[Tuple[int, int, int]]:
    """Partition, start and end of each run of records from the same partition."""
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
    """Whether a run's offsets are consecutive from `first`. The usual case costs no more than this."""
    run = records if end - start == len(records) else records[start:end]
    return list(map(type(run[0]).offset, run)) == list(range(first, first + end - start))


def _of(number: int, records: Sequence[Message]) -> List[Message]:
    return [message for message in records if message.partition() == number]


def _offset(message: Message) -> int:
    return message.offset()
