"""The local Kafka: what the tests stand on has to stand itself."""

from typing import Callable, Dict, Union

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from conftest import Kafka

pytestmark = pytest.mark.broker


def test_a_record_goes_in_and_comes_out(kafka: Kafka, topic: Callable[..., str]) -> None:
    """What is produced is consumed: the broker is a real one."""
    name = topic()
    servers: Dict[str, Union[str, int, float, bool]] = {"bootstrap.servers": kafka.bootstrap_servers}
    admin = AdminClient(servers)
    admin.create_topics([NewTopic(name, 1)])[name].result(10)
    producer = Producer(servers)
    producer.produce(name, b"hello")
    assert producer.flush(10) == 0

    consumer = Consumer({**servers, "group.id": topic("group"), "auto.offset.reset": "earliest"})
    consumer.subscribe([name])
    message = consumer.poll(20)
    consumer.close()

    assert message is not None and message.value() == b"hello"
