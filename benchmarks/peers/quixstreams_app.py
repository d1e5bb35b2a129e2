"""Quix Streams, at least once: its checkpoint flushes the dead letters before it commits."""

import sys
from pathlib import Path
from typing import Any, Dict, Optional

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from quixstreams import Application

from benchmarks.work import Job, Work, job, reason_headers

BEST: Dict[str, Any] = {
    "commit_every": 10_000,
    "consumer_extra_config": {"fetch.queue.backoff.ms": 5, "queued.min.messages": 20000},
    "producer_extra_config": {"linger.ms": 5},
}


def main(todo: Job) -> None:
    """Consume until every record is handled or dead-lettered, and committed."""
    work = Work(todo)
    app: Any = Application(
        broker_address=todo.brokers,
        consumer_group=todo.group,
        auto_offset_reset="earliest",
        loglevel=None,
        auto_create_topics=False,
        state_dir=f"/tmp/{todo.group}",
        on_message_processed=lambda *place: app.stop() if work.is_done else None,
        **(BEST if todo.is_best else {}),
    )
    orders = app.dataframe(app.topic(todo.topic, key_deserializer="bytes", value_deserializer="bytes"))
    dead = app.topic(todo.dlq, key_serializer="bytes", value_serializer="bytes")
    letters = orders.filter(Failing(work, todo), metadata=True)
    letters.to_topic(dead)
    app.run()


class Failing:
    """Handles the order; true, with the reason in the headers, where it must be dead-lettered."""

    def __init__(self, work: Work, todo: Job) -> None:
        self._work = work
        self._topic = todo.topic

    def __call__(self, value: Optional[bytes], key: Any, timestamp: int, headers: Any) -> bool:
        """Whether this order failed."""
        error = self._work.try_one(value)
        if error is None:
            return False
        if isinstance(headers, list):
            headers.extend(reason_headers(self._topic, -1, -1, error))
        return True


if __name__ == "__main__":
    main(job(sys.argv))
