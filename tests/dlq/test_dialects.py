"""Every dialect, held against dead letters that the systems wrote themselves, and against the traps."""

import base64
import json
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

import pytest

from orderflow.dlq.dialects import DIALECTS
from orderflow.dlq.explain import Explanation, explain, recognise, user_headers
from orderflow.errors import Failure
from orderflow.model import dead_letter as own
from orderflow.model.dead_letter import Circumstances, Shrink
from orderflow.model.fingerprint import fingerprint
from orderflow.model.records import Headers, Outgoing, Record

FIXTURES = Path(__file__).parent.parent / "fixtures" / "dead_letters"
Json = Dict[str, Any]


def bytes_of(text: Optional[str]) -> Optional[bytes]:
    return None if text is None else base64.b64decode(text)


def lines(path: Path) -> List[Json]:
    return [json.loads(line) for line in path.read_text("ascii").splitlines()]


def record_of(row: Json) -> Record:
    headers = [(name, bytes_of(value)) for name, value in row["headers"]]
    place = (row["topic"], row["partition"], row["offset"], row["timestamp"], row["timestamp_type"])
    return Record(*place, bytes_of(row["key_b64"]), bytes_of(row["value_b64"]), headers)


def real_dead_letters() -> Iterator[Any]:
    for dump in sorted(FIXTURES.glob("dumps/*.ndjson")):
        expected = lines(FIXTURES / "expected" / dump.name)
        for row, facts in zip(lines(dump), expected):
            yield pytest.param(
                record_of(row), facts, id=f"{dump.stem}-{row['partition']}-{row['offset']}-{facts['n']}"
            )


REAL = list(real_dead_letters())
real = pytest.mark.parametrize(("record", "expected"), REAL)


def test_all_81_are_there() -> None:
    """The fixtures are whole: 81 dead letters of four systems."""
    assert len(REAL) == 81


@real
def test_dialect_and_origin(record: Record, expected: Json) -> None:
    """Which system wrote it and which record died are read from the dead letter alone."""
    told, origin = explain(record), expected["original"]

    assert told.dialect == expected["dialect"]
    assert (told.topic, told.partition, told.offset) == (
        origin["topic"],
        origin["partition"],
        origin["offset"],
    )
    assert told.timestamp_type == origin["timestamp_type"]
    if told.dialect != "none":  # nothing in such a record says whose time its own timestamp is
        assert told.timestamp_ms == origin["timestamp"]


@real
def test_group_attempts_stage_and_component(record: Record, expected: Json) -> None:
    """Group, attempts, stage and component come as carried; what is not carried is None, not 0 or empty."""
    told = explain(record)

    assert told.group == expected["group"]
    assert told.attempts == expected["attempts"]
    assert told.stage == expected["stage"]
    assert told.component == expected.get("component")


@real
def test_error_and_cause(record: Record, expected: Json) -> None:
    """Classes and message as carried, and the innermost cause behind wrappers."""
    told = explain(record)

    assert told.error_class == expected["error_class"]
    assert told.cause_class == expected["cause_class"]
    assert told.message == expected["message"]
    assert told.root_class == expected["root_class"]
    assert told.root_message == expected["root_message"]


@real
def test_user_headers(record: Record, expected: Json) -> None:
    """What remains after the diagnostics are stripped is the source's own, in order."""
    own = [record.headers[place] for place in expected["user_headers"]]

    assert user_headers(record.headers) == own


@real
def test_what_is_not_the_original(record: Record, expected: Json) -> None:
    """A key or value that is not the source's is never taken for it."""
    told = explain(record)

    assert told.key_is_original == expected.get("key_is_original")
    if "re-encoded" not in expected.get("note", ""):  # it leaves no trace in the dead letter
        assert told.value_is_original == expected.get("value_is_original")


@real
def test_earlier_failures(record: Record, expected: Json) -> None:
    """Dead letters that were copied back and died again carry one more set of coordinates."""
    told = explain(record)

    if told.dialect not in ("spring-retrytopic", "none"):  # these keep one origin, or none
        assert told.earlier_failures == expected.get("earlier_failures")


