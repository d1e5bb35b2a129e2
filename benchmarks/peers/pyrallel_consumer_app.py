"""pyrallel-consumer in its asyncio mode: key order, commits over gaps, its own dead letter topic."""

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from pyrallel_consumer.config import KafkaConfig
from pyrallel_consumer.consumer import PyrallelConsumer
from pyrallel_consumer.dto import WorkItem

from benchmarks.work import Job, Work, job


def configuration(todo: Job) -> KafkaConfig:
    """Its settings: the defaults, or larger batches and more in flight."""
    config = KafkaConfig(BOOTSTRAP_SERVERS=todo.brokers, CONSUMER_GROUP=todo.group)
    config.DLQ_TOPIC_SUFFIX = todo.dlq[len(todo.topic) :]
    parallel = config.parallel_consumer
    parallel.execution.max_retries = 1
    parallel.execution.retry_backoff_ms = 0
    if todo.is_best:
        parallel.poll_batch_size = 5000
        parallel.queue_max_messages = 20000
        parallel.execution.max_in_flight = 5000
        parallel.worker_pool_size = 64
        parallel.strict_completion_monitor_enabled = False
    return config


async def main(todo: Job) -> None:
    """Consume until every record is handled or dead-lettered; stopping commits."""
    work = Work(todo)
    done = asyncio.Event()

    async def worker(item: WorkItem) -> None:
        error = work.try_one(item.payload)
        if work.is_done:
            done.set()
        if error is not None:
            raise error

    consumer = PyrallelConsumer(config=configuration(todo), worker=worker, topic=todo.topic)
    await consumer.start()
    await done.wait()
    await asyncio.sleep(2)
    await consumer.stop()


if __name__ == "__main__":
    asyncio.run(main(job(sys.argv)))
