"""FastStream on its Confluent or its aiokafka back end, at least once.

At its defaults it takes records one at a time and commits on a timer; at its best it takes batches, without
type casting, and acknowledges after the work.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any, Dict, List, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from faststream import AckPolicy, FastStream

from benchmarks.work import Job, Work, job, reason_headers

BATCH = 5000


class Confluent:
    """How records of the Confluent back end are looked at, and what makes it fast."""

    from faststream.confluent import KafkaBroker

    broker: Any = KafkaBroker
    connection_best: Dict[str, Any] = {"config": {"fetch.queue.backoff.ms": 5, "queued.min.messages": 20000}}
    subscriber_best: Dict[str, Any] = {}

    @staticmethod
    def parts(record: Any) -> Any:
        """Value, key, topic, partition and offset."""
        return record.value(), record.key(), record.topic(), record.partition(), record.offset()

    @staticmethod
    def values(records: Sequence[Any]) -> List[Any]:
        """The values of a batch."""
        return [record.value() for record in records]


class Aiokafka:
    """The same for the aiokafka back end."""

    from faststream.kafka import KafkaBroker

    broker: Any = KafkaBroker
    connection_best: Dict[str, Any] = {}
    subscriber_best: Dict[str, Any] = {"max_partition_fetch_bytes": 4 * 1024 * 1024, "check_crcs": False}

    @staticmethod
    def parts(record: Any) -> Any:
        """Value, key, topic, partition and offset."""
        return record.value, record.key, record.topic, record.partition, record.offset

    @staticmethod
    def values(records: Sequence[Any]) -> List[Any]:
        """The values of a batch."""
        return [record.value for record in records]


BACK_ENDS: Dict[str, Any] = {"confluent": Confluent, "aiokafka": Aiokafka}


async def main(todo: Job, back_end: Any) -> None:
    """Consume until every record is handled or dead-lettered, and committed."""
    work = Work(todo)
    run = _best if todo.is_best else _at_defaults
    await run(todo, back_end, work)


async def _raw(message: Any) -> Any:
    """In place of the decoder: the bytes are Avro, and the work reads them."""
    return message.raw_message


async def _at_defaults(todo: Job, back_end: Any, work: Work) -> None:
    broker = back_end.broker(todo.brokers, logger=None)
    app = FastStream(broker, logger=None)

    @broker.subscriber(todo.topic, group_id=todo.group, auto_offset_reset="earliest", decoder=_raw)
    async def handle(record: Any) -> None:
        value, key, *place = back_end.parts(record)
        error = work.try_one(value)
        if error is not None:
            await broker.publish(value, todo.dlq, key=key, headers=_headers(place, error))
        if work.is_done:
            app.exit()

    await app.run()


async def _best(todo: Job, back_end: Any, work: Work) -> None:
    broker = back_end.broker(todo.brokers, logger=None, apply_types=False, **back_end.connection_best)
    app = FastStream(broker, logger=None)

    @broker.subscriber(
        todo.topic,
        group_id=todo.group,
        auto_offset_reset="earliest",
        decoder=_raw,
        batch=True,
        max_records=BATCH,
        ack_policy=AckPolicy.ACK,
        **back_end.subscriber_best,
    )
    async def handle(records: Sequence[Any]) -> None:
        letters = []
        for value, record in zip(back_end.values(records), records):
            error = work.try_one(value)
            if error is not None:
                _, key, *place = back_end.parts(record)
                letters.append(broker.publish(value, todo.dlq, key=key, headers=_headers(place, error)))
        await asyncio.gather(*letters)
        if work.is_done:
            app.exit()

    await app.run()


def _headers(place: Sequence[Any], error: Exception) -> Dict[str, str]:
    return {name: text.decode() for name, text in reason_headers(place[0], place[1], place[2], error)}


if __name__ == "__main__":
    todo, chosen = job(sys.argv), BACK_ENDS[sys.argv[2]]
    if todo.is_best:
        import uvloop

        uvloop.run(main(todo, chosen))
    else:
        asyncio.run(main(todo, chosen))