def binary(number: int, length: int) -> bytes:
    return number.to_bytes(length, "big", signed=True)


def dead_letter(headers: Headers, key: Optional[bytes] = b"k", value: Optional[bytes] = b"v") -> Record:
    return Record("dlq", 0, 5, 1_795_000_000_000, "CreateTime", key, value, headers)


BINDER_STACK = (
    b"org.springframework.messaging.MessagingException: error in [App$1@3f64f01c]\n\tat a.b(C.java:1)\n"
    b"\tSuppressed: x.Y: earlier\n\t\tat a.b(C.java:2)\n\tCaused by: x.Old: attempt 1\n"
    b"Caused by: com.orders.OutOfStock: SKU-OUT\n\t... 3 more\n"
)
BINDER: Headers = [
    ("tenant", b"a"),
    ("x-original-topic", b"orders"),
    ("x-original-partition", binary(2, 4)),
    ("x-original-offset", binary(77, 8)),
    ("x-original-timestamp", binary(1_795_501_030_000, 8)),
    ("x-original-timestamp-type", b"CreateTime"),
    ("x-exception-fqcn", b"org.springframework.messaging.MessagingException"),
    ("x-exception-message", b"error in [App$FunctionToDestinationBinder$1@3f64f01c]"),
    ("x-exception-stacktrace", BINDER_STACK),
]


def smallrye(offset: int, reason: str = "boom", topic: str = "orders") -> Headers:
    return [
        ("dead-letter-exception-class-name", b"java.lang.IllegalStateException"),
        ("dead-letter-reason", reason.encode()),
        ("dead-letter-cause-class-name", b"java.sql.SQLException"),
        ("dead-letter-cause", b"no connection"),
        ("dead-letter-topic", topic.encode()),
        ("dead-letter-partition", b"1"),
        ("dead-letter-offset", b"%d" % offset),
    ]


def hop(topic: str, offset: int) -> Headers:
    return [
        ("delayed-retry-exception-class-name", b"java.lang.IllegalStateException"),
        ("delayed-retry-reason", b"boom"),
        ("delayed-retry-topic", topic.encode()),
        ("delayed-retry-partition", b"1"),
        ("delayed-retry-offset", b"%d" % offset),
    ]


HISTORY: Headers = [
    ("delayed-retry-original-timestamp", b"1795501030000"),
    ("delayed-retry-first-processing-timestamp", b"1795501031000"),
    ("delayed-retry-count", b"2"),
]
ARROYO: Headers = [("original_partition", b"3"), ("original_offset", b"12")]
SHARE: Headers = [
    ("__dlq.errors.topic", b"orders"),
    ("__dlq.errors.partition", b"0"),
    ("__dlq.errors.offset", b"9"),
    ("__dlq.errors.group", b"g"),
]


def told_of(headers: Headers, **changes: Any) -> Explanation:
    return explain(dead_letter(headers)._replace(**changes))


def test_spring_cloud_stream() -> None:
    """The binder's binary coordinates are read, and the cause behind its wrapper, not a suppressed one."""
    told = told_of(BINDER)

    assert told.dialect == "spring-cloud-stream"
    assert (told.topic, told.partition, told.offset) == ("orders", 2, 77)
    assert (told.timestamp_ms, told.timestamp_type) == (1_795_501_030_000, "CreateTime")
    assert (told.root_class, told.root_message) == ("com.orders.OutOfStock", "SKU-OUT")
    assert (told.group, told.attempts) == (None, None)
    assert user_headers(BINDER) == [("tenant", b"a")]


def test_spring_cloud_stream_copied_back() -> None:
    """The binder appends its second set: the last one counts."""
    again = [(name, binary(91, 8) if name == "x-original-offset" else value) for name, value in BINDER[1:]]
    told = told_of(BINDER + again)

    assert (told.offset, told.earlier_failures) == (91, 1)


