"""Which dead letters may be replayed, why the others not, and what is then sent."""

import tracemalloc
from typing import Any, Dict, List, Optional, Tuple

import pytest

from orderflow.avro.codec import OrderDecoder, order_reader
from orderflow.dlq.explain import user_headers
from orderflow.dlq.letter import Letter
from orderflow.dlq.replay import judge
from orderflow.dlq.replay.judge import Aids, Judge, Terms, Verdict, digest
from orderflow.dlq.replay.origin import origin_of
from orderflow.dlq.replay.rate import Looks
from orderflow.dlq.replay.source_topics import Candidates
from orderflow.dlq.replay.staleness import NewestByKey
from orderflow.model.dead_letter import Shrink
from orderflow.model.records import Headers, Outgoing, Record
from tests.support.dlq_tools import ENCODER, FIXTURES, SCHEMA, T0_MS, json_lines, order, ours, record_of

DECODER = OrderDecoder(SCHEMA, lambda ref: SCHEMA, 1_048_576)
TERMS = Terms("dlq", "dlq-audit", "orders", frozenset(["orders"]))


def letter(sent: Outgoing, state: str = "new", offset: int = 3) -> Letter:
    record = Record("dlq", 0, offset, sent.timestamp_ms, "CreateTime", sent.key, sent.value, sent.headers)
    return Letter(record, DECODER.decode, lambda partition, offset: state)


class World:
    """What a judge asks others for, from dicts."""

    def __init__(self) -> None:
        self.records: Dict[Tuple[str, int, int], Record] = {}
        self.newer: List[bytes] = []
        self.room = 1_000_000
        self.is_compacted = False
        self.replayed = {(0, 1)}

    def aids(self) -> Aids:
        """All of it."""
        return Aids(
            order_reader(DECODER),
            DECODER.decode,
            ENCODER.encode,
            lambda *place: self.records.get(place),
            lambda topic, partition, offset, key: key in self.newer,
            lambda topic: 3,
            lambda topic: self.room,
            lambda *place: place in self.replayed,
            lambda topic: self.is_compacted,
        )


def judged(one: Letter, world: Optional[World] = None, job: str = "J-1", **terms: Any) -> Verdict:
    return Judge(TERMS._replace(**terms), (world or World()).aids(), job).verdict(one)


def test_what_is_sent_is_what_died() -> None:
    """Key, value and own headers in their order come back; diagnostics go; the replay is told behind."""
    own: Headers = [("tenant", b"a"), ("trace", None), ("tenant", b""), ("__connect.errors.topic", b"mine")]

    sent = judged(letter(ours(5, headers=own, partition=2), offset=41)).outgoing

    story: Headers = [
        ("orders.replay.id", b"orders-2-5"),
        ("orders.replay.count", b"1"),
        ("orders.replay.from", b"dlq-0-41"),
        ("orders.replay.job", b"J-1"),
    ]
    assert sent == Outgoing("orders", b"O-5", order(5), own + story, 2)


def test_a_second_replay_is_told_in_place_of_the_first() -> None:
    """The count goes up, and there is one set of replay headers."""
    before: Headers = [("orders.replay.count", b"1"), ("orders.replay.from", b"dlq-0-1"), ("tenant", b"a")]

    sent = judged(letter(ours(5, headers=before))).outgoing

    assert sent is not None
    assert [("tenant", b"a"), ("orders.replay.count", b"2")] == [sent.headers[0], sent.headers[2]]
    assert len(sent.headers) == 5


@pytest.mark.parametrize(
    ("state", "terms", "why"),
    [
        ("replayed", {}, judge.ALREADY_REPLAYED),
        ("failed-again", {}, judge.LIVES_ON),
        ("discarded", {}, judge.RESOLVED),
        ("discarded", {"again": True}, judge.RESOLVED),
        ("replayed", {"again": True}, ""),
        ("failed-again", {"again": True}, ""),
    ],
)
def test_what_is_resolved_is_left_alone(state: str, terms: Any, why: str) -> None:
    """Nothing is sent twice unless it is asked for, and what was discarded never is."""
    assert why == judged(letter(ours(5), state), **terms).why


