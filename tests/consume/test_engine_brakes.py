"""The brakes through the whole engine, in memory: what flows, what waits, and what is dead-lettered."""

from typing import Any, Callable, Dict, List, Optional, Set

import pytest

from orderflow.consume.handler import Delivery
from orderflow.consume.retry import Policy
from orderflow.errors import InvalidOrder, RejectOrder, RetryLater, RulesFailed
from tests.support.scripted_session import DEAD_LETTERS, POLICY, Life, Topic

SHIPPED = Policy()
Order = Dict[str, Any]


class Shop:
    """A handler that counts its calls and fails for chosen deliveries."""

    def __init__(self, fails: Callable[[Delivery], bool]) -> None:
        self.fails = fails
        self.calls: Dict[str, int] = {}
        self.done: Set[str] = set()

    def __call__(self, order: Order, delivery: Delivery) -> None:
        """Handle one order."""
        self.calls[delivery.id] = self.calls.get(delivery.id, 0) + 1
        if self.fails(delivery):
            raise ConnectionError("the bank is down")
        self.done.add(delivery.id)

    def done_of(self, partition: int) -> int:
        """How many orders of a partition are done."""
        return sum(name.startswith(f"orders-{partition}-") for name in tuple(self.done))


def run(life: Life, until_s: float, feed: Optional[Callable[[float], None]] = None) -> None:
    """Step until the script's clock shows that time; `feed` gets the seconds that passed."""
    while life.clock() < until_s:
        before_s = life.clock()
        life.step()
        if feed is not None:
            life.clock.pass_by(0.05)
            feed(life.clock() - before_s)


def dead(topic: Topic) -> int:
    """How many dead letters readers can see."""
    return len(topic.of(DEAD_LETTERS))


def feeder(topic: Topic, rate: float, keys: int, partitions: int = 1) -> Callable[[float], None]:
    """Publishes orders with a set of recurring keys at a given rate, each key in its own partition."""
    owed, number = [0.0], [0]

    def feed(seconds: float) -> None:
        owed[0] += seconds * rate
        while owed[0] >= 1:
            owed[0] -= 1
            key = number[0] % keys
            number[0] += 1
            topic.put(key % partitions, b"%d" % key)

    return feed


def key_number(delivery: Delivery) -> int:
    """The number that is the delivery's key."""
    return int(delivery.key or b"0")


# --- a part is not the whole


@pytest.mark.parametrize("workers", [1, 4])
def test_a_healthy_partition_flows_while_another_is_held(workers: int) -> None:
    """95 % of partition 0 fail; partition 1 continues at full speed, and none of it waits for a probe."""
    topic = Topic(partitions=2)
    topic.fill(1_000, 0)
    shop = Shop(lambda delivery: delivery.partition == 0 and delivery.offset % 20 > 0)
    life = Life(topic, shop, workers=workers)
    life.until(lambda: "outage_begins" in life.names())
    topic.fill(3_000, 1)

    # With threads, a step may come too early for any of them to have ended.
    life.until(lambda: shop.done_of(1) == 3_000, steps=200 if workers == 1 else 2_000)

    assert shop.done_of(0) < 100
    assert life.brake.holds(0)
    assert not life.brake.holds(1)
    assert all(fields["partitions"] == [0] for name, fields in life.events if name == "outage_begins")


def test_a_partition_that_comes_back_is_released_alone() -> None:
    """Partition 0 recovers, partition 1 does not: the one runs at full speed, the other is still held."""
    topic, down = Topic(partitions=2), {0, 1}
    topic.fill(1_000, 0)
    topic.fill(1_000, 1)
    shop = Shop(lambda delivery: delivery.partition in down)
    life = Life(topic, shop, policy=SHIPPED)
    life.until(lambda: life.brake.holds(0) and life.brake.holds(1))
    down.remove(0)

    run(life, life.clock() + 5.0)

    assert shop.done_of(0) == 1_000
    assert [1] == life.brake.held()
    assert dead(topic) == 0


def test_a_partition_that_is_held_is_probed_once_a_second() -> None:
    """A service that is down gets no flood of calls, and its recovery is noticed in time."""
    topic = Topic()
    topic.fill(3_000)
    shop = Shop(lambda delivery: True)
    life = Life(topic, shop, policy=Policy(max_retries=3, backoff_s=600.0, backoff_max_s=600.0))
    life.until(lambda: life.brake.holds(0))
    before, began_s = len(shop.calls), life.clock()

    run(life, began_s + 60.0)

    assert 55 <= len(shop.calls) - before <= 61


def test_orders_that_queue_behind_a_waiting_one_do_not_take_the_probes() -> None:
    """Otherwise a healthy order behind thousands of a failing customer would be found hours later."""
    topic = Topic()
    topic.fill(45)
    shop = Shop(lambda delivery: delivery.key != b"well")
    life = Life(topic, shop, policy=Policy(backoff_s=600.0, backoff_max_s=600.0))
    life.until(lambda: life.brake.holds(0))
    for _ in range(2_000):
        topic.put(0, b"0-1")
    topic.put(0, b"well")
    topic.put(0, b"well")

    run(life, life.clock() + 5.0)

    assert len(shop.done) == 2
    assert not life.brake.holds(0)


