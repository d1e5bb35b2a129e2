"""Topics whose number of partitions changes while a consumer runs."""

import itertools
import re
import signal
from typing import Any, Callable, List

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from orderflow.consume.client_config import consumer_config
from orderflow.consume.session import partitions_from_end
from tests.support.engine_tools import Shop, rows
from tests.support.pipeline import Running, eventually

pytestmark = pytest.mark.broker
QUICK_TO_SEE = ("-X", "topic.metadata.refresh.interval.ms=500", "-X", "metadata.max.age.ms=1000")
SOON_REFUSED = ("-X", "transaction.timeout.ms=2000")
"""So long a record waits for a partition that is no longer there."""
FROM_END = ("-X", "auto.offset.reset=latest")


def create(shop: Shop, name: str, partitions: int) -> None:
    """Create a topic, and wait until the broker knows it."""
    admin = AdminClient(shop.client)
    admin.create_topics([NewTopic(name, partitions, 1)])[name].result(20)
    eventually(lambda: name in admin.list_topics(timeout=10).topics)


def add_partition(shop: Shop, total: int) -> None:
    """Let the orders' topic have so many."""
    admin = AdminClient(shop.client)
    admin.create_partitions([NewPartitions(shop.orders_topic, total)])[shop.orders_topic].result(20)


def is_created(shop: Shop, name: str, partitions: int) -> bool:
    """Create a topic that was deleted. False: brokers with ZooKeeper still know it for a moment."""
    try:
        create(shop, name, partitions)
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise
        return False
    return True


def called(shop: Shop) -> List[str]:
    """What the handler was called for, by the orders' keys."""
    return sorted(call.key for call in shop.calls())


def ready(running: Running, partition: int) -> Callable[[], bool]:
    """Whether a consumer has taken a partition up."""
    return lambda: f"partition {partition} is ready" in running.err


def test_a_dead_letter_topic_with_fewer_partitions_takes_what_comes_after(shop: Callable[..., Shop]) -> None:
    """Deleted and created again with one partition of three, as an operator repairs it."""
    place = shop()
    create(place, place.orders_topic, 3)
    create(place, place.processed_topic, 1)
    create(place, place.dlq_topic, 3)
    place.put([("POISON-1", "C")], partition=2)
    running = place.consume("poison_is_rejected", *QUICK_TO_SEE, *SOON_REFUSED)
    eventually(place.dead_letters, why=running.describe)

    admin = AdminClient(place.client)
    admin.delete_topics([place.dlq_topic])[place.dlq_topic].result(20)
    eventually(lambda: is_created(place, place.dlq_topic, 1))
    place.put([("POISON-2", "C")], partition=2)

    eventually(lambda: [letter.key for letter in place.dead_letters()] == [b"POISON-2"], why=running.describe)
    assert running.stop().code == 143


def test_orders_of_a_partition_that_is_added_are_not_skipped(shop: Callable[..., Shop]) -> None:
    """With `auto.offset.reset=latest`: what was there before the group began is skipped, and nothing else."""
    place = shop().create(partitions=1)
    place.put(rows(1, "OLD"))
    running = place.consume("works", *FROM_END, *QUICK_TO_SEE)
    eventually(ready(running, 0), why=running.describe)
    add_partition(place, 2)
    eventually(lambda: _put(place, "NEW-1"), why=running.describe)

    eventually(lambda: called(place) == ["NEW-1"], why=running.describe)
    assert running.stop().code == 143

    add_partition(place, 3)
    eventually(lambda: _put(place, "NEW-2", 2))
    place.drain("works", *FROM_END)
    assert called(place) == ["NEW-1", "NEW-2"]


def _put(shop: Shop, order_id: str, partition: int = 1) -> bool:
    """False while the broker does not know the partition yet."""
    try:
        shop.put([(order_id, "C")], partition=partition)
    except KafkaException:
        return False
    return True


def test_a_group_begins_at_the_end_only_once(shop: Callable[..., Shop]) -> None:
    """Where it is set up so, and only of the partitions that are there while it has committed nothing."""
    place = shop().create(partitions=2)

    def from_end(**properties: Any) -> List[int]:
        config = consumer_config({**place.client, **properties}, place.group, 300)
        return sorted(partitions_from_end(config, place.orders_topic))

    latest = {"auto.offset.reset": "latest", "group.instance.id": "one"}
    assert ([], [0, 1]) == (from_end(), from_end(**latest))
    place.rewind({1: 0})
    assert [] == from_end(**latest)


@pytest.mark.parametrize("reset", ["latest", "earliest", "error"])
def test_what_retention_left_is_processed_and_each_loss_is_told(
    shop: Callable[..., Shop], reset: str
) -> None:
    """It passes a consumer that stands still, in all partitions at once: each says exactly what is lost."""
    place = shop().create(partitions=4)
    running = place.consume("works", "-X", f"auto.offset.reset={reset}", *QUICK_TO_SEE)
    eventually(lambda: all(ready(running, number)() for number in range(4)), why=running.describe)
    for number in range(4):
        place.put(rows(3, f"FIRST{number}-"), partition=number)
    eventually(lambda: len(called(place)) == 12, why=running.describe)

    running.send(signal.SIGSTOP)
    for kind, number in itertools.product(("X", "P"), range(4)):  # the first answers the fetch that waits
        place.put(rows(1 if kind == "X" else 400, f"{kind}{number}-"), partition=number)
    admin = AdminClient(place.client)
    places = [TopicPartition(place.orders_topic, number, 204) for number in range(4)]
    for done in admin.delete_records(places).values():
        done.result(20)
    running.send(signal.SIGCONT)

    told = re.compile("partition ([0-3]): retention deleted offsets ([34]) to 203 unprocessed")
    eventually(lambda: len(set(told.findall(running.err))) == 4, why=running.describe)
    lost = sum(204 - int(first) for _, first in told.findall(running.err))
    eventually(lambda: len(set(called(place))) == 12 + 4 * 401 - lost, why=running.describe)
    assert running.stop().code == 143
