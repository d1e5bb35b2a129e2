"""The offset ledger: what it counts as finished, what it lists, and the text it commits."""

import zlib
from typing import Any, List, Optional, Tuple

import pytest

from orderflow.consume.head import Head
from orderflow.consume.ledger import Ledger
from orderflow.consume.waiting_bytes import WaitingBytes
from orderflow.model.commit_metadata import (
    DELAYS_S,
    MAX_ATTEMPTS,
    METADATA_LIMIT,
    Commit,
    Entry,
    capacity,
    read_metadata,
)
from tests.support.memory import text_of, write_metadata

WRITTEN_AT_S = 1_764_000_000


def waiting(ledger: Ledger, offset: int, key: Optional[bytes] = None, due_s: float = 10.0) -> Head:
    """Admit a record that now waits, with `next` past it."""
    head = ledger.admit(f"record {offset}", offset, key)
    ledger.wait(head, due_s)
    ledger.next = max(ledger.next, offset + 1)
    return head


def commit(base: int, entries: List[Entry], **changes: object) -> Commit:
    last = entries[-1].offset if entries else base - 1
    return Commit(last + 1, entries, True, False, None, WRITTEN_AT_S)._replace(**changes)  # type: ignore[arg-type]


def sealed(body: str, base: int) -> str:
    """What another writer of our format would have to commit, byte by byte as documented."""
    return f"{body};{zlib.crc32(f'{base};{body}'.encode()):08x}"


# --- the commit point


def test_with_nothing_unfinished_next_is_committed() -> None:
    """Anything admitted and not listed is finished: gaps as well as orders that succeeded."""
    ledger = Ledger(100)
    ledger.next = 250

    assert (250, 0) == (ledger.commit_point, ledger.unfinished)


def test_the_lowest_unfinished_order_is_committed() -> None:
    """Orders that finish behind a waiting one do not move the commit; when that is done, it jumps."""
    ledger = Ledger(100)
    first, second = waiting(ledger, 103), waiting(ledger, 107)
    ledger.next = 120

    ledger.finish(second)
    assert 103 == ledger.commit_point
    ledger.finish(first)
    assert 120 == ledger.commit_point


def test_an_announced_order_is_listed_as_such() -> None:
    """Before it is called, so that a death during the call names it."""
    ledger = Ledger(5)
    ledger.admit("record", 5, None).announced = True
    ledger.next = 6

    found = read_metadata(text_of(ledger, clean=False, alone=5), 5)

    assert found is not None
    assert ([Entry(5, 0, 0, announced=True)], 5) == (found.entries, found.alone)


def test_an_order_in_flight_is_unfinished() -> None:
    """It is listed like one that waits, due at once: a crash during the call must not skip it."""
    ledger = Ledger(5)
    ledger.admit("record", 5, b"k", attempts=2)
    ledger.next = 6

    found = read_metadata(text_of(ledger, clean=False), ledger.commit_point)

    assert found is not None
    assert [Entry(5, 2, 0)] == found.entries


# --- followers


def test_followers_are_not_listed_but_their_head_says_that_it_has_some() -> None:
    """One busy key costs one entry, however long its queue is."""
    ledger = Ledger(0)
    waiting(ledger, 0, b"busy")
    for offset in range(1, 5000):
        ledger.queue(b"busy", "record", offset, 10)
    ledger.next = 5000

    text = text_of(ledger, clean=True)
    found = read_metadata(text, 0)

    assert found is not None
    assert (5000, [Entry(0, 0, 10, has_followers=True)]) == (found.next, found.entries)
    assert (5000, 4999, 49_990) == (ledger.unfinished, ledger.queued, ledger.held.bytes)
    assert len(text) < 60


def test_finished_head_hands_its_key_and_queue_to_the_next_follower() -> None:
    """The follower is in flight at once, with a budget of its own, and keeps those behind it."""
    ledger = Ledger(0)
    head = waiting(ledger, 0, b"k")
    head.attempts = 3
    ledger.queue(b"k", "second", 4, 10)
    ledger.queue(b"k", "third", 9, 10)
    ledger.next = 10

    following = ledger.finish(head)

    assert following is not None
    assert ("second", 4, b"k", 0, None) == (
        following.record,
        following.offset,
        following.key,
        following.attempts,
        following.due_s,
    )
    assert ledger.by_key[b"k"] is following
    assert (4, 1, 20) == (ledger.commit_point, ledger.queued, ledger.held.bytes)
    assert [9] == [follower.offset for follower in following.followers]