# --- an outage of everything


@pytest.mark.parametrize(
    ("partitions", "orders", "keys"),
    [(1, 3_000, None), (64, 6, None), (64, 2, None), (3, 600, 4), (1, 500, 5)],
)
def test_an_outage_of_everything_dead_letters_next_to_nothing(
    partitions: int, orders: int, keys: Optional[int]
) -> None:
    """Minutes, with many partitions, with few orders in each, with few keys; then all is processed."""
    topic, down = Topic(partitions), [True]
    for number in range(partitions):
        topic.fill(orders, number, keys)
    shop = Shop(lambda delivery: down[0])
    life = Life(topic, shop, policy=SHIPPED)

    run(life, 200.0)
    lost = dead(topic)
    down[0] = False
    life.until(lambda: life.engine.waiting == 0 and life.is_drained(), steps=20_000)

    assert lost <= 45 + 3
    assert dead(topic) == lost, "an order was given up after the outage"
    assert len(shop.done) == partitions * orders - lost


def test_an_outage_after_a_healthy_hour_is_seen_as_fast() -> None:
    """What succeeded before, in each of 64 partitions, does not hide it."""
    topic, down = Topic(64), [False]
    for number in range(64):
        topic.fill(50, number)
    shop = Shop(lambda delivery: down[0])
    life = Life(topic, shop, policy=SHIPPED)
    life.drain()
    down[0] = True
    for number in range(64):
        topic.fill(2, number)

    run(life, life.clock() + 120.0)

    assert dead(topic) <= 45


def test_a_fresh_partition_follows_the_outage() -> None:
    """It comes in the middle of one: its orders are tried one a second, and none of them is given up."""
    topic = Topic(2)
    topic.fill(300, 0)
    topic.fill(300, 1)
    shop = Shop(lambda delivery: True)
    life = Life(topic, shop, policy=Policy(max_retries=0), partitions=[0])
    life.until(lambda: life.brake.holds(0))
    run(life, life.clock() + 1.0)
    before = dead(topic)
    life.session.assign(1)

    run(life, life.clock() + 50.0)

    assert life.brake.holds(1)
    assert dead(topic) <= before + 1


def test_a_fresh_partition_that_is_well_flows_at_once() -> None:
    """One success frees it, however long another partition stays down."""
    topic = Topic(2)
    topic.fill(300, 0)
    topic.fill(2_000, 1)
    shop = Shop(lambda delivery: delivery.partition == 0)
    life = Life(topic, shop, policy=SHIPPED, partitions=[0])
    life.until(lambda: life.brake.holds(0))
    life.session.assign(1)

    life.until(lambda: shop.done_of(1) == 2_000, steps=200)


def test_the_next_owner_holds_what_its_last_one_held() -> None:
    """Partition by partition, as the metadata tells: a restart gives nothing up, and holds nothing else."""
    topic = Topic(2)
    topic.fill(300, 0)
    topic.fill(300, 1)
    shop = Shop(lambda delivery: delivery.partition == 0)
    life = Life(topic, shop, policy=SHIPPED)
    life.until(lambda: life.brake.holds(0) and shop.done_of(1) == 300)
    run(life, life.clock() + 1.0)

    second = Life(topic, shop, policy=Policy(max_retries=0))
    topic.fill(300, 1)
    second.until(lambda: shop.done_of(1) == 600, steps=200)
    run(second, second.clock() + 30.0)

    assert second.brake.holds(0)
    assert dead(topic) == 0


def test_what_is_polled_and_held_back_is_not_lost_in_a_stop() -> None:
    """Records that were fetched before the brake held are the next owner's, each once."""
    topic, down = Topic(2), [True]
    topic.fill(1_000, 0)
    topic.fill(1_000, 1)
    shop = Shop(lambda delivery: down[0])
    life = Life(topic, shop, policy=SHIPPED)
    life.until(lambda: bool(life.brake.held()))
    run(life, life.clock() + 3.0)
    life.stop()
    down[0] = False

    Life(topic, shop, policy=SHIPPED).drain()

    assert len(shop.done) == 2_000
    assert dead(topic) == 0


# --- what is no outage


@pytest.mark.parametrize("partitions", [1, 8])
def test_a_fifth_of_recurring_keys_that_fail_is_no_outage(partitions: int) -> None:
    """For longer than their budgets: what queued behind a key is evidence of that key and of nothing else."""
    topic = Topic(partitions)
    shop = Shop(lambda delivery: key_number(delivery) % 5 == 0)
    life = Life(topic, shop)

    run(life, 30.0, feeder(topic, rate=400, keys=500, partitions=partitions))

    assert "outage_begins" not in life.names()
    assert len(shop.done) > 0.95 * 0.8 * 400 * 30


