"""Fields that nobody is to see: a copy of a dead letter without them, for everything that is shown.

What is selected, summed up or replayed is the dead letter itself. Only what is shown of it goes through here.
"""

from typing import Any, FrozenSet, NamedTuple, Optional, Sequence

from orderflow.dlq.explain import Explanation
from orderflow.dlq.letter import Letter, Order
from orderflow.errors import Undecodable
from orderflow.model import hidden
from orderflow.model.dead_letter import CAUSE, MESSAGE, STACK
from orderflow.model.hidden import KEY, MASKED, TextKind, Words
from orderflow.model.records import Header, Record

__all__ = ["KEY", "MASKED", "Mask", "MaskedLetter", "is_masked"]


MESSAGES = frozenset([MESSAGE, CAUSE, STACK])


class MaskedLetter(Letter):
    """A copy to show, which is of the same kind. It can be neither replayed nor imported."""

    __slots__ = ()

    def __init__(self, letter: Letter, record: Record, order: Optional[Order]) -> None:
        super().__init__(record, _no_value, lambda partition, offset: letter.state)
        self._kind = letter.kind
        self._order = order

    @property
    def told(self) -> Explanation:
        """What the copy tells of itself, and the kind of what it was made of."""
        return super().told._replace(fingerprint=self.kind.fingerprint)


class Mask(NamedTuple):
    """The names of what is hidden: fields of the order, and `key` for the record's key."""

    names: FrozenSet[str] = frozenset()

    def letters(self, letters: Sequence[Letter]) -> Sequence[Letter]:
        """Copies of these that may be shown; themselves where nothing is hidden."""
        return [self.letter(one) for one in letters] if self.names else letters

    def letter(self, letter: Letter) -> Letter:
        """A copy without what is hidden, wherever it stands: key, fields, and words of messages and headers.

        It has no value, since bytes that cannot be decoded may hold anything.
        """
        if not self.names or isinstance(letter, MaskedLetter):
            return letter
        order, record, words = letter.order, letter.record, self.words(letter)
        is_ours = letter.kind.stage == "decode"
        headers = [_without(header, words, is_ours) for header in record.headers]
        copy = record._replace(key=self.key(record.key, words), value=None, headers=headers)
        return MaskedLetter(letter, copy, None if order is None else self.order(order))

    def words(self, letter: Letter) -> Words:
        """The hidden values of a dead letter, as they may stand in a text."""
        return hidden.words_of(self.names, letter.order, letter.record.key)

    def order(self, order: Order) -> Order:
        """The order with what is hidden replaced, in objects and lists within it too."""
        return hidden.order_without(self.names, order)

    def key(self, key: Optional[bytes], words: Words) -> Optional[bytes]:
        """The key, unless it is hidden or holds something that is."""
        if key is None:
            return None
        return MASKED.encode() if KEY in self.names or words.are_in(key) else key


def is_masked(letter: Letter) -> bool:
    """Whether something of it is hidden, so that it is not the whole dead letter."""
    return isinstance(letter, MaskedLetter)


def _without(header: Header, words: Words, is_ours: bool) -> Header:
    """`is_ours`: the decoder has written its message."""
    name, value = header
    kind = TextKind.ANY
    if name in MESSAGES:
        kind = TextKind.OURS if is_ours else TextKind.MESSAGE
    return name, None if value is None else words.out_of(value, kind)


def _no_value(value: Optional[bytes]) -> Any:
    raise Undecodable("some of its fields are hidden, and its value with them", "show.masked")
