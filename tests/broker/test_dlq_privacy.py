"""What is hidden, and what can be erased, on a real broker."""

from pathlib import Path
from typing import Any, Callable, List, Tuple

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from orderflow.model.records import Outgoing
from tests.support.dlq_tools import Handler, left_open, make_topic, order, ours, send
from tests.support.mess import commit_as

pytestmark = pytest.mark.broker

KEY = b"anna"


class Shop:
    """A dead letter topic, an orders topic and a compacted one, each with something of one key."""

    def __init__(self, address: str, topic: Callable[[str], str], folder: Path) -> None:
        self.address = address
        self.orders, self.dlq, self.state = topic("orders"), topic("dlq"), topic("state")
        for name in (self.orders, self.dlq):
            make_topic(address, name)
        admin = AdminClient({"bootstrap.servers": address})
        config = {"cleanup.policy": "compact"}
        admin.create_topics([NewTopic(self.state, 1, 1, config=config)])[self.state].result(10)
        plain = [Outgoing("", f"other-{n}".encode(), order(n), [], 0) for n in range(4)]
        hers = Outgoing("", KEY, order(9, customer_id="C-anna"), [], 0)
        for name in (self.orders, self.state):
            send(address, name, [plain[0], hers, plain[1], hers, plain[2]])
        dead = [ours(n, key=KEY if n == 1 else None, value=order(n, customer_id="C-anna")) for n in range(3)]
        send(address, self.dlq, dead)
        self.handler = Handler(address, self.dlq, folder)
        self.group = f"{self.dlq}-group"

    def run(self, *args: str, code: int = 0, masked: str = "") -> Any:
        """Run a verb, with these fields hidden."""
        environ = {"MASKED_FIELDS": masked} if masked else {}
        run = self.handler.run(*args, ORDERS_TOPIC=self.orders, **environ)
        assert run.code == code, run.out + run.err
        return run

    def keys(self, name: str) -> List[Tuple[Any, bool]]:
        """The keys that a topic holds, and whether with a value."""
        config = {"bootstrap.servers": self.address, "group.id": "reader", "enable.partition.eof": True}
        consumer = Consumer({**config, "auto.offset.reset": "earliest"})
        consumer.assign([TopicPartition(name, 0, 0)])
        found: List[Tuple[Any, bool]] = []
        while True:
            message: Any = consumer.poll(10)
            if message.error():
                consumer.close()
                return found
            found.append((message.key(), message.value() is not None))


@pytest.fixture
def shop(kafka: Any, topic: Callable[[str], str], tmp_path: Path) -> Shop:
    """One of its own for each test."""
    return Shop(kafka.bootstrap_servers, topic, tmp_path)


def test_what_is_hidden_is_in_no_output(shop: Shop) -> None:
    """Neither for people nor for machines; what is selected by it is found all the same."""
    masked = "customer_id,key"
    for args in (
        ["list"],
        ["list", "--json"],
        ["show", "0:1", "--headers"],
        ["export"],
        ["export", "--format", "csv"],
    ):
        run = shop.run(*args, masked=masked)
        assert "C-anna" not in run.out and "anna" not in run.out
        assert "[masked]" in run.out
    assert len(shop.run("list", "--key", "anna", masked=masked).lines) == 1
    assert "is hidden" in shop.run("groups", "--by", "customer_id", code=2, masked=masked).err
    assert "did you mean customer_id" in shop.run("list", code=2, masked="custmer_id").err
    assert "no terminal to ask" in shop.run("list", "--unmask", code=4, masked=masked).err
    assert "fields are hidden" in shop.run("show", "0:1", "--raw", code=1, masked=masked).err


def test_erase_looks_and_says_what_can_be_done(shop: Shop) -> None:
    """Where the key stands, what goes by itself, and what Kafka cannot do."""
    out = shop.run("erase", "--key", "anna", "--topic", shop.state).out

    assert f"{shop.orders}: 2 records with this key and a value" in out
    assert f"{shop.dlq}: 1 record with this key and a value" in out
    assert "partition 0, the last at 3, with 2 other records before it" in out
    assert "--tombstone: Kafka then deletes" in out
    assert "not --delete-up-to-it: 4 offsets before it are not processed yet" in out
    assert "Kafka cannot delete single records" in out
    assert len(shop.keys(shop.orders)) == 5


