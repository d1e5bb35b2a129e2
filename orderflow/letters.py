"""A dead letter as an operator's verbs see it: read at once, explained only as far as it is asked.

Owns: `Letter`, the lazy view of one record of the dead letter topic.
Does not know: where records come from (reader.py), how they are shown (render.py) or chosen (selection.py).
Used by: selection, tally, render, browse, replay.
"""

import re
from typing import Any, Callable, Dict, NamedTuple, Optional

from orderflow import dead_letters as own
from orderflow.dialects import OWN, Explanation, decimal_of, explain, text_of
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
            values = _own_values(self.record)
            self._glance = _own_glance(values) if values else _glance(self.told)
        return self._glance

    @property
    def fingerprint(self) -> str:
        """16 hex digits that failures of one kind share."""
        if self._mark is None:
            values = None if self._glance else _own_values(self.record)
            self._mark = values[own.FINGERPRINT].decode("ascii") if values else self.glance.fingerprint
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


def _own_values(record: Record) -> Optional[Dict[str, Any]]:
    """The headers of a dead letter of ours by name; None where it is not surely one, as we write it.

    The engine puts its headers behind all others, so the last one tells.
    """
    headers = record.headers
    if not headers or headers[-1][0] not in _LAST_OF_OURS:
        return None
    values = dict(headers)
    whole = own.REASON in values and own.TOPIC in values and own.PARTITION in values and own.OFFSET in values
    return values if whole and _MARK.fullmatch(values.get(own.FINGERPRINT) or b"") else None


_MARK = re.compile(own.FINGERPRINT_FORM.pattern.encode())


def _own_glance(values: Dict[str, Any]) -> Glance:
    try:
        return _clean_glance(values)
    except (AttributeError, KeyError, TypeError, ValueError):  # damaged
        return _damaged_glance(values)


def _clean_glance(values: Dict[str, Any]) -> Glance:
    """The same as of damaged ones in half the time, for headers that are all as we write them."""
    return Glance(
        OWN.name,
        values[own.FINGERPRINT].decode("ascii"),
        values[own.REASON].decode(),
        values[own.STAGE].decode(),
        values[own.CLASS].decode(),
        values[own.MESSAGE].decode(),
        values[own.TOPIC].decode(),
        _digits(values[own.PARTITION]),
        _digits(values[own.OFFSET]),
    )


def _digits(value: bytes) -> int:
    if value.isdigit() and len(value) < 20:
        return int(value)
    raise ValueError


def _damaged_glance(values: Dict[str, Any]) -> Glance:
    return Glance(
        OWN.name,
        values[own.FINGERPRINT].decode("ascii"),
        text_of(values[own.REASON]),
        text_of(values.get(own.STAGE)),
        text_of(values.get(own.CLASS)),
        text_of(values.get(own.MESSAGE)),
        text_of(values[own.TOPIC]),
        decimal_of(values[own.PARTITION]),
        decimal_of(values[own.OFFSET]),
    )


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