def test_smallrye_puts_a_second_set_in_front() -> None:
    """SmallRye's newest set comes first: the first one counts."""
    told = told_of([*smallrye(8, "second"), *smallrye(4, "first"), ("tenant", b"a")])

    assert told.dialect == "smallrye-dlq"
    assert (told.topic, told.partition, told.offset, told.message) == ("orders", 1, 8, "second")
    assert (told.cause_class, told.root_class, told.root_message) == (
        "java.sql.SQLException",
        "java.sql.SQLException",
        "no connection",
    )
    assert told.earlier_failures == 1


def test_smallrye_key_that_could_not_be_read() -> None:
    """Its value was replaced by the key's bytes, so the value is not the original."""
    failed: Headers = [("deserialization-failure-key", b"true"), ("deserialization-failure-data", b"\xff")]
    told = told_of(smallrye(8) + failed, key=None, value=b"\xff")

    assert (told.key_is_original, told.value_is_original) == (False, False)
    assert told.note is not None


def test_smallrye_value_that_could_not_be_read() -> None:
    """A value that only a header still holds is not taken for a tombstone."""
    told = told_of([*smallrye(8), ("deserialization-failure-data", b"junk")], value=None)

    assert told.value_is_original is False


def test_smallrye_delayed_retry_chain() -> None:
    """The source is at the end of the chain, the retry topic of the last failure at its front."""
    chain = hop("orders_retry_5000", 3) + hop("orders_retry_1000", 6) + hop("orders", 40)
    told = told_of([*chain, ("tenant", b"a"), *HISTORY])

    assert told.dialect == "smallrye-delayed-retry"
    assert (told.topic, told.partition, told.offset) == ("orders", 1, 40)
    assert told.failed_at_topic == "orders_retry_5000"
    assert (told.timestamp_ms, told.first_failed_at_ms, told.attempts) == (
        1_795_501_030_000,
        1_795_501_031_000,
        2,
    )
    assert user_headers([*chain, ("tenant", b"a"), *HISTORY]) == [("tenant", b"a")]


def test_smallrye_delayed_retry_copied_back() -> None:
    """A chain that was copied back and failed again names the newer place in the source."""
    first = hop("orders_retry_1000", 6) + hop("orders", 40)
    told = told_of(hop("orders_retry_1000", 9) + hop("orders", 52) + first + HISTORY)

    assert (told.topic, told.offset, told.earlier_failures) == ("orders", 52, 1)


def test_arroyo() -> None:
    """Coordinates without a topic; an empty value may have been a tombstone, which is said."""
    told = told_of([("original_offset", b"99"), *ARROYO], value=b"")

    assert told.dialect == "arroyo"
    assert (told.topic, told.partition, told.offset, told.timestamp_ms) == (None, 3, 12, None)
    assert told.note is not None
    assert user_headers([("original_offset", b"99"), ("a", b"1"), *ARROYO]) == [("a", b"1")]


def test_share_group_of_a_newer_broker_copies_headers() -> None:
    """Whether the broker copies the user's headers or not, they come back as they were."""
    assert told_of([("tenant", b"a"), *SHARE]).headers_are_original is True
    assert told_of(SHARE).headers_are_original is None
    assert user_headers([("tenant", b"a"), *SHARE]) == [("tenant", b"a")]


def test_none() -> None:
    """Without diagnostics every header is the user's and nothing about the failure is told."""
    told = told_of([("tenant", b"a"), ("exception-message", b"mine")])

    assert told == Explanation("none", fingerprint=told.fingerprint)


@pytest.mark.parametrize("name", ["kafka_dlt-original-topic", "__connect.errors.topic", "dead-letter-reason"])
def test_one_look_alike_is_not_a_dialect(name: str) -> None:
    """A user header that looks like a diagnostic does not make one."""
    assert recognise([(name, b"x")]).name == "none"


ROWS: List[Tuple[str, Headers]] = [
    ("spring-cloud-stream", BINDER),
    ("smallrye-dlq", smallrye(1)),
    ("smallrye-delayed-retry", hop("orders", 1)),
    ("arroyo", ARROYO),
    ("share-group", SHARE),
]


