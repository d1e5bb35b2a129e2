"""Our own dead letter: the record the engine sends when an order cannot be processed."""

from enum import IntEnum
from functools import lru_cache
from typing import List, NamedTuple, Optional, Tuple

from orderflow.errors import Failure
from orderflow.model.delivery_id import delivery_id
from orderflow.model.fingerprint import fingerprint_of
from orderflow.model.records import Header, Headers, Outgoing, Record

BROKER_PREFIX = "__dlq.errors."
"""The six headers that a Kafka 4.4 broker itself writes when it dead-letters for a share group."""
OWN_PREFIX = "orders.dlq."
REPLAY_PREFIX = "orders.replay."
"""Not diagnostics: they follow an order through its replays, so a new dead letter keeps them."""

TOPIC = BROKER_PREFIX + "topic"
PARTITION = BROKER_PREFIX + "partition"
OFFSET = BROKER_PREFIX + "offset"
GROUP = BROKER_PREFIX + "group"
DELIVERY_COUNT = BROKER_PREFIX + "delivery.count"
MESSAGE = BROKER_PREFIX + "message"
REASON = OWN_PREFIX + "reason"
STAGE = OWN_PREFIX + "stage"
CLASS = OWN_PREFIX + "class"
RETRYABLE = OWN_PREFIX + "retryable"
FINGERPRINT = OWN_PREFIX + "fingerprint"
FRAME = OWN_PREFIX + "frame"
"""Where a handler's error began, as `shop/prices.py:21 in total`."""
CAUSE = OWN_PREFIX + "cause"
"""The innermost cause of a handler's error, or those of a group's members, as `KeyError: 'sku'`."""
FIRST_FAILED_AT = OWN_PREFIX + "first-failed-at"
FAILED_AT = OWN_PREFIX + "failed-at"
TIMESTAMP = OWN_PREFIX + "timestamp"
SCHEMA = OWN_PREFIX + "schema"
CLIENT = OWN_PREFIX + "client"
STACK = OWN_PREFIX + "stack"
LEFT_OUT = OWN_PREFIX + "left-out"
"""Only on a pointer: which of the source's `value`, `headers` and `key` did not fit."""
ID = OWN_PREFIX + "id"
"""The order's delivery id, which a replay passes on."""
HEADERS_LEFT_OUT = OWN_PREFIX + "headers-left-out"
"""Why the source's headers are missing: no Python client can read them, so a replay cannot carry them."""

REPLAY_JOB = REPLAY_PREFIX + "job"
REPLAY_COUNT = REPLAY_PREFIX + "count"
REPLAY_FROM = REPLAY_PREFIX + "from"
"""The dead letter that was replayed, as `topic-partition-offset`."""


class Shrink(IntEnum):
    """How much is left out so that a dead letter fits. Each step includes the ones before it."""

    NOTHING = 0
    STACK = 1
    MESSAGE = 2
    POINTER = 3


STACK_LIMIT = {Shrink.NOTHING: 8192, Shrink.STACK: 512, Shrink.MESSAGE: 0, Shrink.POINTER: 0}
"""Bytes of stack trace kept at each step."""
MESSAGE_LIMIT = {Shrink.NOTHING: 32768, Shrink.STACK: 32768, Shrink.MESSAGE: 256, Shrink.POINTER: 256}
"""Bytes of error message kept at each step."""
CAUSE_LIMIT = {Shrink.NOTHING: 4096, Shrink.STACK: 4096, Shrink.MESSAGE: 256, Shrink.POINTER: 256}
"""Bytes of cause kept at each step."""
LABEL_LIMIT = 512
"""Bytes kept of a reason, class, schema or client name, since foreign code may choose these."""
POINTER_PART_LIMIT = 4096
"""A pointer still carries the source's key, and its headers, if each takes at most this many bytes."""

BATCH_OVERHEAD = 61
RECORD_OVERHEAD = 36
HEADER_OVERHEAD = 10
"""Overhead bytes of Kafka's record format 2, with its varints at their largest."""


