"""Headers that the Kafka client cannot give: one place finds out, and nothing ends or lies because of it."""

import json
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from orderflow.avro.codec import Inspection
from orderflow.consume.handler import Delivery, HeadersUnreadable, delivery_of
from orderflow.dlq.letter import Letter
from orderflow.dlq.output import files
from orderflow.dlq.output.listing import LetterLines
from orderflow.dlq.output.portrait import Shown, show_lines
from orderflow.errors import Failure, Undecodable, describe, is_permanent
from orderflow.model.dead_letter import HEADERS_LEFT_OUT, Circumstances, dead_letter
from orderflow.model.records import Headers, Record, headers_of, record_of
from tests.dlq.test_replay import judged
from tests.support.dlq_tools import order
from tests.support.engine_tools import Shop, encode, rows
from tests.support.pipeline import reason
from tests.support.raw_records import Raw, produce
from tests.support.replay_tools import Desk
from tests.support.scripted_session import DEAD_LETTERS, Life, Stored, Topic

CAFE = b"caf\xe9"
WHY = "a header name is not UTF-8: b'caf\\xe9'"
FAILURE = Failure("process.failed", "process", "app.Timeout", "too late", True)
ABOUT = Circumstances("group", "client", 4, 1, 2, None, 1)


class Unreadable(Stored):
    """A message as the client gives one: at first it fails, and from then on it hands out rubbish."""

    answer: Any = None

    def headers(self) -> Optional[Headers]:
        """What was set, else an error and then what nobody must see."""
        if self.answer is not None:
            return self.answer  # type: ignore[no-any-return]
        self.answer = [(None, b"1")]
        raise SystemError("returned a result with an exception set") from _not_utf8()

    def set_headers(self, headers: Headers) -> None:
        """As the client does it."""
        self.answer = headers


def _not_utf8() -> UnicodeDecodeError:
    return UnicodeDecodeError("utf-8", CAFE, 3, 4, "invalid continuation byte")


@pytest.fixture
def message() -> Unreadable:
    """The first record of an orders topic."""
    return Unreadable(0, 0, b"k", order(1))


# --- one place reads them


def test_every_question_gets_the_same_answer(message: Unreadable) -> None:
    """That there are headers, and why they are not here; the client itself would tell otherwise."""
    assert [([], WHY)] * 3 == [headers_of(message) for _ in range(3)]
    assert ([], WHY) == record_of(message)[-2:]


@pytest.mark.parametrize("headers", [None, [], [("a", None), ("a", b"\xff")]])
def test_headers_that_can_be_read_are_complete(headers: Optional[Headers]) -> None:
    """None of them is left out, nor said to be."""
    record = record_of(Stored(0, 0, None, None, headers))

    assert (headers or [], None) == (record.headers, record.headers_left_out)


