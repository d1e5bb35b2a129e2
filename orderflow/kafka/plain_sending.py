"""Sends a few records outside of any transaction, and returns once Kafka has them."""

from typing import Any, Dict, List, Mapping, Optional, Sequence

from confluent_kafka import KafkaError, KafkaException, Producer

from orderflow.exits import CommandError
from orderflow.kafka.client_properties import started
from orderflow.kafka.delivery import deliver
from orderflow.kafka.refusals import missing_right, on_topic
from orderflow.kafka.transactions import produce
from orderflow.model.records import Outgoing

DELIVERY_S = 10.0
CONFIG: Dict[str, Any] = {"acks": "all", "linger.ms": 0, "message.timeout.ms": int(DELIVERY_S * 1000)}


def send_all(client: Mapping[str, Any], records: Sequence[Outgoing]) -> None:
    """Return when Kafka has all of them. Raises CommandError; then it may have some of them."""
    producer = started(Producer, {**client, **CONFIG})
    refused: List[str] = []

    def delivered(error: Optional[KafkaError], message: Any) -> None:
        if error is not None:
            refused.append(_told(message.topic(), error))

    topics = " and ".join(sorted({record.topic for record in records}))
    try:
        for record in records:
            produce(producer, record, delivered)
        left = deliver(producer, DELIVERY_S + 1.0)
    except KafkaException as error:
        raise CommandError(_told(topics, error.args[0])) from error
    if refused:
        raise CommandError("; ".join(sorted(set(refused))))
    if left:
        raise CommandError(f"cannot write to topic {topics}: no answer for {DELIVERY_S:g} s")


def _told(topic: str, error: KafkaError) -> str:
    return f"cannot write to topic {topic}: {error.str()}{missing_right(error, on_topic('WRITE', topic))}"
