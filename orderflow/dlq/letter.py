"""A dead letter as an operator's verbs see it: read at once, explained only as far as it is asked."""

import re
from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

from orderflow.dlq.dialects import DIALECTS, OWN, decimal_of
from orderflow.dlq.explain import Explanation, explain, fingerprint_of, known_time
from orderflow.dlq.frames import frame_of
from orderflow.errors import RegistryUnavailable, Undecodable
from orderflow.model.dead_letter import (
    CAUSE,
    CLASS,
    CLIENT,
    FINGERPRINT,
    FINGERPRINT_FORM,
    FRAME,
    HEADERS_LEFT_OUT,
    LEFT_OUT,
    MESSAGE,
    OFFSET,
    PARTITION,
    REASON,
    STACK,
    STAGE,
    TIMESTAMP,
    TOPIC,
    is_ours,
)
from orderflow.model.records import Record

Order = Dict[str, Any]
Decode = Callable[[Optional[bytes]], Order]
"""Bytes of a value to an order. Raises `Undecodable` or `RegistryUnavailable`."""
Values = Dict[str, Any]
"""The last value of each header name."""
StateOf = Callable[[int, int], str]
"""What became of the dead letter at (partition, offset): one of `STATES`."""

NEW, REPLAYED, FAILED_AGAIN, DISCARDED = "new", "replayed", "failed-again", "discarded"
STATES = (NEW, REPLAYED, FAILED_AGAIN, DISCARDED)
UNRESOLVED = (NEW,)
"""Those that still wait for someone. One that failed again lives on in the dead letter that it became."""


def nothing_done(partition: int, offset: int) -> str:
    """The state of every dead letter where no audit topic tells otherwise."""
    return NEW


class FailureKind(NamedTuple):
    """What a dead letter has in common with others that died of the same."""

    dialect: str
    fingerprint: str
    """16 hex digits that failures of one kind share."""
    reason: Optional[str] = None
    stage: Optional[str] = None
    error_class: Optional[str] = None
    """The innermost cause where one is told."""
    topic: Optional[str] = None
    """The source's."""
    frame: Optional[str] = None
    """Where the application failed."""


Detail = Tuple[Optional[str], Optional[int], Optional[int]]
"""What a dead letter tells of itself alone: message (of the innermost cause where one is told), and the
source's partition and offset."""


class Letter:
    """One dead letter. What costs time is worked out when it is first asked for, and kept."""

    __slots__ = ("_decode", "_kind", "_order", "_own_values", "_state_of", "_told", "record")

    def __init__(self, record: Record, decode: Decode, state_of: StateOf = nothing_done) -> None:
        self.record = record
        self._decode = decode
        self._state_of = state_of
        self._own_values: Optional[Values] = None
        self._kind: Optional[FailureKind] = None
        self._told: Optional[Explanation] = None
        self._order: Any = _UNTRIED

    @property
    def position(self) -> str:
        """Where it stands in its topic, as `show` takes it: `partition:offset`."""
        return f"{self.record.partition}:{self.record.offset}"

    @property
    def told(self) -> Explanation:
        """Everything that it tells of itself."""
        if self._told is None:
            self._told = explain(self.record)
        return self._told

    @property
    def kind(self) -> FailureKind:
        """What it died of, quick for dead letters of our own."""
        if self._kind is None:
            self._kind = _own_kind(self.own_values) or _kind(self.told)
        return self._kind

    @property
    def detail(self) -> Detail:
        """What a line about it needs beside that, as quick."""
        return _own_detail(self.own_values) or _detail(self.told)

    @property
    def fingerprint(self) -> str:
        """16 hex digits that failures of one kind share."""
        return self.kind.fingerprint

    @property
    def mark(self) -> Optional[str]:
        """The fingerprint that it carries, under which an older version showed it."""
        value = self.own_values.get(FINGERPRINT)
        return value.decode("ascii") if value is not None and _MARK.fullmatch(value) else None

    @property
    def carries_key(self) -> bool:
        """Whether its key is the source's."""
        if self.own_values and LEFT_OUT not in self.own_values:
            return True
        return self.told.key_is_original is True

    @property
    def source_ms(self) -> Optional[int]:
        """The source's time; None where it is not carried."""
        if not self.own_values:
            return self.told.timestamp_ms
        return known_time(decimal_of(self.own_values.get(TIMESTAMP)))

    @property
    def own_values(self) -> Values:
        """The headers by name where it is surely a dead letter of our own, else nothing."""
        if self._own_values is None:
            self._own_values = _own_values(self.record)
        return self._own_values

    @property
    def headers_left_out(self) -> bool:
        """Whether headers are missing that no client of ours can read."""
        if self.record.headers_left_out is not None:
            return True
        return HEADERS_LEFT_OUT in self.own_values or (
            not self.own_values and self.told.headers_left_out is not None
        )

    @property
    def state(self) -> str:
        """What became of it: one of `STATES`."""
        return self._state_of(self.record.partition, self.record.offset)

    @property
    def order(self) -> Optional[Order]:
        """The order, decoded with today's schemas, or None where that fails."""
        if self._order is _UNTRIED:
            try:
                self._order = self._decode(self.record.value)
            except (Undecodable, RegistryUnavailable):
                self._order = None
        order: Optional[Order] = self._order
        return order


