"""A dead letter as an operator's verbs see it: read at once, explained only as far as it is asked."""

import re
from operator import itemgetter
from typing import Any, Callable, Dict, NamedTuple, Optional, Sequence, Tuple

from orderflow.dlq.dialects import DIALECTS, OWN, decimal_of
from orderflow.dlq.explain import Explanation, explain, fingerprint_of, known_time
from orderflow.dlq.frames import frame_of
from orderflow.errors import RegistryUnavailable, Undecodable
from orderflow.model.dead_letter import (
    CAUSE,
    CLASS,
    CLIENT,
    FINGERPRINT,
    FRAME,
    HEADERS_LEFT_OUT,
    LEFT_OUT,
    MESSAGE,
    OFFSET,
    PARTITION,
    REASON,
    REPLAY_PREFIX,
    STACK,
    STAGE,
    TIMESTAMP,
    TOPIC,
    is_diagnostic,
    is_ours,
)
from orderflow.model.fingerprint import FINGERPRINT_FORM
from orderflow.model.records import Headers, Record

Order = Dict[str, Any]
Decode = Callable[[Optional[bytes]], Order]
"""Bytes of a value to an order. Raises `Undecodable` or `RegistryUnavailable`."""
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

    __slots__ = ("_decode", "_kind", "_order", "_own", "_state_of", "_told", "record")

    def __init__(self, record: Record, decode: Decode, state_of: StateOf = nothing_done) -> None:
        self.record = record
        self._decode = decode
        self._state_of = state_of
        self._own: Optional[Own] = None
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
            self._kind = _own_kind(self.own) or _kind(self.told)
        return self._kind

    @property
    def detail(self) -> Detail:
        """What a line about it needs beside that, as quick."""
        return _own_detail(self.own) or _detail(self.told)

    @property
    def fingerprint(self) -> str:
        """16 hex digits that failures of one kind share."""
        return self.kind.fingerprint

    @property
    def mark(self) -> Optional[str]:
        """The fingerprint that it carries, under which an older version showed it."""
        value = self.own.get(FINGERPRINT)
        return value.decode("ascii") if value is not None and _MARK.fullmatch(value) else None

    @property
    def carries_key(self) -> bool:
        """Whether its key is the source's."""
        own = self.own
        if own and LEFT_OUT not in own.shape.places:
            return True
        return self.told.key_is_original is True

    @property
    def source_ms(self) -> Optional[int]:
        """The source's time; None where it is not carried."""
        own = self.own
        return known_time(decimal_of(own.get(TIMESTAMP))) if own else self.told.timestamp_ms

    @property
    def own(self) -> "Own":
        """Its headers where it is surely a dead letter of our own, else `NOT_OURS`, which is false."""
        if self._own is None:
            self._own = own_headers(self.record.headers)
        return self._own

    @property
    def headers_left_out(self) -> bool:
        """Whether headers are missing that no client of ours can read."""
        if self.record.headers_left_out is not None:
            return True
        own = self.own
        return HEADERS_LEFT_OUT in own.shape.places if own else self.told.headers_left_out is not None

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


class Shape(NamedTuple):
    """What the names of a dead letter's headers tell, which most dead letters have in common."""

    places: Dict[str, int]
    """Where the last header of each name stands; empty where it is not surely a dead letter of our own."""
    of_source: Tuple[int, ...] = ()
    """Where the headers stand that the source had, without those of its replays."""
    labels_of: Optional[Callable[[Sequence[Any]], Tuple[Any, ...]]] = None
    """Picks what the kind is told by, in the order of `_LABELS`; None where that is not all there."""
    has_more: bool = False
    """Whether cause, frame or stack are there to tell the kind more closely."""


class Own(NamedTuple):
    """The headers of a dead letter of our own, without a dictionary for each."""

    shape: Shape
    values: Sequence[Optional[bytes]]

    def __bool__(self) -> bool:
        """Whether it is surely ours."""
        return bool(self.shape.places)

    def get(self, name: str) -> Optional[bytes]:
        """The last value of this name; None where there is none."""
        place = self.shape.places.get(name)
        return None if place is None else self.values[place]


