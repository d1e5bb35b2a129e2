"""Events without what is hidden (MASKED_FIELDS): keys, and hidden values in the words of a failure.

Every event of the engine passes here before it is counted or logged, so that no line, no JSON field and no
metric's label shows them. Spans ask here for the values that they must not show.
"""

import contextlib
from typing import Any, Callable, Dict, FrozenSet, Mapping, Optional, Tuple, Union

from orderflow.consume.outcomes import KILLED
from orderflow.errors import Cause, Failure
from orderflow.model.hidden import TextKind, Words, key_without, words_of
from orderflow.model.records import Message, Record

Order = Dict[str, Any]
_UNKNOWN = Words(set(), is_known=False)
_NOTHING = Words(set())


class EventMask:
    """Hides the fields that it is given."""

    def __init__(self, names: FrozenSet[str], decode: Callable[[Optional[bytes]], Order]) -> None:
        """`decode` is asked only about orders that something is said of, which are few."""
        self._names = names
        self._decode = decode

    def fields(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """The fields of an event, to be counted and logged."""
        if not self._names:
            return fields
        words = self._words(fields.get("record"), fields.get("failure"))
        return {name: self._masked(name, value, words) for name, value in fields.items()}

    def words(self, order: Optional[Order], key: Optional[bytes]) -> Words:
        """The hidden values of an order, which is None where it cannot be decoded, and of its key."""
        return words_of(self._names, order, key) if self._names else _NOTHING

    def words_within(self, value: Optional[bytes], key: Optional[bytes]) -> Words:
        """The same of an order as it is in its record."""
        return self.words(self._order_in(value) if self._names else None, key)

    def _order_in(self, value: Optional[bytes]) -> Optional[Order]:
        with contextlib.suppress(Exception):  # whatever the reason, its values are not known then
            return self._decode(value)
        return None

    def _words(self, record: Union[Record, Message, None], failure: Optional[Failure]) -> Words:
        """The hidden values of an order. One that cannot be decoded, or that may kill us, is left alone."""
        if record is None:
            return _UNKNOWN
        key, value = _parts(record)
        is_left_alone = failure is not None and _is_ours(failure)
        return self.words(None, key) if is_left_alone else self.words_within(value, key)

    def _masked(self, name: str, value: Any, words: Words) -> Any:
        if name == "record":
            return self._record(value, words)
        if isinstance(value, Failure):
            return _failure(value, words)
        if name == "traceback":
            return [words.out_of_text(line) for line in value]
        return value

    def _record(self, record: Union[Record, Message], words: Words) -> Record:
        """As much of it as is told: its place, and its key."""
        key = key_without(self._names, _parts(record)[0], words)
        if isinstance(record, Record):
            return record._replace(key=key, value=None, headers=[])
        return Record(record.topic(), record.partition(), record.offset(), None, None, key, None, [])


NOTHING_HIDDEN = EventMask(frozenset(), lambda value: {})


def _parts(record: Union[Record, Message]) -> Tuple[Optional[bytes], Optional[bytes]]:
    if isinstance(record, Record):
        return record.key, record.value
    return record.key(), record.value()


def _failure(failure: Failure, words: Words) -> Failure:
    kind = TextKind.OURS if _is_ours(failure) else TextKind.MESSAGE
    return failure._replace(
        reason=words.out_of_text(failure.reason, TextKind.ANY),
        message=words.out_of_text(failure.message, kind),
        causes=tuple(Cause(name, words.out_of_text(text, kind)) for name, text in failure.causes),
    )


def _is_ours(failure: Failure) -> bool:
    """Whether the words are the toolkit's: the order cannot be decoded, or must not be once more."""
    return failure.stage == "decode" or failure.reason == KILLED.reason
