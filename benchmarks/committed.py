"""What stands in topics, for readers of committed transactions, as soon as it is visible."""

from typing import List, Sequence

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition


def consumer(brokers: str, places: Sequence[TopicPartition]) -> Consumer:
    """A consumer that reads on from these places."""
    reader = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": "reader",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 10,
        }
    )
    reader.assign(list(places))
    return reader


def available(reader: Consumer) -> List[Message]:
    """What is there, as soon as something is: a larger batch would be waited for."""
    found = [*reader.consume(1, 0.1), *reader.consume(1000, 0)]
    for message in found:
        error = message.error()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            raise SystemExit(f"cannot read {message.topic()}: {error}")
    return [message for message in found if message.error() is None]
