"""Deaths that no order caused, and several that orders did: what caution costs, and that it ends."""

import random
from typing import Callable, List, Tuple

import pytest

from tests.support.engine_tools import INSTANCE, MORTAL, Shop, first_errors
from tests.support.pipeline import Call, Running, eventually, reason

pytestmark = [pytest.mark.chaos, pytest.mark.broker]
NewShop = Callable[..., Shop]
FULL_SPEED_WITHIN_S = 5.0


def busy_keys(orders: int) -> List[Tuple[str, str]]:
    """Orders of some 4,000 customers, of whom 150 place four of five."""
    chance = random.Random(7)
    few = [chance.randrange(150 if chance.random() < 0.8 else 4000) for _ in range(orders)]
    return [(f"A{number:06}", f"C{customer}") for number, customer in enumerate(few)]


def killed_after(shop: Shop, running: Running, calls: int) -> List[Call]:
    """Let it make that many calls, then kill -9; returns the calls it made."""
    before = len(shop.calls())
    eventually(lambda: len(shop.calls()) >= before + calls, 60, running.describe)
    running.kill()
    return shop.calls()[before:]


def rate(calls: List[Call]) -> float:
    """Calls a second."""
    return len(calls) / (calls[-1].at_s - calls[0].at_s)


@pytest.mark.parametrize(
    ("workers", "call_s", "kills"), [("64", "0.01", 1), ("64", "0.01", 3), ("64", "0.1", 1), ("1", "0", 1)]
)
def test_crashes_that_no_order_caused_cost_seconds(
    strict_shop: NewShop, workers: str, call_s: str, kills: int
) -> None:
    """Killed amid its work, then amid its caution: the next process is at full speed within 5 s."""
    shop = strict_shop(WORKERS=workers, CALL_S=call_s).create(partitions=3)
    shop.put(busy_keys(20_000), key="customer_id")
    usual = killed_after(shop, shop.consume("works", *MORTAL, *INSTANCE), 3_000)
    for after in (40, 10, 2)[:kills]:
        killed_after(shop, shop.consume("works", *MORTAL, *INSTANCE), after)
    before = len(shop.calls())
    last = shop.consume("works", "--until-drained", *MORTAL, *INSTANCE)
    assert last.wait(120).code == 0, last.describe()

    calls = shop.calls()[before:]
    took_s = calls[-1].at_s - calls[0].at_s
    told = f"{rate(usual):.0f}/s before, then {len(calls)} calls in {took_s:.1f} s"
    print(told)
    assert took_s < FULL_SPEED_WITHIN_S + 2 * len(calls) / rate(usual), told
    taken = shop.assert_account_closes()
    assert (taken.processed, taken.dead_lettered) == (20_000, 0)


@pytest.mark.parametrize("workers", ["1", "8"])
def test_killers_of_two_kinds_in_two_partitions_are_both_found(strict_shop: NewShop, workers: str) -> None:
    """One segfaults, one hangs: they take turns, and each is found within its budget and one call."""
    shop = strict_shop(WORKERS=workers, HANDLER_TIMEOUT="4", MAX_RETRIES="3").create(partitions=3)
    for partition in range(3):
        shop.put([(f"P{partition}-{number:03}", "C") for number in range(100)], partition=partition)
    shop.put([("POISON-CRASHES", "C")], partition=1)
    shop.put([("POISON-HANGS", "C")], partition=2)
    for partition in range(3):
        shop.put([(f"Q{partition}-{number:03}", "C") for number in range(100)], partition=partition)
    lived = shop.until_drained("poisons_crash_and_hang", *MORTAL, *INSTANCE)

    assert len(lived) - 1 <= 2 * 5, first_errors(lived)
    taken = shop.assert_account_closes()
    assert (taken.processed, taken.dead_lettered) == (600, 2)
    assert [reason(letter) for letter in shop.dead_letters()] == ["process.killed_consumer"] * 2
