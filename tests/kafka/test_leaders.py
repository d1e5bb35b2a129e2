"""What only the leader of a partition tells, from a client that knows another one, or none."""

from typing import Any, List, NamedTuple, Optional

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from orderflow.kafka import leaders
from orderflow.kafka.leaders import bounds_of, first_offsets_at

PLACE = TopicPartition("orders", 0)


class Place(NamedTuple):
    """One partition's answer, as the client gives it."""

    partition: int
    offset: int
    error: Optional[KafkaError]


class Client:
    """A client that fails so, until it has been asked about the topic so often."""

    def __init__(self, code: int, needed: int = 1) -> None:
        self.learned = 0
        self.asked_s: List[float] = []
        self._code = code
        self._needed = needed

    def list_topics(self, topic: str, timeout: float) -> None:
        """Learn the leaders."""
        self.learned += 1

    def get_watermark_offsets(self, place: TopicPartition, timeout: float) -> Any:
        """The bounds, from the leader."""
        self.asked_s.append(timeout)
        if self.learned < self._needed:
            raise KafkaException(KafkaError(self._code))
        return 3, 7

    def offsets_for_times(self, places: List[TopicPartition], timeout: float) -> List[Place]:
        """What cannot be asked of one partition is said beside the time that was asked for."""
        error = KafkaError(self._code) if self.learned < self._needed else None
        return [Place(place.partition, place.offset if error else 5, error) for place in places]


@pytest.mark.parametrize("code", [KafkaError._TIMED_OUT, *leaders.MOVED, *leaders.LEADERLESS])
def test_it_is_asked_again_once_the_client_has_learned_the_leaders(code: int) -> None:
    client = Client(code, needed=2)

    assert bounds_of(client, PLACE, 60) == (3, 7)
    assert client.learned == 2 and max(client.asked_s) <= leaders.STEP_S


def test_a_time_that_was_asked_for_is_never_taken_for_an_offset() -> None:
    assert first_offsets_at(
        Client(KafkaError.LEADER_NOT_AVAILABLE), "orders", {0: 1_764_000_000_000}, 60
    ) == {0: 5}
    with pytest.raises(KafkaException):
        first_offsets_at(Client(KafkaError.TOPIC_AUTHORIZATION_FAILED), "orders", {0: 1}, 60)


def test_what_does_not_pass_is_raised_at_once() -> None:
    client = Client(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    with pytest.raises(KafkaException):
        bounds_of(client, PLACE, 60)

    assert client.learned == 0


def test_it_ends_when_the_time_is_over_and_has_learned_for_the_next_question() -> None:
    client = Client(KafkaError._TIMED_OUT, needed=1)
    with pytest.raises(KafkaException):
        bounds_of(client, PLACE, 0)

    assert bounds_of(client, PLACE, 0) == (3, 7)


@pytest.mark.parametrize("code", leaders.LEADERLESS)
def test_a_partition_that_stays_without_leader_is_not_waited_for_to_the_end(code: int) -> None:
    client = Client(code, needed=99)
    with pytest.raises(KafkaException):
        bounds_of(client, PLACE, 600, leaderless_s=0.2)

    assert 1 < client.learned < 10


@pytest.mark.parametrize("code", leaders.LEADERLESS)
def test_who_has_other_partitions_need_not_wait_for_a_leader(code: int) -> None:
    client = Client(code)
    with pytest.raises(KafkaException):
        bounds_of(client, PLACE, 600, leaderless_s=0.0)

    assert bounds_of(client, PLACE, 600, leaderless_s=0.0) == (3, 7)


def test_who_waits_for_long_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before each further try, and not where the answer comes soon."""
    told: List[str] = []
    first_offsets_at(Client(KafkaError._TIMED_OUT, 2), "orders", {0: 1}, 60, lambda: told.append("soon"))
    monkeypatch.setattr(leaders, "TELL_S", 0.0)
    bounds_of(Client(KafkaError._TIMED_OUT, 2), PLACE, 60, waits=lambda: told.append("late"))

    assert told == ["late", "late"]
