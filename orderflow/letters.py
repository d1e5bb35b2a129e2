"""A dead letter as an operator's verbs see it: read at once, explained only as far as it is asked.

Owns: `Letter`, the lazy view of one record of the dead letter topic.
Does not know: where records come from (reader.py), how they are shown (render.py) or chosen (selection.py).
Used by: selection, tally, render, browse, replay.
"""

import re
from typing import Any, Callable, Dict, NamedTuple, Optional

from orderflow import dead_letters as own
from orderflow.dialects import OWN, Explanation, explain
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

    __slots__ = ("_decode", "_glance", "_mark", "_order", "_state_of", "_told", "record")

    def __init__(self, record: Record, decode: Decode, state_of: StateOf = nothing_done) -> None:
        self.record = record
        self._decode = decode
        self._state_of = state_of
        self._mark: Optional[str] = None
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
        if self._glance is not None:
            return self._glance.fingerprint
        if self._mark is None:
            self._mark = _own_mark(self.record) or self.told.fingerprint
        return self._mark

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
_COMPLETE = frozenset(OWN.complete)
_MARK = re.compile(own.FINGERPRINT_FORM.pattern.encode())


def _own_values(record: Record) -> Optional[Dict[str, Any]]:
    """The headers of a dead letter of ours by name; None where it is not surely one.

    The engine puts its headers behind all others, so the last one tells.
    """
    headers = record.headers
    if not headers or headers[-1][0] not in _LAST_OF_OURS:
        return None
    values = dict(headers)
    return values if _MARK.fullmatch(values.get(own.FINGERPRINT) or b"") else None


def _own_mark(record: Record) -> Optional[str]:
    values = _own_values(record)
    if values is None or not values.keys() >= _COMPLETE:
        return None
    mark: str = values[own.FINGERPRINT].decode("ascii")
    return mark


def _own_glance(record: Record) -> Optional[Glance]:
    """The short way; None where anything is not as we write it."""
    values = _own_values(record)
    if values is None:
        return None
    try:
        partition, offset = values[own.PARTITION], values[own.OFFSET]
        if not (partition.isdigit() and offset.isdigit()):
            return None
        return Glance(
            "orderflow",
            values[own.FINGERPRINT].decode("ascii"),
            values[own.REASON].decode(),
            values[own.STAGE].decode(),
            values[own.CLASS].decode(),
            values[own.MESSAGE].decode(),
            values[own.TOPIC].decode(),
            int(partition),
            int(offset),
        )
    except (AttributeError, KeyError, ValueError):
        return None


def _glance(told: Explanation) -> Glance:
    by_cause = told.root_class is not None
    return Glance(
        told.dialect,
        told.fingerprint,
        told.reason,
        told.stage,
        told.root_class if by_cause else told.error_class,
        told.root_message if by_cause else told.message,
        told.topic,
        told.partition,
        told.offset,
    )
