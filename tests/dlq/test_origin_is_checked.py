"""Marks of a dead letter that somebody else may have written: whose they are, and what they may lead to."""

from typing import Any, Dict, List, Optional

import pytest

from orderflow.avro.codec import OrderDecoder
from orderflow.dlq.explain import explain, user_headers
from orderflow.dlq.letter import Letter
from orderflow.dlq.pointer import Comparison, compare
from orderflow.dlq.replay import judge
from orderflow.dlq.replay.outlook import Outlook
from orderflow.dlq.replay.source_topics import Candidates
from orderflow.dlq.replay.staleness import NewestByKey
from orderflow.dlq.replay.text import outlook_lines
from orderflow.errors import Failure
from orderflow.model import dead_letter as own
from orderflow.model.dead_letter import Shrink
from orderflow.model.records import Headers, Record
from tests.dlq.test_dialects import BINDER, SHARE, hop, smallrye
from tests.dlq.test_replay import World, an_order, judged
from tests.support.dlq_tools import FIXTURES, SCHEMA, T0_MS, json_lines, order, ours, record_of

DECODER = OrderDecoder(SCHEMA, lambda ref: SCHEMA, 1_048_576)
VICTIM = 5
"""The offset of another customer's order."""
DIED_MS = T0_MS + VICTIM * 60_000


def forged(**changes: Any) -> Headers:
    """Headers that an order's producer wrote, so that its dead letter looks like a pointer of ours."""
    return [(name, changes.get(name, value)) for name, value in ours(VICTIM, shrink=Shrink.POINTER).headers]


def letter(
    headers: Headers, key: Optional[bytes] = b"EVIL", at_ms: int = DIED_MS + 77, kind: str = "CreateTime"
) -> Letter:
    return Letter(Record("dlq", 0, 3, at_ms, kind, key, None, headers), DECODER.decode)


def rows(system: str) -> List[Dict[str, Any]]:
    pairs = zip(
        json_lines(FIXTURES / "dumps" / f"{system}.ndjson"),
        json_lines(FIXTURES / "expected" / f"{system}.ndjson"),
    )
    return [{**expected, "dump": dump} for dump, expected in pairs]


@pytest.mark.parametrize("system", ["connect", "share", "spring", "streams"])
def test_marks_that_a_system_carried_along_are_not_believed(system: str) -> None:
    """Every real dead letter, with a whole set of ours among what its producer wrote, stays its system's."""
    for row in rows(system):
        record = record_of(row["dump"])
        if row["dialect"] == "none":
            continue
        plain = explain(record)
        carried = record._replace(headers=[*forged(), ("tenant", b"a"), *record.headers])
        told = explain(carried)

        assert (told.dialect, told.topic, told.partition, told.offset, told.note) == (
            *(plain.dialect, plain.topic, plain.partition, plain.offset),
            plain.note,
        )
        assert Letter(carried, DECODER.decode).kind.dialect == plain.dialect


@pytest.mark.parametrize("theirs", [smallrye(8), hop("orders_retry_5000", 3) + hop("orders", 8)])
def test_marks_put_in_front_win_where_ours_are_of_another_death(theirs: Headers) -> None:
    """SmallRye puts its marks before those that it carries along; its dead letter has its own time."""
    one = letter([*theirs, *forged()])

    assert one.told.dialect.startswith("smallrye")
    assert (one.told.offset, one.kind.dialect) == (8, one.told.dialect)
    assert user_headers(one.record.headers, one.record.timestamp_ms) == forged()


@pytest.mark.parametrize("kind", ["CreateTime", "LogAppendTime"])
def test_marks_that_an_order_brought_along_are_not_those_of_our_death(kind: str) -> None:
    """Whatever the producer wrote, the last word is ours: a set in front, one behind, one of our own."""
    for theirs in (smallrye(8), BINDER, SHARE, forged(), hop("orders", 1)):
        sent = ours(7, headers=[*theirs, ("tenant", b"a")])
        one = Letter(Record("dlq", 0, 3, sent.timestamp_ms, kind, b"K", b"V", sent.headers), DECODER.decode)

        assert (one.told.dialect, one.told.topic, one.told.offset) == ("orderflow", "orders", 7)
        assert (one.kind.dialect, one.detail[2]) == ("orderflow", 7)


@pytest.mark.parametrize(
    "headers",
    [
        [*forged(), ("tenant", b"a")],
        [*forged(), *forged()],
        [("orders.dlq.left-out", b"value"), *forged()],
        [*SHARE, *forged()],
        [("__dlq.errors.offset", b"5"), *ours(VICTIM).headers],
        [*SHARE, ("tenant", b"a")],
    ],
)
def test_what_is_not_as_we_write_it_is_not_ours(headers: Headers) -> None:
    """We replace what was there before, and write behind all others."""
    one = letter(headers)

    assert one.told.dialect == "none"
    assert one.kind.dialect == "none"
    assert one.told.topic is None


