"""Reads back the records that a ledger lists as waiting.

It uses a second consumer, which never joins the group.

A restart costs the same however far the high-water mark is ahead: single records are found by seeking, and
the log is read in full only from the first record with followers up to the mark.
"""

from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Set

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from orderflow.kafka.client_properties import without_membership
from orderflow.model.records import Message

READ_ON = 500
"""Up to this many offsets are faster to read than to skip with a seek (a seek takes 1 to 2 ms)."""
AT_ONCE = 5_000
"""Records taken from the client at a time when reading on."""

CONFIG: Dict[str, Any] = {
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "earliest",
    "fetch.message.max.bytes": 65536,
    "queued.min.messages": 1,
    # How long the client waits before fetching again once its queue is full enough.
    "fetch.queue.backoff.ms": 1,
    # A fetch waiting at the end of one partition delays a seek in another.
    "fetch.wait.max.ms": 10,
}


DENSE: Dict[str, Any] = {"fetch.message.max.bytes": 1_048_576, "queued.min.messages": 10_000}
"""Where nearly all is read through, larger fetches take a tenth of the time."""


class Found(NamedTuple):
    """What one poll found in one partition."""

    partition: int
    records: List[Message]
    missing: List[int]
    """Requested offsets that are no longer in the log."""
    complete: bool


class _Search:
    """What is still wanted from one partition: single offsets, then everything from `through` to `end`."""

    def __init__(self, lone: List[int], through: Optional[int], end: int) -> None:
        self.lone = lone
        self.index = 0
        self.through = self.through_from = through
        self.end = end
        self.place = self.target() or 0

    @property
    def is_dense(self) -> bool:
        """Whether the wanted offsets stand so close that most of the log between them is read."""
        return len(self.lone) > 1 and (self.lone[-1] - self.lone[0]) < READ_ON * len(self.lone)

    def target(self) -> Optional[int]:
        """The next wanted offset, or None if there is none left."""
        if self.index < len(self.lone):
            return self.lone[self.index]
        return self.through

    @property
    def reads_on(self) -> bool:
        """Whether the next wanted offset is near enough to read up to it rather than seek."""
        target = self.target()
        return target is not None and target - self.place <= READ_ON

    def take(self, record: Message) -> Iterator[int]:
        """Move past `record`; yields the single offsets before it that were missing."""
        offset = record.offset()
        self.place = offset + 1
        while self.index < len(self.lone) and self.lone[self.index] < offset:
            yield self.lone[self.index]
            self.index += 1
        if self.through is not None and offset >= self.through:
            self.through = offset + 1 if offset + 1 < self.end else None

    def wants(self, offset: int) -> bool:
        """Whether the record just taken, at this offset, is a wanted one."""
        if self.index < len(self.lone) and self.lone[self.index] == offset:
            self.index += 1
            return True
        started = self.through_from is not None and offset >= self.through_from
        return self.index == len(self.lone) and started and offset < self.end

    def go_to(self, offset: int) -> None:
        """The consumer was sent to this offset."""
        self.place = offset

    def has_wrapped(self, offset: int) -> bool:
        """Whether the client, sent beyond the end of the log, has restarted from the beginning."""
        return offset < self.place

    def rest(self) -> List[int]:
        """The log has ended: returns the wanted single offsets beyond, which are missing."""
        left, self.index, self.through = self.lone[self.index :], len(self.lone), None
        return left


class Recovery:
    """Searches any number of partitions, a little at a time."""

    def __init__(self, topic: str, client: Mapping[str, Any], group: str) -> None:
        self.topic = topic
        of_ours = {**CONFIG, "group.id": group, "isolation.level": "read_committed"}
        self._config = {**without_membership(client), **of_ours}
        self._consumer: Optional[Consumer] = None
        self._searches: Dict[int, _Search] = {}
        self._faults: List[KafkaError] = []

    def __contains__(self, partition: int) -> bool:
        return partition in self._searches

    def __bool__(self) -> bool:
        return bool(self._searches)

    def start(self, partition: int, lone: Sequence[int], through: Optional[int], end: int) -> None:
        """Find the `lone` offsets (ascending), then read from `through`, if given, up to `end`."""
        self.cancel({partition})
        search = _Search(list(lone), through, end)
        if search.target() is None:
            return
        if self._consumer is None:
            is_dense = through is not None or search.is_dense
            self._consumer = Consumer({**self._config, **(DENSE if is_dense else {})})
        self._searches[partition] = search
        self._consumer.incremental_assign([self._place(partition)])

    def cancel(self, partitions: Set[int]) -> None:
        """End the searches of partitions that are no longer ours."""
        for partition in partitions & set(self._searches):
            self._end(partition)

    def _end(self, partition: int) -> None:
        """Unassign one partition without disturbing the others."""
        assert self._consumer is not None
        del self._searches[partition]
        self._consumer.incremental_unassign([TopicPartition(self.topic, partition)])

    def poll(self, timeout_s: float) -> List[Found]:
        """Read on for a moment. Raises KafkaException if reading failed and nothing was found."""
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
        """Whether the next records are wanted. Otherwise creating message objects would be wasted."""
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
        """Go to the next target. Never fails, since records already found must reach the caller."""
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
