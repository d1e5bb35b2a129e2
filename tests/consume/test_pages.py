"""Retries without a ceiling: what the commit metadata has no room for is listed on a page.

The real engine in memory, against the scripted session. tests/broker/test_pages.py has the same on a real
Kafka.
"""

from collections import Counter
from typing import Any, Callable, Dict, List, Optional
from typing import Counter as Count

import pytest

from orderflow.consume.retry import Policy
from orderflow.consume.settlement import Outcome, Settlement
from orderflow.errors import RetryLater
from orderflow.model.commit_metadata import METADATA_LIMIT, Commit, read_metadata
from orderflow.model.ledger_page import page_key, read_page
from tests.support.scripted_session import (
    BEGAN_S,
    LEDGER,
    RESULTS,
    Answer,
    Killed,
    Life,
    Topic,
)

ORDERS = 3_000
SLOW = Policy(max_retries=30, backoff_s=20.0, backoff_max_s=20.0)
KEY = page_key("group", "orders", 0)
BEGAN_TO_WORK_S = 50.0


class Shop:
    """A handler that fails every other order while its service is away, and dies if told so."""

    def __init__(self, topic: Topic, away_s: float = 10.0) -> None:
        self.done: Count[bytes] = Counter()
        self.tried: Count[bytes] = Counter()
        self.dies_at: Optional[Callable[[bytes], bool]] = None
        self._clock = topic.clock
        self._away_s = away_s

    def __call__(self, order: Dict[str, Any]) -> str:
        """Process one order."""
        value: bytes = order["value"]
        if self.dies_at is not None and self.dies_at(value):
            raise Killed
        self.tried[value] += 1
        if self._clock() < self._away_s and int(value.split(b":")[1]) % 2:
            raise ConnectionError("away")
        self.done[value] += 1
        return value.decode()


def live(topic: Topic, shop: Shop, exactly_once: bool = True, policy: Policy = SLOW) -> Life:
    """One process; whatever waits is on a page."""
    return Life(topic, shop, policy=policy, exactly_once=exactly_once, publishes=True, pages=True)


def pages_of(topic: Topic) -> List[Any]:
    """Every page in the topic, read."""
    return [read_page(record.key or b"", record.value) for record in topic.of(LEDGER)]


def committed(topic: Topic) -> Commit:
    """What the group has committed."""
    offset, text = topic.committed[0]
    found = read_metadata(text, offset)
    assert found is not None
    return found


def results(topic: Topic) -> List[bytes]:
    """The results that readers see."""
    return [record.value or b"" for record in topic.of(RESULTS)]


