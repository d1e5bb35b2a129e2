"""Finds the pages that commit metadata names in a ledger topic.

The page of the last commit is the last one of its key, or nearly, and the ledger topic is partitioned like
the orders. So it stands close to the end of its partition, and is searched from there: first among the last
few offsets, then among eight times as many, and so on.

Others write there too, and an open transaction of theirs keeps readers from all that was written after it
began. So a page is gone only once all has been read that is there.
"""

import time
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Set, Tuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from orderflow.kafka.answers import partitions_of
from orderflow.kafka.client_properties import started
from orderflow.kafka.leaders import bounds_of
from orderflow.kafka.reader import consumer_config
from orderflow.kafka.refusals import NO_SUCH_TOPIC, on_group, on_topic, with_right
from orderflow.model.commit_metadata import Commit, of_another_topic, read_metadata
from orderflow.model.ledger_page import Page, completed, number_of, page_key, read_page

FIRST_LOOK = 64
"""Offsets before the end to search first; half of them are markers of transactions."""
WIDER = 8
AT_ONCE = 10
"""Records at a time: a page may have megabytes."""
BOUNDS_TIMEOUT_S = 2.0
HIDDEN_S = 1.0
"""Longer than transactions take that somebody ends: one that hides a page for so long was left open."""

Partition = Tuple[str, int]
"""A topic and the number of one of its partitions."""


class Wanted(NamedTuple):
    """The page of one commit."""

    key: bytes
    base: int
    """The committed offset."""
    commit: Commit
    topic_id: Optional[str] = None
    """Kafka's id of the topic of the orders, as far as the reader knows it."""


class Found(NamedTuple):
    """A commit with the heads that its page lists."""

    commit: Commit
    page: Page


class Search:
    """The search for one page."""

    def __init__(self, wanted: Wanted, low: int, high: int) -> None:
        self.wanted = wanted
        self.high = high
        self._low = low
        self._size = FIRST_LOOK
        self._number = 0 if wanted.commit.page is None else wanted.commit.page.number
        self._later: Optional[Found] = None
        """A page that will do unless the named one is found: the last one so far."""
        self._whole: Optional[int] = None
        """Where the log ended, open transactions included, when it had been read as far as they let us."""
        self._hidden_since_s = 0.0

    @property
    def begin(self) -> int:
        """Where to read from."""
        return max(self._low, self.high - self._size)

    @property
    def has_read_all(self) -> bool:
        """Whether there is nothing before `begin`."""
        return self.begin == self._low

    def widen(self) -> None:
        """It is not among what was read: begin earlier."""
        self._size *= WIDER

    def is_hidden(self, read_to: int, end: int, now_s: float) -> bool:
        """Whether an open transaction hides some of what is there, now that all before it was read.

        `end`: where the log ends by now. What comes later than the first `end` cannot be the page.
        """
        if self._whole is None:
            self._whole, self._hidden_since_s = end, now_s
        return read_to < self._whole

    def has_been_hidden(self, for_s: float, now_s: float) -> bool:
        """Whether that has been so for a time."""
        return self._whole is not None and now_s - self._hidden_since_s > for_s

    def look_at(self, key: Optional[bytes], value: Optional[bytes]) -> Optional[Found]:
        """The page that is wanted, if this record is it."""
        if key != self.wanted.key or number_of(value) < self._number:
            return None  # most are: another's, or older. To read one of 20,000 heads takes 20 ms
        page = read_page(self.wanted.key, value, self.wanted.topic_id or self.wanted.commit.topic_id)
        commit = None if page is None else completed(self.wanted.commit, self.wanted.base, page)
        if page is None or commit is None:
            return None
        found = Found(commit, page)
        if commit.page == self.wanted.commit.page:
            return found
        self._later = found
        return None

    @property
    def second_best(self) -> Optional[Found]:
        """The last page written after the one that is wanted, once everything was read."""
        return self._later