NOT_OURS = Own(Shape({}), ())
_LABELS = (FINGERPRINT, REASON, STAGE, CLASS, TOPIC)
_SHAPES: Dict[Tuple[str, ...], Shape] = {}
"""Looked up mostly: the dead letters of one version have few different headers."""
MOST_SHAPES = 1_000
LONGEST_SHAPE = 2_000
"""Characters of all names together; a longer shape is looked at each time, so that memory is bounded."""


def own_headers(headers: Headers) -> Own:
    """The headers where they are surely those of a dead letter of our own, else `NOT_OURS`."""
    if not headers or headers[-1][0] not in _LAST_OF_OURS:
        return NOT_OURS
    names, values = zip(*headers)
    shape = _SHAPES.get(names) or _new_shape(names, headers)
    return Own(shape, values) if shape.places else NOT_OURS


def _new_shape(names: Tuple[str, ...], headers: Headers) -> Shape:
    shape = _shape(names, headers)
    if sum(map(len, names)) <= LONGEST_SHAPE:
        if len(_SHAPES) >= MOST_SHAPES:
            _SHAPES.clear()
        _SHAPES[names] = shape
    return shape


def _shape(names: Tuple[str, ...], headers: Headers) -> Shape:
    """The engine puts its headers behind all others; where some stand in front of them, `explain` decides."""
    if names[0].startswith(_PUT_IN_FRONT) or not is_ours(headers):
        return NOT_OURS.shape
    places, of_source = _places(names)
    has_all = all(name in places for name in (*_LABELS, PARTITION, OFFSET, MESSAGE))
    labels_of = itemgetter(*(places[name] for name in _LABELS)) if has_all else None
    has_more = any(name in places for name in (CAUSE, FRAME, STACK))
    return Shape(places, of_source, labels_of, has_more)


def by_name(headers: Headers) -> Own:
    """The same for headers that are ours by what `explain` makes of them, and not at first sight."""
    names = tuple(name for name, _ in headers)
    return Own(Shape(*_places(names)), [value for _, value in headers])


def _places(names: Sequence[str]) -> Tuple[Dict[str, int], Tuple[int, ...]]:
    """Where the last header of each name stands, and where those of the source do."""
    of_source = [place for place, name in enumerate(names) if not _is_of_ours(name)]
    return {name: place for place, name in enumerate(names)}, tuple(of_source)


def _is_of_ours(name: str) -> bool:
    return is_diagnostic(name) or name.startswith(REPLAY_PREFIX)


def _own_kind(own: Own) -> Optional[FailureKind]:
    """The short way; None where anything is not as we write it."""
    shape, values = own
    if shape.labels_of is None:
        return None
    try:
        more = _more_of_kind(own) if shape.has_more else (None, None)
        key = shape.labels_of(values) + more
        return _KINDS.get(key) or _learn(key, values[shape.places[MESSAGE]])
    except (AttributeError, TypeError, ValueError):
        return None


def _more_of_kind(own: Own) -> Tuple[Optional[bytes], Optional[bytes]]:
    """The class of the innermost cause, and where the application failed."""
    place = own.shape.places.get(CAUSE)
    cause: Any = None if place is None else own.values[place]
    head = None if place is None else cause.split(b":", 1)[0]
    return head, own.get(FRAME) or _frame_bytes(own.get(STACK))


_KINDS: Dict[Tuple[Any, ...], FailureKind] = {}
"""Looked up mostly: most dead letters are of a few kinds. The mark in a header stands for the message, which
it was worked out from, so that no message has to be normalised twice."""
MOST_KINDS = 5_000


def _learn(key: Tuple[Any, ...], message: Any) -> Optional[FailureKind]:
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


def _own_detail(own: Own) -> Optional[Detail]:
    """The short way; None where anything is not as we write it."""
    places, values = own.shape.places, own.values
    try:
        partition: Any = values[places[PARTITION]]
        offset: Any = values[places[OFFSET]]
        message: Any = values[places[MESSAGE]]
        if partition.isdigit() and offset.isdigit():
            return message.decode(), int(partition), int(offset)
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
