"""The ends of a topic's partitions, asked for now and then, whether or not anything is fetched from them.

A consumer learns where a log ends from what it fetches. So the end that it knows stands still while a
partition is paused (librdkafka's issue 4996), or while enough of it has been fetched ahead.
"""

from typing import Any, Dict, Iterable, Mapping

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from orderflow.kafka.client_properties import started
from orderflow.kafka.leaders import learn_leaders

TIMEOUT_S = 2.0
"""A request that waits for a lost broker keeps a CPU busy meanwhile (measured with librdkafka 2.16)."""


class LogEnds:
    """Asks for the ends that a consumer of this isolation level sees. Never waits for an answer.

    After a leader was away, it waits for a moment to learn who leads now: by itself, the client keeps for
    minutes to there being none (seen with librdkafka 2.16).
    """

    def __init__(
        self,
        conf: Mapping[str, Any],
        topic: str,
        isolation_level: IsolationLevel = IsolationLevel.READ_COMMITTED,
    ) -> None:
        self._admin: AdminClient = started(AdminClient, conf)
        self._topic = topic
        self._isolation_level = isolation_level
        self._asked: Dict[TopicPartition, Any] = {}
        self._were_away = False
        """Leaders, when they were asked last."""

    @property
    def is_asking(self) -> bool:
        """Whether the last request has not been answered yet."""
        return not all(future.done() for future in self._asked.values())

    def ask(self, partitions: Iterable[int]) -> None:
        """Ask for these, unless an answer is still to come."""
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        asked = {TopicPartition(self._topic, number): latest for number in partitions}
        if asked and not self.is_asking:
            self._learn_leaders()
            self._asked = self._admin.list_offsets(
                asked, isolation_level=self._isolation_level, request_timeout=TIMEOUT_S
            )

    def take(self) -> Dict[int, int]:
        """The ends that were answered since the last call, by partition; what failed is left out."""
        if self.is_asking:
            return {}
        asked, self._asked = self._asked, {}
        answers = {place.partition: end for place, future in asked.items() for end in _end(future)}
        self._were_away = self._were_away or len(answers) < len(asked)
        return answers

    def _learn_leaders(self) -> None:
        if self._were_away:
            self._were_away = False
            learn_leaders(self._admin, self._topic)


def _end(answer: Any) -> Iterable[int]:
    try:
        offset: int = answer.result(0).offset
    except KafkaException:
        return []
    return [offset] if offset >= 0 else []