class LedgerPages:
    """Searches any number of pages, a little at a time. They are told apart by a number of the caller's."""

    def __init__(self, client: Mapping[str, Any], group: str) -> None:
        self._config = consumer_config(client, group)
        self._of_group = on_group("DESCRIBE", group)
        self._consumer: Any = None
        self._searches: Dict[int, Search] = {}

    def __contains__(self, number: int) -> bool:
        return number in self._searches

    def __bool__(self) -> bool:
        return bool(self._searches)

    def start(self, number: int, wanted: Wanted, timeout_s: float = BOUNDS_TIMEOUT_S) -> None:
        """Search the page of a commit. Raises KafkaException if its topic cannot be asked in time."""
        self.cancel({number})
        if self._consumer is None:
            self._consumer = started(Consumer, self._config)
        low, high = self._bounds(TopicPartition(*_partition(wanted)), timeout_s)
        self._searches[number] = Search(wanted, low, high)
        self._go_to_begin(_partition(wanted))

    def _bounds(self, place: TopicPartition, timeout_s: float) -> Tuple[int, int]:
        """Where the partition begins and ends. Raises KafkaException."""
        try:
            return bounds_of(self._consumer, place, timeout_s, leaderless_s=0.0)
        except KafkaException as error:
            if error.args[0].code() in NO_SUCH_TOPIC:
                self._require_absence(place, timeout_s)
            raise

    def _require_absence(self, place: TopicPartition, timeout_s: float) -> None:
        """The client knows no such partition. Raises KafkaException unless there is none.

        It says the same of one that no broker leads, and of a topic that it may not see.
        """
        try:
            is_there = place.partition in partitions_of(self._consumer, place.topic, timeout_s)
        except KafkaException as error:
            raise KafkaException(with_right(error.args[0], on_topic("READ", place.topic))) from error
        if is_there:
            words = f"no broker leads partition {place.partition} of {place.topic}; is one away?"
            raise KafkaException(KafkaError(KafkaError.REPLICA_NOT_AVAILABLE, words))

    def cancel(self, numbers: Set[int]) -> None:
        """These are no longer wanted."""
        for number in numbers & set(self._searches):
            self._end(number)

    def poll(self, timeout_s: float) -> List[Tuple[int, Optional[Found]]]:
        """Read on for a moment: the pages found, and None for those that are not there.

        Raises KafkaException if the topic cannot be read.
        """
        answers: Dict[int, Optional[Found]] = {}
        faults = []
        for message in self._consumer.consume(AT_ONCE, timeout_s) if self._searches else []:
            fault = message.error()
            if fault is None:
                self._look_at(message, answers)
            elif fault.code() == KafkaError._PARTITION_EOF:
                self._at_end((message.topic(), message.partition()), message.offset(), answers)
            else:
                faults.append(with_right(fault, on_topic("READ", message.topic()), self._of_group))
        if faults and not answers:
            raise KafkaException(faults[0])
        for number in answers:
            self._end(number)
        return list(answers.items())

    def hidden(self) -> Set[int]:
        """Those of which all was read but what a transaction hides that somebody has left open."""
        now_s = time.monotonic()
        return {
            number for number, search in self._searches.items() if search.has_been_hidden(HIDDEN_S, now_s)
        }

    def _look_at(self, message: Any, answers: Dict[int, Optional[Found]]) -> None:
        for number, search in self._of((message.topic(), message.partition())):
            found = search.look_at(message.key(), message.value())
            if found is not None:
                answers[number] = found

    def _at_end(self, partition: Partition, read_to: int, answers: Dict[int, Optional[Found]]) -> None:
        """All from `begin` on was read that is not hidden: answer, begin earlier, or wait for the rest."""
        _, end = self._consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)
        now_s, wider = time.monotonic(), False
        for number, search in self._of(partition):
            if number in answers:
                continue
            if not search.has_read_all:
                search.widen()
                wider = True
            elif not search.is_hidden(read_to, end, now_s):
                answers[number] = search.second_best
        if wider:
            self._go_to_begin(partition)

    def _of(self, partition: Partition) -> List[Tuple[int, Search]]:
        return [
            (number, search)
            for number, search in self._searches.items()
            if _partition(search.wanted) == partition
        ]

    def _go_to_begin(self, partition: Partition) -> None:
        begin = min(search.begin for _, search in self._of(partition))
        if any((place.topic, place.partition) == partition for place in self._consumer.assignment()):
            self._consumer.incremental_unassign([TopicPartition(*partition)])
        self._consumer.incremental_assign([TopicPartition(*partition, begin)])

    def _end(self, number: int) -> None:
        search = self._searches.pop(number, None)
        if search is not None and not self._of(_partition(search.wanted)):
            self._consumer.incremental_unassign([TopicPartition(*_partition(search.wanted))])

    def close(self) -> None:
        """Drop the searches and the consumer."""
        self._searches.clear()
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None


