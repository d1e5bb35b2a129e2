"""What Kafka tells of a consumer group and of a topic that it reads, asked all at once, within a time limit.

What cannot be answered is left unknown, with the reason, so that one missing right does not hide the rest.
"""

import math
import time
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Set, Tuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from orderflow.kafka.answers import committed_told
from orderflow.kafka.client_properties import started
from orderflow.kafka.ledger_pages import Group, is_of_another_topic, read_commits
from orderflow.kafka.questions import Questions
from orderflow.kafka.reader import consumer_config
from orderflow.kafka.refusals import on_group, on_topic
from orderflow.kafka.standing import state_in_words
from orderflow.kafka.topics_view import TopicsView
from orderflow.model.commit_metadata import Commit, read_metadata
from orderflow.model.open_transactions import Ends
from orderflow.model.records import time_of

_LOOK_S = 0.1


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
        self._needed = on_group("DESCRIBE", group)
        self._topic = topic
        self._questions = Questions(timeout_s, until_s)
        self.topics = TopicsView(self._admin, self._questions)

    def look(self) -> View:
        """All answers, asked at the same time as far as one does not need another."""
        self.topics.describe(self._topic)
        ends = self.topics.ends_of(self._topic)
        found = self._questions.answer(
            "who consumes", self._needed, lambda: self._questions.while_moving(self._members)
        )
        committed = self._questions.answer(
            "what is committed", self._needed, lambda: self._questions.while_moving(self._committed)
        )
        state, members = found or (None, None)
        commits = self._commits(committed or {}, self.topics.id_of(self._topic))
        return View(state, members, committed, commits, ends, self.unknown)

    @property
    def until_s(self) -> float:
        """No answer is waited for after it."""
        return self._questions.until_s

    @property
    def unknown(self) -> List[str]:
        """What could not be found out, and why, so far."""
        return self._questions.unknown

    def times(self, places: Mapping[int, int]) -> Dict[int, int]:
        """When the first record from each offset on was published, as far as that is found in time."""
        if not places:
            return {}
        config = {**consumer_config(self._conf, self._group), "max.partition.fetch.bytes": 4096}
        wait_s = self._questions.left_s
        found = self._questions.answer(
            "the age of unseen orders",
            on_topic("DESCRIBE", self._topic),
            lambda: self._times(config, places, wait_s),
        )
        return found or {}

    def _times(self, config: Mapping[str, Any], places: Mapping[int, int], wait_s: float) -> Dict[int, int]:
        consumer: Any = started(Consumer, config)
        try:
            return first_times(consumer, self._topic, places, wait_s)
        finally:
            consumer.close()

    def _members(self) -> Tuple[str, List[Member]]:
        described = self._admin.describe_consumer_groups(
            [self._group], request_timeout=self._questions.left_s
        )
        found = self._of_group(described)
        if found is None:
            return "never seen", []
        members = [
            Member(one.client_id, one.host.lstrip("/"), self._owned(one.assignment)) for one in found.members
        ]
        return state_in_words(found.state), members

    def _owned(self, assignment: Any) -> Tuple[int, ...]:
        places = assignment.topic_partitions if assignment else ()
        return tuple(sorted(place.partition for place in places if place.topic == self._topic))

    def _committed(self) -> Dict[int, Committed]:
        places = [TopicPartition(self._topic, number) for number in self.topics.replicas_of(self._topic)]
        if not places:
            return {}
        found = committed_places(self._conf, self._group, places, self._questions.left_s)
        return {place.partition: Committed(place.offset, place.metadata or "") for place in found}

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
        wait_s = self._questions.left_s
        pages = self._questions.answer(
            "what waits", None, lambda: read_commits(self._conf, group, told, wait_s)
        )
        commits = pages or {
            number: read_metadata(one.metadata, one.offset, topic_id) for number, one in committed.items()
        }
        self._questions.leave_unknown(
            f"what waits in partition {number}: the list committed with offset {offset} was written for "
            "another topic of this name, deleted or in another cluster"
            for number, (offset, metadata) in told.items()
            if is_of_another_topic(offset, metadata, topic_id)
        )
        self._questions.leave_unknown(
            f"what waits in partition {number}: the page that lists it cannot be found"
            for number, commit in commits.items()
            if pages is not None and commit is not None and not commit.is_complete
        )
        return commits


def committed_places(
    conf: Mapping[str, Any], group: str, places: List[TopicPartition], timeout_s: float
) -> List[TopicPartition]:
    """Those of these places for which the group has committed, with that. Raises KafkaException.

    Asked by a consumer: an admin client crashes where the coordinator has just moved (librdkafka).
    """
    # With read_committed the broker lets us wait for open transactions.
    consumer: Any = started(Consumer, {**consumer_config(conf, group), "isolation.level": "read_uncommitted"})
    try:
        return [place for place in committed_told(consumer, places, timeout_s) if place.offset >= 0]
    finally:
        consumer.close()


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