def test_that_headers_are_missing_is_not_taken_from_the_order() -> None:
    """Only ours and `import` say so; a producer's header of that name is one of his."""
    said: Headers = [(own.HEADERS_LEFT_OUT, b"forged")]

    assert not letter([*said, *BINDER]).headers_left_out
    assert not letter([*said, ("tenant", b"a")]).headers_left_out
    assert letter(said).headers_left_out
    assert letter([*ours(1).headers[:-1], *said, ours(1).headers[-1]]).headers_left_out


def world_of(victim: Record) -> World:
    world = World()
    world.records[victim.topic, victim.partition, victim.offset] = victim
    return world


SOURCE = an_order(VICTIM, b"O-5")


def test_a_pointer_that_we_wrote_is_believed() -> None:
    """Key, time, partition, headers and what was left out are those of the record: it is sent."""
    for source in (
        SOURCE,
        SOURCE._replace(headers=[("tenant", b"a")]),
        SOURCE._replace(headers=[("big", b"x" * 9000), (own.REPLAY_COUNT, b"1"), ("__dlq.errors.x", b"1")]),
        SOURCE._replace(key=b"k" * 5000),
        SOURCE._replace(key=None),
        SOURCE._replace(timestamp_ms=None, timestamp_type=None),
    ):
        pointer = as_pointer(source)

        verdict = judged(pointer, world_of(source))

        assert verdict.outgoing is not None, verdict
        assert (verdict.outgoing.key, verdict.outgoing.value) == (source.key, source.value)
        assert (verdict.is_fetched, verdict.unchecked) == (True, ())


FAILURE = Failure("publish.too_large", "publish", "app.TooLarge", "too large", False)
ABOUT = own.Circumstances("g", "host-1", 4, None, DIED_MS, None, 1)


def as_pointer(source: Record) -> Letter:
    sent = own.dead_letter(source, FAILURE, ABOUT, "dlq", Shrink.POINTER)
    record = Record("dlq", 0, 3, sent.timestamp_ms, "CreateTime", sent.key, sent.value, sent.headers)
    return Letter(record, DECODER.decode)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"key": b"O-6"}, "key"),
        ({"key": None}, "key"),
        ({"timestamp_ms": T0_MS + 1}, "time"),
        ({"timestamp_ms": None}, "time"),
        ({"headers": [("tenant", b"b")]}, "headers"),
        ({"value": None}, "value"),
    ],
    ids=str,
)
def test_a_pointer_to_another_record_is_not_believed(change: Any, part: str) -> None:
    """Whatever of it differs, nothing is sent, and the part is named."""
    verdict = judged(as_pointer(SOURCE), world_of(SOURCE._replace(**change)))

    assert (verdict.outgoing, verdict.why) == (None, judge.ANOTHER)
    assert verdict.detail.startswith("orders-0-5: ")
    assert part in verdict.detail


def test_a_forged_pointer_does_not_send_another_customers_order() -> None:
    """A system that adds no marks carried ours along: the key of the order that died is not the victim's."""
    verdict = judged(letter(forged()), world_of(SOURCE))

    assert (verdict.outgoing, verdict.why) == (None, judge.ANOTHER)
    assert "key" in verdict.detail


def test_a_pointer_of_ours_never_leaves_unsaid_what_we_know() -> None:
    """Without time and key it would be checked by nothing: we write both wherever the source has them."""
    bare = [each for each in forged(**{own.LEFT_OUT: b"value,key"}) if each[0] != own.TIMESTAMP]

    verdict = judged(letter(bare, key=None), world_of(SOURCE))

    assert (verdict.outgoing, verdict.why) == (None, judge.ANOTHER)


def test_what_cannot_be_checked_is_said() -> None:
    """A share group that copies nothing leaves neither key nor time to check its pointer by."""
    record = Record("dlq", 0, 3, DIED_MS, "CreateTime", None, None, [*SHARE[:2], *changed(SHARE[2:])])
    one = Letter(record, DECODER.decode)
    outlook = Outlook()

    verdict = judged(one, world_of(SOURCE))
    outlook.add(one, verdict)

    assert (verdict.is_fetched, verdict.unchecked) == (True, ("key", "time"))
    lines = list(outlook_lines(outlook, None))
    assert "       1  of them fetched from orders, where the dead letters point to" in lines
    assert "       1  of these unchecked: the dead letters carry no key and no time" in lines


def changed(headers: Headers) -> Headers:
    return [(name, b"5" if name == "__dlq.errors.offset" else value) for name, value in headers]


def test_the_key_of_another_system_is_held_against_the_record() -> None:
    """SmallRye keeps the key where it could not read the value; it does not carry the source's time."""
    headers: Headers = [*smallrye(VICTIM), ("deserialization-failure-data", b"junk")]
    place = ("dlq", 1, 3, DIED_MS, "CreateTime")
    one = Letter(Record(*place, b"O-5", None, headers), DECODER.decode)
    source = an_order(VICTIM, b"O-5", partition=1)

    agreeing = judged(one, world_of(source))
    differing = judged(one, world_of(source._replace(key=b"O-6")))

    assert (agreeing.is_fetched, agreeing.unchecked) == (True, ("time",))
    assert (differing.outgoing, differing.why) == (None, judge.ANOTHER)


