"""A dead letter as an operator's verbs see it: read at once, explained only as far as it is asked.

Owns: `Letter`, the lazy view of one record of the dead letter topic.
Does not know: where records come from (reader.py), how they are shown (render.py) or chosen (selection.py).
Used by: selection, tally, render, browse, replay.
"""

from typing import Any, Callable, Dict, NamedTuple, Optional

from orderflow import dead_letters as own
from orderflow.dialects import Explanation, explain
from orderflow.errors import RegistryUnavailable, Undecodable
from orderflow.records import Record

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


class Glance(NamedTuple):
    """The part of an explanation that lists, groups and totals need, cheap for dead letters of our own."""

    dialect: str
    fingerprint: str
    reason: Optional[str]
    stage: Optional[str]
    error_class: Optional[str]
    """The innermost cause where one is told."""
    message: Optional[str]
    topic: Optional[str]
    partition: Optional[int]
    offset: Optional[int]


class Letter:
    """One dead letter. What costs time is worked out when it is first asked for, and kept."""

    __slots__ = ("_decode", "_glance", "_order", "_state_of", "_told", "record")

    def __init__(self, record: Record, decode: Decode, state_of: StateOf = nothing_done) -> None:
        self.record = record
        self._decode = decode
        self._state_of = state_of
        self._glance: Optional[Glance] = None
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
    def glance(self) -> Glance:
        """What a line about it needs."""
        if self._glance is None:
            self._glance = _own_glance(self.record) or _glance(self.told)
        return self._glance

    @property
    def fingerprint(self) -> str:
        """16 hex digits that failures of one kind share."""
        return self.glance.fingerprint

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
_LAST_OF_OURS = (own.CLIENT, own.STACK, own.LEFT_OUT)


def _glance(told: Explanation) -> Glance:
    kind, message = (
        (told.root_class, told.root_message) if told.root_class else (told.error_class, told.message)
    )
    return Glance(
        told.dialect,
        told.fingerprint,
        told.reason,
        told.stage,
        kind,
        message,
        told.topic,
        told.partition,
        told.offset,
    )


def _own_glance(record: Record) -> Optional[Glance]:
    """The same for a dead letter of ours, without the work; None where it is not surely one.

    The engine puts its headers behind all others, so that the last one tells.
    """
    headers = record.headers
    if not headers or headers[-1][0] not in _LAST_OF_OURS:
        return None
    value = dict(headers).get
    mark = value(own.FINGERPRINT)
    if mark is None or not own.FINGERPRINT_FORM.fullmatch(mark.decode("latin-1")):
        return None
    reason, stage, kind, message = value(own.REASON), value(own.STAGE), value(own.CLASS), value(own.MESSAGE)
    topic, partition, offset = value(own.TOPIC), value(own.PARTITION), value(own.OFFSET)
    try:
        return Glance(
            "orderflow",
            mark.decode("ascii"),
            reason.decode(),  # type: ignore[union-attr]
            stage.decode(),  # type: ignore[union-attr]
            kind.decode(),  # type: ignore[union-attr]
            message.decode(),  # type: ignore[union-attr]
            topic.decode(),  # type: ignore[union-attr]
            int(partition),  # type: ignore[arg-type]
            int(offset),  # type: ignore[arg-type]
        )
    except (AttributeError, TypeError, ValueError):  # a header is missing or is not what we write
        return None
