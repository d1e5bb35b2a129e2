"""Answers that only the leader of a partition gives, while a node is away.

Until the others notice that a node is dead, for 9 s by default (`broker.session.timeout.ms`), a client waits
for it in vain. And a client that has read nothing of a topic yet keeps to the leaders that it was told first,
or to there being none, for five minutes (seen with librdkafka 2.16). Asked about the topic, it learns the new
ones.
"""

import contextlib
import time
from typing import Any, Callable, Dict, Mapping, Tuple, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from orderflow.kafka.refusals import AWAY

ELECTED_S = 12.0
"""What a cluster takes at its defaults to notice a death and to elect new leaders, and some more."""
LEADERLESS_S = 3.0
"""A partition that has had no leader for so long does not get one: all its nodes are away."""
STEP_S = 3.0
"""A client that waits for a dead leader is not told when another one is elected: it is asked again."""
LEARN_TIMEOUT_S = 1.0
PAUSE_S = 0.1
TELL_S = 2.0
"""A person who has waited for so long is told what for, unless it ends soon anyway, as without a leader."""

LEADERLESS = (KafkaError._UNKNOWN_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)
"""What is said of a partition that exists while no broker leads it."""
MOVED = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.OFFSET_NOT_AVAILABLE,
    KafkaError.REPLICA_NOT_AVAILABLE,
    KafkaError.KAFKA_STORAGE_ERROR,
    KafkaError.LISTENER_NOT_FOUND,
    KafkaError._DESTROY_BROKER,
)
"""What is said of a leader that no longer is one, or only just became one.

The last by the client, of one that has left the cluster.
"""
_PASSING = (*LEADERLESS, *MOVED, *AWAY)

_Answer = TypeVar("_Answer")
Waits = Callable[[], None]
"""Is called when an answer takes long, before it is asked for again."""


def _untold() -> None:
    """Nobody waits for it."""


def bounds_of(
    consumer: Any,
    place: TopicPartition,
    timeout_s: float,
    leaderless_s: float = LEADERLESS_S,
    waits: Waits = _untold,
) -> Tuple[int, int]:
    """The first offset of a partition and its end. Raises KafkaException.

    `leaderless_s`: how long to wait where it has no leader. With 0 the client only learns of a new one, for
    the next question.
    """

    def ask(step_s: float) -> Any:
        return consumer.get_watermark_offsets(place, step_s)

    low, high = of_leaders(consumer, place.topic, ask, timeout_s, leaderless_s, waits)
    return low, high


def first_offsets_at(
    consumer: Any, topic: str, wanted: Mapping[int, int], timeout_s: float, waits: Waits = _untold
) -> Dict[int, int]:
    """By partition, the first offset whose record is as late as `wanted` (epoch ms); -1 where none is.

    Raises KafkaException. What cannot be asked of one partition, the client says in the answer, beside a
    number that is no offset.
    """
    asked = [TopicPartition(topic, number, at_ms) for number, at_ms in wanted.items()]

    def ask(step_s: float) -> Dict[int, int]:
        found = consumer.offsets_for_times(asked, step_s)
        for place in found:
            if place.error is not None:
                raise KafkaException(place.error)
        return {place.partition: place.offset for place in found}

    return of_leaders(consumer, topic, ask, timeout_s, waits=waits)


def of_leaders(
    consumer: Any,
    topic: str,
    ask: Callable[[float], _Answer],
    timeout_s: float,
    leaderless_s: float = LEADERLESS_S,
    waits: Waits = _untold,
) -> _Answer:
    """Ask again while leaders are away. `ask` is given the seconds that it may take.

    Raises KafkaException: what passes after `timeout_s`, everything else at once.
    """
    began_s, was_led = time.monotonic(), True
    until_s = began_s + timeout_s
    while True:
        try:
            return ask(max(PAUSE_S, min(STEP_S, until_s - time.monotonic())))
        except KafkaException as error:
            code = error.args[0].code()
            if code not in _PASSING:
                raise
            learn_leaders(consumer, topic)
            if code in LEADERLESS and was_led:
                was_led, until_s = False, min(until_s, time.monotonic() + leaderless_s)
            if time.monotonic() >= until_s:
                raise
        if was_led and time.monotonic() - began_s >= TELL_S:
            waits()
        time.sleep(PAUSE_S)


def learn_leaders(client: Any, topic: str) -> None:
    """Have a client learn who leads a topic's partitions by now. Waits for a moment, and raises nothing."""
    with contextlib.suppress(KafkaException):  # the question itself tells what is wrong
        client.list_topics(topic, LEARN_TIMEOUT_S)
