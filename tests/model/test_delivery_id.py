"""`delivery.id`, the key that makes a handler's effects idempotent: always the same, never given twice."""

import json
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from hypothesis import given
from hypothesis import strategies as st

from orderflow.consume.handler import Delivery, delivery_of
from orderflow.dlq.letter import Letter
from orderflow.dlq.output import files
from orderflow.errors import Failure, Undecodable
from orderflow.kafka.topic_identity import Identity
from orderflow.model.dead_letter import ID, Circumstances, Shrink, dead_letter
from orderflow.model.delivery_id import FORM, MAX_BYTES, REPLAY_ID, delivery_id, place_named
from orderflow.model.records import Headers, Outgoing, Record
from tests.dlq.test_replay import judged
from tests.support.dlq_tools import FIXTURES, json_lines, order, record_of
from tests.support.engine_tools import Shop, rows
from tests.support.pipeline import eventually, reason
from tests.support.scripted_session import DEAD_LETTERS, Life, Stored, Topic

TOPIC_ID = "pQN7jRtwTZa3dtQ9AFfR2w"
FIRST = f"orders-0-3@{TOPIC_ID}"
FAILURE = Failure("process.failed", "process", "app.Timeout", "too late", True)


# --- what an order is called


def test_an_order_is_called_by_its_place_and_its_topics_id() -> None:
    """So that a topic of the same name gives no id again; without topic ids there is the place alone."""
    assert f"orders-2-41@{TOPIC_ID}" == delivery_id("orders", 2, 41, [], TOPIC_ID)
    assert "orders-2-41" == delivery_id("orders", 2, 41, [("tenant", b"a")])


def test_an_order_that_comes_back_keeps_its_first_id() -> None:
    """Whatever its current position."""
    message = Stored(41, 0, None, None, [("tenant", b"a"), (REPLAY_ID, FIRST.encode())])

    assert FIRST == delivery_of(message, 3, TOPIC_ID).id


@pytest.mark.parametrize(
    "claims",
    [
        [None],
        [b""],
        [b"\xff\xfe"],
        ["grün".encode()],
        [b"a b"],
        [b"a\nb"],
        [b"a\0"],
        [b"x" * (MAX_BYTES + 1)],
        [b"one", b"two"],
        [FIRST.encode(), FIRST.encode()],
        [b"one", None],
    ],
)
def test_a_claim_of_another_form_is_ignored(claims: List[Optional[bytes]]) -> None:
    """It is data from outside: too long, no text, or one of several. The place tells then."""
    headers: Headers = [(REPLAY_ID, claim) for claim in claims]

    assert f"orders-2-41@{TOPIC_ID}" == delivery_id("orders", 2, 41, headers, TOPIC_ID)


@given(st.lists(st.tuples(st.sampled_from([REPLAY_ID, "tenant"]), st.one_of(st.none(), st.binary()))))
def test_any_headers_give_an_id_that_a_header_can_carry(headers: Headers) -> None:
    """No claim fails, and what comes of it is printable, short, and is kept by the next replay."""
    found = delivery_id("o" * 249, 2**31 - 1, 2**63 - 1, headers, TOPIC_ID)

    assert FORM.fullmatch(found.encode("ascii"))
    assert found == delivery_id("other", 0, 0, [(REPLAY_ID, found.encode())], TOPIC_ID)


# --- through the engine


@pytest.mark.parametrize("workers", [1, 4])
def test_every_attempt_has_the_same_id_and_so_has_the_dead_letter(workers: int) -> None:
    """First calls, retries, and what is given up."""
    topic, called = Topic(), []
    topic.fill(2)
    topic.records[0][1] = Stored(0, 1, b"back", b"v", [(REPLAY_ID, FIRST.encode())])

    def fails(order: Dict[str, Any], delivery: Delivery) -> None:
        called.append((delivery.offset, delivery.attempt, delivery.id))
        raise ValueError("never")

    Life(topic, fails, workers=workers).drain()

    ids = {0: "orders-0-0", 1: FIRST}
    assert [(place, attempt, ids[place]) for place in (0, 1) for attempt in (1, 2, 3, 4)] == sorted(called)
    assert {ids[0].encode(), ids[1].encode()} == {dict(sent.headers)[ID] for sent in topic.of(DEAD_LETTERS)}


# --- through a dead letter and back


def died(headers: Headers, called: Optional[str], shrink: Shrink = Shrink.NOTHING) -> Letter:
    """The dead letter of an order that was called so."""
    about = Circumstances("group", "client", 4, 1, 2, None, 1, called)
    source = Record("orders", 0, 9, 5, None, b"k", order(1), headers)
    return letter(dead_letter(source, FAILURE, about, "dlq", shrink))


def letter(sent: Outgoing, offset: int = 7) -> Letter:
    return Letter(Record("dlq", 0, offset, 2, None, sent.key, sent.value, sent.headers), _no_order)


def _no_order(value: Optional[bytes]) -> Any:
    raise Undecodable("not looked at", "decode.framing")


def replayed(one: Letter) -> Headers:
    """The headers with which it is sent again."""
    outgoing = judged(one, target="orders", max_replays=9, unchecked=True).outgoing
    assert outgoing is not None
    return outgoing.headers


def id_after(one: Letter) -> str:
    """What the order is called when it has come back."""
    return delivery_id("orders", 0, 5_000, replayed(one), "another-topic-id")


