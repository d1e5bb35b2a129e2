"""Fields that nobody is to see: a copy of a dead letter without them, for everything that is shown.

What is selected, summed up or replayed is the dead letter itself. Only what is shown of it goes through here.
"""

from typing import Any, FrozenSet, Iterator, List, NamedTuple, Optional, Sequence

from orderflow.dlq.explain import Explanation
from orderflow.dlq.letter import Letter, Order
from orderflow.errors import Undecodable
from orderflow.model.records import Header, Record

MASKED = "[masked]"
KEY = "key"
"""Not a field of the order, but named like one."""
SHORTEST = 4
"""Characters of a value that is also looked for in messages and headers; shorter ones stand in any text."""


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
        order, record = letter.order, letter.record
        words = sorted(self._words(letter), key=len, reverse=True)
        headers = [_without(header, words) for header in record.headers]
        copy = record._replace(key=self._key(record.key, words), value=None, headers=headers)
        return MaskedLetter(letter, copy, None if order is None else self.order(order))

    def order(self, order: Order) -> Order:
        """The order with what is hidden replaced, in objects and lists within it too."""
        return {name: MASKED if name in self.names else self._inner(value) for name, value in order.items()}

    def _inner(self, value: Any) -> Any:
        if isinstance(value, dict):
            return self.order(value)
        return [self._inner(each) for each in value] if isinstance(value, list) else value

    def _key(self, key: Optional[bytes], words: Sequence[bytes]) -> Optional[bytes]:
        if key is None:
            return None
        return MASKED.encode() if KEY in self.names or any(word in key for word in words) else key

    def _words(self, letter: Letter) -> Iterator[bytes]:
        """The hidden values as they may stand in a text."""
        if KEY in self.names and letter.record.key is not None:
            yield from _word(letter.record.key)
        for value in self._values(letter.order or {}):
            yield from _word(str(value).encode("utf-8", "backslashreplace"))

    def _values(self, value: Any) -> Iterator[Any]:
        if isinstance(value, dict):
            for name, inner in value.items():
                yield from _leaves(inner) if name in self.names else self._values(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from self._values(inner)


def is_masked(letter: Letter) -> bool:
    """Whether something of it is hidden, so that it is not the whole dead letter."""
    return isinstance(letter, MaskedLetter)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _leaves(inner)
    elif value is not None and not isinstance(value, bool):
        yield value


def _word(word: bytes) -> Iterator[bytes]:
    if len(word) >= SHORTEST:
        yield word


def _without(header: Header, words: List[bytes]) -> Header:
    name, value = header
    for word in words:
        value = None if value is None else value.replace(word, MASKED.encode())
    return name, value


def _no_value(value: Optional[bytes]) -> Any:
    raise Undecodable("some of its fields are hidden, and its value with them", "show.masked")