def _partition(wanted: Wanted) -> Partition:
    name = wanted.commit.page
    assert name is not None
    return name.topic, name.partition


class Group(NamedTuple):
    """Whose commits to read."""

    name: str
    topic: str
    """The topic of the orders."""
    topic_id: Optional[str] = None
    """Kafka's id of it, as far as it is known: a commit of another topic of that name is not ours."""


def is_of_another_topic(committed: Optional[int], metadata: str, topic_id: Optional[str]) -> bool:
    """Whether the metadata was written for another topic of this name, so that it does not count."""
    return committed is not None and of_another_topic(metadata, committed, topic_id) is not None


def read_commits(
    client: Mapping[str, Any],
    group: Group,
    committed: Mapping[int, Tuple[Optional[int], str]],
    timeout_s: float = 10.0,
) -> Dict[int, Optional[Commit]]:
    """What a group has committed, by partition: None if it is not ours, with its heads if they are to be had.

    Where a page is gone, the commit is not complete. Raises KafkaException if pages cannot be read.
    """
    pages = LedgerPages(client, group.name)
    try:
        return read_with(pages, group, committed, timeout_s)
    finally:
        pages.close()


def read_with(
    pages: LedgerPages, group: Group, committed: Mapping[int, Tuple[Optional[int], str]], timeout_s: float
) -> Dict[int, Optional[Commit]]:
    """The same with the client of earlier readings. It searches nothing else."""
    commits = {
        number: None if offset is None else read_metadata(metadata, offset, group.topic_id)
        for number, (offset, metadata) in committed.items()
    }
    paged = {number: commit for number, commit in commits.items() if commit is not None and commit.page}
    if not paged:
        return commits
    until_s = time.monotonic() + timeout_s
    try:
        for number, commit in paged.items():
            key = page_key(group.name, group.topic, number)
            wanted = Wanted(key, committed[number][0] or 0, commit, group.topic_id)
            _start(pages, number, wanted, until_s)
        while pages:
            if time.monotonic() > until_s:
                raise KafkaException(_HIDDEN if pages.hidden() else KafkaError(KafkaError._TIMED_OUT))
            commits.update((number, found.commit) for number, found in pages.poll(0.1) if found is not None)
    finally:
        pages.cancel(set(paged))
    return commits


_HIDDEN = KafkaError(
    KafkaError.UNSTABLE_OFFSET_COMMIT,
    "an open transaction in the ledger topic hides it; Kafka ends it after its transaction.timeout.ms",
)


def _start(pages: LedgerPages, number: int, wanted: Wanted, until_s: float) -> None:
    """Search a page, unless its topic was deleted. Raises KafkaException."""
    left_s = min(BOUNDS_TIMEOUT_S, until_s - time.monotonic())
    if left_s <= 0:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
    try:
        pages.start(number, wanted, left_s)
    except KafkaException as error:
        if error.args[0].code() not in NO_SUCH_TOPIC:
            raise
