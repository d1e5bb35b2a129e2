"""The checker that every promise rests on, checked itself: break one line of a good run and it goes red."""

import ast
import json
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Dict, List, Optional, Tuple, Union

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.support import account
from tests.support.account import Line, Position

ORDERS, RESULTS, DEAD = "shop-orders", "processed", "orders-dlq"
KEYS = [b"ann", b"bob", b"ann", b"eve", b"bob", b"ann", None, b"eve", b"ann", b"bob"]
DEAD_OFFSETS = (1, 3, 4, 8)
TOPIC_ID = "pQN7jRtwTZa3dtQ9AFfR2w"


def avro(order_id: str) -> bytes:
    """An order in single-object encoding, as far as the account reads it."""
    text = order_id.encode()
    return b"\xc3\x01" + bytes(8) + bytes([2 * len(text)]) + text + b"\x02c\x02p\x02" + bytes(8) + b"\x02"


def source(offset: int, topic: str = ORDERS) -> Line:
    headers = (("trace", b"t%d" % offset),)
    return Line(Position(topic, 0, offset), KEYS[offset], avro(f"order-{offset}"), headers, TOPIC_ID)


def result(order: Line, offset: int) -> Line:
    value = f'{{"delivery": "{order.id}"}}'.encode()
    return Line(Position(RESULTS, 0, offset), order.key, value)


def dead_letter(order: Line, offset: int) -> Line:
    place = order.position
    about = {"topic": place.topic, "partition": str(place.partition), "offset": str(place.offset)}
    diagnostics = tuple((f"__dlq.errors.{name}", text.encode()) for name, text in about.items())
    own = ("orders.dlq.id", order.id.encode())
    return Line(Position(DEAD, 0, offset), order.key, order.value, (*order.headers, *diagnostics, own))


@dataclass
class Run:
    """The three topics after a run in which everything went well."""

    topic: str = ORDERS
    topic_id: str = TOPIC_ID
    orders: List[Line] = field(default_factory=list)
    results: List[Line] = field(default_factory=list)
    dead: List[Line] = field(default_factory=list)

    def __post_init__(self) -> None:
        sources = (source(offset, self.topic) for offset in range(len(KEYS)))
        self.orders += [order._replace(topic_id=self.topic_id) for order in sources]
        for order in self.orders:
            died = order.position.offset in DEAD_OFFSETS
            lines, fate = (self.dead, dead_letter) if died else (self.results, result)
            lines.append(fate(order, len(lines)))

    def kinds(self, **options: bool) -> Dict[str, int]:
        """What the account finds wrong with it."""
        return account.take_account(self.orders, self.results, self.dead, **options).kinds()


EVERY_FATE = [("results", index) for index in range(len(KEYS) - len(DEAD_OFFSETS))]
EVERY_FATE += [("dead", index) for index in range(len(DEAD_OFFSETS))]


def test_a_good_run_closes() -> None:
    """Each order in one fate, in key order: nothing is reported, and the counts add up."""
    run = Run()

    taken = account.take_account(run.orders, run.results, run.dead)

    assert taken == account.Account(10, 0, 6, 4, 0, ())
    assert "The account closes: 10 = 6 + 4, each exactly once." in account.report(taken)


@pytest.mark.parametrize(("lines", "index"), EVERY_FATE)
def test_a_dropped_line_is_a_lost_order(lines: str, index: int) -> None:
    """Whichever fate is taken away, the order it belonged to is named as lost, in both guarantees."""
    run = Run()
    fate = getattr(run, lines).pop(index)
    taken = account.take_account(run.orders, run.results, run.dead)

    assert taken.kinds() == {"lost": 1}
    assert _source_of(fate) in taken.findings[0].what
    assert run.kinds(repeats_allowed=True) == {"lost": 1}