def test_last_of_a_key_frees_the_key() -> None:
    """After it, a record of the key is a fresh one again."""
    ledger = Ledger(0)
    head = waiting(ledger, 0, b"k")

    assert ledger.finish(head) is None
    assert ({}, {}, {}) == (ledger.heads, ledger.by_key, ledger.busy)


def test_records_without_a_key_wait_behind_nothing() -> None:
    """Each is a head of its own, and none makes the absent key busy."""
    ledger = Ledger(0)
    heads = [waiting(ledger, offset) for offset in range(3)]

    assert ({}, {}) == (ledger.by_key, ledger.busy)
    assert [None] * 3 == [ledger.finish(head) for head in heads]


def test_an_empty_key_is_a_key() -> None:
    """Kafka tells an empty key from none, and so does the order of its records."""
    ledger = Ledger(0)
    head = waiting(ledger, 0, b"")
    ledger.queue(b"", "second", 1, 1)

    following = ledger.finish(head)

    assert following is not None
    assert 1 == following.offset


def test_a_key_is_busy_until_no_ledger_has_it() -> None:
    """Ledgers of one process share one look-up; a key may stand in several partitions."""
    busy = {}  # type: ignore[var-annotated]
    one, other = Ledger(0, busy=busy), Ledger(0, busy=busy)
    first, second = waiting(one, 0, b"k"), waiting(other, 7, b"k")

    one.finish(first)
    assert {b"k": 1} == busy
    other.finish(second)
    assert {} == busy


def test_care_after_a_crash_is_counted_down_along_a_key() -> None:
    """That many calls of the key are careful, the head's included, and no fewer for its followers."""
    ledger = Ledger(0)
    head: Optional[Head] = waiting(ledger, 0, b"k")
    assert head is not None
    head.suspect, head.careful = 1, 3
    for offset in range(1, 5):
        ledger.queue(b"k", "record", offset, 1)

    care = []
    while head is not None:
        care.append((head.suspect, head.careful))
        head = ledger.finish(head)

    assert [(1, 3), (0, 2), (0, 1), (0, 0), (0, 0)] == care


# --- waiting


def test_the_head_that_is_due_longest_comes_first() -> None:
    """Not the lowest offset: the one whose time came first, and none before its time."""
    ledger = Ledger(0)
    waiting(ledger, 0, due_s=30.0)
    waiting(ledger, 1, due_s=10.0)
    waiting(ledger, 2, due_s=20.0)

    assert ledger.take_due(9.9) is None
    assert [1, 2] == [head.offset for head in (ledger.take_due(25.0), ledger.take_due(25.0)) if head]
    assert ledger.take_due(25.0) is None
    assert 30.0 == ledger.next_due_s()


def test_a_head_that_was_put_off_is_due_once() -> None:
    """Only its latest time counts; what was planned before is void."""
    ledger = Ledger(0)
    head = waiting(ledger, 0, due_s=10.0)
    ledger.wait(head, 5.0)
    ledger.wait(head, 40.0)

    assert 40.0 == ledger.next_due_s()
    assert ledger.take_due(39.0) is None
    assert ledger.take_due(40.0) is head
    assert ledger.take_due(99.0) is None


def test_bringing_forward_never_puts_off() -> None:
    """When an outage ends, orders due later become due now; those due sooner keep their time."""
    ledger = Ledger(0)
    soon, late = waiting(ledger, 0, due_s=3.0), waiting(ledger, 1, due_s=60.0)

    for head in (soon, late):
        ledger.bring_forward(head, 5.0)

    assert (3.0, 5.0) == (soon.due_s, late.due_s)


def test_waiting_again_withdraws_the_announcement() -> None:
    """An order that came back from its call is no suspect if the process dies later."""
    ledger = Ledger(0)
    head = ledger.admit("record", 0, None)
    head.announced = True

    ledger.wait(head, 1.0)

    assert not head.announced


# --- limits

FULL, NEITHER, ROOM = (True, False), (False, False), (False, True)


def intake(ledger: Ledger) -> Tuple[bool, bool]:
    """Whether it must stop admitting, and whether admitting is worthwhile again."""
    return ledger.limit_reached is not None, ledger.has_room