class Circumstances(NamedTuple):
    """What a dead letter says besides the record and the failure. Times are epoch milliseconds."""

    group: str
    client: str
    attempts: int
    first_failed_at_ms: Optional[int]
    failed_at_ms: int
    schema: Optional[str]
    """Framing and writer schema as the codec describes them; None if not known."""
    partitions: int = 1
    """How many the dead letter topic has when the dead letter is sent."""
    delivery_id: Optional[str] = None
    """The order's delivery id; None if only its position identifies it."""


def dead_letter(
    record: Record, failure: Failure, about: Circumstances, dlq_topic: str, shrink: Shrink = Shrink.NOTHING
) -> Outgoing:
    """The dead letter of `record`: its key, value and headers byte for byte, then our diagnostics.

    Diagnostics are set, never appended: those of an earlier dead letter are replaced. On "too large",
    call again with the next `Shrink` step.
    """
    key, value, own, left_out = _payload(record, shrink)
    diagnostics = _diagnostics(record, failure, about, shrink)
    if left_out:
        diagnostics.append((LEFT_OUT, ",".join(left_out).encode()))
    partition = record.partition % about.partitions
    return Outgoing(dlq_topic, key, value, own + diagnostics, partition, about.failed_at_ms)


_PREFIXES = (BROKER_PREFIX, OWN_PREFIX)
_ALWAYS = frozenset((TOPIC, PARTITION, OFFSET, REASON))
_KNOWN = _ALWAYS.union(
    (GROUP, DELIVERY_COUNT, MESSAGE, STAGE, CLASS, RETRYABLE, FINGERPRINT, FIRST_FAILED_AT, FAILED_AT),
    (FRAME, CAUSE, TIMESTAMP, SCHEMA, CLIENT, STACK, LEFT_OUT, ID, HEADERS_LEFT_OUT),
)
"""Those of today; a later version may write more."""


def is_diagnostic(name: str) -> bool:
    """Whether our dead letters set this header, so that a replay strips it."""
    return name.startswith(_PREFIXES)


def is_ours(headers: Headers) -> bool:
    """Whether we wrote these headers last: ours stand behind all others, each once, and none before.

    We replace those of an earlier death. So where they stand otherwise, another system carried them along,
    and they are whatever the order's producer wrote.
    """
    names = [name for name, _ in headers]
    try:
        begin = names.index(TOPIC)
    except ValueError:
        return False
    last = frozenset(names[begin:])
    if len(last) < len(names) - begin or not _ALWAYS <= last:
        return False
    if not last <= _KNOWN and not all(name.startswith(_PREFIXES) for name in last):
        return False
    return not begin or not any(name.startswith(_PREFIXES) for name in names[:begin])


def size_of(outgoing: Outgoing) -> int:
    """Upper bound of the record's size in a batch of its own, uncompressed."""
    parts = BATCH_OVERHEAD + RECORD_OVERHEAD + _length(outgoing.key) + _length(outgoing.value)
    return parts + sum(_header_size(header) for header in outgoing.headers)


DIAGNOSTICS_LIMIT = 64 * 1024
"""Upper bound of our own headers, framing included: the limits above add up to 50 KiB."""


def is_small(record: Record, max_bytes: int) -> bool:
    """Whether a record's dead letter is certain to fit without building it, as nearly all do."""
    return not record.headers and _length(record.key) + _length(record.value) + DIAGNOSTICS_LIMIT <= max_bytes


Payload = Tuple[Optional[bytes], Optional[bytes], Headers, Tuple[str, ...]]


class Pointer(NamedTuple):
    """What the last resort carries of its source."""

    key: Optional[bytes]
    headers: Headers
    left_out: Tuple[str, ...]


def pointer_to(source: Record) -> Pointer:
    """What a dead letter of this record carries of it if its value does not fit."""
    key, _, headers, left_out = _payload(source, Shrink.POINTER)
    return Pointer(key, headers, left_out)


def _payload(record: Record, shrink: Shrink) -> Payload:
    """Key, value and source headers to send, and the names of the parts that are left out."""
    own = [header for header in record.headers if not is_diagnostic(header[0])]
    if shrink < Shrink.POINTER:
        return record.key, record.value, own, ()
    key, left_out = record.key, ["value"] if record.value is not None else []
    if sum(_header_size(header) for header in own) > POINTER_PART_LIMIT:
        own, left_out = _life_story(own), [*left_out, "headers"]
    if _length(key) > POINTER_PART_LIMIT:
        key, left_out = None, [*left_out, "key"]
    return key, None, own, tuple(left_out)