@pytest.mark.parametrize(("lines", "index"), EVERY_FATE)
def test_a_doubled_line_is_a_doubled_order(lines: str, index: int) -> None:
    """A second result or dead letter of one order is reported, unless the guarantee allows it."""
    run = Run()
    fates = getattr(run, lines)
    fates.append(fates[index]._replace(position=Position(fates[index].position.topic, 0, 99)))

    assert run.kinds() == {"doubled": 1}
    assert run.kinds(repeats_allowed=True) == {}


@pytest.mark.parametrize("offset", range(len(KEYS)))
def test_an_order_in_both_topics_has_two_fates(offset: int) -> None:
    """Processed and dead-lettered is one fate too many."""
    run = Run()
    other, fate = (run.results, result) if offset in DEAD_OFFSETS else (run.dead, dead_letter)
    other.append(fate(run.orders[offset], len(other)))

    assert run.kinds()["two fates"] == 1
    assert "two fates" not in run.kinds(repeats_allowed=True)


@pytest.mark.parametrize(
    ("lines", "one", "other"),
    [("results", 0, 1), ("results", 0, 2), ("results", 1, 2), ("dead", 0, 2)],
    ids=["ann 0 and 2", "ann 0 and 5", "ann 2 and 5", "bob 1 and 4"],
)
def test_swapped_lines_of_one_key_are_out_of_order(lines: str, one: int, other: int) -> None:
    """A later order of a key that met its fate first is reported, whichever topic it is in."""
    run = Run()
    _swap(getattr(run, lines), one, other)

    assert set(run.kinds()) == {"out of key order"}


def test_swapped_lines_of_different_keys_are_no_fault() -> None:
    """Orders of other keys may overtake; that is the point of waiting without blocking."""
    run = Run()
    _swap(run.dead, 0, 1)

    assert run.kinds() == {}


@pytest.mark.parametrize(
    ("lines", "change"),
    [
        ("results", {"key": b"someone else"}),
        ("dead", {"key": b"someone else"}),
        ("dead", {"key": None}),
        ("dead", {"value": avro("order-X")}),
        ("dead", {"value": None}),
    ],
)
def test_changed_bytes_are_reported(lines: str, change: Dict[str, Optional[bytes]]) -> None:
    """A dead letter carries key and value byte for byte, a result the key."""
    run = Run()
    fates = getattr(run, lines)
    fates[0] = fates[0]._replace(**change)

    assert run.kinds() == {"altered": 1}


@pytest.mark.parametrize("own", [(), (("trace", b"other"),), (("trace", b"t1"), ("trace", b"t1"))])
def test_changed_headers_are_reported(own: Tuple[Tuple[str, bytes], ...]) -> None:
    """The source's own headers come along unchanged; the diagnostics are not counted among them."""
    run = Run()
    run.dead[0] = run.dead[0]._replace(headers=own + run.dead[0].headers[1:])

    assert run.kinds() == {"altered": 1}


def test_a_pointer_may_leave_out_what_it_says() -> None:
    """A dead letter too large to fit carries no value and names it; its word is taken only for that."""
    run = Run()
    said = (("orders.dlq.left-out", b"value"),)
    run.dead[0] = run.dead[0]._replace(value=None, headers=run.dead[0].headers + said)

    assert run.kinds() == {}

    run.dead[0] = run.dead[0]._replace(key=None)

    assert run.kinds() == {"altered": 1}


def test_a_fate_without_its_order_is_a_stranger() -> None:
    """Results and dead letters of nothing that was published are reported: a fate must have an order."""
    run = Run()
    run.results.append(Line(Position(RESULTS, 0, 90), b"k", b"not JSON"))
    run.dead.append(Line(Position(DEAD, 0, 90), b"k", b"no headers"))
    run.dead.append(dead_letter(source(0)._replace(position=Position(ORDERS, 7, 7)), 91))

    assert run.kinds() == {"stranger": 3}


