"""Every known way in which a dead letter tells where it came from and why it died.

Facts in the rows come from records that the systems wrote themselves (tests/fixtures/dead_letters),
and for the systems without a fixture from their published header names.
"""

import re
from typing import Any, Callable, Dict, FrozenSet, Iterator, List, NamedTuple, Optional, Tuple

from orderflow.model import dead_letter as own
from orderflow.model.fingerprint import FINGERPRINT_FORM
from orderflow.model.records import Record

Values = Dict[str, List[Optional[bytes]]]
"""The values of each header name, in the order in which they stand in the record."""
Names = Tuple[str, ...]
"""Header names for one fact; the first that the record carries is taken."""


Facts = Dict[str, Any]
"""Fields of an `Explanation` on the way to one."""
Refine = Callable[[Facts, Record, Values], Facts]
"""What a dialect's own rules change of the facts in its headers."""


class Dialect(NamedTuple):
    """One system's header names, one field a fact. `Names()` where it carries none."""

    name: str
    complete: Names
    """All of these present: it is this dialect. Single look-alikes among user headers are not enough."""
    prefixes: Names = ()
    names: FrozenSet[str] = frozenset()
    """With `prefixes`: all that is diagnostic here and is stripped on replay."""
    binary: bool = False
    """Numbers are big-endian bytes; otherwise decimal text."""
    first_wins: bool = False
    """A second failure puts its headers in front; otherwise behind."""
    keeps_time: bool = False
    """The dead letter's own timestamp is the source's; otherwise that of the failure."""
    topic: Names = ()
    partition: Names = ()
    offset: Names = ()
    timestamp: Names = ()
    timestamp_type: Names = ()
    group: Names = ()
    attempts: Names = ()
    reason: Names = ()
    stage: Names = ()
    component: Tuple[str, Names] = ("", ())
    """How the values of the names are put together."""
    error_class: Names = ()
    cause_class: Names = ()
    message: Names = ()
    cause_message: Names = ()
    frame: Names = ()
    stack: Names = ()
    refine: Optional[Refine] = None

    def is_complete_in(self, values: Values) -> bool:
        """Whether the record carries all that this system always writes."""
        return self.complete[0] in values and all(name in values for name in self.complete)

    def is_diagnostic(self, name: str) -> bool:
        """True for a header that this system sets, and that a replay therefore strips."""
        return name in self.names or name.startswith(self.prefixes or "\0")


def _pick(values: Values, names: Names, first_wins: bool) -> Optional[bytes]:
    for name in names:
        if name in values:
            return values[name][0 if first_wins else -1]
    return None


def text_of(value: Optional[bytes]) -> Optional[str]:
    r"""The text of a header; bytes that are no UTF-8 are shown as `\xNN`."""
    return None if value is None else value.decode("utf-8", "backslashreplace")


DECIMAL = re.compile(rb"-?[0-9]{1,19}")


def decimal_of(value: Optional[bytes]) -> Optional[int]:
    """The number in a header's text, or None where there is none."""
    return int(value) if value is not None and DECIMAL.fullmatch(value) else None


def _refine_own(facts: Facts, record: Record, values: Values) -> Facts:
    def number(name: str) -> Optional[int]:
        return decimal_of(_pick(values, (name,), False))

    def text(name: str) -> Optional[str]:
        return text_of(_pick(values, (name,), False))

    left_out = frozenset((text(own.LEFT_OUT) or "").split(","))
    cause = text(own.CAUSE)
    mark = text(own.FINGERPRINT) or ""
    return {
        "cause_class": None if cause is None else cause.split(":", 1)[0],
        "root_class": None,  # the class is already that of what failed
        "root_message": None,
        "mark": mark if FINGERPRINT_FORM.fullmatch(mark) else None,
        "retryable": {"true": True, "false": False}.get(text(own.RETRYABLE) or ""),
        "first_failed_at_ms": number(own.FIRST_FAILED_AT),
        "failed_at_ms": number(own.FAILED_AT),
        "schema": text(own.SCHEMA),
        "client": text(own.CLIENT),
        "earlier_failures": facts.get("replay_count") or 0,
        "key_is_original": "key" not in left_out,
        "value_is_original": "value" not in left_out,
        "headers_are_original": "headers" not in left_out,
        "note": _left_out_note(left_out),
    }