def test_whatever_the_client_raises_is_told(message: Unreadable, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version of it may fail in another way."""

    def fails(self: Unreadable) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(Unreadable, "headers", fails)

    assert headers_of(message).left_out == "the Kafka client cannot read them: MemoryError: no room"


def test_a_client_that_answers_and_fails_at_once_is_noticed_every_time() -> None:
    """The real client, 1,000 times in a loop, on the broker that it has inside itself."""
    mock = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    mock.produce("t", b"first", partition=0)
    assert mock.flush(20) == 0
    (broker,) = mock.list_topics(timeout=20).brokers.values()
    address = f"{broker.host}:{broker.port}"
    produce(address, "t", [Raw(None, b"v", [(CAFE, b"1"), (b"ok", b"2")])] * 1_000)
    consumer = Consumer({"bootstrap.servers": address, "group.id": "g", "log_level": 0})
    consumer.assign([TopicPartition("t", 0, 1)])
    messages: List[Any] = consumer.consume(1_000, 20)

    records = [record_of(message) for message in messages for _ in range(2)]
    consumer.close()

    assert 2_000 == len(records)
    assert all(([], WHY) == (record.headers, record.headers_left_out) for record in records)


# --- the order's fate


def test_a_delivery_without_its_headers_does_not_pretend_that_there_are_none(message: Unreadable) -> None:
    """All else can be used; to look at the headers is an error that no retry can help."""
    delivery = delivery_of(message, 2)

    assert ("orders", 0, 0, b"k", 2, WHY) == (*delivery[1:5], delivery.attempt, delivery.headers_left_out)
    with pytest.raises(HeadersUnreadable, match="not UTF-8") as caught:
        print(delivery.headers)
    assert is_permanent(caught.value)
    assert ("process.headers_unreadable", "process") == (caught.value.reason, describe(caught.value).stage)


def processes(order: Dict[str, Any]) -> None:
    """A handler that is given the order alone."""


def looks_elsewhere(order: Dict[str, Any], delivery: Delivery) -> None:
    """A handler that is given headers, and does not look."""
    assert delivery.id


def looks(order: Dict[str, Any], delivery: Delivery) -> None:
    """A handler that needs the headers."""
    dict(delivery.headers)


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize(("handler", "dead"), [(processes, 0), (looks_elsewhere, 0), (looks, 1)])
def test_such_an_order_is_processed_unless_its_headers_are_needed(
    handler: Callable[..., None], dead: int, workers: int
) -> None:
    """Then it is dead-lettered at its first call, and says so; its neighbours are processed either way."""
    topic = Topic()
    topic.fill(3)
    topic.records[0][1] = Unreadable(0, 1, b"other", b"v")
    life = Life(topic, handler, workers=workers)
    life.drain()

    letters = topic.of(DEAD_LETTERS)
    assert (3 - dead, dead) == (life.engine.settling.counts.processed, len(letters))
    for letter in letters:
        told = dict(letter.headers)
        assert b"process.headers_unreadable" == told["orders.dlq.reason"]
        assert (b"1", WHY.encode()) == (told["__dlq.errors.delivery.count"], told[HEADERS_LEFT_OUT])


# --- the dead letter


def ours(headers_left_out: Optional[str] = WHY) -> Letter:
    """A dead letter of ours whose order had headers that could not be read."""
    source = Record("orders", 2, 41, 5, "CreateTime", b"k", order(1), [], headers_left_out)
    sent = dead_letter(source, FAILURE, ABOUT, "dlq")
    return letter(Record("dlq", 0, 7, 2, "CreateTime", sent.key, sent.value, sent.headers))


def strangers() -> Letter:
    """A dead letter that somebody else wrote, with headers that cannot be read."""
    return letter(Record("dlq", 0, 7, 2, "CreateTime", b"k", order(1), [], WHY))


def letter(record: Record) -> Letter:
    return Letter(record, _no_order)


def _no_order(value: Optional[bytes]) -> Any:
    raise Undecodable("not looked at", "decode.framing")


@pytest.mark.parametrize("make", [ours, strangers])
def test_a_dead_letter_tells_that_headers_are_missing(make: Callable[[], Letter]) -> None:
    """In its line, in its portrait and in its export."""
    one = make()

    assert "[headers left out]" in LetterLines().line(one)
    shown = "\n".join(show_lines(Shown(one, Inspection(None, None, None, None, None), None, False), 0))
    assert f"its headers were left out, and a replay cannot carry them: {WHY}" in shown
    assert WHY == json.loads(files.json_line(one))["headers_left_out"]
    assert one.told.headers_are_original is False


def test_a_dead_letter_with_all_its_headers_says_nothing_of_them() -> None:
    """The mark is on those that need it alone."""
    one = ours(headers_left_out=None)

    assert HEADERS_LEFT_OUT not in dict(one.record.headers)
    assert "left out" not in LetterLines().line(one)
    assert json.loads(files.json_line(one))["headers_left_out"] is None


def test_strangers_with_unreadable_headers_are_a_group_of_their_own() -> None:
    """All that is known of them is that their headers cannot be read."""
    told = strangers().told

    assert (told.dialect, told.message) == ("none", f"its headers cannot be read: {WHY}")
    assert told.fingerprint != letter(Record("dlq", 0, 7, 2, None, b"k", b"v", [])).fingerprint


@pytest.mark.parametrize("make", [ours, strangers])
def test_an_import_keeps_the_mark_once(make: Callable[[], Letter]) -> None:
    """A copy is as incomplete as what it was made of."""
    imported = files.read_line(files.json_line(make()), "dlq")
    again = letter(Record("dlq", 0, 0, 2, None, imported.key, imported.value, imported.headers))

    assert [WHY.encode()] == [value for name, value in imported.headers if name == HEADERS_LEFT_OUT]
    assert (True, WHY) == (again.headers_left_out, again.told.headers_left_out)
    assert json.loads(files.json_line(again))["error"] == json.loads(files.json_line(make()))["error"]


@pytest.mark.parametrize("mark", [7, [], {}])
def test_a_mark_that_is_no_text_is_refused(mark: Any) -> None:
    """As everything else in a line that `export` would not write."""
    row = {**json.loads(files.json_line(strangers())), "headers_left_out": mark}

    with pytest.raises(files.NoDeadLetter, match="headers_left_out"):
        files.read_line(json.dumps(row), "dlq")


@pytest.mark.parametrize("make", [ours, strangers])
def test_a_replay_says_that_headers_cannot_be_carried(make: Callable[[], Letter]) -> None:
    """And carries no mark of ours into the orders."""
    verdict = judged(make(), target="orders")

    assert verdict.headers_left_out and verdict.outgoing is not None
    assert all(name.startswith("orders.replay.") for name, _ in verdict.outgoing.headers)
    assert not judged(ours(headers_left_out=None)).headers_left_out


# --- as it really is


@pytest.mark.broker
def test_on_a_real_topic_nothing_ends_because_of_such_headers(shop: Callable[..., Shop]) -> None:
    """One order of three has a name that is not UTF-8, and its handler looks."""
    place = shop().create()
    place.put(rows(1, "A"))
    unreadable = Raw(b"B", encode("B"), [(CAFE, b"1"), (b"ok", b"2")])
    produce(place.client["bootstrap.servers"], place.orders_topic, [unreadable])
    place.put(rows(1, "C"))
    place.drain("reads_headers")

    (dead,) = place.dead_letters()
    assert (b"B", "process.headers_unreadable") == (dead.key, reason(dead))
    assert dead.header(HEADERS_LEFT_OUT) == WHY
    assert 2 == len(place.results())


@pytest.mark.broker
def test_every_verb_shows_such_a_dead_letter_and_goes_on(
    kafka: Any, topic: Callable[[str], str], tmp_path: Path
) -> None:
    """One of two dead letters has a header name that is not UTF-8, as another system may copy one."""
    desk = Desk(kafka.bootstrap_servers, topic("d")[-60:], tmp_path)
    produce(desk.bootstrap_servers, desk.topic, [Raw(b"K1", order(1), [(CAFE, b"1")]), Raw(b"K2", order(2))])

    verbs: List[List[str]] = [["list"], ["show", "0:0"], ["groups"], ["list", "--json"], ["stats"]]
    for verb in verbs:
        run = desk.run(*verb)
        assert 0 == run.code, run.err
        assert "caf" in run.out or verb == ["stats"]
    with desk.start("tail") as tail:
        tail.wait_for(lambda running: "K2" in running.out and "headers left out" in running.out)
    assert 0 == desk.run("export", "kept.jsonl").code
    assert "2 dead letters imported" in desk.run("import", "kept.jsonl", "--yes").out
    replayed = desk.run("replay", "--all", "--to", desk.orders_topic, "--yes", "--rate", "none")
    assert replayed.code == 0, replayed.out + replayed.err
    assert "2  of them without their headers, which cannot be carried" in replayed.out + replayed.err
    assert [b"K1", b"K1", b"K2", b"K2"] == sorted(line.key or b"" for line in desk.sent())
