"""Answers that Kafka refuses in parts, on a real broker: a refusal is never taken for "none"."""

from typing import Any, Callable, NamedTuple

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AclOperation

from orderflow.consume.session import partitions_from_end
from orderflow.kafka.other_groups import committed_by_groups
from tests.support.acls import deny
from tests.support.dlq_tools import make_topic
from tests.support.mess import commit_as

pytestmark = pytest.mark.broker


class Hidden(NamedTuple):
    """A group that has committed, and a topic that nobody may see any more."""

    address: str
    orders: str
    group: str


@pytest.fixture
def hidden(strict_kafka: Any, topic: Callable[..., str]) -> Hidden:
    """The group has committed offset 2 of partition 0."""
    address, orders, group = strict_kafka.bootstrap_servers, topic("orders"), topic("group")
    make_topic(address, orders)
    commit_as(address, group, [TopicPartition(orders, 0, 2)])
    client = {"bootstrap.servers": address}
    assert committed_by_groups(client, [(orders, 0)], 10)[group] == {(orders, 0): 2}
    deny(client, orders, AclOperation.DESCRIBE)
    return Hidden(address, orders, group)


def test_who_is_about_to_delete_does_not_take_a_group_for_one_without_commits(hidden: Hidden) -> None:
    """Kafka answers each partition by itself."""
    with pytest.raises(KafkaException) as refused:
        committed_by_groups({"bootstrap.servers": hidden.address}, [(hidden.orders, 0)], 10)

    assert refused.value.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED


def test_a_consumer_that_starts_at_the_end_does_not_take_its_group_for_a_new_one(hidden: Hidden) -> None:
    """Neither where it sees no partitions: all orders would be new to it, or none."""
    config = {
        "bootstrap.servers": hidden.address,
        "group.id": hidden.group,
        "auto.offset.reset": "latest",
    }
    with pytest.raises(KafkaException) as refused:
        partitions_from_end(config, hidden.orders)

    assert refused.value.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
