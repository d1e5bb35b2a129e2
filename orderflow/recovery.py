"""Reads back the records that a ledger lists as waiting, by their offsets.

Owns: a second consumer that never joins the group, and where it stands in each partition.
Does not know: ledgers, orders, what the records are for.
Used by: processor, when a partition is assigned.

A restart costs the same however far the high-water mark has run ahead: lone records are sought, and
only from the first one that has followers on is the log read through, up to the mark.
"""

from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Set

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from orderflow.records import Message

READ_ON = 500
"""Offsets that are quicker read through than skipped by a seek (a seek takes 2 to 3 ms)."""

CONFIG: Dict[str, Any] = {
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "earliest",
    "fetch.message.max.bytes": 65536,
    "queued.min.messages": 1,
    "fetch.queue.backoff.ms": 5,
}


class Found(NamedTuple):
    """What one poll brought of one partition."""

    partition: int
    records: List[Message]
    missing: List[int]
    """Offsets asked for that the log does not hold any more."""
    complete: bool


class _Search:
    """What is still wanted of one partition: lone offsets, then everything from `through` to `end`."""

    def __init__(self, lone: List[int], through: Optional[int], end: int) -> None:
        self.lone = lone
        self.index = 0
        self.through = self.through_from = through
        self.end = end
        self.place = self.target()

    def target(self) -> Optional[int]:
        """The next offset that is wanted, or None when nothing is any more."""
        if self.index < len(self.lone):
            return self.lone[self.index]
        return self.through

    def take(self, record: Message) -> Iterator[int]:
        """Go past `record`; the lone offsets before it that were not there."""
        offset = record.offset()
        self.place = offset + 1
        while self.index < len(self.lone) and self.lone[self.index] < offset:
            yield self.lone[self.index]
            self.index += 1
        if self.through is not None and offset >= self.through:
            self.through = offset + 1 if offset + 1 < self.end else None

    def wants(self, offset: int) -> bool:
        """Whether the record at this offset, which was just taken, is one of those asked for."""
        if self.index < len(self.lone) and self.lone[self.index] == offset:
            self.index += 1
            return True
        started = self.through_from is not None and offset >= self.through_from
        return self.index == len(self.lone) and started and offset < self.end

    def rest(self) -> List[int]:
        """The log has ended: what was wanted beyond is not there."""
        left, self.index, self.through = self.lone[self.index :], len(self.lone), None
        return left


class Recovery:
    """Searches of any number of partitions, advanced a little at a time."""

    def __init__(self, topic: str, client: Mapping[str, Any], group: str) -> None:
        self.topic = topic
        self._config = {**client, **CONFIG, "group.id": group, "isolation.level": "read_committed"}
        for name in ("group.instance.id", "group.protocol"):
            self._config.pop(name, None)
        self._consumer: Optional[Consumer] = None
        self._searches: Dict[int, _Search] = {}

    def __contains__(self, partition: int) -> bool:
        return partition in self._searches

    def __bool__(self) -> bool:
        return bool(self._searches)

    def start(self, partition: int, lone: Sequence[int], through: Optional[int], end: int) -> None:
        """Search `lone` offsets (rising), then read from `through` up to `end`, if given."""
        self._searches[partition] = _Search(list(lone), through, end)
        self._assign()

    def cancel(self, partitions: Set[int]) -> None:
        """Those partitions are not ours any more."""
        if not partitions & set(self._searches):
            return
        for partition in partitions:
            self._searches.pop(partition, None)
        self._assign()

    def poll(self, timeout_s: float) -> List[Found]:
        """Read on for a moment. Raises KafkaException when the broker refuses."""
        if not self._searches:
            return []
        assert self._consumer is not None
        found: Dict[int, Found] = {}
        messages: List[Any] = self._consumer.consume(5000, timeout_s)
        for message in messages:
            self._look_at(message, found)
        for partition in list(found):
            found[partition] = self._move_on(partition, found[partition])
        return list(found.values())

    def _look_at(self, message: Any, found: Dict[int, Found]) -> None:
        partition = message.partition()
        search = self._searches.get(partition)
        if search is None:
            return
        so_far = found.setdefault(partition, Found(partition, [], [], False))
        if message.error() is not None:
            so_far.missing.extend(self._after_error(message, search))
            return
        so_far.missing.extend(search.take(message))
        if search.wants(message.offset()):
            so_far.records.append(message)

    @staticmethod
    def _after_error(message: Any, search: _Search) -> List[int]:
        error = message.error()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            raise KafkaException(error)
        return search.rest()

    def _move_on(self, partition: int, found: Found) -> Found:
        search = self._searches[partition]
        target = search.target()
        if target is None:
            del self._searches[partition]
            self._assign()
            return found._replace(complete=True)
        if search.place is None or target - search.place > READ_ON:
            self._consumer_at(partition, target)
        return found

    def _consumer_at(self, partition: int, offset: int) -> None:
        assert self._consumer is not None
        self._consumer.seek(TopicPartition(self.topic, partition, offset))

    def _assign(self) -> None:
        if self._consumer is None:
            self._consumer = Consumer(self._config)
        places = [(number, search.target()) for number, search in self._searches.items()]
        self._consumer.assign(
            [TopicPartition(self.topic, number, place) for number, place in places if place is not None]
        )

    def close(self) -> None:
        """Drop the searches and the consumer."""
        self._searches.clear()
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None
