"""Reads a range of a topic, or follows it, without joining a group and without committing."""

import gc
import time
from functools import partial
from operator import attrgetter
from typing import (
    Any,
    Callable,
    Collection,
    Dict,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Set,
    Tuple,
)

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from orderflow.exits import CommandError, TopicMissing
from orderflow.kafka.client_properties import started, without_membership
from orderflow.kafka.leaders import ELECTED_S, LEADERLESS, MOVED, bounds_of, first_offsets_at
from orderflow.kafka.refusals import AWAY, NO_SUCH_TOPIC, missing_right, on_group, on_topic
from orderflow.model.records import Record, record_of
from orderflow.model.text import named

BATCH = 250
"""Records per batch. Small, so that what is built from them is still in the CPU's cache when it is used."""
READ_ON = 500
"""Up to this many offsets are faster to read than to skip with a seek (a seek takes 1 to 2 ms)."""
WAIT_S = 0.2
TIMEOUT_S = 10.0
SILENT_S = 30.0
"""A partition that has more, and of which nothing comes for so long, has no leader that can be reached."""
TELL_S = 3.0
"""A person who has waited for so long is told what for."""
MOST_NAMED = 10
LOOK_S = 5.0
"""Between two looks at a topic that is followed: whether it is still there, and got partitions."""
GONE_S = 1.0
"""Before it counts as deleted it is looked for again: a broker that has just started may not know it yet."""
SILENT_LOOKS = 2
"""Questions in a row without an answer, until that counts as silence."""
GC_THRESHOLD = 100_000
"""Above what a batch allocates: else the collector walks through the headers in vain (1.7 times the time)."""


class Span(NamedTuple):
    """Offsets of one partition, `end` exclusive."""

    partition: int
    begin: int
    end: int


class Bounds(NamedTuple):
    """The offsets that a partition holds: from `low` up to, but not including, `high`."""

    low: int
    high: int


def consumer_config(client: Mapping[str, Any], group: str) -> Dict[str, Any]:
    """The properties of a client that only reads: it never joins a group and never commits."""
    return {
        "fetch.queue.backoff.ms": 5,
        # A fetch that waits at an end holds up the next seek.
        "fetch.wait.max.ms": 20,
        "queued.min.messages": 20_000,
        "queued.max.messages.kbytes": 16_384,
        **without_membership(client),
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
        "auto.offset.reset": "earliest",
    }


class Unreadable(CommandError):
    """A topic cannot be read for now: Kafka, or the leader of one of its partitions, is unavailable."""