@pytest.mark.parametrize(
    ("source", "terms", "target"),
    [
        ("orders", {}, "orders"),
        ("payments", {}, None),
        ("payments", {"confirmed": frozenset(["orders", "payments"])}, "payments"),
        ("payments", {"target": "orders"}, "orders"),
        ("orders", {"target": "elsewhere"}, None),
        ("dlq", {"confirmed": frozenset(["dlq"])}, None),
        ("orders", {"target": "dlq-audit", "confirmed": frozenset(["dlq-audit"])}, None),
    ],
)
def test_a_header_never_chooses_a_topic(source: str, terms: Any, target: Optional[str]) -> None:
    """Only confirmed topics are sent to, and dead letters and audit never are."""
    sent = judged(letter(ours(5, topic=source)), **terms).outgoing

    assert target == (None if sent is None else sent.topic)


def test_a_dead_letter_without_origin_needs_a_target() -> None:
    """Where nothing tells the source, the operator has to."""
    bare = letter(Outgoing("", b"O-5", order(5), []))

    assert judged(bare).why == judge.NO_TARGET
    sent = judged(bare, target="orders").outgoing
    assert sent is not None
    assert (sent.topic, sent.partition) == ("orders", None)


def test_the_old_partition_is_kept_only_where_it_exists() -> None:
    """A partition that a header made up is not sent to; the key chooses instead."""
    sent = judged(letter(ours(5, partition=7))).outgoing

    assert sent is not None
    assert sent.partition is None


@pytest.mark.parametrize(
    ("value", "detail"),
    [(b"junk", "decode.framing"), (order(0), "validate.quantity"), (order(5, price=-1.0), "validate.price")],
)
def test_what_still_fails_is_not_sent(value: bytes, detail: str) -> None:
    """Today's decoder and rules come first; who knows better says so, or sends it elsewhere."""
    one = letter(ours(5, value=value))

    verdict = judged(one)

    assert verdict.why == judge.STILL_FAILS
    assert verdict.detail.startswith(detail)
    assert judged(one, unchecked=True).outgoing is not None
    assert judged(one, target="bin", confirmed=frozenset(["bin"])).outgoing is not None


def test_the_cap() -> None:
    """After so many replays somebody has to look."""
    tired = letter(ours(5, headers=[("orders.replay.count", b"3"), ("orders.replay.from", b"dlq-0-1")]))

    assert judged(tired).why == judge.AT_CAP
    assert judged(tired, max_replays=4).outgoing is not None


@pytest.mark.parametrize("count", [b"1000", b"9" * 5000, b"9" * 9, b"-3", "\u0663".encode(), b""])
@pytest.mark.parametrize("came_from", [None, b"dlq-0-2", b"other-0-1", b"nowhere"])
def test_a_count_that_no_audit_entry_supports_is_none(count: bytes, came_from: Optional[bytes]) -> None:
    """A producer can write any header: its order is replayed as one that never was."""
    headers: Headers = [("orders.replay.count", count), ("orders.replay.from", came_from)]

    sent = judged(letter(ours(5, headers=headers))).outgoing

    assert sent is not None
    assert dict(sent.headers)["orders.replay.count"] == b"1"


def test_a_repair_changes_the_field_and_nothing_else() -> None:
    """An order is repaired before it is checked; key and headers stay."""
    verdict = judged(letter(ours(5, value=order(0), headers=[("tenant", b"a")])), repairs={"quantity": 5})

    assert verdict.outgoing is not None
    assert verdict.outgoing.value == order(0, quantity=5)
    assert (verdict.outgoing.key, verdict.outgoing.headers[0]) == (b"O-5", ("tenant", b"a"))
    assert verdict.before is not None
    assert verdict.after == {**verdict.before, "quantity": 5}


@pytest.mark.parametrize(
    ("value", "repairs", "why"),
    [
        (b"junk", {"quantity": 5}, judge.NOT_REPAIRABLE),
        (order(5), {"quantity": "many"}, judge.MISFIT),
        (order(5), {"quantity": 2**40}, judge.MISFIT),
        (order(5), {"quantity": 0}, judge.STILL_FAILS),
    ],
)
def test_repairs_that_cannot_be(value: bytes, repairs: Any, why: str) -> None:
    """What cannot be decoded cannot be edited, and an edit must fit schema and rules."""
    assert why == judged(letter(ours(5, value=value)), repairs=repairs).why