def _left_out_note(left_out: FrozenSet[str]) -> Optional[str]:
    parts = [part for part in ("key", "value", "headers") if part in left_out]
    return f"too large to be carried, fetch from the source: {', '.join(parts)}" if parts else None


def _refine_share_group(facts: Facts, record: Record, values: Values) -> Facts:
    """The broker copies key and value only where the group is set to; without, both are null."""
    copied = record.key is not None or record.value is not None
    has_headers = any(not name.startswith(own.BROKER_PREFIX) for name in values)
    return {
        "key_is_original": copied,
        "value_is_original": copied,
        "headers_are_original": True if has_headers else None,
        "note": None if copied else "key and value were not copied: fetch them from the source",
    }


OF_A_SOURCE = (
    "timestamp_ms",
    "earlier_failures",
    "key_is_original",
    "value_is_original",
    "headers_are_original",
)
NO_SOURCE = "raised by a timer: there is no source record"
PRODUCTION_FAILURE = "the output could not be written: key and value of the source are not here, fetch them"


def _refine_streams(facts: Facts, record: Record, values: Values) -> Facts:
    if facts["topic"] is None:
        return {**dict.fromkeys(OF_A_SOURCE), "note": NO_SOURCE}
    if record.key is None and record.value is None:
        # A tombstone without a key looks the same. To fetch it from the source is right for both.
        return {"key_is_original": False, "value_is_original": False, "note": PRODUCTION_FAILURE}
    return {}


def _refine_retry_topic(facts: Facts, record: Record, values: Values) -> Facts:
    """Retry topics keep the first origin for good, so an earlier death leaves no trace."""
    return {"earlier_failures": None}


def _refine_arroyo(facts: Facts, record: Record, values: Values) -> Facts:
    if record.value != b"":
        return {}
    return {"note": "a tombstone becomes an empty value here: the source may be either"}


FAILED_KEY = "the key could not be read and stands in the value's place: fetch the value from the source"
FAILED_VALUE = "the value could not be read and stands in a header: fetch it from the source"


def _refine_smallrye(facts: Facts, record: Record, values: Values) -> Facts:
    """A key or value that could not be deserialised is not where it was in the source."""
    if _pick(values, ("deserialization-failure-key",), False) == b"true":
        key = _pick(values, ("deserialization-failure-key-data", "deserialization-failure-data"), False)
        return {"key_is_original": record.key == key, "value_is_original": False, "note": FAILED_KEY}
    value = _pick(values, ("deserialization-failure-value-data", "deserialization-failure-data"), False)
    if value is not None and record.value != value:
        return {"value_is_original": False, "note": FAILED_VALUE}
    return {}


RETRY_TOPIC = re.compile(r".*_\d+")
"""SmallRye reads the delay in milliseconds from the end of a retry topic's name, whatever it begins with."""


def _refine_delayed_retry(facts: Facts, record: Record, values: Values) -> Facts:
    """Each hop puts its coordinates in front; the source is where the chain of retry topics ends."""
    hops = list(_hops(values))
    sources = [place for place, (topic, _, _) in enumerate(hops) if not RETRY_TOPIC.fullmatch(topic or "")]
    topic, partition, offset = hops[sources[0] if sources else -1]
    first_failed_at = _pick(values, ("delayed-retry-first-processing-timestamp",), True)
    return {
        "topic": topic,
        "partition": partition,
        "offset": offset,
        "failed_at_topic": None if hops[0][0] == topic else hops[0][0],
        "earlier_failures": max(0, len(sources) - 1),
        "first_failed_at_ms": decimal_of(first_failed_at),
        **_refine_smallrye(facts, record, values),
    }


def _hops(values: Values) -> Iterator[Tuple[Optional[str], Optional[int], Optional[int]]]:
    names = ("delayed-retry-topic", "delayed-retry-partition", "delayed-retry-offset")
    for topic, partition, offset in zip(*(values[name] for name in names)):
        yield text_of(topic), decimal_of(partition), decimal_of(offset)


