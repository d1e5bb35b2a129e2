"""A hand-written loop on aiokafka, at least once, without retries."""

import asyncio
import sys
from pathlib import Path
from typing import Any, Dict, List, Mapping

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks.work import Job, Work, job, reason_headers

BEST: Dict[str, Any] = {
    "max_poll_records": 5000,
    "max_partition_fetch_bytes": 4 * 1024 * 1024,
    "check_crcs": False,
}


async def main(todo: Job) -> None:
    """Consume until every record is handled or dead-lettered, and committed."""
    work = Work(todo)
    consumer = AIOKafkaConsumer(
        todo.topic,
        bootstrap_servers=todo.brokers,
        group_id=todo.group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        **(BEST if todo.is_best else {}),
    )
    producer = AIOKafkaProducer(bootstrap_servers=todo.brokers, acks="all")
    await producer.start()
    await consumer.start()
    while not work.is_done:
        batches = await consumer.getmany(timeout_ms=1000)
        await settle(consumer, producer, todo, process(work, batches))
    await consumer.stop()
    await producer.stop()


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


async def settle(consumer: AIOKafkaConsumer, producer: AIOKafkaProducer, todo: Job, dead: List[Any]) -> None:
    """Have the dead letters confirmed, then commit."""
    confirmations = []
    for record, error in dead:
        headers = reason_headers(record.topic, record.partition, record.offset, error)
        confirmations.append(await producer.send(todo.dlq, record.value, record.key, headers=headers))
    await asyncio.gather(*confirmations)
    await consumer.commit()


if __name__ == "__main__":
    todo = job(sys.argv)
    if todo.is_best:
        import uvloop

        uvloop.run(main(todo))
    else:
        asyncio.run(main(todo))
