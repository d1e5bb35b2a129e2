"""SIGTERM at any moment: it ends with 143 in time, leaves a clean mark, gives its partitions up at once."""

import time
from typing import Callable

import pytest

from tests.support.engine_tools import MORTAL, Shop, rows
from tests.support.pipeline import ROOT, Finished, Running, eventually

pytestmark = pytest.mark.broker
NewShop = Callable[..., Shop]
LONG = pytest.mark.chaos
"""Left to `make chaos`, so that `make test` stays short."""


GRACE_S = 30.0
"""What Kubernetes leaves a process that it has asked to stop."""


def stopped(running: Running, within_s: float = GRACE_S) -> Finished:
    """Stop it; it has to end with 143 in time."""
    began_s = time.monotonic()
    finished = running.stop()
    assert finished.code == 143, running.describe()
    assert time.monotonic() - began_s < within_s, running.describe()
    return finished


def assert_clean(shop: Shop) -> None:
    """The metadata of every partition has the clean mark."""
    marks = {partition: told.commit for partition, told in shop.told().items()}
    assert marks and all(commit is not None and commit.clean for commit in marks.values()), marks


@pytest.mark.parametrize("workers", ["1", pytest.param("4", marks=LONG)])
def test_during_a_call_it_lets_the_call_finish(shop: NewShop, workers: str) -> None:
    """The order in hand is done and settled; none is repeated."""
    slow = shop(SLOW_S="3", WORKERS=workers).create()
    slow.put([*rows(20), ("SLOW-1", "C")])
    running = slow.consume("slow_ones_sleep")
    eventually(lambda: len(slow.calls()) == 21, why=running.describe)
    stopped(running)

    assert_clean(slow)
    slow.drain("works")
    assert len(slow.calls()) == 21
    assert slow.assert_account_closes().processed == 21


def test_half_of_a_short_time_out_is_for_running_calls(shop: NewShop) -> None:
    """What leaving the group may take at most is longer, and is not taken from them."""
    slow = shop(SLOW_S="2", WORKERS="2", SHUTDOWN_TIMEOUT="5").create()
    slow.put([*rows(20), ("SLOW-1", "C")])
    running = slow.consume("slow_ones_sleep")
    eventually(lambda: len(slow.calls()) == 21, why=running.describe)
    stopped(running)

    assert_clean(slow)
    assert slow.assert_account_closes().processed == 21


@LONG
def test_a_call_that_outlasts_the_time_out_is_left_behind_and_the_mark_stays_open(shop: NewShop) -> None:
    """With workers, it ends in time whatever the handler does; the next owner is careful, and repeats it."""
    stuck = shop(SLOW_S="60", WORKERS="2", SHUTDOWN_TIMEOUT="6").create()
    stuck.put([("SLOW-1", "C"), *rows(20)])
    running = stuck.consume("slow_ones_sleep")
    eventually(lambda: len(stuck.calls()) == 21, why=running.describe)
    stopped(running, within_s=8)

    commit = stuck.told()[0].commit
    assert commit is not None and not commit.clean
    stuck.drain("works")
    assert stuck.assert_account_closes().processed == 21


@pytest.mark.clock
def test_during_a_back_off_the_waiting_orders_stay_listed(shop: NewShop) -> None:
    """Nobody waits for a retry to come due: the order is in the metadata, with its attempts."""
    waiting = shop(RETRY_BACKOFF="25", RETRY_BACKOFF_MAX="25").create()  # short enough for metadata
    waiting.put([*rows(20), ("POISON-1", "C")])
    running = waiting.consume("poison_fails")
    eventually(lambda: "attempt 1 failed" in running.err, why=running.describe)
    eventually(lambda: len(waiting.results()) == 20, why=running.describe)
    stopped(running, within_s=5)

    assert_clean(waiting)
    commit = waiting.told()[0].commit
    assert commit is not None
    assert [(entry.offset, entry.attempts) for entry in commit.entries] == [(20, 1)]


def test_during_transactions_all_that_was_done_is_settled(shop: NewShop) -> None:
    """Stopped at full speed again and again: each call has its result, none is made twice."""
    busy = shop(CALL_S="0.002").create(partitions=2)
    busy.put(rows(1500))
    for goal in (200, 800):
        running = busy.consume("works")
        eventually(lambda goal=goal: len(busy.calls()) > goal, why=running.describe)  # type: ignore[misc]
        stopped(running)
        assert_clean(busy)
    busy.drain("works")

    assert len(busy.calls()) == 1500
    assert busy.assert_account_closes().processed == 1500


@LONG
def test_during_a_rebalance_it_leaves_at_once(strict_shop: NewShop) -> None:
    """A member that stops while another joins; the other has all partitions at once, without a time-out."""
    shop = strict_shop(CALL_S="0.002").create(partitions=4)
    shop.put(rows(1500))
    quiet = ("-X", "session.timeout.ms=45000")
    first = shop.consume("works", *quiet)
    eventually(lambda: len(shop.calls()) > 100, why=first.describe)
    second = shop.consume("works", *quiet)
    eventually(lambda: second.err or not second.running or len({c.pid for c in shop.calls()}) == 2, 15)
    stopped(first, within_s=10)
    eventually(lambda: second.err.count("is ready") >= 4, 10, second.describe)
    eventually(lambda: len({call.delivery for call in shop.calls()}) == 1500, 30, second.describe)
    stopped(second, within_s=8)

    assert_clean(shop)
    assert shop.assert_account_closes().processed == 1500


def test_a_client_that_never_leaves_its_group_keeps_the_process_no_longer_than_allowed(
    strict_shop: NewShop,
) -> None:
    """It shows where it hangs and ends; the order that was done is not called again."""
    stuck = strict_shop(SHUTDOWN_TIMEOUT="6").create()
    stuck.put(rows(20))
    running = stuck.start("consumer.py", "--handler", f"{ROOT}/tests/support/stuck_client.py:works", *MORTAL)
    eventually(lambda: [told.offset for told in stuck.told().values()] == [20], why=running.describe)
    began_s = time.monotonic()
    finished = running.stop()

    assert finished.code == 1, running.describe()
    assert time.monotonic() - began_s < 8
    assert "in close" in finished.err and "in _leave" in finished.err
    stuck.drain("works")
    assert stuck.calls() == []