def test_an_id_is_kept_over_all_returns() -> None:
    """It dies, is replayed, dies again, is exported, imported and replayed: one id, in one header."""
    headers: Headers = [("tenant", b"a")]
    for _ in range(4):
        called = delivery_id("orders", 0, 3, headers, TOPIC_ID)
        one = died(headers, called)
        copy = letter(files.read_line(files.json_line(one), "elsewhere"), offset=99)
        assert (FIRST, FIRST, FIRST) == (called, id_after(one), id_after(copy))
        headers = replayed(copy)
        assert 1 == [name for name, _ in headers].count(REPLAY_ID)


@pytest.mark.parametrize("claims", [[b"a b"], [b"one", b"two"]])
def test_a_claim_that_was_ignored_stays_ignored(claims: List[bytes]) -> None:
    """The order was called by its place, and is called so again; the replay takes the claim away."""
    headers: Headers = [(REPLAY_ID, claim) for claim in claims]
    called = delivery_id("orders", 0, 9, headers, TOPIC_ID)

    assert f"orders-0-9@{TOPIC_ID}" == called == id_after(died(headers, called))


def test_a_dead_letter_that_is_cut_to_a_pointer_keeps_the_id() -> None:
    """Also where the headers of the source do not fit."""
    one = died([("huge", b"x" * 10_000)], FIRST, Shrink.POINTER)

    assert FIRST.encode() == one.own.get(ID)


@pytest.mark.parametrize("written", [None, b"", b"\xff", b"a b", b"x" * 1_000])
def test_a_dead_letter_of_an_older_version_is_called_by_its_source(written: Optional[bytes]) -> None:
    """As its handler was told by that version; a header of another form counts as none."""
    one = died([], FIRST)
    headers = [(name, written if name == ID else value) for name, value in one.record.headers]
    older = [header for header in headers if header[0] != ID or written is not None]

    assert "orders-0-9" == id_after(letter(one_of(one.record, older)))


def one_of(record: Record, headers: Headers) -> Outgoing:
    return Outgoing("dlq", record.key, record.value, headers)


SOURCES: List[Tuple[str, Record]] = [
    (f"{path.stem}-{number}", record_of(row))
    for path in sorted(FIXTURES.glob("dumps/*.ndjson"))
    for number, row in enumerate(json_lines(path)[:3])
]


@pytest.mark.parametrize("record", [record for _, record in SOURCES], ids=[name for name, _ in SOURCES])
def test_a_strangers_dead_letter_is_called_the_same_in_every_replay(record: Record) -> None:
    """By its source where it tells one, else by its own place; an order of its topic is never called so."""
    one = Letter(record, _no_order)
    sent = judged(one, target="orders", unchecked=True).outgoing
    if sent is None:
        pytest.skip("cannot be replayed")
    again = judged(Letter(record, _no_order), target="orders", unchecked=True).outgoing

    assert again is not None
    assert dict(sent.headers)[REPLAY_ID] == dict(again.headers)[REPLAY_ID]
    assert FORM.fullmatch(dict(sent.headers)[REPLAY_ID] or b"")


# --- as it really is


@pytest.mark.broker
def test_a_replayed_order_is_called_as_before_and_a_new_topic_has_a_new_id(
    shop: Callable[..., Shop], tmp_path: Path
) -> None:
    """Rejected, replayed by the tool, processed: one id. Deleted and created again: another topic."""
    place = shop().create()
    place.put(rows(2))
    place.begin_trouble()
    place.drain("tells_its_id")
    place.end_trouble()
    before = [letter.header(ID) for letter in place.dead_letters()]
    assert ["process.rejected"] * 2 == [reason(letter) for letter in place.dead_letters()]
    place.succeed("dlq_handler.py", "replay", "--all", "--yes", "--rate", "none")
    place.drain("tells_its_id")
    topic_id = Identity(place.client, place.orders_topic).learn()

    assert [f"{place.orders_topic}-0-{offset}@{topic_id}" for offset in (0, 1)] == before
    assert before == [json.loads(result.value or b"")["id"] for result in place.results()]
    admin = AdminClient(place.client)
    admin.delete_topics([place.orders_topic])[place.orders_topic].result(20)
    # Kafka 2.8 deletes a topic some time after it has said so.
    again = NewTopic(place.orders_topic, 1, 1)
    eventually(lambda: admin.create_topics([again])[place.orders_topic].exception(20) is None)
    assert Identity(place.client, place.orders_topic).learn() not in (None, topic_id)


@pytest.mark.parametrize(
    ("delivery_id", "place"),
    [
        ("orders-2-1047@pQN7jRtwTZa3dtQ9AFfR2w", ("orders", 2, 1047)),
        ("orders-2-1047", ("orders", 2, 1047)),
        ("eu-west-1-2-1047@x-3-4", ("eu-west-1", 2, 1047)),
        ("order 7", None),
        ("orders-2", None),
        ("orders--2-7", ("orders-", 2, 7)),
        ("orders-2-99999999999999999999", None),
        ("", None),
        (None, None),
    ],
)
def test_an_id_of_ours_names_the_place_that_it_was_made_from(
    delivery_id: Optional[str], place: object
) -> None:
    """Whatever the topic is called; the id of somebody else names none."""
    assert place_named(delivery_id) == place
