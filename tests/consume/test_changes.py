"""What a change of settings or code does to orders that wait: docs/changes.md, row by row."""

from typing import Any, Dict, List

import pytest

from orderflow.consume.retry import Policy
from tests.support.scripted_session import DEAD_LETTERS, Life, Topic

Order = Dict[str, Any]


def failing(order: Order) -> None:
    raise ConnectionError("not now")


def waiting_since(policy: Policy, failures: int) -> Topic:
    """A topic whose only order has failed that often, with its group stopped."""
    topic = Topic()
    topic.put(0, b"key")
    life = Life(topic, failing, policy=policy)
    life.until(lambda: life.names().count("retry") == failures)
    life.stop()
    return topic


@pytest.mark.parametrize(("max_retries", "calls"), [(1, 1), (2, 1), (3, 2), (9, 8)])
def test_a_new_number_of_retries_decides_at_the_next_failure(max_retries: int, calls: int) -> None:
    """The attempts made so far count, so a lower number can end it at once."""
    topic = waiting_since(Policy(max_retries=30, backoff_s=1.0), failures=2)
    called: List[float] = []

    def note(order: Order) -> None:
        called.append(topic.clock())
        raise ConnectionError("still not")

    Life(topic, note, policy=Policy(max_retries=max_retries, backoff_s=1.0)).drain()

    assert (calls, 1) == (len(called), len(topic.of(DEAD_LETTERS)))


def test_a_new_back_off_decides_after_the_next_failure() -> None:
    """An order that waits keeps the time at which it is due."""
    topic = waiting_since(Policy(max_retries=30, backoff_s=20.0, backoff_max_s=20.0), failures=1)
    life = Life(topic, failing, policy=Policy(max_retries=3, backoff_s=2.0, backoff_max_s=2.0))
    life.drain()

    delays_s = [round(fields["delay_s"]) for name, fields in life.events if name == "retry"]
    assert 15 <= topic.clock() < 21
    assert set(delays_s) <= {1, 2}


def test_a_new_handler_gets_the_orders_that_wait() -> None:
    """A fix that is deployed while they wait reaches them with their next retry."""
    topic = waiting_since(Policy(max_retries=3, backoff_s=1.0), failures=2)
    done: List[Order] = []
    Life(topic, lambda order: done.append(order)).drain()

    assert (1, []) == (len(done), topic.of(DEAD_LETTERS))
