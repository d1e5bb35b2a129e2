"""What Kafka tells of a consumer group and of a topic that it reads, asked all at once, within a time limit.

What cannot be answered is left unknown, with the reason, so that one missing right does not hide the rest.
"""

import contextlib
import math
import time
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple, TypeVar

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConfigResource, OffsetSpec

from orderflow.kafka.client_properties import started
from orderflow.kafka.ledger_pages import Group, is_of_another_topic, read_commits
from orderflow.kafka.reader import consumer_config
from orderflow.kafka.refusals import MOVING, NO_SUCH_TOPIC, ask_again, missing_right
from orderflow.kafka.topics import id_of, offset_of
from orderflow.model.commit_metadata import Commit, read_metadata
from orderflow.model.records import time_of

_LOOK_S = 0.1
_LEAST_S = 0.02
"""For a question that comes when the time is over: its answer is unknown then, with Kafka's reason."""
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


class Replicas(NamedTuple):
    """The copies of a partition."""

    leader: Optional[int]
    """The broker that leads it. None: no broker does, and nothing can be read or written."""
    in_sync: int
    number: int
    """How many there should be."""


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
    """Without partitions whose leader does not answer, or that have none."""
    unknown: List[str]


class GroupView:
    """Asks the questions. Every answer takes at most `timeout_s`, and none is waited for after `until_s`."""

    def __init__(
        self,
        conf: Mapping[str, Any],
        group: str,
        topic: str,
        timeout_s: float,
        until_s: float = math.inf,
    ) -> None:
        """`until_s` is on the monotonic clock."""
        self._conf = conf
        self._admin: Any = started(AdminClient, conf)
        self._group = group
        self._topic = topic
        self._timeout_s = timeout_s
        self.until_s = until_s
        self._unknown: List[str] = []
        self._described: Dict[str, Any] = {}

    def look(self) -> View:
        """All answers, asked at the same time as far as one does not need another."""
        self.describe(self._topic)
        ends = self.ends_of(self._topic)
        found = self._answer("who consumes", self._group, lambda: self._while_moving(self._members))
        committed = self._answer(
            "what is committed", self._group, lambda: self._while_moving(self._committed)
        )
        state, members = found or (None, None)
        commits = self._commits(committed or {}, self.id_of(self._topic))
        return View(state, members, committed, commits, ends, self._unknown)

    def describe(self, *names: str) -> None:
        """Ask about these topics, all in one request."""
        new = [name for name in names if name not in self._described]
        if new:
            asked = TopicCollection(new)
            self._described.update(self._admin.describe_topics(asked, request_timeout=self._left_s))

    def id_of(self, topic: str) -> Optional[str]:
        """The topic's id; None where there is none, and where that cannot be asked, which `ends_of` tells."""
        self.describe(topic)
        try:
            return id_of(self._described[topic].result())
        except KafkaException:
            return None

    def replicas_of(self, topic: str) -> Dict[int, Replicas]:
        """The copies of each partition; none where that cannot be asked, which `ends_of` tells."""
        self.describe(topic)
        try:
            found = self._described[topic].result().partitions
        except KafkaException:
            return {}
        return {one.id: Replicas(_leader(one), len(one.isr), len(one.replicas)) for one in found}

    def has(self, topic: str) -> bool:
        """Whether there is such a topic; True where that cannot be asked."""
        self.describe(topic)
        error = self._described[topic].exception()
        return not isinstance(error, KafkaException) or error.args[0].code() not in NO_SUCH_TOPIC

    def settings_of(self, *names: str) -> Dict[str, Dict[str, str]]:
        """The settings of topics, by name; none of those that we may not read, or not in time."""
        asked = {ConfigResource(ConfigResource.Type.TOPIC, name): name for name in names}
        answers = self._admin.describe_configs(list(asked), request_timeout=self._left_s)
        found: Dict[str, Dict[str, str]] = {name: {} for name in names}
        for resource, answer in answers.items():
            with contextlib.suppress(KafkaException):
                entries = answer.result()
                found[asked[resource]] = {name: str(entry.value) for name, entry in entries.items()}
        return found

    @property
    def _left_s(self) -> float:
        """For the next answer."""
        return max(_LEAST_S, min(self._timeout_s, self.until_s - time.monotonic()))

    def times(self, places: Mapping[int, int]) -> Dict[int, int]:
        """When the first record from each offset on was published, as far as that is found in time."""
        if not places:
            return {}
        config = {**consumer_config(self._conf, self._group), "max.partition.fetch.bytes": 4096}
        wait_s = self._left_s
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
            self._unknown.append(f"{what}: {_told(reason)}{right}")
            return None

    def _members(self) -> Tuple[str, List[Member]]:
        described = self._admin.describe_consumer_groups([self._group], request_timeout=self._left_s)
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

    def _committed(self) -> Dict[int, Committed]:
        """Asked by a consumer: an admin client crashes where the coordinator has just moved (librdkafka)."""
        places = [TopicPartition(self._topic, number) for number in self.replicas_of(self._topic)]
        if not places:
            return {}
        config = consumer_config(self._conf, self._group)
        # With read_committed the broker lets us wait for open transactions.
        consumer: Any = started(Consumer, {**config, "isolation.level": "read_uncommitted"})
        try:
            found = consumer.committed(places, self._left_s)
        finally:
            consumer.close()
        ours = [place for place in found if place.error is None and place.offset >= 0]
        return {place.partition: Committed(place.offset, place.metadata or "") for place in ours}

    def _while_moving(self, ask: Callable[[], _Answer]) -> _Answer:
        """Ask again while the group's coordinator is moving. Raises KafkaException."""
        return ask_again(ask, MOVING, min(self.until_s, time.monotonic() + self._timeout_s))

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
        wait_s = self._left_s
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
        if not partitions:
            return {}
        low = self._offsets(partitions, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        high = self._offsets(partitions, latest)
        stable = self._offsets(partitions, latest, IsolationLevel.READ_COMMITTED)
        found: Dict[int, Ends] = {}
        faults: Dict[int, KafkaException] = {}
        for place in partitions:
            try:
                found[place.partition] = Ends(*(offset_of(one[place]) for one in (low, high, stable)))
            except KafkaException as error:
                faults[place.partition] = error
        if faults and not found:
            raise next(iter(faults.values()))
        self._unknown += [
            f"what {topic} holds in partition {number}: {_told(error.args[0])}"
            for number, error in faults.items()
        ]
        return found

    def _added(self, topic: str, since_ms: int) -> int:
        partitions = self._partitions(topic)
        if not partitions:
            return 0
        since = self._offsets(partitions, OffsetSpec.for_timestamp(since_ms))
        high = self._offsets(partitions, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        number = 0
        for place in partitions:
            begin, end = since[place].result().offset, offset_of(high[place])
            number += end - begin if begin >= 0 else 0  # -1: nothing is as late
        return number

    def _partitions(self, topic: str) -> List[TopicPartition]:
        """Those that have a leader: others would be asked for until the time is over."""
        self.describe(topic)
        found = self._described[topic].result().partitions
        return [TopicPartition(topic, one.id) for one in found if _leader(one) is not None]

    def _offsets(
        self, places: Sequence[TopicPartition], spec: Any, level: Any = IsolationLevel.READ_UNCOMMITTED
    ) -> Dict[TopicPartition, Any]:
        found: Dict[TopicPartition, Any] = self._admin.list_offsets(
            dict.fromkeys(places, spec), isolation_level=level, request_timeout=self._left_s
        )
        return found


def _told(error: KafkaError) -> str:
    """The error as the client words it, with its name where it has no words: `ConsumerGroupDescribe: `."""
    text = error.str().strip()
    return f"{text} {error.name()}" if text.endswith(":") else text


def _leader(partition: Any) -> Optional[int]:
    """The broker that leads a partition, as described."""
    leader = partition.leader
    return None if leader is None or leader.id < 0 else int(leader.id)


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
