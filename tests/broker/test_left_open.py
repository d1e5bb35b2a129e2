"""A transaction that an owner left open is ended by whoever takes its partition over, and no other is."""

from typing import Any, Callable, Dict, FrozenSet, Iterator, List

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from orderflow.consume.client_config import Clients, consumer_config, producer_config
from orderflow.consume.left_open import LeftOpen
from orderflow.model.commit_metadata import Stand, first_form
from tests.conftest import Kafka
from tests.support.engine_tools import Shop, rows
from tests.support.pipeline import eventually

pytestmark = pytest.mark.broker

LONG = {"transaction.timeout.ms": 60_000}


class Owner:
    """A member that has committed for the first partitions in its own name, then commits in transactions."""

    def __init__(self, client: Dict[str, Any], topic: str, group: str, name: str, partitions: int) -> None:
        self._topic = topic
        self._partitions = range(partitions)
        self._consumer = Consumer({**client, "group.id": group, "enable.auto.commit": False})
        self._consumer.subscribe([topic])
        eventually(lambda: self._consumer.poll(0.1) or self._consumer.assignment())
        self._producer = Producer({**client, **LONG, "transactional.id": f"{group}.{name}"})
        self._producer.init_transactions(20)
        mark = first_form(Stand(0, 0, False, False, None, None, 0, owner=name), "")
        places = [TopicPartition(topic, number, 0, metadata=mark) for number in self._partitions]
        self._consumer.commit(offsets=places, asynchronous=False)

    def begin(self) -> None:
        """Open a transaction in which an offset of each is committed."""
        self._producer.begin_transaction()
        member = self._consumer.consumer_group_metadata()
        places = [TopicPartition(self._topic, number, 5) for number in self._partitions]
        self._producer.send_offsets_to_transaction(places, member, 20)

    def commit(self) -> None:
        """Commit it. Raises KafkaException if somebody else has ended it."""
        self._producer.commit_transaction(20)

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()


class Scene:
    """A topic, the owner of its first partitions, and a successor by the name of `successor`."""

    def __init__(self, kafka: Kafka, topic: Callable[..., str], owned: int = 1, partitions: int = 2) -> None:
        self.topic, self.group = topic("orders"), topic("group")
        self.client: Dict[str, Any] = {"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0}
        admin = AdminClient(self.client)
        admin.create_topics([NewTopic(self.topic, partitions, 1)])[self.topic].result(20)
        self.owner = Owner(self.client, self.topic, self.group, "owner", owned)
        self.ours: List[str] = []
        """Who was told to end a transaction of his own."""

    def left_open(self, name: str = "successor") -> LeftOpen:
        """What a consumer of this name ends transactions with."""
        producer = producer_config(self.client, f"{self.group}.{name}")
        clients = Clients(consumer_config(self.client, self.group, 300), producer, True)
        return LeftOpen(self.topic, clients, lambda: self.ours.append(name))

    def committed(self) -> int:
        """What is committed. Raises KafkaException while an open transaction hides it."""
        asking = Consumer({**self.client, "group.id": self.group, "isolation.level": "read_committed"})
        try:
            (place,) = asking.committed([TopicPartition(self.topic, 0)], timeout=1)
            return place.offset
        finally:
            asking.close()


@pytest.fixture
def scene(kafka: Kafka, topic: Callable[..., str]) -> Iterator[Scene]:
    """One for each test."""
    made = Scene(kafka, topic)
    yield made
    made.owner.close()


def try_to_end(left_open: LeftOpen) -> FrozenSet[int]:
    """One attempt, to its end; which partitions stay hidden."""
    left_open.end([0, 1])
    eventually(lambda: not left_open.is_trying)
    hidden = left_open.end([0, 1])
    eventually(lambda: not left_open.is_trying)
    return hidden


def test_what_hides_the_committed_offset_is_ended(scene: Scene) -> None:
    """The offset that its owner committed before is there again; what was in the transaction is not."""
    scene.owner.begin()
    with pytest.raises(KafkaException):
        scene.committed()

    assert try_to_end(scene.left_open()) == frozenset()

    assert scene.ours == []
    assert scene.committed() == 0
    with pytest.raises(KafkaException):
        scene.owner.commit()


def test_an_owner_that_hides_nothing_is_left_alone(scene: Scene) -> None:
    """Kafka may have been slow: its next transaction is committed."""
    assert try_to_end(scene.left_open()) == frozenset()

    scene.owner.begin()
    scene.owner.commit()
    assert scene.committed() == 5


def test_nobody_ends_a_transaction_of_its_own(scene: Scene) -> None:
    """It may be about to be committed, by another thread of the same process: that thread's side knows."""
    scene.owner.begin()

    assert try_to_end(scene.left_open("owner")) == {0}

    assert scene.ours == ["owner"]
    scene.owner.commit()
    assert scene.committed() == 5


def test_an_owner_of_many_partitions_is_asked_about_once(kafka: Kafka, topic: Callable[..., str]) -> None:
    """Not partition by partition before anything is ended: that would take half a second for each."""
    scene = Scene(kafka, topic, owned=30, partitions=30)
    scene.owner.begin()
    left_open = scene.left_open()
    left_open.end(range(30))
    eventually(lambda: not left_open.is_trying, 5)

    assert left_open.end([]) == frozenset()
    assert scene.committed() == 0
    scene.owner.close()


def hide(shop: Shop, partition: int) -> Producer:
    """Open a transaction that commits an offset of this partition, by a producer that no commit names."""
    member = Consumer({**shop.client, "group.id": shop.group, "enable.auto.commit": False})
    member.subscribe([shop.orders_topic])
    eventually(lambda: member.poll(0.1) or member.assignment())
    producer = Producer({**shop.client, **LONG, "transactional.id": f"{shop.group}-unknown"})
    producer.init_transactions(20)
    producer.begin_transaction()
    place = TopicPartition(shop.orders_topic, partition, 1)
    producer.send_offsets_to_transaction([place], member.consumer_group_metadata(), 20)
    member.close()
    return producer


def test_what_is_hidden_of_one_partition_keeps_back_no_other(shop: Callable[..., Shop]) -> None:
    """The client tells what is committed for all partitions or for none, and asks by itself when assigned."""
    tested = shop().create(partitions=2)
    tested.put(rows(20), partition=0)
    tested.put(rows(20, prefix="B"), partition=1)
    hiding = hide(tested, 0)
    running = tested.consume("works")
    eventually(lambda: len(tested.calls()) == 20, why=running.describe)
    assert {call.position.partition for call in tested.calls()} == {1}
    assert "partition 0: an open transaction hides what is committed" in running.err

    hiding.abort_transaction(20)
    eventually(lambda: len(tested.calls()) == 40, why=running.describe)
    assert running.stop().code == 143
    tested.assert_account_closes()