def _life_story(headers: Headers) -> Headers:
    """The headers of earlier replays: without them an order could be replayed endlessly."""
    replay = [header for header in headers if header[0].startswith(REPLAY_PREFIX)]
    return [header for header in replay if _header_size(header) <= LABEL_LIMIT]


def _diagnostics(record: Record, failure: Failure, about: Circumstances, shrink: Shrink) -> Headers:
    """What is not known gets no header: nobody must take a guess for a fact."""
    reason, stage, error_class, message = failure[:4]
    topic, group, *told, schema, client = _shared(
        record.topic, about.group, reason, stage, error_class, failure.retryable, about.schema, about.client
    )
    headers: List[Optional[Header]] = [
        topic,
        (PARTITION, b"%d" % record.partition),
        (OFFSET, b"%d" % record.offset),
        group,
        (DELIVERY_COUNT, b"%d" % about.attempts),
        (MESSAGE, _head(message, MESSAGE_LIMIT[shrink])),
        *told,
        (FINGERPRINT, fingerprint_of(failure).encode()),
        None if failure.frame is None else (FRAME, _head(failure.frame, LABEL_LIMIT)),
        None if failure.cause is None else (CAUSE, _head(failure.cause, CAUSE_LIMIT[shrink])),
        _time(FIRST_FAILED_AT, about.first_failed_at_ms),
        (FAILED_AT, b"%d" % about.failed_at_ms),
        _time(TIMESTAMP, record.timestamp_ms),
        schema,
        _left_out(record.headers_left_out),
        _id(record, about),
        client,
        _stack(failure.stack, STACK_LIMIT[shrink]),
    ]
    return [header for header in headers if header is not None]


@lru_cache(maxsize=1024)
def _shared(
    topic: str,
    group: str,
    reason: str,
    stage: str,
    error_class: str,
    retryable: bool,
    schema: Optional[str],
    client: str,
) -> Tuple[Optional[Header], ...]:
    """The headers that most dead letters of a consumer share."""
    return (
        (TOPIC, _head(topic, LABEL_LIMIT)),
        (GROUP, _head(group, LABEL_LIMIT)),
        (REASON, _head(reason, LABEL_LIMIT)),
        (STAGE, _head(stage, LABEL_LIMIT)),
        (CLASS, _head(error_class, LABEL_LIMIT)),
        (RETRYABLE, b"true" if retryable else b"false"),
        None if schema is None else (SCHEMA, _head(schema, LABEL_LIMIT)),
        (CLIENT, _head(client, LABEL_LIMIT)),
    )


def _time(name: str, at_ms: Optional[int]) -> Optional[Header]:
    return None if at_ms is None else (name, b"%d" % at_ms)


def _id(record: Record, about: Circumstances) -> Header:
    return ID, _head(about.delivery_id or delivery_id(*record[:3], record.headers), LABEL_LIMIT)


def _left_out(why: Optional[str]) -> Optional[Header]:
    return None if why is None else (HEADERS_LEFT_OUT, _head(why, LABEL_LIMIT))


def _stack(stack: Optional[str], limit: int) -> Optional[Header]:
    return (STACK, _tail(stack, limit)) if stack and limit else None


CUT = "…".encode()


def _head(text: str, limit: int) -> bytes:
    """The start of the text as at most `limit` bytes of UTF-8, cut between characters."""
    data = _utf8(text)
    return data if len(data) <= limit else _whole_characters(data[: limit - len(CUT)]) + CUT


def _tail(text: str, limit: int) -> bytes:
    """The end of the text, where a Python stack trace names the error, as UTF-8."""
    data = _utf8(text)
    return data if len(data) <= limit else CUT + _whole_characters(data[len(CUT) - limit :])


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def _whole_characters(data: bytes) -> bytes:
    return data.decode("utf-8", "ignore").encode("utf-8")


def _length(data: Optional[bytes]) -> int:
    return 0 if data is None else len(data)


def _header_size(header: Header) -> int:
    return HEADER_OVERHEAD + len(_utf8(header[0])) + _length(header[1])
