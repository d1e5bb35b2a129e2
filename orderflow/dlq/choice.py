"""Which dead letters were chosen, fixed before anybody is asked about them."""

from typing import Dict, Sequence, Tuple

from orderflow.dlq.audit import Marks
from orderflow.dlq.letter import Letter
from orderflow.kafka.reader import Span


class Choice:
    """Dead letters, by their places, in some two bytes each.

    What a selection takes may be another thing a moment later: more arrive, states change, and what a limit
    takes depends on which partition is read first.
    """

    def __init__(self, spans: Sequence[Span]) -> None:
        """`spans`: what they are chosen from."""
        self._begins = {span.partition: span.begin for span in spans}
        self._ends: Dict[int, int] = dict(self._begins)
        self._marks = Marks()

    @property
    def count(self) -> int:
        """How many are to be acted on."""
        return self._marks.count

    @property
    def spans(self) -> Tuple[Span, ...]:
        """What was chosen from, in each partition only as far as any was chosen."""
        return tuple(Span(number, begin, self._ends[number]) for number, begin in self._begins.items())

    def add(self, letter: Letter, is_to_be_acted_on: bool = True) -> None:
        """Take one in, in each partition by ascending offset.

        One that is not to be acted on takes up a place of a limit all the same, as it did when it was chosen.
        """
        record = letter.record
        self._ends[record.partition] = record.offset + 1
        if is_to_be_acted_on:
            self._marks.set(record.partition, record.offset, 1)

    def holds(self, letter: Letter) -> bool:
        """Whether it is to be acted on."""
        return self._marks.get(letter.record.partition, letter.record.offset) != 0