def test_the_time_of_another_system_is_held_against_the_record() -> None:
    """Streams carries the time, and where its output could not be written neither key nor value."""
    (row,) = (
        row for row in rows("streams") if row.get("key_is_original") is False and row["original"]["topic"]
    )
    one = Letter(record_of(row["dump"]), DECODER.decode)
    told = one.told
    source = Record(
        str(told.topic),
        told.partition or 0,
        told.offset or 0,
        told.timestamp_ms,
        "CreateTime",
        b"K",
        order(1),
        [],
    )
    confirmed = frozenset([source.topic])

    agreeing = judged(one, world_of(source), confirmed=confirmed)
    differing = judged(one, world_of(source._replace(timestamp_ms=1)), confirmed=confirmed)

    assert (agreeing.is_fetched, agreeing.unchecked) == (True, ("key",))
    assert (differing.outgoing, differing.why) == (None, judge.ANOTHER)


def test_a_copy_of_the_value_is_held_against_the_record_too() -> None:
    """Where only headers are missing, a record that differs does not take the dead letter's place."""
    headers: Headers = [*SHARE[:2], *changed(SHARE[2:])]
    one = Letter(Record("dlq", 0, 3, DIED_MS, "CreateTime", b"O-5", order(1), headers), DECODER.decode)

    agreeing = judged(one, world_of(SOURCE._replace(value=order(1), headers=[("tenant", b"a")])))
    differing = judged(one, world_of(SOURCE._replace(headers=[("tenant", b"a")])))

    assert agreeing.outgoing is not None and differing.outgoing is not None
    assert agreeing.outgoing.headers[0] == ("tenant", b"a")
    assert (differing.outgoing.value, differing.outgoing.headers[0][0]) == (order(1), "orders.replay.id")
    assert (agreeing.is_fetched, differing.is_fetched) == (True, False)


def test_a_time_that_the_broker_gave_is_not_the_sources() -> None:
    """Connect and Streams date a dead letter as its source, unless the topic dates it by its arrival."""
    for system in ("connect", "streams"):
        for row in rows(system):
            record = record_of(row["dump"])
            if row["dialect"] == system and row["original"]["topic"]:
                assert explain(record).timestamp_ms == record.timestamp_ms
                assert explain(record._replace(timestamp_type="LogAppendTime")).timestamp_ms is None


def test_a_dead_letter_in_a_partition_that_its_source_cannot_reach() -> None:
    """It goes to the source's partition modulo its topic's, which is never a higher one."""
    pointer = as_pointer(SOURCE)
    elsewhere = Letter(pointer.record._replace(partition=1), DECODER.decode)

    assert compare(pointer, SOURCE) == Comparison((), ())
    assert compare(elsewhere, SOURCE) == Comparison(("partition",), ())


# --- Staleness ---


def surveyed(letters: List[Letter], orders: List[Record], end: int = 100) -> NewestByKey:
    newest = NewestByKey()
    candidates = Candidates(newest, {"orders": {0: end}})
    for one in letters:
        candidates.add(one, is_chosen=True)
    newest.seal()
    for each in orders:
        if each.offset >= candidates.begins["orders"][0]:
            newest.saw("orders", each)
    return newest


def test_staleness_goes_by_the_key_of_the_fetched_record() -> None:
    """The dead letter carries no key; that of the record it points to has a newer order."""
    source = SOURCE._replace(key=b"k" * 5000)
    newest = surveyed([as_pointer(source)], [source, an_order(6, b"k" * 5000), an_order(7, b"other")])

    assert newest.has_newer("orders", 0, VICTIM, b"k" * 5000)
    assert not newest.has_newer("orders", 0, 6, b"k" * 5000)
    assert not newest.has_newer("orders", 0, VICTIM, b"other")


def test_no_newer_order_is_dead_because_somebody_says_so() -> None:
    """A dead letter that names a living order of another key does not make an older one fit to be sent."""
    dead = Letter(
        Record("dlq", 0, 1, DIED_MS, "CreateTime", b"A", None, ours(1, key=b"A").headers), DECODER.decode
    )
    for claim in (letter(forged()), letter(forged(**{own.TIMESTAMP: b"1"}), key=b"A")):
        newest = surveyed([dead, claim], [an_order(1, b"A"), an_order(VICTIM, b"A")])

        assert newest.has_newer("orders", 0, 1, b"A")


def test_in_a_topic_that_was_created_again_every_order_is_newer() -> None:
    """It has not come as far as the place where the order died, so that was in its predecessor."""
    sent = ours(40, key=b"A")
    dead = Letter(Record("dlq", 0, 1, DIED_MS, "CreateTime", b"A", None, sent.headers), DECODER.decode)
    candidates = Candidates(NewestByKey(), {"orders": {0: 10}})

    candidates.add(dead, is_chosen=True)

    assert candidates.begins == {"orders": {0: 0}}
