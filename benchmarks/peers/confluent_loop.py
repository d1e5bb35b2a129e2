"""A hand-written loop on confluent-kafka, at least once: plain at its defaults, or tuned to the limit."""

import sys
from pathlib import Path
from typing import Any, Dict, List

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.work import Job, Work, job, reason_headers

TUNED: Dict[str, Any] = {"fetch.queue.backoff.ms": 5, "queued.min.messages": 20000}
BATCH = {"defaults": 500, "best": 5000}


def main(todo: Job) -> None:
    """Consume until every record is handled or dead-lettered, and committed."""
    work = Work(todo)
    consumer = Consumer(
        {
            "bootstrap.servers": todo.brokers,
            "group.id": todo.group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            **(TUNED if todo.is_best else {}),
        }
    )
    producer = Producer({"bootstrap.servers": todo.brokers, **({"linger.ms": 5} if todo.is_best else {})})
    consumer.subscribe([todo.topic])
    while not work.is_done:
        messages = consumer.consume(BATCH[todo.settings], 1.0)
        if messages:
            settle(consumer, producer, todo, messages, process(work, messages))
    consumer.close()


def process(work: Work, messages: List[Any]) -> List[Any]:
    """Handle a batch; what must be dead-lettered, each with its reason."""
    read, handle = work.read, work.handle
    dead = []
    for message in messages:
        try:
            handle(read(message.value()))
        except Exception as error:  # noqa: BLE001 - every reason is one to dead-letter
            dead.append((message, error))
    work.dead += len(dead)
    return dead


def settle(consumer: Consumer, producer: Producer, todo: Job, messages: List[Any], dead: List[Any]) -> None:
    """Have the dead letters confirmed, then commit."""
    for message, error in dead:
        headers: Any = reason_headers(message.topic(), message.partition(), message.offset(), error)
        producer.produce(todo.dlq, message.value(), message.key(), headers=headers)
    if producer.flush(10):
        raise SystemExit("dead letters were not confirmed")
    ends = {message.partition(): message.offset() + 1 for message in messages}
    places = [TopicPartition(todo.topic, partition, offset) for partition, offset in ends.items()]
    consumer.commit(offsets=places, asynchronous=False)


if __name__ == "__main__":
    main(job(sys.argv))
