"""Which topic it is that has a name: the same as before, or one that was created again."""

import time
from typing import AbstractSet, Any, List, Mapping, Optional

from confluent_kafka import KafkaError, KafkaException, TopicCollection

from orderflow.exits import CommandError
from orderflow.kafka.controller import is_answered, learn_controller_meanwhile
from orderflow.kafka.reachable import admin_client, answers
from orderflow.kafka.topics import describe, unseen

_ASK_TIMEOUT_S = 2.0
"""A request that waits for a lost broker keeps a CPU busy meanwhile (measured with librdkafka 2.16)."""


class Identity:
    """Watches how many partitions a topic has, and whether it was recreated.

    If a topic is deleted and recreated under a running consumer, the client goes on in the new one at the
    old one's offset (measured), and skips what lies before. Brokers before 2.8 have no topic ids; there
    this detects nothing.
    """

    def __init__(self, conf: Mapping[str, Any], name: str, every_s: float = 5.0) -> None:
        self._admin = admin_client(conf)
        self._name = name
        self._every_s = every_s
        self._due_s = time.monotonic()
        self._answer: Any = None
        self._id: Optional[str] = None
        self._is_another = False
        self._missing_since_s: Optional[float] = None
        self.partitions = 1
        """How many it had at the last answer."""

    def learn(self, timeout_s: float = 10.0) -> Optional[str]:
        """Ask now. Returns the topic's id, None if the broker has none. Raises CommandError."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            try:
                found = describe(self._admin, self._name, timeout_s)
                self.partitions = len(found.partitions)
                self._id = id_of(found)
                return self._id
            except KafkaException as error:
                # A broker may hear of a new topic a little later than the one that created it.
                is_new = error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART
                if not is_new or time.monotonic() >= deadline_s:
                    raise unseen(self._name, error.args[0]) from error
            time.sleep(0.02)

    def look(self) -> None:
        """Refresh now and then. Never waits for an answer."""
        if self._answer is not None:
            if self._answer.done():
                self._take()
        elif time.monotonic() >= self._due_s:
            self._answer = self._ask()

    def has_changed(self) -> bool:
        """True once the topic's id differs from the first one seen. Never waits for an answer."""
        self.look()
        return self._is_another

    @property
    def missing_s(self) -> Optional[float]:
        """For how long Kafka has said that there is no such topic; None if it knows it, or may not say."""
        return None if self._missing_since_s is None else time.monotonic() - self._missing_since_s

    def answers(self, timeout_s: float) -> bool:
        """Whether a broker answers within this time."""
        return answers(self._admin, timeout_s)

    def has_changed_by_now(self, timeout_s: float = 2.0) -> bool:
        """The same, by a request of its own whose answer is awaited."""
        self._answer = self._ask()
        is_answered(self._admin, self._answer, timeout_s)
        return self.has_changed()

    def _ask(self) -> Any:
        self._due_s = time.monotonic() + self._every_s
        asked = TopicCollection([self._name])
        return self._admin.describe_topics(asked, request_timeout=_ASK_TIMEOUT_S)[self._name]

    def _take(self) -> None:
        answer, self._answer = self._answer, None
        error = answer.exception()
        if isinstance(error, KafkaException) and error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            self._missing_since_s = self._missing_since_s or time.monotonic()
            return
        if error is not None:
            learn_controller_meanwhile(self._admin)
            return
        self._missing_since_s = None
        found = answer.result()
        self.partitions = len(found.partitions)
        self._id = self._id or id_of(found)
        self._is_another = self._is_another or id_of(found) not in (None, self._id)


NO_ID = "A" * 22
"""How the client spells the id that is all zeros."""


def id_of(described: Any) -> Optional[str]:
    """The id of a topic that was described; None where brokers give no ids."""
    found = described.topic_id
    return None if found is None or str(found) == NO_ID else str(found)


def topic_id(conf: Mapping[str, Any], name: str, timeout_s: float = 10.0) -> Optional[str]:
    """The id that the topic got when it was created; None where there is no topic, or brokers give no ids.

    A topic that is deleted and created again has another one. Raises CommandError where it cannot be asked.
    """
    admin = admin_client(conf)
    try:
        return id_of(describe(admin, name, timeout_s))
    except KafkaException as error:
        if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return None
        raise unseen(name, error.args[0]) from error


def names_of(conf: Mapping[str, Any], ids: AbstractSet[str], timeout_s: float = 10.0) -> List[str]:
    """The topics that have these ids, as far as we may see them. Raises CommandError."""
    admin = admin_client(conf)
    try:
        names = list(admin.list_topics(timeout=timeout_s).topics)
    except KafkaException as error:
        raise CommandError(f"cannot look at the topics: {error.args[0].str()}") from error
    described = admin.describe_topics(TopicCollection(names), request_timeout=timeout_s)
    return sorted(name for name, answer in described.items() if _id_in(answer) in ids)


def _id_in(answer: Any) -> Optional[str]:
    """The id in an answer; None where there is none, as of a topic that we may not see."""
    try:
        return id_of(answer.result())
    except KafkaException:
        return None
