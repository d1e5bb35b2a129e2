"""The engine's side of a dead letter: what is kept, what is set, and how it is made to fit."""

import time
from typing import Any, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderflow.dlq import letter as letters
from orderflow.errors import Cause, Failure
from orderflow.model.dead_letter import (
    DIAGNOSTICS_LIMIT,
    POINTER_PART_LIMIT,
    Circumstances,
    Shrink,
    dead_letter,
    is_diagnostic,
    size_of,
)
from orderflow.model.fingerprint import fingerprint, fingerprint_of, normalised
from orderflow.model.records import Outgoing, Record

FAILURE = Failure(
    "validate.quantity", "validate", "orderflow.errors.InvalidOrder", "quantity must be positive", False
)
ABOUT = Circumstances("order-processing-group", "host-1-77", 3, 1_700_000_000_000, 1_700_000_035_000, None, 1)


def record(**changes: Any) -> Record:
    whole = Record(
        "orders", 2, 41, 1_699_999_999_000, "CreateTime", b"k", b"v", [("trace", b"1"), ("empty", None)]
    )
    return whole._replace(**changes)


def header(outgoing: Outgoing, name: str) -> Optional[bytes]:
    """The one value of a header; a repeated or missing one fails the test."""
    (value,) = [value for key, value in outgoing.headers if key == name]
    return value


def test_source_is_carried_byte_for_byte() -> None:
    """Key, value and the source's headers come first, in their order, with repeats, null and empty ones."""
    headers = [("b", b"\xff"), ("a", None), ("b", b""), ("b", b"\xff")]
    sent = dead_letter(record(key=b"\x00", value=b"\xc3\x01", headers=headers), FAILURE, ABOUT, "orders-dlq")

    assert (b"\x00", b"\xc3\x01") == (sent.key, sent.value)
    assert headers == sent.headers[:4]
    assert all(is_diagnostic(name) for name, _ in sent.headers[4:])


def test_diagnostics_name_origin_failure_and_circumstances() -> None:
    """Every fact of the contract is a header of its own, as UTF-8 text, numbers in decimal."""
    sent = dead_letter(record(), FAILURE, ABOUT._replace(schema="single-object"), "orders-dlq")

    found = dict(sent.headers[2:])
    mark = found.pop("orders.dlq.fingerprint")
    assert {
        "__dlq.errors.topic": b"orders",
        "__dlq.errors.partition": b"2",
        "__dlq.errors.offset": b"41",
        "__dlq.errors.group": b"order-processing-group",
        "__dlq.errors.delivery.count": b"3",
        "__dlq.errors.message": b"quantity must be positive",
        "orders.dlq.reason": b"validate.quantity",
        "orders.dlq.stage": b"validate",
        "orders.dlq.class": b"orderflow.errors.InvalidOrder",
        "orders.dlq.retryable": b"false",
        "orders.dlq.first-failed-at": b"1700000000000",
        "orders.dlq.failed-at": b"1700000035000",
        "orders.dlq.timestamp": b"1699999999000",
        "orders.dlq.schema": b"single-object",
        "orders.dlq.id": b"orders-2-41",
        "orders.dlq.client": b"host-1-77",
    } == found
    assert mark is not None and 16 == len(mark)


def test_what_is_not_known_has_no_header() -> None:
    """Unknown times, schema and stack are absent, never zero, empty or a guess."""
    sent = dead_letter(
        record(timestamp_ms=None), FAILURE, ABOUT._replace(first_failed_at_ms=None), "orders-dlq"
    )

    names = {name for name, _ in sent.headers}
    assert not names & {
        "orders.dlq.timestamp",
        "orders.dlq.first-failed-at",
        "orders.dlq.schema",
        "orders.dlq.stack",
    }


def test_second_death_replaces_the_diagnostics_of_the_first() -> None:
    """A record that comes back with an older set of diagnostics leaves with one set, the new one."""
    first = dead_letter(record(), FAILURE, ABOUT, "orders-dlq")
    replayed = record(offset=99, headers=[*first.headers, ("orders.replay.count", b"1")])
    second = dead_letter(replayed, FAILURE._replace(message="again"), ABOUT, "orders-dlq")

    assert b"99" == header(second, "__dlq.errors.offset")
    assert b"again" == header(second, "__dlq.errors.message")
    assert b"1" == header(second, "orders.replay.count")


def test_partition_and_time() -> None:
    """The partition is the source's modulo the topic's count; the time is that of death."""
    sent = dead_letter(record(partition=7), FAILURE, ABOUT._replace(partitions=3), "orders-dlq")

    assert (1, 1_700_000_035_000) == (sent.partition, sent.timestamp_ms)


