"""What Kafka tells of a consumer group and of a topic that it reads, asked all at once, within a time limit.

What cannot be answered is left unknown, with the reason, so that one missing right does not hide the rest.
"""

import time
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple, TypeVar

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from orderflow.kafka.client_properties import started
from orderflow.kafka.ledger_pages import Group, is_of_another_topic, read_commits
from orderflow.kafka.reader import consumer_config
from orderflow.kafka.refusals import missing_right
from orderflow.kafka.topics import id_of
from orderflow.model.commit_metadata import Commit, read_metadata
from orderflow.model.records import time_of

_LOOK_S = 0.1
_Answer = TypeVar("_Answer")


class Member(NamedTuple):
    """One consumer of a group."""

    client_id: str
    host: str
    partitions: Tuple[int, ...]
    """Of the topic that was asked about."""


class Committed(NamedTuple):
    """What a group has committed for a partition."""

    offset: int
    metadata: str


class Ends(NamedTuple):
    """The offsets of a partition."""

    low: int
    high: int
    stable: int
    """Up to where no transaction is open, so that a consumer can read."""


class View(NamedTuple):
    """The answers. None: it could not be found out, and `unknown` says why."""

    state: Optional[str]
    """Of the group, as Kafka names it."""
    members: Optional[List[Member]]
    committed: Optional[Dict[int, Committed]]
    """Partitions without an entry have no commit."""
    commits: Dict[int, Optional[Commit]]
    """What they say, with the orders that a page lists. None: no metadata of ours."""
    ends: Optional[Dict[int, Ends]]
    unknown: List[str]


