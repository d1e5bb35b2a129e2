"""Three nodes are restarted one after the other, as for an upgrade, while everything runs."""

import threading
from itertools import cycle
from typing import Callable, Iterator, List

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.support.engine_tools import Shop
from tests.support.pipeline import Finished, eventually
from tools.local_kafka import LocalKafka

pytestmark = [pytest.mark.chaos, pytest.mark.broker]
NewShop = Callable[..., Shop]

VERBS = (
    ("list", "--limit", "5"),
    ("groups",),
    ("stats",),
    ("waiting", "--json"),
    ("waiting",),
    ("replay", "--all", "--dry-run"),
)
INVALID = ("--invalid", "2%")


@pytest.fixture
def kafka() -> Iterator[LocalKafka]:
    """A cluster whose nodes are restarted."""
    with LocalKafka(nodes=3) as three:
        yield three


class Neighbours:
    """A producer and the verbs of an operator, again and again until the end of the block."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=run) for run in (self._publish, self._look)]
        self.ended: List[Finished] = []
        """All that ended, in no order."""

    def __enter__(self) -> "Neighbours":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _publish(self) -> None:
        while not self._is_over.is_set():
            self.ended.append(self._shop.run("producer.py", "--count", "300", "--rate", "150", *INVALID))

    def _look(self) -> None:
        for verb in cycle(VERBS):
            if self._is_over.is_set():
                return
            self.ended.append(self._shop.run("dlq_handler.py", *verb))


def is_whole(kafka: LocalKafka) -> bool:
    """Whether every partition has all its replicas in sync."""
    try:
        found = AdminClient({"bootstrap.servers": kafka.bootstrap_servers}).list_topics(timeout=5)
    except KafkaException:
        return False
    partitions = [one for topic in found.topics.values() for one in topic.partitions.values()]
    return len(found.brokers) == 3 and all(len(one.isrs) == len(one.replicas) for one in partitions)


def test_a_rolling_restart_is_felt_by_nobody(kafka: LocalKafka, shop: NewShop) -> None:
    """The consumer, the producer and every verb go on; each order has one fate."""
    tested = shop(RETRY_BACKOFF="1", RETRY_BACKOFF_MAX="2", MAX_RETRIES="30", UNKNOWN_SCHEMA_BACKOFF="0")
    running = tested.create(partitions=3).consume("unlucky_ones_fail")
    with Neighbours(tested) as neighbours:
        eventually(lambda: len(tested.calls()) > 200, 60, running.describe)
        for node in kafka.nodes:
            kafka.restart(node)
            eventually(lambda: is_whole(kafka), 60)
    assert running.running, running.describe()
    assert running.stop().code == 143
    tested.drain("works")

    assert len(neighbours.ended) > len(VERBS)
    assert [ended for ended in neighbours.ended if ended.code != 0] == []
    tested.assert_account_closes()