def test_shrinking_gives_up_stack_then_message_then_value() -> None:
    """Each step is smaller than the one before and gives up the least telling part first."""
    failure = FAILURE._replace(message="m" * 5_000, stack="s" * 9_000)
    sizes = [size_of(dead_letter(record(value=b"v" * 900), failure, ABOUT, "d", step)) for step in Shrink]
    by_message = dead_letter(record(), failure, ABOUT, "d", Shrink.MESSAGE)

    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == len(sizes)
    assert b"v" == by_message.value
    assert 256 == len(header(by_message, "__dlq.errors.message") or b"")


def test_stack_keeps_its_end() -> None:
    """A trimmed stack trace keeps the last lines, where Python names the error."""
    sent = dead_letter(
        record(), FAILURE._replace(stack="x" * 20_000 + "KeyError: 'sku'"), ABOUT, "d", Shrink.STACK
    )

    assert (header(sent, "orders.dlq.stack") or b"").endswith(b"KeyError: 'sku'")


def test_pointer_names_what_it_leaves_out() -> None:
    """A pointer has no value and says so; small keys and headers still travel."""
    sent = dead_letter(record(), FAILURE, ABOUT, "d", Shrink.POINTER)

    assert (b"k", None, b"value") == (sent.key, sent.value, header(sent, "orders.dlq.left-out"))
    assert [("trace", b"1"), ("empty", None)] == sent.headers[:2]


def test_pointer_of_a_tombstone_leaves_out_nothing() -> None:
    """A source without a value is not told as one whose value was left out."""
    sent = dead_letter(record(value=None), FAILURE, ABOUT, "d", Shrink.POINTER)

    assert "orders.dlq.left-out" not in dict(sent.headers)


@given(
    st.binary(max_size=9_000),
    st.lists(st.tuples(st.text(max_size=20), st.none() | st.binary(max_size=4_000)), max_size=5),
    st.text(max_size=5_000),
)
def test_pointer_always_fits(key: bytes, headers: Any, message: str) -> None:
    """However large key, headers and message are, a pointer stays within 13 kB."""
    failure = FAILURE._replace(message=message, stack=message, reason=message, error_class=message)
    sent = dead_letter(record(key=key, headers=headers), failure, ABOUT, "d", Shrink.POINTER)

    assert size_of(sent) < 2 * POINTER_PART_LIMIT + 5_000


@given(st.text(st.characters(), max_size=300))
def test_any_text_becomes_utf8(message: str) -> None:
    """Lone surrogates and control characters in a message neither fail nor leave broken UTF-8."""
    for step in Shrink:
        sent = dead_letter(record(), FAILURE._replace(message=message, stack=message), ABOUT, "d", step)

        (header(sent, "__dlq.errors.message") or b"").decode("utf-8")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("order O-1002: product SKU-7 is out of stock", "order O-77: product SKU-12 is out of stock"),
        ("timed out after 5.3 s at 12:30:01.123", "timed out after 6 s at 2026-11-24T01:02:03Z"),
        ("<Client object at 0x7f3ab2> failed", "<Client object at 0x55d0cafe> failed"),
        ("handler [App$Binder$1@3f64f01c] failed", "handler [App$Binder$1@4a2c6e67] failed"),
        (
            "user 6e1b2f0a-95c4-4c39-8f4e-1f0f7f0c9b11 blocked",
            "user 00000000-0000-4000-8000-000000000000 blocked",
        ),
        ("lost O-1, O-2, O-3", "lost O-9"),
        ("begins with ab cd ef", "begins with 00 11 aa"),
        ("object app.Worker@deadbeef", "object app.Worker@cafebabe"),
        ("'QM'", "'GT'"),
        ("no price for 'Blue Widget'", 'no price for "it\'s red"'),
        ("blocked: anna@shop.example", "blocked: o.hara+x@mail.shop.example"),
        ("checksum deadbeefcafe", "checksum abcdefabcdef"),
        ("{'sku': 'QM', 'size': 'XL'}", "{'sku': 'GT', 'size': 'S'}"),
        ("unknown tokens `a`, `b`", "unknown tokens `c`"),
        ("“grün” is “blau”", "“rot” is “blau”"),
        ("x" * 150 + " for order O-1 and the rest", "x" * 150 + " for order O-1000000 and the rest"),
    ],
)
def test_fingerprint_ignores_what_varies(one: str, other: str) -> None:
    """Numbers, ids, object identities and clock times do not make a new group."""
    assert normalised(one) == normalised(other)
    assert fingerprint("r", "s", "C", one) == fingerprint("r", "s", "C", other)


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (
            "field a, byte 53: 1 bytes are needed and 0 are left",
            "field a, byte 9: 1 byte is needed and 0 are left",
        ),
        (
            "field a, byte 41: 8 bytes are needed and 1 are left",
            "field a, byte 9: 8 bytes are needed and 1 is left",
        ),
        ("byte 60: 1 bytes are left over after the record", "byte 60: 1 byte is left over after the record"),
        ("a whole prefix: the prefix is cut after 1 bytes", "a whole prefix: the prefix is cut after 1 byte"),
        ("byte 8: 2 bytes for a decimal of 1 digits", "byte 8: 2 bytes for a decimal of 1 digit"),
    ],
)
def test_one_of_anything_is_no_other_kind_of_decoding_failure(before: str, now: str) -> None:
    """One byte is missing, or two; said by this version, or by one that said `1 bytes`."""
    of_many = before.replace("1", "2")
    kinds = {
        fingerprint("decode.truncated", "decode", "Undecodable", text) for text in (before, now, of_many)
    }

    assert len(kinds) == 1


