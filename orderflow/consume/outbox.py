"""Collects what the next settlement sends: results, and dead letters that can still be shrunk."""

import copy
import enum
from typing import AbstractSet, Callable, FrozenSet, List, NamedTuple, Optional

from orderflow.errors import Failure
from orderflow.model.dead_letter import Circumstances, Shrink, dead_letter, is_small, size_of
from orderflow.model.records import Outgoing, Record

DEFAULT_MAX_BYTES = 1_000_000
"""Below Kafka's default `max.message.bytes` (1,048,588), with room for the batch overhead."""
MIN_MAX_BYTES = 512
NO_TIMESTAMP = -1
"""Every broker accepts this, whatever it thinks of our clock (measured with 2.8 and 4.3)."""


class Stamp(enum.IntEnum):
    """Where records get their timestamps from, in the order tried when a broker refuses one."""

    OURS = 0
    SOURCE = 1
    """A dead letter gets the timestamp of its order, which Kafka accepted once; a result gets none."""
    NONE = 2


class Dead(NamedTuple):
    """A dead letter to send."""

    record: Record
    failure: Failure
    about: Circumstances


class Outbox:
    """The results and dead letters of one settlement."""

    def __init__(
        self,
        dlq_topic: str,
        max_bytes: int = DEFAULT_MAX_BYTES,
        stamp: Stamp = Stamp.OURS,
        partitions: Callable[[], int] = lambda: 1,
    ) -> None:
        """`partitions` returns the dead letter topic's current count: it may have been recreated."""
        self.dlq_topic = dlq_topic
        self._partitions = partitions
        self.stamp = stamp
        self.max_bytes = max_bytes
        """The largest record the dead letter topic accepts, as far as we know."""
        self.results: List[Outgoing] = []
        self.dead: List[Dead] = []
        self.sent: List[Dead] = []
        """Dead letters already in Kafka while something else could not be sent (at-least-once)."""
        self.done = 0
        """Orders processed, with or without a result."""

    def __bool__(self) -> bool:
        return bool(self.results or self.dead or self.done)

    def add_done(self, orders: int) -> None:
        """Count more processed orders."""
        self.done += orders

    def limit_to(self, max_bytes: int) -> None:
        """The dead letter topic accepts records up to this size."""
        self.max_bytes = max_bytes

    def take(self) -> "Outbox":
        """Take everything for a settlement; anything added later belongs to the next one."""
        taken = copy.copy(self)
        self.clear()  # assigns new lists, so the copy keeps the old ones
        return taken

    def put_back(self, taken: "Outbox") -> None:
        """It was not settled: settle it together with later additions, in the original order."""
        self.results = taken.results + self.results
        self.dead = taken.dead + self.dead
        self.sent = taken.sent + self.sent
        self.done += taken.done

    def clear(self) -> None:
        """Drop everything."""
        self.results, self.dead, self.sent, self.done = [], [], [], 0

    def forget(self, partitions: AbstractSet[int]) -> bool:
        """Drop whatever came from these source partitions; returns whether there was anything to send.

        The count of processed orders stays: how many of them came from these partitions is not known.
        """
        before = len(self.results) + len(self.dead)
        self.results = [result for result in self.results if result.source not in partitions]
        self.dead = [dead for dead in self.dead if dead.record.partition not in partitions]
        return len(self.results) + len(self.dead) < before

    def confirm(self, places: FrozenSet[int]) -> None:
        """The records at these places of `records()` are in Kafka and must not be sent again."""
        first = len(self.results)
        self.results = [result for place, result in enumerate(self.results) if place not in places]
        self.sent += [dead for place, dead in enumerate(self.dead, first) if place in places]
        self.dead = [dead for place, dead in enumerate(self.dead, first) if place not in places]

    def records(self) -> List[Outgoing]:
        """The records to send now, each dead letter as complete as fits."""
        if self.stamp is Stamp.OURS:
            return self.results + [self._fitting(dead) for dead in self.dead]
        results = [result._replace(timestamp_ms=NO_TIMESTAMP) for result in self.results]
        return results + [self._fitting(dead)._replace(timestamp_ms=self._dated(dead)) for dead in self.dead]

    def _dated(self, dead: Dead) -> int:
        source_ms = dead.record.timestamp_ms
        return NO_TIMESTAMP if self.stamp is Stamp.NONE or source_ms is None else source_ms

    def distrust_clock(self) -> bool:
        """A timestamp was refused: use another source of timestamps. False if none is left."""
        if self.stamp is Stamp.NONE:
            return False
        self.stamp = Stamp(self.stamp + 1)
        return True

    def _fitting(self, dead: Dead) -> Outgoing:
        about = dead.about._replace(partitions=self._partitions())
        if is_small(dead.record, self.max_bytes):
            return dead_letter(dead.record, dead.failure, about, self.dlq_topic)
        for shrink in Shrink:
            outgoing = dead_letter(dead.record, dead.failure, about, self.dlq_topic, shrink)
            if size_of(outgoing) <= self.max_bytes:
                return outgoing
        return outgoing

    def shrink(self, limit: Optional[int]) -> bool:
        """A record was too large: send smaller ones. False if they cannot get any smaller.

        `limit` is the topic's configured maximum, if it may be read. It also applies to whole batches.
        """
        if limit is not None and limit != self.max_bytes:
            self.max_bytes = limit
            return True
        largest = max((size_of(self._fitting(dead)) for dead in self.dead), default=0)
        if self.max_bytes <= MIN_MAX_BYTES or not largest:
            return False
        self.max_bytes = max(MIN_MAX_BYTES, min(self.max_bytes, largest) * 3 // 4)
        return True
