"""sentry-arroyo with its own dead letter policy, at least once."""

import sys
from pathlib import Path
from typing import Any, Mapping

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from arroyo.backends.kafka import KafkaConsumer, KafkaPayload, KafkaProducer
from arroyo.backends.kafka.configuration import (
    build_kafka_consumer_configuration,
    build_kafka_producer_configuration,
)
from arroyo.commit import ONCE_PER_SECOND
from arroyo.dlq import DlqPolicy, InvalidMessage, KafkaDlqProducer
from arroyo.processing import StreamProcessor
from arroyo.processing.strategies import CommitOffsets, ProcessingStrategyFactory, RunTask
from arroyo.types import Commit, Message, Partition, Topic

from benchmarks.work import Job, Work, job

FETCH_BEST = {"fetch.queue.backoff.ms": 5}
QUEUED_DEFAULTS = {"queued_max_messages_kbytes": 50_000, "queued_min_messages": 10_000}
QUEUED_BEST = {"queued_max_messages_kbytes": 65_536, "queued_min_messages": 20_000}


def main(todo: Job) -> None:
    """Consume until every record is handled or dead-lettered, and committed."""
    work = Work(todo)
    consumer = KafkaConsumer(_consumer_configuration(todo))
    producer = KafkaProducer(build_kafka_producer_configuration({}, bootstrap_servers=[todo.brokers]))
    processor = StreamProcessor(
        consumer=consumer,
        topic=Topic(todo.topic),
        processor_factory=Factory(work),
        commit_policy=ONCE_PER_SECOND,
        dlq_policy=DlqPolicy(KafkaDlqProducer(producer, Topic(todo.dlq))),
    )
    while not work.is_done:
        processor._run_once()  # `run` has no way to end but a signal
    processor.signal_shutdown()
    processor._shutdown()
    producer.close().result()


def _consumer_configuration(todo: Job) -> Any:
    return build_kafka_consumer_configuration(
        FETCH_BEST if todo.is_best else {},
        todo.group,
        auto_offset_reset="earliest",
        bootstrap_servers=[todo.brokers],
        **(QUEUED_BEST if todo.is_best else QUEUED_DEFAULTS),
    )


class Factory(ProcessingStrategyFactory[KafkaPayload]):
    """One task an order, then the commit."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def create_with_partitions(self, commit: Commit, partitions: Mapping[Partition, int]) -> Any:
        """The steps of one assignment."""
        return RunTask(self._run, CommitOffsets(commit))

    def _run(self, message: Message[KafkaPayload]) -> None:
        if self._work.try_one(message.payload.value) is not None:
            value: Any = message.value
            raise InvalidMessage(value.partition, value.offset, log_exception=False)


if __name__ == "__main__":
    main(job(sys.argv))