def test_erase_does_what_kafka_can(shop: Shop) -> None:
    """A tombstone where a topic is compacted, elsewhere everything up to the key's last record, if asked."""
    erase = ("erase", "--key", "anna", "--topic", shop.state)
    shop.run(*erase, "--delete-up-to-it", code=4)
    refused = shop.run(*erase, "--delete-up-to-it", "--yes", code=4)
    commit_as(shop.address, shop.group, [TopicPartition(shop.orders, 0, 5)])
    shop.run(*erase, "--tombstone", "--delete-up-to-it", "--yes")

    assert "not processed yet" in refused.err
    assert shop.keys(shop.state)[-1] == (KEY, False)
    assert [key for key, _ in shop.keys(shop.orders)] == [b"other-2"]
    assert [key for key, _ in shop.keys(shop.dlq)] == [b"O-2"]


def test_erase_deletes_nothing_that_another_group_has_still_to_process(shop: Shop) -> None:
    """It names the group; who knows that it is abandoned can say so."""
    erase = ("erase", "--key", "anna")
    other = f"{shop.orders}-analytics"
    commit_as(shop.address, shop.group, [TopicPartition(shop.orders, 0, 5)])
    commit_as(shop.address, other, [TopicPartition(shop.orders, 0, 2)])
    told = f"group {other} has still to process 2 offsets before it (--despite-group {other})"

    assert f"  not --delete-up-to-it: {told}" in shop.run(*erase).lines
    assert told in shop.run(*erase, "--delete-up-to-it", "--yes", code=4).err
    assert len(shop.keys(shop.orders)) == 5
    shop.run(*erase, "--delete-up-to-it", "--yes", "--despite-group", other)
    assert [key for key, _ in shop.keys(shop.orders)] == [b"other-2"]


def test_erase_heeds_a_group_that_has_processed_all_of_it(shop: Shop) -> None:
    """It keeps nothing from being deleted."""
    for group in (shop.group, f"{shop.orders}-analytics"):
        commit_as(shop.address, group, [TopicPartition(shop.orders, 0, 4)])

    shop.run("erase", "--key", "anna", "--delete-up-to-it", "--yes")
    assert [key for key, _ in shop.keys(shop.orders)] == [b"other-2"]


def test_erase_finds_a_key_as_it_is_shown(shop: Shop) -> None:
    """Bytes that are no text as hex, a line break as an escape: what `list` shows can be typed."""
    commit_as(shop.address, shop.group, [TopicPartition(shop.orders, 0, 9)])
    for key, shown in ((b"\xff\x00", "0xff00"), (b"a\nb", "a\\u000ab")):
        send(shop.address, shop.orders, [Outgoing("", key, order(7), [], 0)])
        send(shop.address, shop.state, [Outgoing("", key, order(7), [], 0)])
        commit_as(shop.address, shop.group, [TopicPartition(shop.orders, 0, 99)])

        told = shop.run("erase", "--key", shown, "--topic", shop.state, "--tombstone", "--yes").out

        assert f"{shop.orders}: 1 record with this key and a value" in told
        assert shop.keys(shop.state)[-1] == (key, False)


def test_erase_changes_nothing_where_two_keys_are_shown_alike(shop: Shop) -> None:
    """Whoever typed one of them did not mean the other."""
    send(shop.address, shop.state, [Outgoing("", key, order(7), [], 0) for key in (b"\xff", b"0xff")])

    refused = shop.run("erase", "--key", "0xff", "--topic", shop.state, "--tombstone", "--yes", code=4)

    assert "different keys are shown as 0xff" in refused.err


def test_a_report_does_not_quote_what_is_hidden_from_its_readers(shop: Shop, tmp_path: Path) -> None:
    """It is for others, too: what was typed to find a hidden value is left out; other filters are told."""
    page = shop.handler.folder / "night.html"
    hidden = ("--where", "customer_id = 'C-anna'", "--key", "anna", "--where", "quantity >= 0")

    shop.run("report", page.name, *hidden, masked="customer_id,key")

    told = page.read_text("utf-8")
    assert "anna" not in told
    assert "quantity &gt;= 0" in told


def test_erase_finds_what_transactions_hide_from_readers(shop: Shop) -> None:
    """Kafka holds what was aborted, what is not committed yet, and what stands behind that."""
    hers = Outgoing("", KEY, order(9, customer_id="C-anna"), [], 0)
    with left_open(shop.address, shop.dlq, [hers]) as transaction:
        transaction.abort_transaction(20)
    assert f"{shop.dlq}: 2 records with this key and a value" in shop.run("erase", "--key", "anna").out

    with left_open(shop.address, shop.dlq, [Outgoing("", b"bob", order(8), [], 0)]):
        send(shop.address, shop.dlq, [hers])
        assert f"{shop.dlq}: 3 records with this key and a value" in shop.run("erase", "--key", "anna").out