@pytest.mark.parametrize("topic_id", [None, "Sraz1r5kRjCGipTET0zA6w"])
def test_a_result_of_another_topic_of_this_name_is_a_stranger(topic_id: Optional[str]) -> None:
    """The place alone does not tell: the topic was deleted and created again."""
    run = Run()
    run.results.append(result(run.orders[0]._replace(topic_id=topic_id), 90))

    assert run.kinds() == {"stranger": 1}


def test_where_topics_have_no_ids_the_place_is_the_id() -> None:
    """As on Kafka before 2.8."""
    orders = [source(offset)._replace(topic_id=None) for offset in (0, 2)]
    results = [result(order, number) for number, order in enumerate(orders)]

    assert json.loads(results[0].value or b"")["delivery"] == f"{ORDERS}-0-0"
    assert account.take_account(orders, results, []).closes


@pytest.mark.parametrize("claims", [[b"a b"], [b""], [None], [b"one", b"two"], [b"x" * 401]])
def test_an_order_is_called_by_its_place_where_its_claim_does_not_count(
    claims: List[Optional[bytes]],
) -> None:
    """A consumer ignores ids of another form, and several; so does the account."""
    order = source(3)
    claimed = order._replace(headers=tuple(("orders.replay.id", claim) for claim in claims))

    assert order.id == claimed.id == f"{ORDERS}-0-3@{TOPIC_ID}"


def replayed(letter: Line, offset: int) -> Line:
    about = {"from": str(letter.position), "id": letter.header("orders.dlq.id") or ""}
    headers = tuple((f"orders.replay.{name}", text.encode()) for name, text in about.items())
    place = Position(ORDERS, 0, offset)
    return Line(place, letter.key, letter.value, letter.headers[:1] + headers, TOPIC_ID)


def test_a_replayed_order_closes_by_its_new_fate() -> None:
    """A dead letter that was sent again counts by what became of it then: 10 = 7 + 3."""
    run = Run()
    back = replayed(run.dead[0], 10)
    run.orders.append(back)
    run.results.append(result(back, 6))
    taken = account.take_account(run.orders, run.results, run.dead)

    assert taken == account.Account(10, 1, 7, 4, 1, ())
    assert "10 = 7 + 3" in account.report(taken)


def test_an_order_that_dies_again_after_a_replay_closes_too() -> None:
    """Replayed, dead again, replayed, processed: one result under the first id for three places."""
    run = Run()
    again = replayed(run.dead[0], 10)
    run.dead.append(dead_letter(again, 4))
    last = replayed(run.dead[-1], 11)
    run.orders += [again, last]
    run.results.append(result(last, 6))
    taken = account.take_account(run.orders, run.results, run.dead)

    assert again.id == last.id == run.orders[1].id
    assert taken == account.Account(10, 2, 7, 5, 2, ())
    assert "10 = 7 + 3" in account.report(taken)


@pytest.mark.parametrize(
    ("results", "dies", "expected"),
    [(2, False, {"doubled": 1}), (1, True, {"two fates": 1}), (0, True, {}), (0, False, {"lost": 1})],
)
def test_a_replayed_order_has_exactly_one_fate_of_its_own(
    results: int, dies: bool, expected: Dict[str, int]
) -> None:
    """One id for two places hides neither a second result nor a missing one."""
    run = Run()
    back = replayed(run.dead[0], 10)
    run.orders.append(back)
    run.results += [result(back, 6 + number) for number in range(results)]
    run.dead += [dead_letter(back, 4)] if dies else []

    assert run.kinds() == expected


def test_an_order_that_a_replay_or_a_dead_letter_calls_otherwise_is_renamed() -> None:
    """Its handler would take it for a new one, and do its work a second time."""
    run = Run()
    back = replayed(run.dead[0], 10)
    other = ("orders.replay.id", f"{ORDERS}-0-10@{TOPIC_ID}".encode())
    run.orders.append(back._replace(headers=(*back.headers[:-1], other)))
    run.results.append(result(run.orders[-1], 6))

    assert run.kinds() == {"renamed": 1}

    run = Run()
    run.dead[0] = run.dead[0]._replace(headers=(*run.dead[0].headers[:-1], ("orders.dlq.id", b"else")))

    assert run.kinds() == {"renamed": 1}