OWN = Dialect(
    name="orderflow",
    complete=(own.TOPIC, own.PARTITION, own.OFFSET, own.REASON),
    prefixes=(own.BROKER_PREFIX, own.OWN_PREFIX),
    topic=(own.TOPIC,),
    partition=(own.PARTITION,),
    offset=(own.OFFSET,),
    timestamp=(own.TIMESTAMP,),
    group=(own.GROUP,),
    attempts=(own.DELIVERY_COUNT,),
    reason=(own.REASON,),
    stage=(own.STAGE,),
    error_class=(own.CLASS,),
    message=(own.MESSAGE,),
    frame=(own.FRAME,),
    stack=(own.STACK,),
    refine=_refine_own,
)
"""Ours; see dead_letter.py."""

SHARE_GROUP = Dialect(
    name="share-group",
    complete=(own.TOPIC, own.PARTITION, own.OFFSET, own.GROUP),
    prefixes=(own.BROKER_PREFIX,),
    topic=(own.TOPIC,),
    partition=(own.PARTITION,),
    offset=(own.OFFSET,),
    group=(own.GROUP,),
    attempts=(own.DELIVERY_COUNT,),
    message=(own.MESSAGE,),
    refine=_refine_share_group,
)
"""Kafka 4.4's own dead letters for share groups, written by the broker."""

CONNECT = Dialect(
    name="connect",
    complete=(
        "__connect.errors.topic",
        "__connect.errors.partition",
        "__connect.errors.offset",
        "__connect.errors.connector.name",
    ),
    prefixes=("__connect.errors.",),
    keeps_time=True,
    topic=("__connect.errors.topic",),
    partition=("__connect.errors.partition",),
    offset=("__connect.errors.offset",),
    stage=("__connect.errors.stage",),
    component=(
        "%s task %s, %s",
        ("__connect.errors.connector.name", "__connect.errors.task.id", "__connect.errors.class.name"),
    ),
    error_class=("__connect.errors.exception.class.name",),
    message=("__connect.errors.exception.message",),
    stack=("__connect.errors.exception.stacktrace",),
)
"""Kafka Connect sinks with `errors.deadletterqueue.context.headers.enable=true`."""

STREAMS = Dialect(
    name="streams",
    complete=(
        "__streams.errors.exception",
        "__streams.errors.topic",
        "__streams.errors.partition",
        "__streams.errors.offset",
    ),
    prefixes=("__streams.errors.",),
    keeps_time=True,
    topic=("__streams.errors.topic",),
    partition=("__streams.errors.partition",),
    offset=("__streams.errors.offset",),
    error_class=("__streams.errors.exception",),
    message=("__streams.errors.message",),
    stack=("__streams.errors.stacktrace",),
    refine=_refine_streams,
)
"""Kafka Streams 4.2 and newer, `errors.dead.letter.queue.topic.name`."""

SPRING_RETRY_TOPIC = Dialect(
    name="spring-retrytopic",
    complete=("kafka_original-topic", "kafka_original-partition", "kafka_original-offset"),
    prefixes=("kafka_original-", "kafka_exception-", "kafka_key-exception-", "retry_topic-"),
    names=frozenset(("kafka_dlt-original-consumer-group",)),
    binary=True,
    topic=("kafka_original-topic",),
    partition=("kafka_original-partition",),
    offset=("kafka_original-offset",),
    timestamp=("kafka_original-timestamp",),
    timestamp_type=("kafka_original-timestamp-type",),
    group=("kafka_dlt-original-consumer-group",),
    attempts=("retry_topic-attempts",),
    error_class=("kafka_exception-fqcn", "kafka_key-exception-fqcn"),
    cause_class=("kafka_exception-cause-fqcn",),
    message=("kafka_exception-message", "kafka_key-exception-message"),
    stack=("kafka_exception-stacktrace", "kafka_key-exception-stacktrace"),
    refine=_refine_retry_topic,
)
"""Spring Kafka's retry topics. The attempts go up once more on the way to the dead letter topic."""