def test_the_number_of_heads_is_limited_by_the_planned_span() -> None:
    """At the limit it is full, and only a quarter below has it room again: no flapping."""
    ledger = Ledger(0)
    ledger.plan_intake(1000)
    most = capacity(1000)
    heads = [waiting(ledger, offset) for offset in range(most)]

    assert FULL == intake(ledger)
    ledger.finish(heads.pop())
    assert NEITHER == intake(ledger)
    while len(heads) > most * 3 // 4:
        ledger.finish(heads.pop())
    assert ROOM == intake(ledger)


@pytest.mark.parametrize(
    ("max_queued", "max_bytes", "size", "expected"),
    [
        (8, 10_000, 1, [NEITHER, FULL, NEITHER, ROOM]),
        (10_000, 800, 100, [NEITHER, FULL, FULL, NEITHER]),
    ],
)
def test_followers_are_limited_by_number_and_by_bytes(
    max_queued: int, max_bytes: int, size: int, expected: List[Any]
) -> None:
    """Eight of them fill it either way; six leave room again. Bytes count until an order is done."""
    ledger = Ledger(0, max_queued, WaitingBytes(max_bytes))
    ledger.plan_intake(100)
    head: Optional[Head] = waiting(ledger, 0, b"k")
    seen = []
    for offset in range(1, 9):
        ledger.queue(b"k", "record", offset, size)
        seen.append(intake(ledger))
    while head is not None and len(seen) < 10:
        head = ledger.finish(head)
        seen.append(intake(ledger))

    assert [ROOM] * 6 + expected == seen


def test_the_span_is_counted_from_the_commit_point() -> None:
    """An old waiting order far behind leaves room for fewer heads, wherever the next ones stand."""
    near, far = Ledger(0), Ledger(0)
    for ledger, mark in ((near, 100), (far, 2**40)):
        waiting(ledger, 0)
        ledger.next = mark
        ledger.plan_intake(1000)
        for offset in range(mark, mark + capacity(2**40 + 1000) - 1):
            ledger.admit("record", offset, None)

    assert FULL == intake(far)
    assert near.limit_reached is None


def test_some_hundreds_of_heads_fit() -> None:
    """A batch's span costs few digits; even heads strewn over the largest offsets fit in their dozens."""
    assert capacity(1) > 900
    assert capacity(40_000) > 700
    assert capacity(5_000_000) > 480
    assert capacity(2**62) > 200


def test_capacity_never_grows_with_the_span_and_is_never_none() -> None:
    """At least one head may wait, however little metadata a broker takes."""
    capacities = [capacity(2**bits) for bits in range(63)]

    assert sorted(capacities, reverse=True) == capacities
    assert 1 == capacity(2**62, limit=10)


# --- the text


def test_the_text_is_as_documented() -> None:
    """Other tools may read it: this is the format, byte for byte."""
    entries = [Entry(1000, 1, 5), Entry(1001, 0, 0, True), Entry(1100, 31, 60, True, True)]
    body = "of1;cb3;200;1;1764000000;" + "ACF" + "DAA" + "nG_j"

    text = write_metadata(Commit(1200, entries, True, True, 1001, WRITTEN_AT_S, reach=800), base=1000)

    assert sealed(body, 1000) == text


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("braked", [True, False])
@pytest.mark.parametrize("alone", [None, 17])
def test_the_flags_come_back(clean: bool, braked: bool, alone: Optional[int]) -> None:
    """How the last owner stopped, whether its brake held, and what it called alone."""
    written = commit(17, [Entry(17, 1, 1)], clean=clean, braked=braked, alone=alone)

    assert written == read_metadata(write_metadata(written, 17), 17)


@pytest.mark.parametrize(
    ("reach", "told"), [(None, None), (0, 100), (101, 200), (25_600, 25_600), (10**6, 25_600)]
)
def test_the_reach_comes_back_and_no_smaller_up_to_the_largest(
    reach: Optional[int], told: Optional[int]
) -> None:
    """One digit tells how far the next owner has to be careful."""
    found = read_metadata(write_metadata(commit(0, [], reach=reach), 0), 0)

    assert found is not None
    assert found.reach == told


@pytest.mark.parametrize("delay_s", [*range(33), 60, 61, 3600, DELAYS_S[-1]])
def test_delays_come_back_exact_when_short_and_never_shorter(delay_s: int) -> None:
    """Exact up to half a minute; beyond, up to a third longer, so that a restart brings nothing forward."""
    found = read_metadata(write_metadata(commit(0, [Entry(0, 1, delay_s)]), 0), 0)

    assert found is not None
    (entry,) = found.entries
    assert entry.delay_s == delay_s if delay_s < 32 else delay_s <= entry.delay_s <= delay_s * 1.4


