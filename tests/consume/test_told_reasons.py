"""Why orders wait is told soon, again when it changes, and seldom otherwise."""

from orderflow.consume.told_reasons import AGAIN_S, EVERY_S
from orderflow.errors import RetryLater
from orderflow.model.reasons import MOST_ORDERS, read_reasons
from tests.consume.test_commands import SLOW, Order, Shop, waits
from tests.support.scripted_session import Life, Topic


def until_s(life: Life, at_s: float) -> None:
    """Let time pass."""
    life.until(lambda: life.clock() >= at_s)


def closed(order: Order) -> None:
    """A handler that wants every order again in an hour."""
    raise RetryLater("closed for the night", after=3_600)


def test_what_orders_failed_of_is_told_within_seconds() -> None:
    """Of each order, as its commit lists it."""
    topic = Topic()
    life = waits(topic, Shop())
    until_s(life, EVERY_S + 2)

    _, partition, value = life.inbox.told[-1]
    told = read_reasons(value)

    assert partition == 0 and told is not None
    assert set(told.of) == {(1, 1), (3, 1)}
    assert {kind.text for kind in told.of.values()} == {"the bank is away"}
    assert {kind.error_class for kind in told.of.values()} == {"ConnectionError"}


def test_what_does_not_change_is_told_once_a_minute() -> None:
    """And what changes, no sooner than ten seconds after that."""
    topic = Topic()
    life = waits(topic, Shop())
    until_s(life, 250.0)

    times_s = [at_s for at_s, _, _ in life.inbox.told]
    assert 4 <= len(times_s) <= 6
    assert all(later - sooner >= AGAIN_S for sooner, later in zip(times_s[1:], times_s[2:]))

    topic.put(0, b"key-9", b"bad-9")
    until_s(life, 250.0 + EVERY_S + 2)
    told = read_reasons(life.inbox.told[-1][2])
    assert told is not None and (5, 1) in told.of


def test_nothing_is_told_where_nothing_waits() -> None:
    """Nor of orders that failed in another process: what of, it has not told us."""
    topic, shop = Topic(), Shop()
    waits(topic, shop).stop()
    shop.is_open = True
    topic.fill(10)
    life = Life(topic, shop, policy=SLOW)
    until_s(life, 30.0)

    assert life.engine.waiting == 2
    assert life.inbox.told == []


def test_what_failed_before_hides_nothing_that_has_failed_since() -> None:
    """However many orders wait of which another process knew the reason."""
    topic = Topic()
    topic.fill(MOST_ORDERS + 1)
    older = Life(topic, closed, policy=SLOW, pages=True)
    older.until(lambda: older.engine.waiting == MOST_ORDERS + 1)
    older.stop()
    life = Life(topic, closed, policy=SLOW, pages=True)
    life.until(lambda: life.engine.waiting == MOST_ORDERS + 1)
    topic.put(0, b"key-new", b"new")
    until_s(life, life.clock() + 2 * EVERY_S)

    told = read_reasons(life.inbox.told[-1][2])
    assert told is not None and set(told.of) == {(MOST_ORDERS + 1, 1)}