class Reader:
    """Reads one topic. Use as a context manager: it holds a connection."""

    def __init__(
        self, config: Mapping[str, Any], topic: str, note: Callable[[str], None] = lambda line: None
    ) -> None:
        """`note` is told, once, what is waited for where that takes long."""
        self.topic = topic
        self._needed = (on_topic("READ", topic), on_group("DESCRIBE", config["group.id"]))
        self._note = note
        self._has_noted = False
        self._consumer: Any = started(Consumer, config)
        gc.set_threshold(GC_THRESHOLD, 50, 100)

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def partitions(self) -> List[int]:
        """The partitions of the topic. Raises TopicMissing if there is no such topic."""
        found = self._ask(lambda: self._consumer.list_topics(self.topic, TIMEOUT_S)).topics[self.topic]
        if found.error is None:
            return sorted(found.partitions)
        if _is_missing(found):
            raise self._missing()
        raise self._failure(found.error)

    def bounds(self, partition: int) -> Bounds:
        """The offsets that the partition holds now, not counting open transactions."""
        place = TopicPartition(self.topic, partition)
        try:
            return Bounds(
                *bounds_of(self._consumer, place, ELECTED_S, waits=lambda: self._waits([partition]))
            )
        except KafkaException as error:
            reason = error.args[0]
            if reason.code() in (*LEADERLESS, *MOVED):
                raise self._unreadable(f"no broker leads partition {partition}; is one away?") from error
            if reason.code() in AWAY:
                words = f"the leader of partition {partition} does not answer; is a broker away?"
                raise self._unreadable(words) from error
            raise self._failure(reason) from error

    def offsets_at(self, timestamp_ms: int, partitions: Collection[int]) -> Dict[int, Optional[int]]:
        """The first offset in each partition whose record is as late; None where all are earlier."""
        wanted = dict.fromkeys(partitions, max(timestamp_ms, 0))
        waits = partial(self._waits, partitions)
        found = self._ask(lambda: first_offsets_at(self._consumer, self.topic, wanted, ELECTED_S, waits))
        return {partition: offset if offset >= 0 else None for partition, offset in found.items()}

    def read(self, spans: Sequence[Span], stop: Callable[[], bool] = lambda: False) -> Iterator[List[Record]]:
        """The records of the spans in batches, as they arrive; in order within each partition.

        Raises Unreadable where nothing comes for `SILENT_S`.
        """
        ends = {span.partition: span.end for span in spans if span.begin < span.end}
        self._assign([(span.partition, span.begin) for span in spans if span.partition in ends])
        unread = set(ends)
        heard_s = time.monotonic()
        while unread and not stop():
            records, at_end = self._poll()
            if not records and not at_end:
                self._look_at_silence(time.monotonic() - heard_s, unread)
            unread.difference_update(partition for partition, offset in at_end if offset >= ends[partition])
            self._drop_finished(unread, ends)
            batch = _before(records, ends)
            if batch:
                yield batch
            if records or at_end:  # not before: whoever takes a batch may take his time
                heard_s = time.monotonic()

    def _look_at_silence(self, for_s: float, partitions: Set[int]) -> None:
        if for_s > SILENT_S:
            raise self._unreadable(f"nothing came from {_named(partitions)} for {SILENT_S:g} s")
        if for_s > TELL_S:
            self._waits(partitions, f"nothing has come for {TELL_S:g} s")

    def _waits(self, partitions: Collection[int], why: str = "no broker that leads it answers") -> None:
        """Say for what, but not again and again."""
        if not self._has_noted:
            self._has_noted = True
            self._note(f"waiting for {_named(partitions)} of {self.topic}: {why}")

    def _unreadable(self, why: str) -> "Unreadable":
        return Unreadable(f"cannot read topic {self.topic}: {why}")

    def follow(
        self,
        spans: Sequence[Span],
        stop: Callable[[], bool] = lambda: False,
        all_partitions: bool = False,
        at_end: Callable[[int, int], None] = lambda partition, offset: None,
        heard: Callable[[float], None] = lambda silent_s: None,
    ) -> Iterator[List[Record]]:
        """The records from the start of each span, and all that follow, until asked to stop.

        An empty batch means that nothing arrived for a moment, so that the caller can do other work. With
        `all_partitions`, partitions that are added to the topic are read too, from their beginning. `at_end`
        is called with a partition, and the offset of its end, after the batch that reaches it; `heard` every
        few seconds, with 0 or with how long Kafka has been silent: a broker that hangs reports no error.

        Raises TopicMissing some seconds after the topic was deleted.
        """
        self._assign([(span.partition, span.begin) for span in spans])
        known, due_s = {span.partition for span in spans}, time.monotonic() + LOOK_S
        was_there, silence = True, _Silence()
        while not stop():
            records, ends = self._poll()
            yield records
            for end in ends:
                at_end(*end)
            if time.monotonic() >= due_s:
                there = self._partitions_or_none()
                silent_s = silence.after(has_answered=there is None or bool(there))
                if silent_s is not None:
                    heard(silent_s)
                if there is None and not was_there:
                    raise self._missing()
                was_there = there is not None
                if all_partitions and there:
                    known |= self._follow_added(there - known)
                is_well = was_there and not silence.holds
                due_s = time.monotonic() + (LOOK_S if is_well else GONE_S)

    def _partitions_or_none(self) -> Optional[Set[int]]:
        """The partitions; None if there is no such topic. Empty while Kafka is away: it is asked again."""
        try:
            found = self._consumer.list_topics(self.topic, WAIT_S * 5).topics[self.topic]
        except KafkaException:
            return set()
        return None if _is_missing(found) else set(found.partitions)

    def _follow_added(self, added: Set[int]) -> Set[int]:
        """Read these partitions, too."""
        if added:
            self._consumer.incremental_assign([TopicPartition(self.topic, one, 0) for one in sorted(added)])
        return added

    def fetch(self, partition: int, offset: int) -> Optional[Record]:
        """The record at exactly this offset, or None if the log has none there."""
        return self.fetch_all(partition, [offset]).get(offset)

    def fetch_all(self, partition: int, offsets: Sequence[int]) -> Dict[int, Record]:
        """The records at these offsets that the log still holds, by offset.

        Reads on where they stand close together, and seeks where they do not.
        """
        bounds = self.bounds(partition)
        wanted = {offset for offset in offsets if bounds.low <= offset < bounds.high}
        found: Dict[int, Record] = {}
        for first, last in _clusters(sorted(wanted)):
            if first == last:
                alone = self.record_at(partition, first)
                found.update({} if alone is None else {first: alone})
                continue
            for batch in self.read([Span(partition, first, last + 1)]):
                found.update((record.offset, record) for record in batch if record.offset in wanted)
        return found

    def record_at(self, partition: int, offset: int) -> Optional[Record]:
        """The record at an offset that the partition holds; None if there is none, only the offset."""
        self._assign([(partition, offset)])
        record = self._first()
        return record if record is not None and record.offset == offset else None

    def _first(self) -> Optional[Record]:
        """The first record from the assigned offset on; None at the end of the log."""
        deadline_s = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline_s:
            records, at_end = self._poll(1)
            if records or at_end:
                return records[0] if records else None
        raise self._unreadable(f"no answer for {TIMEOUT_S:g} s")

    def chosen(self, wanted: Collection[int] = ()) -> List[int]:
        """These partitions, or all if none is named. Raises CommandError for one that does not exist."""
        existing = self.partitions()
        missing = sorted(set(wanted).difference(existing))
        if missing:
            raise CommandError(
                f"topic {self.topic} has no partition {missing[0]}: it has {len(existing)}, from 0"
            )
        return sorted(wanted) if wanted else existing

    def _assign(self, begins: Sequence[Tuple[int, int]]) -> None:
        self._consumer.assign([TopicPartition(self.topic, partition, offset) for partition, offset in begins])

    def _poll(self, most: int = BATCH) -> Tuple[List[Record], List[Tuple[int, int]]]:
        """The next records, and the partition ends that were reached, as (partition, offset)."""
        records, at_end = [], []
        messages = self._ask(lambda: self._consumer.consume(1, WAIT_S))
        if messages and most > 1:  # what is there already, without waiting for more
            messages += self._ask(lambda: self._consumer.consume(most - 1, 0))
        for message in messages:
            error = message.error()
            if error is None:
                records.append(record_of(message))
            elif error.code() == KafkaError._PARTITION_EOF:
                at_end.append((message.partition(), message.offset()))
            elif not passes(error):
                raise self._failure(error)
        return records, at_end

    def _drop_finished(self, unread: Set[int], ends: Mapping[int, int]) -> None:
        """Stop fetching what is read to its end, judged by position: transaction markers are not records."""
        places = self._consumer.position([TopicPartition(self.topic, partition) for partition in unread])
        finished = [place.partition for place in places if place.offset >= ends[place.partition]]
        if finished:
            # Not paused: a pause outlives the assignment, and to resume after the next one can stall it.
            self._consumer.incremental_unassign([TopicPartition(self.topic, place) for place in finished])
            unread.difference_update(finished)

    def _ask(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except KafkaException as error:
            raise self._failure(error.args[0]) from error

    def _missing(self) -> TopicMissing:
        return TopicMissing(f"topic {self.topic} does not exist")

    def _failure(self, error: KafkaError) -> CommandError:
        for_now = passes(error) or error.code() in (*LEADERLESS, *MOVED)
        kind = Unreadable if for_now else CommandError
        missing = missing_right(error, *self._needed)
        return kind(f"cannot read topic {self.topic}: {error.str()}{missing}")


class _Silence:
    """For how long Kafka has not answered."""

    def __init__(self) -> None:
        self._answered_s = time.monotonic()
        self._unanswered = 0

    def after(self, has_answered: bool) -> Optional[float]:
        """How long it lasts, now that Kafka was asked: 0 if it does not.

        None where that is not sure yet: it may be one broker of several that was asked, or a busy one.
        """
        self._unanswered = 0 if has_answered else self._unanswered + 1
        if has_answered:
            self._answered_s = time.monotonic()
            return 0.0
        return time.monotonic() - self._answered_s if self._unanswered >= SILENT_LOOKS else None

    @property
    def holds(self) -> bool:
        """Whether the last question was not answered."""
        return self._unanswered > 0


def _named(partitions: Collection[int]) -> str:
    return named("partition", [str(number) for number in sorted(partitions)], MOST_NAMED)


def _is_missing(found: Any) -> bool:
    """Whether the answer about a topic says that there is none."""
    return found.error is not None and found.error.code() in NO_SUCH_TOPIC


def _clusters(offsets: Sequence[int]) -> Iterator[Tuple[int, int]]:
    """First and last offset of each group of ascending offsets that stand close together."""
    first: Optional[int] = None
    last = -1
    for offset in offsets:
        if first is not None and offset - last > READ_ON:
            yield first, last
            first = None
        first, last = offset if first is None else first, offset
    if first is not None:
        yield first, last


def _before(records: List[Record], ends: Mapping[int, int]) -> List[Record]:
    """Those before the ends; mostly all, which the highest offset tells at once."""
    if records and max(map(_offset_of, records)) < min(ends.values()):
        return records
    return [record for record in records if record.offset < ends[record.partition]]


_offset_of = attrgetter("offset")


def passes(error: KafkaError) -> bool:
    """Whether reading goes on by itself after this error."""
    return error.retriable() or error.code() in AWAY
