"""What a handler does, and what the engine makes of it: each call has one fate, whatever it is."""

import functools
from typing import Any, Dict, List, Tuple

import pytest

from tests.scripted_session import DEAD_LETTERS, RESULTS, Life, Topic

Order = Dict[str, Any]
WORKERS = pytest.mark.parametrize("workers", [1, 3])


def fates(life: Life) -> List[Tuple[bytes, str]]:
    """The dead letters, by value, and the reason code of each."""
    letters = life.topic.of(DEAD_LETTERS)
    reasons = ((dict(letter.headers)["orders.dlq.reason"] or b"").decode() for letter in letters)
    return sorted(zip((letter.value or b"" for letter in letters), reasons))


async def charge(order: Order) -> None:
    """Charge, but only when it is awaited."""


# --- nothing ran


@WORKERS
@pytest.mark.parametrize("publishes", [False, True])
def test_an_order_of_which_nothing_ran_is_not_processed(workers: int, publishes: bool) -> None:
    """A forgotten `await` in one branch: these orders are dead-lettered at their first call, others go on."""
    topic, called = Topic(), []
    topic.fill(10)

    @functools.wraps(charge)
    def handler(order: Order) -> Any:
        called.append(order["value"])
        return charge(order) if order["value"] in (b"0:0", b"0:7") else {"paid": True}

    life = Life(topic, handler, workers=workers, publishes=publishes).drain()

    assert [(b"0:0", "process.not_run"), (b"0:7", "process.not_run")] == fates(life)
    assert 10 == len(called)
    assert (8 if publishes else 0) == len(topic.of(RESULTS))


# --- results that cannot be published


@WORKERS
def test_a_result_that_cannot_be_published_is_the_failure_of_its_order(workers: int) -> None:
    """At once: the handler has done its work, and would do it again for the same result."""
    topic, called = Topic(), []
    topic.fill(6)

    def handler(order: Order) -> Any:
        called.append(order["value"])
        return {"total": float("nan")} if order["value"] == b"0:2" else {"total": 1.0}

    life = Life(topic, handler, workers=workers, publishes=True).drain()

    assert [(b"0:2", "publish.unencodable")] == fates(life)
    assert (6, 5) == (len(called), len(topic.of(RESULTS)))


def test_a_result_that_nobody_publishes_may_be_anything_that_has_run() -> None:
    """A row, a response, a session: it is dropped."""
    topic = Topic()
    topic.fill(3)

    life = Life(topic, lambda order: object()).drain()

    assert [] == fates(life)
