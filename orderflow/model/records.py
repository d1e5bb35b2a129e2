"""Records: one read from a topic, one to be sent, and how a position is written and read."""

import re
from functools import partial
from operator import methodcaller
from typing import List, NamedTuple, Optional, Protocol, Tuple

from orderflow.model.topic_name import TOPIC_NAME

Header = Tuple[str, Optional[bytes]]
Headers = List[Header]
Place = Tuple[int, int]
"""Partition and offset within a known topic."""


class Record(NamedTuple):
    """One record of a topic, byte for byte."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: Optional[int]
    timestamp_type: Optional[str]
    """`CreateTime`, `LogAppendTime`, or None if the record has no time."""
    key: Optional[bytes]
    value: Optional[bytes]
    headers: Headers
    headers_left_out: Optional[str] = None
    """Why its headers could not be read; None if they are complete."""

    @property
    def position(self) -> str:
        """Its position as the operator's tools write it: `topic-partition-offset`."""
        return f"{self.topic}-{self.partition}-{self.offset}"


PARTITIONER = "murmur2_random"
"""Java clients' default, not this client's: every program then sends a key to the same partition.

A record without a key goes to any partition.
"""
_POSITION = re.compile(
    rf"(?:(?P<topic>{TOPIC_NAME})(?P<dash>-)|(?:(?P<named>{TOPIC_NAME}):)?)"
    r"(?P<partition>[0-9]{1,9})(?(dash)-|:)(?P<offset>[0-9]{1,18})"
)


def read_position(text: str) -> Tuple[Optional[str], int, int]:
    """Topic (None if left out), partition and offset of a position, in any form that we print.

    The forms are `partition:offset`, `topic:partition:offset` and `topic-partition-offset`. A topic's name
    may contain dashes and end in numbers, so the last two numbers count. Raises ValueError for others.
    """
    match = _POSITION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a position: give PARTITION:OFFSET or TOPIC-PARTITION-OFFSET")
    return match["topic"] or match["named"], int(match["partition"]), int(match["offset"])


def place_in(topic: str, text: Optional[str]) -> Optional[Place]:
    """Partition and offset of a position in this topic; None if it is malformed or in another topic."""
    try:
        named, partition, offset = read_position(text or "")
    except ValueError:
        return None
    return (partition, offset) if named in (None, topic) else None


class Outgoing(NamedTuple):
    """One record to send.

    `partition` None leaves the choice to the key, by PARTITIONER. `timestamp_ms` None is this machine's
    time, NO_TIME_MS none at all.
    """

    topic: str
    key: Optional[bytes]
    value: Optional[bytes]
    headers: Headers
    partition: Optional[int] = None
    timestamp_ms: Optional[int] = None
    source: Optional[int] = None
    """For a result: the partition of the order it came from."""


class Message(Protocol):
    """A record as the client delivers it, passed on as it is: making a `Record` of each costs too much."""

    def topic(self) -> str:
        """Name of its topic."""

    def partition(self) -> int:
        """Number of its partition."""

    def offset(self) -> int:
        """Its offset in the partition."""

    def key(self) -> Optional[bytes]:
        """Its key, or None."""

    def value(self) -> Optional[bytes]:
        """Its value, or None for a tombstone."""

    def headers(self) -> Optional[Headers]:
        """Its headers in order, or None if it has none."""

    def set_headers(self, headers: Headers) -> None:
        """Replace what `headers` returns."""

    def timestamp(self) -> Tuple[int, int]:
        """The type of its timestamp (0: not known), and the timestamp in epoch milliseconds."""


class HeadersRead(NamedTuple):
    """The headers of a record, as far as the client can read them."""

    headers: Headers
    left_out: Optional[str] = None
    """Why they could not be read and are all left out; None if they are complete."""


class _LeftOut(List[Header]):
    """Stands in a message for headers that could not be read."""

    why = ""


SHOWN_OF_A_NAME = 64


_headers_of = methodcaller("headers")
"""On a malformed name the client both returns a list and sets an exception. A plain call in a loop does not
notice, and the exception surfaces at some later, innocent line: CPython 3.11 skips that check in specialised
calls (measured; a loop of a thousand ends in a segmentation fault). A call through C always checks."""


def headers_of(message: Message) -> HeadersRead:
    """The headers of a message. Never raises, and must be the only place that reads them.

    Another client may write a name that is not UTF-8, on which this client fails. A second read is worse:
    it returns a list with a null pointer for the name (measured with confluent-kafka 2.16.1), or nothing
    at all. So the message's headers are replaced after a failure.
    """
    try:
        headers: Optional[Headers] = _headers_of(message)
    except Exception as error:  # noqa: BLE001 - untrusted bytes: it may raise anything
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
    return f"the Kafka client cannot read them: {type(cause).__name__}: {cause}"


BY_ITS_BROKER = "LogAppendTime"
"""The type of a time that is the broker's, and not of whoever wrote the record."""
TIMESTAMP_TYPES = {1: "CreateTime", 2: BY_ITS_BROKER}
NO_TIME_MS = -1
"""How Kafka says that a record has no time; of type CreateTime, and before all others."""


def time_of(message: Message) -> Tuple[Optional[str], Optional[int]]:
    """The type of the message's timestamp, and epoch milliseconds; None for both where it has no time."""
    kind, timestamp_ms = message.timestamp()
    timestamp_type = TIMESTAMP_TYPES.get(kind)
    return (None, None) if timestamp_type is None or timestamp_ms < 0 else (timestamp_type, timestamp_ms)


def record_of(message: Message) -> Record:
    """The client's message as a plain record."""
    timestamp_type, timestamp_ms = time_of(message)
    headers, left_out = headers_of(message)
    return _new_record(
        (
            message.topic(),
            message.partition(),
            message.offset(),
            timestamp_ms,
            timestamp_type,
            message.key(),
            message.value(),
            headers,
            left_out,
        )
    )


_new_record = partial(tuple.__new__, Record)
"""What `Record(...)` does, without a call of Python code in between: there is one for each record read."""
