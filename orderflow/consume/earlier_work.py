"""Looks for traces of a group's earlier work on a partition whose ledger is gone.

Offsets expire (`offsets.retention.minutes`) or are reset, and the list of waiting orders is lost with them.
Nothing brings it back, but whoever starts without it has to know.
"""

import contextlib
import time
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional

from confluent_kafka import Consumer, KafkaException, TopicPartition

from orderflow.consume.session import Session
from orderflow.kafka.answers import partitions_of
from orderflow.kafka.client_properties import started
from orderflow.kafka.leaders import bounds_of
from orderflow.model import dead_letter
from orderflow.model.commit_metadata import read_metadata
from orderflow.model.records import Message, record_of

LAST = 200
"""How many of the last dead letters of each partition to look at."""
LOOK_S = 3.0
TIMEOUT_S = 2.0

LastDead = Callable[[], Mapping[int, int]]
"""By orders partition: the highest offset among the group's last dead letters."""


class EarlierWork:
    """Looks for traces once, when first asked."""

    def __init__(self, session: Session, last_dead: LastDead) -> None:
        self._session = session
        self._last_dead = last_dead
        self._dead: Optional[Mapping[int, int]] = None
        self._listed: List[int] = []

    def trace(self, number: int, committed: Optional[int]) -> Optional[str]:
        """Evidence that the group worked on this partition, which has no ledger; None if there is none."""
        if self._dead is None:
            self._dead, self._listed = self._last_dead(), self._with_ledger()
        if number in self._dead:
            return f"the dead letter of its offset {self._dead[number]}"
        if self._listed and committed is not None:
            return f"the ledger of {_partitions(self._listed)}"
        if self._dead and not self._listed:
            return f"dead letters of {_partitions(sorted(self._dead))}"
        return None  # the partition may be a new one

    def _with_ledger(self) -> List[int]:
        try:
            committed = self._session.committed(self._session.partitions(TIMEOUT_S), TIMEOUT_S)
        except KafkaException:
            return []
        return [
            number
            for number, (offset, metadata) in sorted(committed.items())
            if offset is not None and read_metadata(metadata, offset) is not None
        ]


def _partitions(numbers: List[int]) -> str:
    told = ", ".join(map(str, numbers[:10])) + (" and more" if len(numbers) > 10 else "")
    return f"partition{'' if len(numbers) == 1 else 's'} {told}"


def last_dead(conf: Mapping[str, Any], dlq_topic: str, topic: str, group: str) -> Dict[int, int]:
    """The highest offset of each partition of `topic` among the last dead letters written by `group`.

    Empty if they cannot be read: a consumer may be allowed to write dead letters but not to read them.
    """
    found: Dict[int, int] = {}
    for message in _last_messages(conf, dlq_topic, group):
        with contextlib.suppress(ValueError):  # a foreign record with headers of another form
            told = dict(record_of(message).headers)
            origin = told.get(dead_letter.TOPIC), told.get(dead_letter.GROUP)
            if origin == (topic.encode(), group.encode()):
                number = int(told.get(dead_letter.PARTITION) or b"")
                found[number] = max(found.get(number, 0), int(told.get(dead_letter.OFFSET) or b""))
    return found


def _last_messages(conf: Mapping[str, Any], topic: str, group: str) -> Iterator[Message]:
    own = {
        "group.id": group,
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "earliest",
    }
    consumer = started(Consumer, {**conf, **own})
    deadline_s = time.monotonic() + LOOK_S
    try:
        with contextlib.suppress(KafkaException):
            left = _assign_last(consumer, topic)
            while left and time.monotonic() < deadline_s:
                messages: List[Any] = consumer.consume(LAST, 0.1)
                for message in messages:
                    if message.error() is None:
                        yield message
                    else:
                        left -= 1
    finally:
        consumer.close()


def _assign_last(consumer: Any, topic: str) -> int:
    """Assign each partition from shortly before its end; returns how many there are."""
    places = []
    for number in partitions_of(consumer, topic, TIMEOUT_S):
        low, high = bounds_of(consumer, TopicPartition(topic, number), TIMEOUT_S)
        if high > low:
            places.append(TopicPartition(topic, number, max(low, high - LAST)))
    consumer.assign(places)
    return len(places)
