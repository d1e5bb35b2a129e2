"""The values that travel between the modules: a record of a topic, and one to be sent.

Owns: `Record` and `Outgoing`, plain immutable tuples, and `Message`, the client's own form, made a Record.
Does not know: Kafka's client, the order schema, why a record is moved.
Used by: dead_letters, replay, render, reader, session, processor.
"""

from typing import List, NamedTuple, Optional, Protocol, Tuple

Header = Tuple[str, Optional[bytes]]
Headers = List[Header]


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


class Outgoing(NamedTuple):
    """One record to send. `partition` None leaves the choice to the key."""

    topic: str
    key: Optional[bytes]
    value: Optional[bytes]
    headers: Headers
    partition: Optional[int] = None
    timestamp_ms: Optional[int] = None
    source: Optional[int] = None
    """The partition of the order that it came of, for a result."""


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
