"""Reads back the records that a ledger lists as waiting, by their offsets.

A second consumer does it, which never joins the group.

A restart costs the same however far the high-water mark has run ahead: lone records are sought, and
only from the first one that has followers on is the log read through, up to the mark.
"""

from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Set

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from orderflow.model.records import Message

READ_ON = 500
"""Offsets that are quicker read through than skipped by a seek (a seek takes 1 to 2 ms)."""
AT_ONCE = 5_000
"""Records taken from the client at once where it is read through."""

CONFIG: Dict[str, Any] = {
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "earliest",
    "fetch.message.max.bytes": 65536,
    "queued.min.messages": 1,
    # How long the client waits before it fetches again, once its queue holds more than it needs.
    "fetch.queue.backoff.ms": 1,
    # A fetch that waits at the end of one partition holds up the seek in another.
    "fetch.wait.max.ms": 10,
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
        self.place = self.target() or 0

    def target(self) -> Optional[int]:
        """The next offset that is wanted, or None when nothing is any more."""
        if self.index < len(self.lone):
            return self.lone[self.index]
        return self.through

    @property
    def reads_on(self) -> bool:
        """Whether the next offset that is wanted is so near that it is read up to, not sought."""
        target = self.target()
        return target is not None and target - self.place <= READ_ON

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

    def go_to(self, offset: int) -> None:
        """The consumer is sent there: what it reads next begins at this offset."""
        self.place = offset

    def has_wrapped(self, offset: int) -> bool:
        """Whether the client, sent beyond the end of the log, has begun again at its start."""
        return offset < self.place

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
        self._faults: List[KafkaError] = []

    def __contains__(self, partition: int) -> bool:
        return partition in self._searches

    def __bool__(self) -> bool:
        return bool(self._searches)

    def start(self, partition: int, lone: Sequence[int], through: Optional[int], end: int) -> None:
        """Search `lone` offsets (rising), then read from `through` up to `end`, if given."""
        self.cancel({partition})
        search = _Search(list(lone), through, end)
        if search.target() is None:
            return
        if self._consumer is None:
            self._consumer = Consumer(self._config)
        self._searches[partition] = search
        self._consumer.incremental_assign([self._place(partition)])

    def cancel(self, partitions: Set[int]) -> None:
        """Those partitions are not ours any more."""
        for partition in partitions & set(self._searches):
            self._end(partition)

    def _end(self, partition: int) -> None:
        """Give one partition up, and leave the others where they are."""
        assert self._consumer is not None
        del self._searches[partition]
        self._consumer.incremental_unassign([TopicPartition(self.topic, partition)])

    def poll(self, timeout_s: float) -> List[Found]:
        """Read on for a moment. Raises KafkaException when the broker refuses, and nothing was found."""
        if not self._searches:
            return []
        assert self._consumer is not None
        found: Dict[int, Found] = {}
        first: List[Any] = self._consumer.consume(1, timeout_s)
        for message in first:
            self._look_at(message, found)
        if first and self._reads_on(first[0].partition()):
            for message in self._consumer.consume(AT_ONCE, 0):
                self._look_at(message, found)
        if self._faults and not found:
            faults, self._faults = self._faults, []
            raise KafkaException(faults[0])
        return [self._move_on(partition, found[partition]) for partition in found]

    def _reads_on(self, partition: int) -> bool:
        """Whether what follows there is wanted. Else the client's message objects would be made in vain."""
        search = self._searches.get(partition)
        return search is not None and search.reads_on

    def _look_at(self, message: Any, found: Dict[int, Found]) -> None:
        partition, error = message.partition(), message.error()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            self._faults.append(error)
        elif partition in self._searches:
            so_far = found.setdefault(partition, Found(partition, [], [], False))
            self._take(message, self._searches[partition], so_far)

    @staticmethod
    def _take(message: Any, search: _Search, found: Found) -> None:
        if message.error() is not None or search.has_wrapped(message.offset()):
            found.missing.extend(search.rest())
            return
        found.missing.extend(search.take(message))
        if search.wants(message.offset()):
            found.records.append(message)

    def _move_on(self, partition: int, found: Found) -> Found:
        search = self._searches[partition]
        if search.target() is None:
            self._end(partition)
            return found._replace(complete=True)
        if not search.reads_on:
            self._seek(partition, search)
        return found

    def _seek(self, partition: int, search: _Search) -> None:
        """Go to the next target. What was found meanwhile must reach the caller, so this never fails."""
        assert self._consumer is not None
        place = self._place(partition)
        search.go_to(place.offset)
        try:
            self._consumer.seek(place)
        except KafkaException:
            self._consumer.incremental_unassign([place])
            self._consumer.incremental_assign([place])

    def _place(self, partition: int) -> TopicPartition:
        target = self._searches[partition].target()
        assert target is not None
        return TopicPartition(self.topic, partition, target)

    def close(self) -> None:
        """Drop the searches and the consumer."""
        self._searches.clear()
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None