@pytest.mark.parametrize("due_s", [float("inf"), 1e300, 10.0**7])
def test_a_wait_beyond_all_bounds_is_written_as_the_longest(due_s: float) -> None:
    """A handler may ask for any delay; it must not make the commit fail."""
    ledger = Ledger(0)
    waiting(ledger, 0, due_s=due_s)

    found = read_metadata(text_of(ledger, clean=True), 0)

    assert found is not None
    assert DELAYS_S[-1] == found.entries[0].delay_s


def test_more_attempts_than_can_be_counted_stay_at_the_most() -> None:
    """During an outage an order is called far beyond its budget; that must not wrap around to none."""
    found = read_metadata(write_metadata(commit(0, [Entry(0, 500, 1)]), 0), 0)

    assert found is not None
    assert MAX_ATTEMPTS == found.entries[0].attempts


FOREIGN = [
    "",
    "x",
    "{}",
    '{"version":1,"offset":42}',
    ";;;;;;",
    "of1",
    "of1;c;0;;1764000000;",
    "bAAAAAAAAgQ=",
    "AwAAAAAAAAAqAAAAAQ",
    "2024-01-01T00:00:00Z consumer-1",
    "\ud800",
    "💥" * 1000,
    "\x00" * 100,
]


@pytest.mark.parametrize("text", FOREIGN)
def test_what_is_not_ours_is_none(text: str) -> None:
    """Other tools' metadata counts as none: then nothing is skipped, and what waits is not known."""
    assert read_metadata(text, 42) is None


FORGED = [
    "of1;c;5;;1764000000;",  # next beyond the base, and nothing listed: five records would be skipped
    "of1;c;-5;;1764000000;",
    "of1;c;9;;1764000000;EAA",  # the first head is not the committed offset
    "of1;c;9;;1764000000;AAAAAA",  # one offset twice
    "of1;c;2;;1764000000;AAAEAA",  # a head at `next`
    "of1;c;9;;1764000000;A",
    "of1;c;9;;1764000000;AA",
    "of1;c;9;;1764000000;g",
    "of1;c;9;;1764000000;A A",
    "of1;c;x;;1764000000;AAA",
    "of1;c;;;1764000000;AAA",
    "of1;c;9;;;AAA",
    "of1;c;9;x;1764000000;AAA",
    "of1;;9;;1764000000;AAA",
    "of1;cc;9;;1764000000;AAA",
    "of1;c9;9;;1764000000;AAA",
    "of1;c3b;9;;1764000000;AAA",
    "of1;c;9;;1764000000;AAA;",
    "of2;c;9;;1764000000;AAA",
    "of1;c;9;;" + 400 * "9" + ";AAA",  # no time that a clock can show
    "of1;c;9;;" + 5_000 * "9" + ";AAA",  # more digits than Python turns into a number
    "of1;c;" + 400 * "9" + ";;1764000000;AAA",
    "of1;c;9223372036854775807;;1764000000;AAA",  # beyond the last offset there can be
    "of1;c;9;9223372036854775807;1764000000;AAA",
    "of1;c;9;9;1764000000;AAA",  # called alone, and not yet seen
    "of1;c;9;;1764000000;" + 20 * "g" + "AAA",  # a distance that no two offsets have
    "of1;c; 9;;1764000000;AAA",
    "of1;c;+9;;1764000000;AAA",
    "of1;c;1_0;;1764000000;AAA",
    "of1;c;\u0669;;1764000000;AAA",  # a digit, though not of ours
    "of1;c;9;;1764000000;AAA\n",
]


@pytest.mark.parametrize("body", FORGED)
def test_a_text_that_makes_no_sense_is_none_even_with_a_right_check(body: str) -> None:
    """A writer with a bug, or a newer format, must not make a record skip either."""
    assert read_metadata(sealed("of1;c;9;;1764000000;AAA", 42), 42) is not None

    assert read_metadata(sealed(body, 42), 42) is None


def test_metadata_that_was_carried_to_another_offset_is_none() -> None:
    """A mirror translates the committed offset and copies the metadata: distances do not hold there."""
    text = write_metadata(commit(1000, [Entry(1000, 1, 5), Entry(1010, 1, 5)]), 1000)

    assert read_metadata(text, 1000) is not None
    assert read_metadata(text, 990) is None


def test_limit_is_below_what_a_broker_takes_by_default() -> None:
    """4,096 bytes were refused when measured, and 4,000 passed."""
    assert METADATA_LIMIT <= 4000
