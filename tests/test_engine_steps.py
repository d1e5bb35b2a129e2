"""The engine in memory, step by step: what it makes of all that a client and a broker can do to it."""

from typing import Any, Dict, List

from tests.scripted_session import DEAD_LETTERS, Life, Topic


def test_every_order_is_called_once_and_settled() -> None:
    """The plain road: three partitions, nothing fails."""
    topic, called = Topic(partitions=3), []
    for partition in range(3):
        topic.fill(100, partition)

    def handler(order: Dict[str, Any]) -> None:
        called.append(order["value"])

    Life(topic, handler).drain()

    assert 300 == len(called) == len(set(called))
    assert {0: 100, 1: 100, 2: 100} == {number: offset for number, (offset, _) in topic.committed.items()}


def test_what_fails_for_ever_is_dead_lettered_after_its_budget() -> None:
    """One order of ten fails at each of its four calls; the others are not touched by it."""
    topic, called = Topic(), []
    topic.fill(10)

    def handler(order: Dict[str, Any]) -> None:
        called.append(order["value"])
        if order["value"] == b"0:3":
            raise ValueError("never")

    Life(topic, handler).drain()

    assert 4 == called.count(b"0:3")
    letters: List[bytes] = [letter.value or b"" for letter in topic.of(DEAD_LETTERS)]
    assert [b"0:3"] == letters