_UNTRIED = object()
_LAST_OF_OURS = (CLIENT, STACK, LEFT_OUT)
_PUT_IN_FRONT = tuple(prefix for dialect in DIALECTS if dialect.first_wins for prefix in dialect.prefixes)
_MARK = re.compile(FINGERPRINT_FORM.pattern.encode())


def _own_values(record: Record) -> Values:
    """The engine puts its headers behind all others; where some stand in front of them, `explain` decides."""
    headers = record.headers
    if not headers or headers[-1][0] not in _LAST_OF_OURS or headers[0][0].startswith(_PUT_IN_FRONT):
        return {}
    return dict(headers) if is_ours(headers) else {}


def _own_kind(values: Values) -> Optional[FailureKind]:
    """The short way; None where anything is not as we write it."""
    try:
        if PARTITION not in values or OFFSET not in values:
            return None
        told = (values[FINGERPRINT], values[REASON], values[STAGE], values[CLASS], values[TOPIC])
        frame = values.get(FRAME) or _frame_bytes(values.get(STACK))
        key = (*told, values[CAUSE].split(b":", 1)[0] if CAUSE in values else None, frame)
        return _KINDS.get(key) or _learn(key, values[MESSAGE])
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


_KINDS: Dict[Tuple[Any, ...], FailureKind] = {}
"""Looked up mostly: most dead letters are of a few kinds. The mark in a header stands for the message, which
it was worked out from, so that no message has to be normalised twice."""
MOST_KINDS = 5_000


def _learn(key: Tuple[Any, ...], message: bytes) -> Optional[FailureKind]:
    """Raises what values of another sort raise."""
    mark, *labels = key
    if not _MARK.fullmatch(mark):
        return None
    reason, stage, error_class, topic, cause, where = (_text(label) for label in labels)
    kind = (reason, stage, error_class) if cause is None else (reason, stage, error_class, cause)
    text = fingerprint_of(kind, message.decode(), where)
    if len(_KINDS) >= MOST_KINDS:
        _KINDS.clear()
    return _KINDS.setdefault(key, FailureKind(OWN.name, text, reason, stage, error_class, topic, where))


def _text(label: Optional[bytes]) -> Optional[str]:
    return None if label is None else label.decode()


def _frame_bytes(stack: Optional[bytes]) -> Optional[bytes]:
    """The frame in a stack trace, for dead letters without a header of it."""
    frame = frame_of(stack.decode()) if stack else None
    return None if frame is None else frame.encode()


def _own_detail(values: Values) -> Optional[Detail]:
    """The short way; None where anything is not as we write it."""
    try:
        partition, offset = values[PARTITION], values[OFFSET]
        if partition.isdigit() and offset.isdigit():
            return values[MESSAGE].decode(), int(partition), int(offset)
    except (AttributeError, KeyError, ValueError):
        pass
    return None


def _kind(told: Explanation) -> FailureKind:
    error_class = told.error_class if told.root_class is None else told.root_class
    of_kind = (told.reason, told.stage, error_class, told.topic, told.frame)
    return FailureKind(told.dialect, told.fingerprint, *of_kind)


def _detail(told: Explanation) -> Detail:
    message = told.message if told.root_class is None else told.root_message
    return message, told.partition, told.offset
