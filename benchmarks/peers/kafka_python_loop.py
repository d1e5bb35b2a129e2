"""A hand-written loop on kafka-python, at least once, without retries."""

import sys
from pathlib import Path
from typing import Any, Dict, List, Mapping

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from kafka import KafkaConsumer, KafkaProducer

from benchmarks.work import Job, Work, job, reason_headers

BEST: Dict[str, Any] = {
    "max_poll_records": 5000,
    "max_partition_fetch_bytes": 4 * 1024 * 1024,
    "check_crcs": False,
}


def main(todo: Job) -> None:
    """Consume until every record is handled or dead-lettered, and committed."""
    work = Work(todo)
    consumer = KafkaConsumer(
        todo.topic,
        bootstrap_servers=todo.brokers,
        group_id=todo.group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        **(BEST if todo.is_best else {}),
    )
    producer = KafkaProducer(bootstrap_servers=todo.brokers, acks="all")
    while not work.is_done:
        settle(consumer, producer, todo, process(work, consumer.poll(timeout_ms=1000)))
    consumer.close()
    producer.close()


def process(work: Work, batches: Mapping[Any, List[Any]]) -> List[Any]:
    """Handle a batch; what must be dead-lettered, each with its reason."""
    read, handle = work.read, work.handle
    dead = []
    for records in batches.values():
        for record in records:
            try:
                handle(read(record.value))
            except Exception as error:  # noqa: BLE001 - every reason is one to dead-letter
                dead.append((record, error))
    work.dead += len(dead)
    return dead


def settle(consumer: KafkaConsumer, producer: KafkaProducer, todo: Job, dead: List[Any]) -> None:
    """Have the dead letters confirmed, then commit."""
    confirmations = []
    for record, error in dead:
        headers = reason_headers(record.topic, record.partition, record.offset, error)
        confirmations.append(producer.send(todo.dlq, record.value, record.key, headers=headers))
    for confirmation in confirmations:
        confirmation.get(timeout=10)
    consumer.commit()


if __name__ == "__main__":
    main(job(sys.argv))
