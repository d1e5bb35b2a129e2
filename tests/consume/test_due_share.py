"""Retries that come due all at once leave fresh orders their share of the handlers' time."""

import threading
import time
from typing import Any, Dict, List, Optional

import pytest

from orderflow import RetryLater
from orderflow.consume.due_share import DUE_SHARE, LONGEST_S, most_retries
from tests.support.scripted_session import Life, Topic

CLOSED_S = 60.0
"""How long the orders wait that come due together."""


class Shop:
    """Sends back what comes before it opens, and notes whose call each later one is."""

    def __init__(self, topic: Topic, call_s: float) -> None:
        self.calls: List[str] = []
        self.is_open = False
        self._topic = topic
        self._call_s = call_s

    def __call__(self, order: Dict[str, Any]) -> None:
        """Handle an order."""
        if not self.is_open:
            raise RetryLater("closed", after=CLOSED_S)
        self._topic.clock.pass_by(self._call_s)
        self.calls.append("fresh" if order["value"] == b"fresh" else "retry")


def _come_due(life: Life, shop: Shop, each: int) -> None:
    """Have that many orders of each partition come due at once."""
    for number in life.topic.records:
        life.topic.fill(each, number)
    life.until(lambda: _waiting(life) == each * len(life.topic.records))
    life.clock.pass_by(2 * CLOSED_S)
    shop.is_open = True


def _waiting(life: Life) -> int:
    """How many heads wait, none of them in flight."""
    ready = life.engine.assignment.ready.values()
    return sum(1 for partition in ready for _ in partition.ledger.waiting())


def _put_fresh(topic: Topic, orders: int) -> None:
    for number in range(orders):
        topic.put(number % len(topic.records), b"fresh-%d" % number, b"fresh")