SPRING = Dialect(
    name="spring-dlpr",
    complete=("kafka_dlt-original-topic", "kafka_dlt-original-partition", "kafka_dlt-original-offset"),
    prefixes=("kafka_dlt-",),
    names=frozenset(
        ("kafka_deliveryAttempt", "springDeserializerExceptionKey", "springDeserializerExceptionValue")
    ),
    binary=True,
    topic=("kafka_dlt-original-topic",),
    partition=("kafka_dlt-original-partition",),
    offset=("kafka_dlt-original-offset",),
    timestamp=("kafka_dlt-original-timestamp",),
    timestamp_type=("kafka_dlt-original-timestamp-type",),
    group=("kafka_dlt-original-consumer-group",),
    attempts=("kafka_deliveryAttempt",),
    error_class=("kafka_dlt-exception-fqcn", "kafka_dlt-key-exception-fqcn"),
    cause_class=("kafka_dlt-exception-cause-fqcn",),
    message=("kafka_dlt-exception-message", "kafka_dlt-key-exception-message"),
    stack=("kafka_dlt-exception-stacktrace", "kafka_dlt-key-exception-stacktrace"),
)
"""Spring Kafka's DeadLetterPublishingRecoverer."""

SPRING_CLOUD_STREAM = Dialect(
    name="spring-cloud-stream",
    complete=("x-original-topic", "x-original-partition", "x-original-offset"),
    prefixes=("x-original-", "x-exception-"),
    binary=True,
    topic=("x-original-topic",),
    partition=("x-original-partition",),
    offset=("x-original-offset",),
    timestamp=("x-original-timestamp",),
    timestamp_type=("x-original-timestamp-type",),
    error_class=("x-exception-fqcn",),
    message=("x-exception-message",),
    stack=("x-exception-stacktrace",),
)
"""The Kafka binder of Spring Cloud Stream. The class is always its own wrapper."""

SMALLRYE = Dialect(
    name="smallrye-dlq",
    complete=("dead-letter-topic", "dead-letter-partition", "dead-letter-offset"),
    prefixes=("dead-letter-", "deserialization-failure-"),
    first_wins=True,
    topic=("dead-letter-topic",),
    partition=("dead-letter-partition",),
    offset=("dead-letter-offset",),
    error_class=("dead-letter-exception-class-name",),
    cause_class=("dead-letter-cause-class-name",),
    message=("dead-letter-reason",),
    cause_message=("dead-letter-cause",),
    refine=_refine_smallrye,
)
"""SmallRye Reactive Messaging and Quarkus, failure strategy `dead-letter-queue`."""

SMALLRYE_DELAYED_RETRY = Dialect(
    name="smallrye-delayed-retry",
    complete=("delayed-retry-topic", "delayed-retry-partition", "delayed-retry-offset"),
    prefixes=("delayed-retry-", "deserialization-failure-"),
    first_wins=True,
    topic=("delayed-retry-topic",),
    partition=("delayed-retry-partition",),
    offset=("delayed-retry-offset",),
    timestamp=("delayed-retry-original-timestamp",),
    attempts=("delayed-retry-count",),
    error_class=("delayed-retry-exception-class-name",),
    cause_class=("delayed-retry-cause-class-name",),
    message=("delayed-retry-reason",),
    cause_message=("delayed-retry-cause",),
    refine=_refine_delayed_retry,
)
"""The same, failure strategy `delayed-retry-topic`: no `dead-letter-*` headers, not even at the end."""

ARROYO = Dialect(
    name="arroyo",
    complete=("original_partition", "original_offset"),
    names=frozenset(("original_partition", "original_offset")),
    partition=("original_partition",),
    offset=("original_offset",),
    refine=_refine_arroyo,
)
"""Sentry's arroyo: coordinates without a topic, no error, no time."""

NONE = Dialect(name="none", complete=())
"""No diagnostic at all: Connect's default, Camel's dead letter channel, many written by hand."""

DIALECTS = (
    OWN,
    SHARE_GROUP,
    CONNECT,
    STREAMS,
    SPRING_RETRY_TOPIC,
    SPRING,
    SPRING_CLOUD_STREAM,
    SMALLRYE,
    SMALLRYE_DELAYED_RETRY,
    ARROYO,
)
"""In the order in which a tie between two complete sets is decided; NONE is what is left."""