def test_fingerprint_tells_kinds_apart() -> None:
    """Reason, stage, class and wording each make another group."""
    base = ("process.failed", "process", "KeyError", "no stock")
    variants = [
        base,
        ("validate.price", *base[1:]),
        (*base[:2], "ValueError", base[3]),
        (*base[:3], "no price"),
    ]

    assert len(variants) == len({fingerprint(*each) for each in variants})


def test_an_apostrophe_opens_no_quotation() -> None:
    """What stands between two of them in plain English still tells failures apart."""
    assert normalised("can't find the customer's order") != normalised("can't sell the customer's order")


@pytest.mark.parametrize("part", ["a", "'", "'a ", "a@", "a.", "'\\", "#'", "“", "a1"])
def test_normalising_any_message_takes_linear_time(part: str) -> None:
    """A hostile message is as cheap as any other of its length."""
    began_s = time.process_time()
    for _ in range(20):
        normalised(part * 1_000_000)

    assert time.process_time() - began_s < 0.2


def test_the_kind_of_a_handlers_failure_is_its_class_and_function() -> None:
    """Its message is often the key that was missing: one bug would be 450 groups."""
    there = Failure("process.failed", "process", "KeyError", "'QM'", True, frame="shop/prices.py:21 in total")
    elsewhere = there._replace(frame="shop/prices.py:34 in tax")
    caused = there._replace(causes=(Cause("OSError", "gone"),))

    assert fingerprint_of(there) == fingerprint_of(there._replace(message="'GT'"))
    assert fingerprint_of(there) == fingerprint_of(there._replace(frame="shop/prices.py:22 in total"))
    assert fingerprint_of(caused) == fingerprint_of(there._replace(causes=(Cause("OSError", "back"),)))
    assert 4 == len({fingerprint_of(one) for one in (there, elsewhere, caused, there._replace(frame=None))})


def test_the_kind_of_any_other_failure_is_its_class_and_message() -> None:
    """As in every dead letter that was written before there were frames."""
    for failure in (
        FAILURE,
        FAILURE._replace(frame="rules.py:3 in check"),
        FAILURE._replace(stage="process"),
    ):
        assert fingerprint(*failure[:4]) == fingerprint_of(failure)


def test_frame_and_cause_are_headers_of_their_own() -> None:
    """And are cut like every text of foreign code."""
    causes = (Cause("KeyError", "'sku'"), Cause("OSError", ""))
    failure = FAILURE._replace(frame="shop/prices.py:21 in total", causes=causes)
    sent = dead_letter(record(), failure, ABOUT, "d")

    assert b"shop/prices.py:21 in total" == header(sent, "orders.dlq.frame")
    assert b"KeyError: 'sku'; OSError" == header(sent, "orders.dlq.cause")


def test_diagnostics_stay_within_their_limit() -> None:
    long = "ü" * 100_000
    failure = Failure(
        long, long, long, long, retryable=True, stack=long, frame=long, causes=(Cause(long, long),)
    )
    about = ABOUT._replace(group=long, client=long, schema=long)
    bare = record(topic=long, key=None, value=None, headers=[])
    assert size_of(dead_letter(bare, failure, about, "orders-dlq")) <= DIAGNOSTICS_LIMIT


@pytest.mark.parametrize("shrink", Shrink)
@pytest.mark.parametrize("stack", [None, "in line 1"])
def test_the_last_header_is_one_of_ours_by_which_it_is_known(shrink: Shrink, stack: Optional[str]) -> None:
    """letter.py takes its short way, four times as fast, only where that is so."""
    letter = dead_letter(record(), FAILURE._replace(stack=stack), ABOUT, "orders-dlq", shrink)
    there = Record("orders-dlq", 0, 0, None, None, letter.key, letter.value, letter.headers)

    own = letters.own_headers(there.headers)
    assert letters._own_kind(own) is not None
    assert letters._own_detail(own) is not None
