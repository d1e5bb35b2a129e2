"""What Kafka tells of topics: their partitions and settings, and where they begin and end."""

import contextlib
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from confluent_kafka import IsolationLevel, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, OffsetSpec

from orderflow.kafka.controller import answer_of
from orderflow.kafka.questions import Questions, told
from orderflow.kafka.refusals import NO_SUCH_TOPIC, on_topic
from orderflow.kafka.topic_identity import id_of
from orderflow.kafka.topics import offset_of
from orderflow.model.open_transactions import Ends


class Replicas(NamedTuple):
    """The copies of a partition."""

    leader: Optional[int]
    """The broker that leads it. None: no broker does, and nothing can be read or written."""
    in_sync: int
    number: int
    """How many there should be."""


class TopicsView:
    """Asks about topics, about each once."""

    def __init__(self, admin: AdminClient, questions: Questions) -> None:
        self._admin: Any = admin
        self._questions = questions
        self._described: Dict[str, Any] = {}

    def describe(self, *names: str) -> None:
        """Ask about these topics, all in one request."""
        new = [name for name in names if name not in self._described]
        if new:
            asked = TopicCollection(new)
            self._described.update(self._admin.describe_topics(asked, request_timeout=self._questions.left_s))

    def _description(self, topic: str) -> Any:
        """What a topic is like. Raises KafkaException."""
        self.describe(topic)
        return answer_of(self._admin, self._described[topic])

    def id_of(self, topic: str) -> Optional[str]:
        """The topic's id; None where there is none, and where that cannot be asked, which `ends_of` tells."""
        try:
            return id_of(self._description(topic))
        except KafkaException:
            return None

    def replicas_of(self, topic: str) -> Dict[int, Replicas]:
        """The copies of each partition; none where that cannot be asked, which `ends_of` tells."""
        try:
            found = self._description(topic).partitions
        except KafkaException:
            return {}
        return {one.id: Replicas(_leader(one), len(one.isr), len(one.replicas)) for one in found}

    def has(self, topic: str) -> bool:
        """Whether there is such a topic; True where that cannot be asked."""
        try:
            self._description(topic)
        except KafkaException as error:
            return error.args[0].code() not in NO_SUCH_TOPIC
        return True

    def settings_of(self, *names: str) -> Dict[str, Dict[str, str]]:
        """The settings of topics, by name; none of those that we may not read, or not in time."""
        asked = {ConfigResource(ConfigResource.Type.TOPIC, name): name for name in names}
        answers = self._admin.describe_configs(list(asked), request_timeout=self._questions.left_s)
        found: Dict[str, Dict[str, str]] = {name: {} for name in names}
        for resource, answer in answers.items():
            with contextlib.suppress(KafkaException):
                entries = answer_of(self._admin, answer)
                found[asked[resource]] = {name: str(entry.value) for name, entry in entries.items()}
        return found

    def ends_of(self, topic: str) -> Optional[Dict[int, Ends]]:
        """The offsets of a topic."""
        return self._questions.answer(
            f"what {topic} holds", on_topic("DESCRIBE", topic), lambda: self._ends(topic)
        )

    def grown_since(self, topic: str, since_ms: int) -> Optional[int]:
        """About how many records a topic got since then; None where that cannot be found out."""
        return self._questions.answer(
            f"how {topic} grows", on_topic("DESCRIBE", topic), lambda: self._added(topic, since_ms)
        )

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
        self._questions.leave_unknown(
            f"what {topic} holds in partition {number}: {told(error.args[0])}"
            for number, error in faults.items()
        )
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
        found = self._description(topic).partitions
        return [TopicPartition(topic, one.id) for one in found if _leader(one) is not None]

    def _offsets(
        self, places: Sequence[TopicPartition], spec: Any, level: Any = IsolationLevel.READ_UNCOMMITTED
    ) -> Dict[TopicPartition, Any]:
        found: Dict[TopicPartition, Any] = self._admin.list_offsets(
            dict.fromkeys(places, spec), isolation_level=level, request_timeout=self._questions.left_s
        )
        return found


def _leader(partition: Any) -> Optional[int]:
    """The broker that leads a partition, as described."""
    leader = partition.leader
    return None if leader is None or leader.id < 0 else int(leader.id)
