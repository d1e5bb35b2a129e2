"""An outage that the last owner of a partition found may be over: only what is seen now ends a drain."""

from typing import Any, Callable, Dict

import pytest

from orderflow.consume.handler import Delivery
from orderflow.consume.retry import Policy
from orderflow.model.dead_letter import FIRST_FAILED_AT
from tests.support.scripted_session import DEAD_LETTERS, Life, Topic

ORDERS = 200
POLICY = Policy(max_retries=30, backoff_s=20.0, backoff_max_s=20.0)


class Shop:
    """A handler whose service is away until it is repaired."""

    def __init__(self) -> None:
        self.is_away = True
        self.done = 0

    def __call__(self, order: Dict[str, Any]) -> None:
        """Process one order."""
        if self.is_away:
            raise ConnectionError("away")
        self.done += 1


def lives(topic: Topic, handler: Callable[..., None]) -> Life:
    """One process."""
    return Life(topic, handler, policy=POLICY)


@pytest.fixture
def killed() -> Topic:
    """A topic whose consumer died in an outage, with every order called and each partition held."""
    topic, shop = Topic(partitions=2), Shop()
    for number in (0, 1):
        topic.fill(ORDERS, number)
    life = lives(topic, shop)
    life.until(lambda: life.loop.has_only_held, steps=50_000)
    return topic


def test_orders_that_waited_through_an_outage_are_tried_before_a_drain_gives_up(killed: Topic) -> None:
    """The service is back: nothing may say that an outage holds what is left."""
    shop = Shop()
    shop.is_away = False
    life = lives(killed, shop)

    for _ in range(50_000):
        if life.is_drained():
            break
        life.step()
        assert not life.loop.has_only_held

    assert life.is_drained() and shop.done


def test_no_dead_letter_tells_a_later_first_failure_than_there_was(killed: Topic) -> None:
    """An outage that ends gives a new budget, but these orders had failed before this process began."""
    shop = Shop()
    shop.is_away = False

    def handler(order: Dict[str, Any], delivery: Delivery) -> None:
        shop(order)
        if delivery.offset == 0:
            raise ValueError("bad")

    lives(killed, handler).drain(200_000)

    dead = killed.of(DEAD_LETTERS)
    assert dead and all(FIRST_FAILED_AT not in dict(record.headers or []) for record in dead)


def test_retries_that_a_restart_finds_due_are_no_outage() -> None:
    """A fifth of the keys fails. After a death their retries come first, and nothing has succeeded yet."""
    topic = Topic()
    for number in range(400):
        topic.put(0, b"key %d" % number, b"%d" % number)

    def fifth_fails(order: Dict[str, Any]) -> None:
        if int(order["value"]) % 5 == 0:
            raise ConnectionError("away")

    dying = Life(topic, fifth_fails, policy=Policy(max_retries=3, backoff_s=5.0))
    dying.until(lambda: dying.engine.waiting == 80 and 8 < topic.clock(), steps=50_000)
    attempts = {head.attempts for head in dying.engine.assignment.ready[0].ledger.waiting()}
    topic.clock.pass_by(60.0)
    for number in range(400, 500):
        topic.put(0, b"key %d" % number, b"%d" % number)

    life = Life(topic, fifth_fails, policy=Policy(max_retries=2, backoff_s=5.0)).drain(50_000)

    assert attempts == {2} and "outage_begins" not in life.names()


def test_an_outage_that_goes_on_ends_it_as_soon_as_it_is_seen(killed: Topic) -> None:
    """There is nothing to wait for then."""
    life = lives(killed, Shop())

    life.until(lambda: life.loop.has_only_held, steps=50_000)

    assert "outage_ends" not in life.names()
