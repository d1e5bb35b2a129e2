"""Positions in a topic, and the range to read between two of them, as plain values."""

from typing import FrozenSet, NamedTuple, Optional


class Position(NamedTuple):
    """A position in each partition: `kind` is beginning, end, offset, back (from the end) or time."""

    kind: str
    value: int = 0
    """An offset, a number of records, or epoch milliseconds."""


BEGINNING = Position("beginning")
END = Position("end")


class Range(NamedTuple):
    """What to read of a topic. Offsets and times are looked up, not scanned for."""

    partitions: FrozenSet[int] = frozenset()
    """Empty: all."""
    begin: Position = BEGINNING
    end: Optional[Position] = None
    """Where to stop, exclusive; None: at the end as it is when reading starts."""
    since_ms: Optional[int] = None
    until_ms: Optional[int] = None