def test_a_replay_sent_twice_is_reported() -> None:
    """Two orders from one dead letter is one too many, even when each has a fate."""
    run = Run()
    for offset in (10, 11):
        run.orders.append(replayed(run.dead[0], offset))
        run.results.append(result(run.orders[-1], offset))

    assert run.kinds() == {"replayed twice": 1}


def test_a_replayed_order_without_a_fate_is_lost() -> None:
    """The dead letter it came from does not excuse it."""
    run = Run()
    run.orders.append(replayed(run.dead[0], 10))

    assert run.kinds() == {"lost": 1}


def test_orders_of_the_input_must_all_be_published_once() -> None:
    """An order of the file that is missing, or is in the topic twice, is reported by its id."""
    run = Run()
    twice = run.orders[3]._replace(position=Position(ORDERS, 0, 50))

    findings = account.missing_from_topic(["order-1", "order-3", "order-77"], [*run.orders, twice])

    assert [finding.kind for finding in findings] == ["never published", "published twice"]
    assert "order-77" in findings[0].what


def test_orders_that_must_all_be_processed_are_named_if_not() -> None:
    """A dead letter is a fate, and no result; a result of its replay is one."""
    run = Run()
    ids = [f"order-{offset}" for offset in range(len(KEYS))]

    missing = account.not_processed(ids, run.orders, run.results)
    assert [finding.what for finding in missing] == [f"order order-{offset}" for offset in DEAD_OFFSETS]

    for offset, letter in enumerate(run.dead):
        run.orders.append(replayed(letter, 10 + offset))
        run.results.append(result(run.orders[-1], 10 + offset))
    assert account.not_processed(ids, run.orders, run.results) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("orders-0-17", Position("orders", 0, 17)),
        ("shop-orders-2-5", Position("shop-orders", 2, 5)),
        ("a-b-c", None),
        ("orders-5", None),
        ("", None),
    ],
)
def test_positions_are_read_from_the_right(text: str, expected: Optional[Position]) -> None:
    """A topic's name may hold hyphens and digits of its own."""
    assert account.parse_position(text) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (avro("CDNOW-000001"), "CDNOW-000001"),
        (b"\x00" + bytes(4) + avro("A1")[10:], "A1"),
        (avro("truncated")[:14], None),
        (avro(""), None),
        (b"\xc3\x01" + bytes(8) + b"\xff" * 12, None),
        (b'{"json": 1}', None),
        (b"", None),
        (None, None),
    ],
)
def test_order_ids_are_read_from_the_bytes(value: Optional[bytes], expected: Optional[str]) -> None:
    """Both framings are read; what is no order has no id, and never raises."""
    assert account.order_id(value) == expected


def test_a_long_list_of_findings_is_cut() -> None:
    """Twenty findings are shown, the rest is counted by kind."""
    run = Run()
    orders = [source(0)._replace(position=Position(ORDERS, 1, offset)) for offset in range(50)]
    text = account.report(account.take_account(orders, [], []))

    assert run.orders and text.count("LOST:") == 20
    assert "30 more: {'lost': 50}" in text
    assert "does NOT close: 50 findings" in text