class GroupView:
    """Asks the questions. Every answer takes at most `timeout_s`."""

    def __init__(self, conf: Mapping[str, Any], group: str, topic: str, timeout_s: float) -> None:
        self._conf = conf
        self._admin: Any = started(AdminClient, conf)
        self._group = group
        self._topic = topic
        self._timeout_s = timeout_s
        self._unknown: List[str] = []

    def look(self) -> View:
        """All answers, asked at the same time as far as one does not need another."""
        described = self._admin.describe_consumer_groups([self._group], request_timeout=self._timeout_s)
        offsets = self._admin.list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(self._group)], request_timeout=self._timeout_s
        )
        asked = TopicCollection([self._topic])
        topic = self._admin.describe_topics(asked, request_timeout=self._timeout_s)[self._topic]
        ends = self.ends_of(self._topic)
        found = self._answer("who consumes", self._group, lambda: self._members(described))
        committed = self._answer("what is committed", self._group, lambda: self._committed(offsets))
        state, members = found or (None, None)
        commits = self._commits(committed or {}, _id_in(topic))
        return View(state, members, committed, commits, ends, self._unknown)

    def times(self, places: Mapping[int, int]) -> Dict[int, int]:
        """When the first record from each offset on was published, as far as that is found in time."""
        if not places:
            return {}
        config = {**consumer_config(self._conf, self._group), "max.partition.fetch.bytes": 4096}
        wait_s = self._timeout_s
        found = self._answer(
            "the age of unseen orders",
            self._topic,
            lambda: self._times(config, places, wait_s),
        )
        return found or {}

    def _times(self, config: Mapping[str, Any], places: Mapping[int, int], wait_s: float) -> Dict[int, int]:
        consumer: Any = started(Consumer, config)
        try:
            return first_times(consumer, self._topic, places, wait_s)
        finally:
            consumer.close()

    def dead_since(self, topic: str, since_ms: int) -> Optional[int]:
        """About how many records a topic got since then; None where that cannot be found out."""
        return self._answer(f"how {topic} grows", topic, lambda: self._added(topic, since_ms))

    def ends_of(self, topic: str) -> Optional[Dict[int, Ends]]:
        """The offsets of a topic."""
        return self._answer(f"what {topic} holds", topic, lambda: self._ends(topic))

    @property
    def unknown(self) -> List[str]:
        """What could not be found out, and why, so far."""
        return self._unknown

    def _answer(self, what: str, name: str, ask: Callable[[], _Answer]) -> Optional[_Answer]:
        try:
            return ask()
        except KafkaException as error:
            reason = error.args[0]
            right = missing_right(reason, "DESCRIBE", name)
            self._unknown.append(f"{what}: {reason.str()}{right}")
            return None

    def _members(self, described: Mapping[str, Any]) -> Tuple[str, List[Member]]:
        found = self._of_group(described)
        if found is None:
            return "never seen", []
        members = [
            Member(one.client_id, one.host.lstrip("/"), self._owned(one.assignment)) for one in found.members
        ]
        return found.state.name.lower().replace("_", " "), members

    def _owned(self, assignment: Any) -> Tuple[int, ...]:
        places = assignment.topic_partitions if assignment else ()
        return tuple(sorted(place.partition for place in places if place.topic == self._topic))

    def _committed(self, offsets: Mapping[str, Any]) -> Dict[int, Committed]:
        found = self._of_group(offsets)
        places = () if found is None else found.topic_partitions
        ours = [place for place in places if place.topic == self._topic and place.offset >= 0]
        return {place.partition: Committed(place.offset, place.metadata or "") for place in ours}

    def _of_group(self, answers: Mapping[str, Any]) -> Any:
        """What is told of the group; None of one that Kafka has never seen."""
        try:
            return answers[self._group].result()
        except KafkaException as error:
            if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                return None
            raise

    def _commits(
        self, committed: Mapping[int, Committed], topic_id: Optional[str]
    ) -> Dict[int, Optional[Commit]]:
        told = {number: (one.offset, one.metadata) for number, one in committed.items()}
        group = Group(self._group, self._topic, topic_id)
        wait_s = self._timeout_s
        pages = self._answer("what waits", self._topic, lambda: read_commits(self._conf, group, told, wait_s))
        commits = pages or {
            number: read_metadata(one.metadata, one.offset, topic_id) for number, one in committed.items()
        }
        self._unknown += [
            f"what waits in partition {number}: the list committed with offset {offset} was written for "
            "another topic of this name, deleted or in another cluster"
            for number, (offset, metadata) in told.items()
            if is_of_another_topic(offset, metadata, topic_id)
        ]
        self._unknown += [
            f"what waits in partition {number}: the page that lists it cannot be found"
            for number, commit in commits.items()
            if pages is not None and commit is not None and not commit.is_complete
        ]
        return commits

    def _ends(self, topic: str) -> Dict[int, Ends]:
        partitions = self._partitions(topic)
        low = self._offsets(partitions, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        high = self._offsets(partitions, latest)
        stable = self._offsets(partitions, latest, IsolationLevel.READ_COMMITTED)
        asked = [{p: f.result().offset for p, f in one.items()} for one in (low, high, stable)]
        return {place.partition: Ends(*(answer[place] for answer in asked)) for place in partitions}

    def _added(self, topic: str, since_ms: int) -> int:
        partitions = self._partitions(topic)
        since = self._offsets(partitions, OffsetSpec.for_timestamp(since_ms))
        high = self._offsets(partitions, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        number = 0
        for place in partitions:
            begin, end = since[place].result().offset, high[place].result().offset
            number += end - begin if begin >= 0 else 0  # -1: nothing is as late
        return number

    def _partitions(self, topic: str) -> List[TopicPartition]:
        asked = TopicCollection([topic])
        described = self._admin.describe_topics(asked, request_timeout=self._timeout_s)[topic].result()
        return [TopicPartition(topic, one.id) for one in described.partitions]

    def _offsets(
        self, places: Sequence[TopicPartition], spec: Any, level: Any = IsolationLevel.READ_UNCOMMITTED
    ) -> Dict[TopicPartition, Any]:
        found: Dict[TopicPartition, Any] = self._admin.list_offsets(
            dict.fromkeys(places, spec), isolation_level=level, request_timeout=self._timeout_s
        )
        return found


def _id_in(described: Any) -> Optional[str]:
    """The topic's id; None also where it cannot be asked, which another answer tells of."""
    try:
        return id_of(described.result())
    except KafkaException:
        return None


def first_times(consumer: Any, topic: str, places: Mapping[int, int], timeout_s: float) -> Dict[int, int]:
    """When the first record from each offset on was published; without those that have no time."""
    found: Dict[int, int] = {}
    done: Set[int] = set()
    deadline_s = time.monotonic() + timeout_s
    consumer.assign([TopicPartition(topic, partition, offset) for partition, offset in places.items()])
    while len(done) < len(places) and time.monotonic() < deadline_s:
        for message in consumer.consume(100, _LOOK_S):
            partition, error = message.partition(), message.error()
            if error is None and partition not in done:
                _, at_ms = time_of(message)
                found.update({} if at_ms is None else {partition: at_ms})
            if error is None or error.code() == KafkaError._PARTITION_EOF:
                done.add(partition)
    return found
