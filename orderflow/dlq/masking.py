"""Fields that nobody is to see: a copy of a dead letter without them, for everything that is shown.

What is selected, summed up or replayed is the dead letter itself. Only what is shown of it goes through here.
"""

from typing import Any, Callable, FrozenSet, NamedTuple, Optional, Sequence

from orderflow.dlq.dialects import OWN
from orderflow.dlq.explain import Explanation, created_ms, recognise
from orderflow.dlq.letter import FailureKind, Letter, Order
from orderflow.errors import Undecodable
from orderflow.model import hidden
from orderflow.model.dead_letter import CAUSE, REPLAY_PREFIX
from orderflow.model.hidden import KEY, MASKED, TextKind, Words
from orderflow.model.records import Header, Record

__all__ = ["KEY", "MASKED", "NOTHING_HIDDEN", "Mask", "MaskedLetter", "is_masked"]


class MaskedLetter(Letter):
    """A copy to show, which is of the same kind. It can be neither replayed nor imported."""

    __slots__ = ()

    def __init__(self, letter: Letter, record: Record, order: Optional[Order], kind: FailureKind) -> None:
        super().__init__(record, _no_value, lambda partition, offset: letter.state)
        self._kind = kind
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
        kind_of = _kinds(letter)
        headers = [_without(header, words, kind_of(header[0])) for header in record.headers]
        copy = record._replace(key=self.key(record.key, words), value=None, headers=headers)
        kind = _kind_without(letter.kind, words)
        return MaskedLetter(letter, copy, None if order is None else self.order(order), kind)

    def words(self, letter: Letter) -> Words:
        """The hidden values of a dead letter, as they may stand in a text."""
        return hidden.words_of(self.names, letter.order, letter.record.key)

    def order(self, order: Order) -> Order:
        """The order with what is hidden replaced, in objects and lists within it too."""
        return hidden.order_without(self.names, order)

    def key(self, key: Optional[bytes], words: Words) -> Optional[bytes]:
        """The key, unless it is hidden or holds something that is."""
        return hidden.key_without(self.names, key, words)


NOTHING_HIDDEN = Mask()


def is_masked(letter: Letter) -> bool:
    """Whether something of it is hidden, so that it is not the whole dead letter."""
    return isinstance(letter, MaskedLetter)


def _kinds(letter: Letter) -> Callable[[str], TextKind]:
    """What the headers of a dead letter are, by name. Those of the order itself may hold anything."""
    dialect = recognise(letter.record.headers, created_ms(letter.record))
    is_decoders = dialect.name == OWN.name and letter.kind.stage == "decode"
    messages = {*dialect.message, *dialect.cause_message, *dialect.stack, CAUSE}

    def kind_of(name: str) -> TextKind:
        if name in messages:
            return TextKind.OURS if is_decoders and name in dialect.message else TextKind.MESSAGE
        is_known = dialect.is_diagnostic(name) or name.startswith(REPLAY_PREFIX)
        return TextKind.ANY if is_known else TextKind.MESSAGE

    return kind_of


def _without(header: Header, words: Words, kind: TextKind) -> Header:
    """A header whose value holds nothing hidden, nor its name: producers make names of values too."""
    name, value = header
    name = words.out_of_name(name) if kind is TextKind.ANY else words.out_of_their_name(name)
    return name, None if value is None else words.out_of(value, kind)


def _kind_without(kind: FailureKind, words: Words) -> FailureKind:
    """Whoever failed chose its words and names, and may have made them of a value."""
    told = {"reason": kind.reason, "error_class": kind.error_class}
    names = {"stage": kind.stage, "topic": kind.topic, "frame": kind.frame}
    return kind._replace(
        **{part: words.out_of_text(text, TextKind.ANY) for part, text in told.items() if text is not None},
        **{part: words.out_of_name(text) for part, text in names.items() if text is not None},
    )


def _no_value(value: Optional[bytes]) -> Any:
    raise Undecodable("some of its fields are hidden, and its value with them", "show.masked")
