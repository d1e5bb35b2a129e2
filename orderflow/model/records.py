"""The values that travel between the modules: a record of a topic, and one to be sent.

Owns: `Record` and `Outgoing`, plain immutable tuples; `Message`, the client's own form, made a Record; how
its headers are read; and how a record's position is written and read.
Does not know: Kafka's client, the order schema, why a record is moved.
Used by: dead_letters, replay, render, reader, session, processor.
"""

import re
from operator import methodcaller
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
    headers_left_out: Optional[str] = None
    """Why the headers are not here although it has some; None where they are."""

    @property
    def position(self) -> str:
        """Where it stands, as the operator's tools write it: `topic-partition-offset`."""
        return f"{self.topic}-{self.partition}-{self.offset}"


PARTITIONER = "murmur2_random"
"""Who writes a key, whichever program of whichever language, puts it into the partition of this number.

Java's clients choose so; the client's own default is another. A record without a key goes anywhere.
"""
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
    """One record to send. `partition` None leaves the choice to the key, by PARTITIONER."""

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

    def set_headers(self, headers: Headers) -> None:
        """Have `headers` answer this from now on."""

    def timestamp(self) -> Tuple[int, int]:
        """What kind its time is of (0: not known), and the time in epoch milliseconds."""


class HeadersRead(NamedTuple):
    """The headers of a record, as far as the client can give them."""

    headers: Headers
    left_out: Optional[str] = None
    """Why they could not be read, all of them left out; None where they are complete."""


class _LeftOut(List[Header]):
    """Stands in a message for headers that could not be read."""

    why = ""


SHOWN_OF_A_NAME = 64


_headers_of = methodcaller("headers")
"""On a bad name the client returns a list and raises at once. A plain call in a loop does not notice, and it
comes up at some later, innocent line: CPython 3.11 leaves that check out of calls it has specialised
(measured; a loop of a thousand ends in a segmentation fault). A call through C always checks."""


def headers_of(message: Message) -> HeadersRead:
    """The headers of a message. The only way to read them, and it never raises.

    Any other client may write a name that is not UTF-8, on which this client fails. What it answers when it
    is asked again is worse: a list with a null pointer for the name (measured with confluent-kafka 2.16.1),
    or none at all. So the message is told what to answer from then on.
    """
    try:
        headers: Optional[Headers] = _headers_of(message)
    except Exception as error:  # noqa: BLE001 - whatever it raises, these are bytes from outside
        left_out = _LeftOut()
        left_out.why = _why_left_out(error)
        message.set_headers(left_out)
        return HeadersRead([], left_out.why)
    if isinstance(headers, _LeftOut):
        return HeadersRead([], headers.why)
    return HeadersRead(headers or [])


def _why_left_out(error: Exception) -> str:
    cause = error.__cause__ or error.__context__ or error
    if isinstance(cause, UnicodeDecodeError):
        name = cause.object[:SHOWN_OF_A_NAME]
        return f"a header name is not UTF-8: {name!r}"
    return f"the Kafka client cannot give them: {type(cause).__name__}: {cause}"


TIMESTAMP_TYPES = {1: "CreateTime", 2: "LogAppendTime"}


def record_of(message: Message) -> Record:
    """The client's message as a plain record."""
    kind, timestamp_ms = message.timestamp()
    timestamp_type = TIMESTAMP_TYPES.get(kind)
    headers, left_out = headers_of(message)
    return Record(
        message.topic(),
        message.partition(),
        message.offset(),
        timestamp_ms if timestamp_type else None,
        timestamp_type,
        message.key(),
        message.value(),
        headers,
        left_out,
    )