def test_it_shares_no_code_with_the_engine() -> None:
    """The account imports the standard library and a Kafka client, nothing of this project."""
    tree = ast.parse(Path(account.__file__).read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = {name.split(".")[0] for node in imports for name in _imported(node)}

    assert names.isdisjoint({"orderflow", "config", "consumer", "producer", "dlq_handler", "tools", "tests"})


@pytest.mark.broker
def test_what_is_not_committed_is_not_counted(kafka: Any, topic: Callable[..., str]) -> None:
    """Aborted records are invisible, and a marker at the end of the topic does not make the reading hang."""
    name = _new_topic(kafka, topic(), partitions=2)
    _transaction(kafka, name, [b"kept"], commit=True)
    _transaction(kafka, name, [b"dropped", b"dropped too"], commit=False)

    lines = account.read_topic({"bootstrap.servers": kafka.bootstrap_servers}, name, timeout_s=20)

    assert [line.value for line in lines] == [b"kept"]


@pytest.mark.broker
def test_a_leader_that_is_not_known_yet_is_asked_again(
    kafka: Any, topic: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal, or an offset that is none, of a topic that was just created is no end of the topic."""
    name = _new_topic(kafka, topic())
    _transaction(kafka, name, [b"kept"], commit=True)
    early: List[Any] = [KafkaError(KafkaError.NOT_LEADER_FOR_PARTITION), -1001]

    truth = AdminClient.list_offsets

    def too_early(client: AdminClient, asked: Dict[TopicPartition, Any], **kwargs: Any) -> Any:
        return {place: _answer(early.pop(0)) for place in asked} if early else truth(client, asked, **kwargs)

    monkeypatch.setattr(AdminClient, "list_offsets", too_early)
    lines = account.read_topic({"bootstrap.servers": kafka.bootstrap_servers}, name, timeout_s=20)

    assert ([], [b"kept"]) == (early, [line.value for line in lines])


def _answer(told: Union[KafkaError, int]) -> "Future[SimpleNamespace]":
    answer: Future[SimpleNamespace] = Future()
    if isinstance(told, KafkaError):
        answer.set_exception(KafkaException(told))
    else:
        answer.set_result(SimpleNamespace(offset=told))
    return answer


@pytest.mark.broker
def test_the_command_reads_three_topics_and_goes_red(
    kafka: Any, topic: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Published by hand, with one order lost: the command names it and exits 1."""
    names = {kind: topic(kind) for kind in ("orders", "processed", "dlq")}
    for name in names.values():
        _new_topic(kafka, name)
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    described = admin.describe_topics(TopicCollection([names["orders"]]))[names["orders"]].result()
    run = Run(names["orders"], str(described.topic_id))
    lost = run.results.pop()
    for name, lines in zip(names.values(), (run.orders, run.results, run.dead)):
        _publish(kafka, name, lines)
    flags = [part for kind, name in names.items() for part in (f"--{kind}-topic", name)]

    code = account.main(["-b", kafka.bootstrap_servers, *flags])

    shown = capsys.readouterr().out
    assert code == 1
    assert shown.count("LOST") == 1 and "1 findings" in shown and _source_of(lost) in shown


def _source_of(fate: Line) -> str:
    place = account.dead_letter_source(fate)
    return str(place) if place else str(account.result_id(fate)).split("@")[0]


def _swap(lines: List[Line], one: int, other: int) -> None:
    first, second = lines[one], lines[other]
    lines[one] = second._replace(position=first.position)
    lines[other] = first._replace(position=second.position)


def _imported(node: ast.AST) -> List[str]:
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else []


def _new_topic(kafka: Any, topic: str, partitions: int = 1) -> str:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers, "log_level": 2})
    for created in admin.create_topics([NewTopic(topic, partitions, 1)]).values():
        created.result()
    return topic


def _publish(kafka: Any, topic: str, lines: List[Line]) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    for line in lines:
        producer.produce(topic, line.value, line.key, headers=list(line.headers))
    assert producer.flush(20) == 0


def _transaction(kafka: Any, topic: str, values: List[bytes], commit: bool) -> None:
    conf = {"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": f"account-{commit}"}
    producer = Producer(conf)
    producer.init_transactions(20)
    producer.begin_transaction()
    for value in values:
        producer.produce(topic, value, partition=0)
    producer.flush(20)
    producer.commit_transaction(20) if commit else producer.abort_transaction(20)