@pytest.mark.parametrize("partitions", [1, 64])
@pytest.mark.parametrize("call_s", [0.0005, 0.05])
def test_retries_take_their_share_of_the_time_while_fresh_orders_are_there(
    partitions: int, call_s: float
) -> None:
    """However long a call takes, and however many partitions have orders that are due."""
    topic = Topic(partitions)
    shop = Shop(topic, call_s)
    life = Life(topic, shop)
    _come_due(life, shop, each=640 // partitions)
    _put_fresh(topic, 640)
    life.until(lambda: shop.calls.count("fresh") >= 600)
    assert shop.calls.count("retry") <= DUE_SHARE * len(shop.calls) * 1.1
    assert shop.calls.count("retry") >= DUE_SHARE * len(shop.calls) * 0.5, "the retries starve"


def test_a_fresh_order_does_not_wait_for_all_retries_that_are_due() -> None:
    """While none is there, one may arrive: retries stop now and then to look."""
    topic, call_s = Topic(partitions=4), 0.00008
    shop = Shop(topic, call_s)
    life = Life(topic, shop)
    shop.is_open = True
    topic.fill(5_000)
    life.until(lambda: len(shop.calls) == 5_000)  # by now a slice is as long as it gets
    shop.is_open = False
    _come_due(life, shop, each=500)
    shop.calls.clear()
    life.step()
    assert 0 < len(shop.calls) * call_s <= LONGEST_S * 1.1


class BusyShop:
    """The same for workers: its retries do not return before they may."""

    def __init__(self, takes_long: bool) -> None:
        self.calls: List[str] = []
        self.is_open = False
        self.may_end = threading.Event()
        self._takes_long = takes_long

    def __call__(self, order: Dict[str, Any]) -> None:
        """Handle an order."""
        if not self.is_open:
            raise RetryLater("closed", after=CLOSED_S)
        is_fresh = order["value"] == b"fresh"
        self.calls.append("fresh" if is_fresh else "retry")
        if self._takes_long and not is_fresh:
            self.may_end.wait(20)
        else:
            time.sleep(0.001)


def _busy_life(topic: Topic, shop: BusyShop, workers: int, keys: int = 200) -> Life:
    """A life with 200 orders due at once, or with as many keys that each have a queue."""
    life = Life(topic, shop, workers=workers)
    topic.fill(200, keys=keys)
    life.until(lambda: _waiting(life) == keys and life.engine.waiting == 200)
    life.clock.pass_by(2 * CLOSED_S)
    shop.is_open = True
    return life


@pytest.mark.parametrize("workers", [2, 4, 16])
def test_workers_call_fresh_orders_while_retries_take_for_ever(workers: int) -> None:
    """As when what the retries need does not answer: they never occupy all workers."""
    topic, shop = Topic(), BusyShop(takes_long=True)
    life = _busy_life(topic, shop, workers)
    _put_fresh(topic, 100)
    try:
        life.until(lambda: shop.calls.count("fresh") == 100)
        assert 0 < shop.calls.count("retry") <= max(1, DUE_SHARE * workers)
    finally:
        shop.may_end.set()
    life.until(lambda: not life.engine.waiting)
    assert 200 == shop.calls.count("retry")


def test_workers_call_retries_for_their_share_of_the_time_while_fresh_orders_are_there() -> None:
    """Where both take the same time: neither starves, and the order in the queue decides."""
    topic, shop = Topic(), BusyShop(takes_long=False)
    life = _busy_life(topic, shop, workers=8)
    _put_fresh(topic, 500)
    life.until(lambda: shop.calls.count("fresh") >= 200)
    share = shop.calls.count("retry") / len(shop.calls)
    assert DUE_SHARE * 0.3 < share < DUE_SHARE * 1.5


def test_what_queues_behind_a_retry_counts_as_one() -> None:
    """Or the keys that come back would occupy every worker with what queued behind them."""
    topic, shop = Topic(), BusyShop(takes_long=False)
    life = _busy_life(topic, shop, workers=4, keys=20)
    _put_fresh(topic, 300)
    life.until(lambda: shop.calls.count("fresh") >= 100)
    assert shop.calls.count("retry") / len(shop.calls) < DUE_SHARE * 1.5


@pytest.mark.parametrize(
    ("retry_s", "fresh_s", "most"),
    [(None, None, 19), (0.005, 0.005, 76), (5.0, 0.005, 19), (0.005, 5.0, 255), (0.0, 0.005, 19)],
)
def test_retries_in_flight_are_as_many_as_take_their_share(
    retry_s: Optional[float], fresh_s: Optional[float], most: int
) -> None:
    """By how long both take: of 64 workers with 256 calls in flight."""
    assert most == most_retries(64, 256, retry_s, fresh_s)


def _die_with_orders_waiting(topic: Topic, orders: int) -> None:
    """A process ends without a stop, so the next one is careful with what waits."""
    life = Life(topic, Shop(topic, 0.0))
    topic.fill(orders)
    life.until(lambda: _waiting(life) == orders and life.engine.settling.is_idle)
    life.step(5)


def test_what_is_to_be_called_carefully_later_keeps_its_place() -> None:
    """After a death, orders are announced some at a time: the others that are due are not put off."""
    topic = Topic()
    _die_with_orders_waiting(topic, 400)
    topic.clock.pass_by(2 * CLOSED_S)
    shop = Shop(topic, 0.0)
    shop.is_open = True
    life = Life(topic, shop)
    life.until(lambda: bool(shop.calls))
    waiting = list(life.engine.assignment.ready[0].ledger.waiting())
    assert 100 < len(waiting) < 400
    assert 1 == len({head.due_s for head in waiting}), "some were put off"


def test_workers_call_what_needs_a_free_worker_while_fresh_orders_are_there() -> None:
    """After a death, orders that waited start only where a worker is free, and workers get orders ahead."""
    topic, shop = Topic(), BusyShop(takes_long=False)
    _die_with_orders_waiting(topic, 40)
    shop.is_open = True
    _put_fresh(topic, 2_500)
    life = Life(topic, shop, workers=4)
    life.until(lambda: shop.calls.count("fresh") == 2_500)
    _put_fresh(topic, 2_000)
    topic.clock.pass_by(2 * CLOSED_S)
    life.until(lambda: shop.calls.count("retry") == 40 or shop.calls.count("fresh") > 4_400, steps=50_000)
    assert 40 == shop.calls.count("retry")