def test_superseded() -> None:
    """A newer order of the key holds it back, unless that is allowed."""
    world, one = World(), letter(ours(5))
    world.newer = [b"O-5"]

    assert judged(one, world).why == judge.SUPERSEDED
    assert judged(one, world, stale="warn").is_stale
    allowed = judged(one, world, stale="allow")
    assert (allowed.is_stale, allowed.outgoing is None) == (False, False)
    elsewhere = judged(one, world, target="bin", confirmed=frozenset(["bin"]))
    assert elsewhere.outgoing is not None


def test_what_does_not_fit_its_target() -> None:
    """It is told before anything is sent, not by a failed transaction."""
    world = World()
    world.room = 100

    assert judged(letter(ours(5)), world).why == judge.TOO_LARGE


def test_a_pointer_is_never_sent_as_it_stands() -> None:
    """The source is fetched, whole; where it is gone, nothing is sent."""
    headers: Headers = [("big", b"x" * 9000)]
    world, source = World(), Record("orders", 1, 5, T0_MS, "CreateTime", b"O-5", order(5), headers)
    pointer = letter(ours(5, partition=1, headers=source.headers, shrink=Shrink.POINTER))

    assert judged(pointer, world).why == judge.NOT_HERE
    world.records["orders", 1, 5] = source
    sent = judged(pointer, world).outgoing
    assert sent is not None
    assert (sent.value, sent.headers[0]) == (source.value, source.headers[0])


def test_no_source_is_fetched_that_was_not_confirmed() -> None:
    """A header must not make us copy a record out of any topic it names."""
    world = World()
    world.records["secrets", 0, 5] = Record("secrets", 0, 5, 1, None, b"k", order(5), [])
    pointer = letter(ours(5, topic="secrets", shrink=Shrink.POINTER))

    assert judged(pointer, world, target="orders").why == judge.NOT_HERE


@pytest.mark.parametrize("system", ["connect", "share", "spring", "streams"])
def test_real_dead_letters_come_back_as_they_were(system: str) -> None:
    """Of every system: what is sent is the source's record wherever the dead letter or the topic has it."""
    world = World()
    sources = {}
    for row in json_lines(FIXTURES / "dumps" / "sources" / f"{system}.ndjson"):
        record = record_of(row)
        sources[record.topic, record.partition, record.offset] = record
    world.records.update(sources)
    topics = frozenset(topic for topic, _, _ in sources)
    rows = zip(
        json_lines(FIXTURES / "dumps" / f"{system}.ndjson"),
        json_lines(FIXTURES / "expected" / f"{system}.ndjson"),
    )
    compared = 0
    for row, expected in rows:
        one = Letter(record_of(row), DECODER.decode)
        sent = judged(one, world, confirmed=topics, dlq_topic="none", max_replays=9).outgoing
        origin = expected["original"]
        source = sources.get((origin["topic"], origin["partition"], origin["offset"]))
        if sent is None or source is None:
            continue
        compared += 1
        kept = [header for header in sent.headers if not header[0].startswith("orders.replay.")]
        if "re-encoded" not in expected.get("note", ""):  # it leaves no trace in the dead letter
            assert (sent.key, sent.value) == (source.key, source.value)
        if expected["value_is_original"] and expected["user_headers_complete"]:
            assert kept == [one.record.headers[place] for place in expected["user_headers"]]
        else:
            assert kept == user_headers(source.headers)
    assert compared


def test_what_has_no_source_at_all() -> None:
    """A failure in a timer has no record behind it, so there is nothing to send."""
    rows = json_lines(FIXTURES / "expected" / "streams.ndjson")
    dumps = json_lines(FIXTURES / "dumps" / "streams.ndjson")
    timers = [dump for dump, row in zip(dumps, rows) if row["original"]["topic"] is None]

    assert timers
    for dump in timers:
        assert judged(Letter(record_of(dump), DECODER.decode), target="orders").why == judge.NO_SOURCE


def test_a_digest_holds_all_that_is_sent() -> None:
    """Any other target, key, value or header changes it; who sends it does not."""
    sent = judged(letter(ours(5, headers=[("a", b"1")]))).outgoing
    assert sent is not None
    others = [
        sent._replace(topic="other"),
        sent._replace(key=None),
        sent._replace(key=b""),
        sent._replace(value=order(6)),
        sent._replace(partition=None),
        sent._replace(headers=[("a", b"1b"), *sent.headers[1:]]),
        sent._replace(headers=sent.headers[1:]),
    ]

    assert len({digest(each) for each in [sent, *others]}) == len(others) + 1
    assert digest(sent) == digest(judged(letter(ours(5, headers=[("a", b"1")])), job="J-2").outgoing or sent)