@pytest.mark.parametrize("max_retries", [0, 3])
def test_five_failing_keys_with_nearly_all_of_the_traffic_are_no_outage(max_retries: int) -> None:
    """The key brake handles them; the healthy twentieth runs at full speed."""
    topic = Topic()
    numbers = [number % 5 if number % 20 else 100 + number for number in range(20_000)]
    shop = Shop(lambda delivery: key_number(delivery) < 5)
    life = Life(topic, shop, policy=POLICY._replace(max_retries=max_retries))
    records = iter(numbers)

    def feed(seconds: float) -> None:
        for _ in range(int(seconds * 200)):
            topic.put(0, b"%d" % next(records, 0))

    run(life, 40.0, feed)

    assert "outage_begins" not in life.names()


def test_closed_for_the_night_is_no_outage() -> None:
    """`RetryLater` for every order is the handler's wish, and each line says so."""

    def closed(order: Order) -> None:
        raise RetryLater("closed for the night", after=60)

    topic = Topic(2)
    topic.fill(300, 0)
    topic.fill(300, 1)
    life = Life(topic, closed)

    run(life, 170.0)

    assert {"partition_ready", "retry"} == set(life.names())
    reasons = {fields["failure"].reason for name, fields in life.events if name == "retry"}
    assert {"process.retry_later"} == reasons


@pytest.mark.parametrize("restarts", [False, True])
def test_what_a_handler_asked_to_have_back_later_stays_away_when_an_outage_ends(restarts: bool) -> None:
    """The outage has nothing to do with when it is due, also where another process was asked."""
    topic, calls_s, bank = Topic(), [], {"is_down": True}
    topic.put(0, b"night", b"night")
    topic.fill(200)

    def handler(order: Order) -> None:
        if order["value"] == b"night":
            calls_s.append(topic.clock())
            raise RetryLater("closed for the night", after=3_600)
        if bank["is_down"]:
            raise ConnectionError("the bank is down")

    life = Life(topic, handler)
    life.until(lambda: life.brake.holds(0))
    if restarts:
        life = Life(topic, handler)
        life.until(lambda: life.brake.holds(0))
    bank["is_down"] = False
    life.until(lambda: "outage_ends" in life.names())
    run(life, life.clock() + 60.0)

    assert 1 == life.engine.waiting
    assert 1 == len(calls_s), calls_s


def test_orders_that_break_a_rule_hide_no_outage() -> None:
    """Half of the topic never reaches the handler, and all that does fails: an outage all the same."""
    topic = Topic()
    topic.fill(400)

    def handler(order: Order, delivery: Delivery) -> None:
        if delivery.offset % 2:
            raise InvalidOrder("quantity", "must be at least 1: 0")
        raise ConnectionError("the bank is down")

    life = Life(topic, handler, policy=SHIPPED)

    life.until(lambda: life.brake.holds(0), steps=500)


# --- the key brake


def test_a_key_that_fails_for_ever_still_drains() -> None:
    """Three orders use their budgets up; the 1,997 behind them get one call each."""
    topic = Topic()
    for number in range(4_000):
        topic.put(0, b"bad" if number % 2 else b"%d" % number)
    shop = Shop(lambda delivery: delivery.key == b"bad")
    life = Life(topic, shop, policy=SHIPPED).drain()

    reasons = [dict(letter.headers)["orders.dlq.reason"] for letter in topic.of(DEAD_LETTERS)]
    assert [b"process.retries_exhausted"] * 3 + [b"process.key_failing"] * 1_997 == reasons
    assert life.clock() < 3 * 44 + 10


def test_one_poison_order_costs_the_next_of_its_key_no_retry() -> None:
    """The first is dead-lettered, the second meets one transient failure: it is retried, and processed."""
    topic = Topic()
    topic.put(0, b"key")
    topic.put(0, b"key")
    shop = Shop(lambda delivery: delivery.offset == 0 or delivery.attempt == 1)
    Life(topic, shop, policy=SHIPPED).drain()

    assert dead(topic) == 1
    assert {"orders-0-0": 4, "orders-0-1": 2} == shop.calls


def test_a_rejection_between_dead_letters_neither_counts_nor_resets() -> None:
    """It tells of that order; whether the key's orders can succeed, it does not tell."""
    topic = Topic()
    for _ in range(8):
        topic.put(0, b"key")
    calls: List[int] = []

    def handler(order: Order, delivery: Delivery) -> None:
        calls.append(delivery.offset)
        if delivery.offset in (1, 2, 4):
            raise RejectOrder("not sold any more")
        raise ConnectionError("the bank is down")

    Life(topic, handler, policy=SHIPPED).drain()

    assert [4, 1, 1, 4, 1, 4, 1, 1] == [calls.count(offset) for offset in range(8)]


def test_rules_that_fail_for_every_order_are_an_outage() -> None:
    """They may need what is down, as a handler may; orders that break a rule are none."""
    topic = Topic()
    topic.fill(400)

    def rules(order: Order) -> None:
        raise RulesFailed("shop:check: ConnectionError: the price list is down")

    life = Life(topic, rules, policy=SHIPPED)
    life.until(lambda: "outage_begins" in life.names())

    assert 10 > len(topic.of(DEAD_LETTERS))
