"""Where the thread that hears commands begins to read, what counts as new, and what it says of trouble."""

import time
from typing import Any, Dict, FrozenSet, List, Tuple

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from orderflow.exits import UsageError
from orderflow.kafka.command_reader import (
    AWAY_AGAIN_S,
    DENIED_AGAIN_S,
    MISSING_AGAIN_S,
    CommandReader,
    Listening,
    Trouble,
    trouble_of,
)
from orderflow.kafka.ledger_pages import Group
from orderflow.kafka.refusals import on_topic


class Client:
    """A consumer of a topic with two partitions, which ends at offset 100."""

    def __init__(self, since: int) -> None:
        """`since`: the first offset of the last minute; -1: none."""
        self.read: Dict[int, int] = {}
        self._since = since

    def list_topics(self, topic: str, timeout: float) -> Any:
        """Two partitions."""
        found = type("Found", (), {"error": None, "partitions": {0: None, 1: None}})
        return type("Listed", (), {"topics": {topic: found}})

    def get_watermark_offsets(self, place: TopicPartition, timeout: float) -> Tuple[int, int]:
        """From 0 to 100."""
        return 0, 100

    def offsets_for_times(self, asked: List[TopicPartition], timeout: float) -> List[TopicPartition]:
        """The one that was given."""
        assert abs(asked[0].offset / 1000 - (time.time() - 60)) < 10
        return [TopicPartition(asked[0].topic, asked[0].partition, self._since)]

    def incremental_assign(self, places: List[TopicPartition]) -> None:
        """Note where reading begins."""
        self.read.update((place.partition, place.offset) for place in places)

    def incremental_unassign(self, places: List[TopicPartition]) -> None:
        """Note that it ends."""
        for place in places:
            del self.read[place.partition]


class Message:
    """A record of partition 0, ten seconds old by its time."""

    def __init__(self, offset: int) -> None:
        self._offset = offset

    def offset(self) -> int:
        """As given."""
        return self._offset

    def partition(self) -> int:
        """The first."""
        return 0

    def timestamp(self) -> Tuple[int, int]:
        """Ten seconds ago."""
        return 1, int((time.time() - 10) * 1000)


def numbers(*some: int) -> FrozenSet[int]:
    """Partitions of the orders topic."""
    return frozenset(some)


@pytest.mark.parametrize(("since", "begin"), [(40, 40), (-1, 100)])
def test_it_reads_from_a_minute_ago_and_only_what_is_wanted(since: int, begin: int) -> None:
    """Several partitions of the orders may be told of in one; a topic without a recent record is read on."""
    client = Client(since)
    listening = Listening(client, "orders-waiting")

    listening.go_to(numbers(0, 2))
    assert client.read == {0: begin}
    listening.go_to(numbers(2, 3))
    assert client.read == {0: begin, 1: begin}
    listening.go_to(numbers())
    assert client.read == {}


def test_what_comes_while_it_reads_is_new_whatever_clocks_say() -> None:
    """Only of what stood there already the age is judged by times, which may be another machine's."""
    listening = Listening(Client(40), "orders-waiting")
    listening.go_to(numbers(0))

    assert listening.age_s(Message(100)) == 0.0
    assert 9 < listening.age_s(Message(99)) < 20


TROUBLES = {
    "missing": (KafkaError.UNKNOWN_TOPIC_OR_PART, "", MISSING_AGAIN_S),
    "away": (KafkaError._ALL_BROKERS_DOWN, "", AWAY_AGAIN_S),
    "slow": (KafkaError._TIMED_OUT, "", AWAY_AGAIN_S),
    "denied": (KafkaError.TOPIC_AUTHORIZATION_FAILED, "the right READ on topic w is missing", DENIED_AGAIN_S),
}


@pytest.mark.parametrize(("code", "words", "again_s"), TROUBLES.values(), ids=TROUBLES.keys())
def test_only_what_somebody_has_to_mend_is_told(code: int, words: str, again_s: float) -> None:
    """Others say that Kafka is away, and the topic may never be needed."""
    trouble = trouble_of(KafkaException(KafkaError(code)), [on_topic("READ", "w")])

    assert trouble.again_s == again_s
    assert bool(trouble.words) == bool(words) and words in trouble.words


def test_settings_that_contradict_each_other_are_told() -> None:
    """The client cannot be made."""
    assert trouble_of(UsageError("no"), []) == Trouble("no", DENIED_AGAIN_S)


def test_no_thread_and_no_client_as_long_as_nothing_waits() -> None:
    """It is closed at once, too."""
    reader = CommandReader({"bootstrap.servers": "localhost:1"}, Group("g", "orders"), "orders-waiting")
    reader.listen(frozenset())
    reader.tell(0, b"why")

    assert reader.take() == [] and reader.take_problem() is None
    began_s = time.monotonic()
    reader.close()
    assert time.monotonic() - began_s < 1.0