def test_only_living_orders_supersede() -> None:
    """A newer order that is dead itself holds nothing back, nor does one of another partition or key."""
    newest = NewestByKey()
    for offset, key in ((5, b"A"), (6, b"A"), (7, b"B")):
        newest.died("orders", 0, offset, key, T0_MS)
        newest.expect("orders", 0, key)
    newest.seal()
    for partition, offset, key in ((0, 5, b"A"), (0, 6, b"A"), (0, 7, b"B"), (0, 8, b"B"), (1, 9, b"A")):
        newest.saw("orders", an_order(offset, key, partition))
    newest.saw("orders", an_order(10, None))

    assert not newest.has_newer("orders", 0, 5, b"A")
    assert newest.has_newer("orders", 0, 7, b"B")
    assert not newest.has_newer("orders", 0, 8, b"B")
    assert not newest.has_newer("orders", 0, 1, b"C")


def test_later_orders_supersede_unless_they_died_or_are_the_replays_own() -> None:
    """What was found before still counts."""
    newest = NewestByKey(lambda order: order.offset == 12)
    for offset, key in enumerate((b"A", b"B", b"C", b"D")):
        newest.died("orders", 0, offset, key, T0_MS)
        newest.expect("orders", 0, key)
    newest.seal()
    newest.saw("orders", an_order(9, b"A"))

    newest.begin_later()
    newest.died("orders", 0, 11, b"C", T0_MS)
    newest.seal_later()
    for offset, key in ((10, b"B"), (11, b"C"), (12, b"D")):
        newest.saw("orders", an_order(offset, key))

    has_newer = [newest.has_newer("orders", 0, n, key) for n, key in enumerate((b"A", b"B", b"C", b"D"))]
    assert has_newer == [True, True, False, False]


def test_a_look_for_newer_orders_takes_a_twentieth_of_the_time_at_most() -> None:
    """The next is due after five seconds, or later where the last took long."""
    now_s = [0.0]
    looks = Looks(lambda: now_s[0])
    due = [looks.is_due()]
    for took_s, then_s in ((0.1, 4.9), (0.1, 5.1), (1.0, 19.9), (1.0, 20.1)):
        looks.took(took_s)
        now_s[0] += then_s
        due.append(looks.is_due())

    assert due == [False, False, True, False, True]


def test_to_survey_many_takes_hardly_more_memory_at_its_end() -> None:
    """24 bytes each: sorted as numbers of Python at once they would take four times as much again."""
    number, newest = 200_000, NewestByKey()
    tracemalloc.start()
    for offset in range(number):
        newest.died("orders", 0, offset, b"%d" % offset, T0_MS)
        newest.expect("orders", 0, b"%d" % offset)
    newest.seal()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 32 * number
    newest.saw("orders", an_order(number, b"7"))
    assert newest.has_newer("orders", 0, 7, b"7")
    assert not newest.has_newer("orders", 0, 8, b"8")


def an_order(offset: int, key: Optional[bytes], partition: int = 0) -> Record:
    return Record("orders", partition, offset, T0_MS, "CreateTime", key, order(9), [])


@pytest.mark.parametrize("offset", [b"-1", b"-2001", b"-9223372036854775808"])
def test_a_negative_place_is_no_place(offset: bytes) -> None:
    """To Kafka's client it would be a command: the survey would begin at the end and see nothing newer."""
    headers: Headers = [
        *(("kafka_dlt-original-topic", b"orders"), ("kafka_dlt-original-partition", (0).to_bytes(4, "big"))),
        ("kafka_dlt-original-offset", int(offset).to_bytes(8, "big", signed=True)),
    ]
    one = letter(Outgoing("", b"K", order(1), headers))
    candidates = Candidates(NewestByKey(), {"orders": {0: 9}})

    candidates.add(one, is_chosen=True)

    assert one.told.offset == int(offset)
    assert candidates.begins == {}
    assert origin_of(one).offset is None