@pytest.mark.parametrize(("name", "headers"), ROWS)
@pytest.mark.parametrize("junk", [None, b"", b"\xff\xfe", b"-1", b"NaN", b"9" * 40])
def test_junk_in_diagnostics_never_fails(name: str, headers: Headers, junk: Optional[bytes]) -> None:
    """Whatever the values are, a record is explained; a number that is none is not carried."""
    told = told_of([(key, junk) for key, _ in headers])

    assert told.dialect == name
    assert told.offset in (None, -1)


def test_the_set_written_last_names_the_dialect() -> None:
    """A dead letter of one system that died again under another is the latter's."""
    assert recognise(BINDER + SHARE).name == "share-group"
    assert recognise(SHARE + BINDER).name == "spring-cloud-stream"


def test_one_row_a_dialect() -> None:
    """Names are unique, and every row needs evidence."""
    assert len({dialect.name for dialect in DIALECTS}) == len(DIALECTS)
    assert all(dialect.complete for dialect in DIALECTS)


def test_fingerprint_blanks_out_what_varies() -> None:
    """Object identities and offsets do not split a group; another cause does."""
    other: Headers = [(name, (value or b"").replace(b"3f64f01c", b"4a2c6e67")) for name, value in BINDER]
    cause: Headers = [(name, (value or b"").replace(b"OutOfStock", b"Blocked")) for name, value in BINDER]

    assert told_of(BINDER).fingerprint == told_of(other).fingerprint
    assert told_of(BINDER).fingerprint != told_of(cause).fingerprint


OURS = Record(
    "orders", 2, 41, 1_699_999_999_000, "CreateTime", b"k", b"v", [("trace", b"1"), ("empty", None)]
)
FAILURE = Failure("process.failed", "process", "KeyError", "no sku", True, stack="KeyError: 'sku'")
ABOUT = Circumstances("order-processing-group", "host-1-77", 3, 1_700_000_000_000, 1_700_000_035_000, "so", 1)


def returned(sent: Outgoing) -> Record:
    """The dead letter as it is read back."""
    return Record(sent.topic, 0, 7, sent.timestamp_ms, "CreateTime", sent.key, sent.value, sent.headers)


def test_what_we_write_is_what_we_read() -> None:
    """Every fact that the engine gives comes back, and the source's headers are whole."""
    sent = returned(own.dead_letter(OURS, FAILURE, ABOUT, "orders-dlq"))
    told = explain(sent)

    assert told == Explanation(
        dialect="orderflow",
        topic="orders",
        partition=2,
        offset=41,
        timestamp_ms=1_699_999_999_000,
        group="order-processing-group",
        attempts=3,
        reason="process.failed",
        stage="process",
        error_class="KeyError",
        message="no sku",
        stack="KeyError: 'sku'",
        fingerprint=fingerprint("process.failed", "process", "KeyError", "no sku"),
        mark=fingerprint("process.failed", "process", "KeyError", "no sku"),
        retryable=True,
        first_failed_at_ms=1_700_000_000_000,
        failed_at_ms=1_700_000_035_000,
        schema="so",
        client="host-1-77",
        earlier_failures=0,
    )
    assert user_headers(sent.headers) == OURS.headers


def test_pointer_is_read_as_one() -> None:
    """A value that did not fit is not taken for a tombstone."""
    told = explain(returned(own.dead_letter(OURS, FAILURE, ABOUT, "orders-dlq", Shrink.POINTER)))

    assert (told.key_is_original, told.value_is_original, told.headers_are_original) == (True, False, True)
    assert told.note is not None and "value" in told.note


def test_life_story_survives_a_second_death() -> None:
    """The replay headers that came with the order are read and stay among its own headers."""
    story: Headers = [
        ("orders.replay.job", b"j1"),
        ("orders.replay.count", b"2"),
        ("orders.replay.from", b"d-0-5"),
    ]
    sent = returned(own.dead_letter(OURS._replace(headers=story), FAILURE, ABOUT, "orders-dlq"))
    told = explain(sent)

    assert (told.replay_job, told.replay_count, told.replay_from) == ("j1", 2, "d-0-5")
    assert user_headers(sent.headers) == story
