"""The values that travel between the modules: a record of a topic, and one to be sent.

Owns: `Record` and `Outgoing`, plain immutable tuples, `Message`, the client's own form, made a Record, and
how a record's position is written and read.
Does not know: Kafka's client, the order schema, why a record is moved.
Used by: dead_letters, replay, render, reader, session, processor.
"""

import re
from typing import List, NamedTuple, Optional, Protocol, Tuple

Header = Tuple[str, Optional[bytes]]
Headers = List[Header]
Place = Tuple[int, int]
"""Partition and offset, within a topic that is known."""


class Record(NamedTuple):
    """One record as it stands in a topic, byte for byte."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: Optional[int]
    timestamp_type: Optional[str]
    """`CreateTime`, `LogAppendTime`, or None where the broker gave none."""
    key: Optional[bytes]
    value: Optional[bytes]
    headers: Headers

    @property
    def position(self) -> str:
        """Where it stands, as the operator's tools write it: `topic-partition-offset`."""
        return f"{self.topic}-{self.partition}-{self.offset}"


_POSITION = re.compile(
    r"(?:(?P<topic>[A-Za-z0-9._-]+)(?P<dash>-)|(?:(?P<named>[A-Za-z0-9._-]+):)?)"
    r"(?P<partition>[0-9]{1,9})(?(dash)-|:)(?P<offset>[0-9]{1,18})"
)


def read_position(text: str) -> Tuple[Optional[str], int, int]:
    """Topic (None where it is left out), partition and offset, in any form that we print.

    These are `partition:offset`, `topic:partition:offset` and `topic-partition-offset`. A topic's name may
    hold dashes and end in numbers, so the last two numbers count. Raises ValueError for anything else.
    """
    match = _POSITION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no position: give PARTITION:OFFSET or TOPIC-PARTITION-OFFSET")
    return match["topic"] or match["named"], int(match["partition"]), int(match["offset"])


def place_in(topic: str, text: Optional[str]) -> Optional[Place]:
    """Partition and offset of a position in this topic; None where it is none, or lies in another topic."""
    try:
        named, partition, offset = read_position(text or "")
    except ValueError:
        return None
    return (partition, offset) if named in (None, topic) else None


class Outgoing(NamedTuple):
    """One record to send. `partition` None leaves the choice to the key."""

    topic: str
    key: Optional[bytes]
    value: Optional[bytes]
    headers: Headers
    partition: Optional[int] = None
    timestamp_ms: Optional[int] = None


class Message(Protocol):
    """A record as the client hands it over; passed through, since building one of ours costs too much."""

    def topic(self) -> str:
        """Name of its topic."""

    def partition(self) -> int:
        """Number of its partition."""

    def offset(self) -> int:
        """Its place in the partition."""

    def key(self) -> Optional[bytes]:
        """Its key, or None."""

    def value(self) -> Optional[bytes]:
        """Its value, or None for a tombstone."""

    def headers(self) -> Optional[Headers]:
        """Its headers in order, or None where it has none."""

    def timestamp(self) -> Tuple[int, int]:
        """What kind its time is of (0: not known), and the time in epoch milliseconds."""


TIMESTAMP_TYPES = {1: "CreateTime", 2: "LogAppendTime"}


def record_of(message: Message) -> Record:
    """The client's message as a plain record."""
    kind, timestamp_ms = message.timestamp()
    timestamp_type = TIMESTAMP_TYPES.get(kind)
    return Record(
        message.topic(),
        message.partition(),
        message.offset(),
        timestamp_ms if timestamp_type else None,
        timestamp_type,
        message.key(),
        message.value(),
        message.headers() or [],
    )