@pytest.mark.parametrize("exactly_once", [True, False])
def test_thousands_wait_and_the_others_go_on(exactly_once: bool) -> None:
    """Half of 3,000 orders fail at first: the other half is done before the first of them is retried."""
    topic = Topic()
    topic.fill(ORDERS)
    shop = Shop(topic)
    life = live(topic, shop, exactly_once)

    life.until(lambda: len(shop.done) == ORDERS // 2)

    assert topic.clock() < 10.0, "nothing was retried yet"
    assert life.engine.waiting == ORDERS // 2
    assert "ledger_full" not in life.names()
    life.drain()
    assert set(shop.done.values()) == {1} and len(shop.done) == ORDERS
    assert len(results(topic)) == ORDERS
    assert topic.committed[0] == (ORDERS, topic.committed[0][1])
    assert all(page is not None for page in pages_of(topic))


@pytest.mark.parametrize("exactly_once", [True, False])
@pytest.mark.parametrize("death", [1, 700, 1_499, 1_500, 1_501, 1_700, 2_500, 3_000, 4_499])
def test_a_death_at_any_time_loses_nothing_and_keeps_the_attempts(death: int, exactly_once: bool) -> None:
    """The next owner reads the page: it calls what waits, and nothing that was done and committed."""
    topic = Topic()
    topic.fill(ORDERS)
    shop, calls = Shop(topic), [0]

    def dies(value: bytes) -> bool:
        calls[0] += 1
        return calls[0] == death

    shop.dies_at = dies
    life = live(topic, shop, exactly_once)
    with pytest.raises(Killed):
        life.drain()
    life.engine.settling.wait()
    before = Counter(results(topic))

    live(topic, shop, exactly_once).drain()

    assert len(shop.done) == ORDERS
    assert set(Counter(results(topic)).values()) == {1} or not exactly_once
    again = [value for value, times in shop.done.items() if times > 1]
    assert not [value for value in again if before[value]], "a result that was committed is not made again"


def test_the_metadata_names_the_page_and_the_page_lists_the_heads() -> None:
    """What an operator's tools and the next owner read."""
    topic = Topic()
    topic.fill(100)
    shop = Shop(topic)
    life = live(topic, shop)
    life.until(lambda: len(shop.done) == 50 and life.engine.settling.is_idle)
    life.stop()

    offset, text = topic.committed[0]
    commit, page = read_metadata(text, offset), pages_of(topic)[-1]

    assert commit is not None and commit.clean and commit.page is not None
    assert (commit.page.number, commit.next, offset) == (page.number, 100, 1)
    assert [entry.offset for entry in page.entries] == list(range(1, 100, 2))
    assert {entry.attempts for entry in page.entries} == {1}
    assert all(15 <= entry.delay_s <= 25 for entry in page.entries)


def test_when_everything_is_done_no_page_is_needed() -> None:
    """The commit is in the first form again, which any version reads."""
    topic = Topic()
    topic.fill(100)
    live(topic, Shop(topic)).drain().stop()

    commit = read_metadata(topic.committed[0][1], topic.committed[0][0])

    assert commit is not None and commit.page is None and commit.clean


@pytest.mark.parametrize("exactly_once", [True, False])
def test_a_page_that_is_gone_loses_no_order(exactly_once: bool) -> None:
    """All from the committed offset on is called again, and that is said with the number."""
    topic = Topic()
    topic.fill(100)
    shop = Shop(topic)
    life = live(topic, shop, exactly_once)
    life.until(lambda: len(shop.done) == 50 and life.engine.settling.is_idle)
    topic.sent = [record for record in topic.sent if record.topic != LEDGER]

    second = live(topic, shop, exactly_once).drain()

    lost = [fields for name, fields in second.events if name == "page_lost"]
    assert lost == [{"partition": 0, "offset": 1, "until": 100, "topic": LEDGER}]
    assert len(shop.done) == 100
    assert shop.done[b"0:0"] == 1, "what was done before the committed offset stays done"


def test_a_page_that_compaction_replaced_by_a_later_one_is_not_missed() -> None:
    """With at-least-once a page may be there whose offset was never committed."""
    topic = Topic()
    topic.fill(100)
    shop = Shop(topic, away_s=1e9)
    life = live(topic, shop, exactly_once=False)
    life.until(lambda: len(shop.done) == 50 and life.engine.settling.is_idle)
    committed = topic.committed[0]
    topic.put(0, b"one more", b"0:101")
    life.until(lambda: topic.committed[0] != committed and life.engine.settling.is_idle)
    topic.committed[0] = committed
    latest = topic.of(LEDGER)[-1]
    topic.sent = [record for record in topic.sent if record.topic != LEDGER] + [latest]

    second = live(topic, shop, exactly_once=False)
    second.until(lambda: second.is_drained() or "partition_ready" in second.names())

    assert "page_lost" not in second.names()
    assert second.engine.waiting == 51
    assert set(shop.done.values()) == {1}


def test_followers_of_a_head_that_retention_took_are_found_and_handled() -> None:
    """The page has a hash of the key, so what queued behind the lost order is not taken for done."""
    topic = Topic()
    topic.put(0, b"key", b"0:1")
    for number in range(2, 8):
        topic.put(0, b"other" if number % 2 else b"key", b"0:%d" % (number * 2))
    shop = Shop(topic)
    life = live(topic, shop)
    life.until(lambda: len(shop.done) == 3 and life.engine.settling.is_idle)
    life.stop()
    topic.expire(0, 1)

    second = live(topic, shop).drain()

    assert "waiting_order_lost" in second.names()
    assert shop.done == {b"0:%d" % (number * 2): 1 for number in range(2, 8)}


def fails_for_long(order: Dict[str, Any]) -> None:
    """Tried again and again, 20 s apart."""
    raise ConnectionError("away")


def asks_for_tomorrow(order: Dict[str, Any]) -> None:
    """Tried once."""
    raise RetryLater("closed", after=86_400)


@pytest.mark.parametrize("handler", [fails_for_long, asks_for_tomorrow])
def test_what_queues_behind_an_order_that_waits_for_long_survives_its_record(
    handler: Callable[[Dict[str, Any]], None],
) -> None:
    """Compaction takes that, as not the newest of its key. By then the list is on a page, which has keys."""
    topic = Topic()
    for number in range(6):
        topic.put(0, b"key" if number in (0, 3) else b"other %d" % number, b"0:%d" % number)
    done: Count[bytes] = Counter()

    def first(order: Dict[str, Any]) -> None:
        if order["value"] in (b"0:0", b"0:3"):
            handler(order)
        done[order["value"]] += 1

    life = Life(topic, first, policy=SLOW, pages=True, metadata_limit=4000)
    life.until(lambda: sum(done.values()) == 4 and life.engine.settling.is_idle)
    life.until(lambda: handler is asks_for_tomorrow or topic.clock() > 90)
    life.stop()
    del topic.records[0][0]

    second = Life(topic, lambda order: done.update([order["value"]]), pages=True, metadata_limit=4000).drain()

    assert "waiting_order_lost" in second.names()
    assert done == {b"0:%d" % number: 1 for number in range(1, 6)}


def test_the_metadata_suffices_where_nothing_queues_behind_what_waits() -> None:
    """However long it waits: a lost record takes nothing with it."""
    topic = Topic()
    topic.put(0, b"key", b"0:0")
    topic.put(0, b"other", b"0:1")

    life = Life(topic, fails_for_long, policy=SLOW, pages=True, metadata_limit=4000)
    life.until(lambda: topic.clock() > 90)

    assert topic.of(LEDGER) == []


def test_a_second_death_finds_those_followers_again() -> None:
    """The mark that the partition is open keeps naming the page with the lost head and its hash."""
    topic = Topic()
    for number in (1, 2, 4):
        topic.put(0, b"key", b"0:%d" % number)
    shop = Shop(topic)
    life = live(topic, shop)
    life.until(lambda: bool(shop.tried) and life.engine.settling.is_idle)
    life.stop()
    topic.expire(0, 1)

    second = live(topic, shop)
    second.until(lambda: "partition_ready" in second.names())
    live(topic, shop).drain()

    assert set(shop.done) == {b"0:2", b"0:4"}
    assert sorted(results(topic)) == [b"0:2", b"0:4"]


@pytest.mark.parametrize(
    ("after_s", "pages", "metadata_limit"),
    [(20, False, 0), (20, True, 0), (3_600, True, METADATA_LIMIT)],
    ids=["in metadata", "on a page", "too long for metadata"],
)
def test_restarts_do_not_put_off_what_waits(after_s: int, pages: bool, metadata_limit: int) -> None:
    """It is called when it is due, wherever it is listed: a loop of crashes must not keep it for ever."""
    topic, calls = Topic(), []
    topic.put(0, b"key")

    def handler(order: Dict[str, Any]) -> None:
        calls.append(topic.clock())
        if len(calls) == 1:
            raise RetryLater("closed", after=after_s)

    def begin() -> Life:
        return Life(topic, handler, pages=pages, metadata_limit=metadata_limit)

    life = begin()
    life.until(lambda: bool(calls) and life.engine.settling.is_idle)
    while len(calls) == 1 and topic.clock() < 3 * after_s:
        topic.clock.pass_by(after_s / 7)
        begin().step(10)

    assert after_s <= calls[1] - calls[0] <= after_s * 8 / 7 + 1


@pytest.mark.parametrize("is_stopped", [False, True])
@pytest.mark.parametrize(("set_s", "goes_on"), [(-86_400.0, False), (-86_400.0, True), (86_400.0, True)])
def test_a_clock_that_is_set_changes_no_delay(set_s: float, goes_on: bool, is_stopped: bool) -> None:
    """What waits is due after the delay that it was given, over restarts too.

    Only a clock that is set ahead before anything else is committed looks like time that has passed.
    """
    topic, calls = Topic(), []
    topic.put(0, b"key")

    def handler(order: Dict[str, Any]) -> None:
        calls.append((order["value"], topic.clock()))
        if topic.clock() < BEGAN_TO_WORK_S:
            raise RetryLater("closed", after=100)

    def begin() -> Life:
        return Life(topic, handler, pages=True, metadata_limit=0)

    life = begin()
    life.until(lambda: bool(calls) and life.engine.settling.is_idle)
    topic.clock.began_s += set_s
    if goes_on:
        topic.put(0, b"other")
        life.until(lambda: len(calls) == 2 and life.engine.settling.is_idle)
    if is_stopped:
        life.stop()
    for _ in range(2):
        topic.clock.pass_by(10)
        begin().step(20)
    begin().drain()

    first = calls[0][0]
    called_s = [at_s for value, at_s in calls if value == first]
    assert 99.0 <= called_s[1] - called_s[0] <= 125.0


@pytest.mark.parametrize("attempts", [32, 200])
def test_attempts_beyond_what_the_metadata_counts_are_kept_over_a_restart(attempts: int) -> None:
    """MAX_RETRIES has no ceiling: the budget is neither reset nor spent twice."""
    topic = Topic()
    topic.put(0, b"key", b"0:1")
    shop = Shop(topic, away_s=1e9)
    policy = Policy(max_retries=attempts + 2, backoff_s=1.0, backoff_max_s=1.0)
    life = Life(topic, shop, policy=policy, outage_window_s=1.0, pages=True)
    life.until(lambda: shop.tried[b"0:1"] == attempts and life.engine.settling.is_idle, steps=20_000)

    Life(topic, shop, policy=policy, outage_window_s=1.0, pages=True).drain(steps=20_000)

    assert shop.tried[b"0:1"] == attempts + 3
    assert len(topic.of("orders-dlq")) == 1


@pytest.mark.parametrize("outcome", [Outcome.NOT_COMMITTED, Outcome.REFUSED, Outcome.MOVED_ON])
def test_a_refused_page_is_written_again_and_no_call_is_repeated(outcome: Outcome) -> None:
    """However often."""
    topic = Topic()
    topic.fill(100)
    shop = Shop(topic)
    life = live(topic, shop)
    life.until(lambda: "partition_ready" in life.names())
    life.session.answers.extend([Answer(Settlement(outcome, "no"))] * 5)

    life.drain(steps=50_000)

    assert set(shop.done.values()) == {1} and len(shop.done) == 100
    assert max(shop.tried.values()) <= 2


def test_numbers_of_pages_rise_even_if_the_clock_goes_back() -> None:
    """The next owner's clock may be slow; its pages are later all the same."""
    topic = Topic()
    topic.fill(100)
    shop = Shop(topic)
    life = live(topic, shop)
    life.until(lambda: len(shop.done) == 50 and life.engine.settling.is_idle)
    topic.clock.began_s -= 3_600.0
    written = len(pages_of(topic))

    shop.dies_at = lambda value: shop.done[b"0:51"] > 0
    with pytest.raises(Killed):
        live(topic, shop).drain()

    numbers = [page.number for page in pages_of(topic)]
    assert len(numbers) > written
    assert numbers == sorted(set(numbers))
    assert numbers[0] >= BEGAN_S * 1000


def test_a_list_that_would_fit_is_left_on_its_page_until_it_changes() -> None:
    """A broker that takes less metadata than we think must not refuse the mark that a partition is open."""
    topic = Topic()
    topic.fill(20)
    shop = Shop(topic)
    life = live(topic, shop)
    life.until(lambda: len(shop.done) == 10 and life.engine.settling.is_idle)
    before = committed(topic)

    second = Life(topic, shop, policy=SLOW, pages=True, metadata_limit=4_000)
    second.until(lambda: "partition_ready" in second.names())

    assert committed(topic).page == before.page
    assert before.page is not None
    assert (second.drain().engine.waiting, set(shop.done.values())) == (0, {1})
