"""Orders that kill or hang the process: found, dead-lettered undecoded, and nobody else pays for them."""

from typing import Callable, Dict, List

import pytest

from tests.support.engine_tools import INSTANCE, MORTAL, Shop, first_errors, rows
from tests.support.pipeline import eventually, reason

pytestmark = pytest.mark.broker
NewShop = Callable[..., Shop]
LONG = pytest.mark.chaos
"""Left to `make chaos`, so that `make test` stays short."""
KILLERS = [
    ("poison_crashes", "1"),
    pytest.param("poison_kills", "4", marks=LONG),
    pytest.param("poison_kills", "1", marks=LONG),
    pytest.param("poison_crashes", "4", marks=LONG),
]


@pytest.mark.parametrize(("handler", "workers"), KILLERS)
def test_a_killer_is_found_and_its_neighbours_keep_their_budget(
    strict_shop: NewShop, handler: str, workers: str
) -> None:
    """The first order ever and one in the middle: dead-lettered within the budget and one uncounted death."""
    deadly = strict_shop(MAX_RETRIES="1", RETRY_BACKOFF="0.1", WORKERS=workers).create()
    deadly.put([("POISON-1", "C"), *rows(150), ("POISON-2", "C"), *rows(150, prefix="B")])
    lived = deadly.until_drained(handler, *MORTAL, *INSTANCE)

    assert len(lived) - 1 <= 2 * 3, first_errors(lived)
    taken = deadly.assert_account_closes()
    assert (taken.processed, taken.dead_lettered) == (300, 2)
    assert [reason(letter) for letter in deadly.dead_letters()] == ["process.killed_consumer"] * 2
    assert max(innocent_attempts(deadly)) == 1


def innocent_attempts(shop: Shop) -> List[int]:
    """The highest attempt number that each order which is no killer was called with."""
    highest: Dict[str, int] = {}
    for call in shop.calls():
        if not call.key.startswith("POISON"):
            highest[call.key] = max(call.attempt, highest.get(call.key, 0))
    return list(highest.values())


def test_killers_of_two_kinds_in_two_partitions_are_both_found(strict_shop: NewShop) -> None:
    """They take turns to end the process, and each death must not wipe out what is known of the other."""
    shop = strict_shop(MAX_RETRIES="1", HANDLER_TIMEOUT="1", WORKERS="4").create(partitions=3)
    for partition, poison in enumerate(("POISON-CRASHES", "POISON-HANGS")):
        shop.put([*rows(20, prefix=f"A{partition}-"), (poison, "C")], partition=partition)
        shop.put(rows(20, prefix=f"B{partition}-"), partition=partition)
    lived = shop.until_drained("poisons_crash_and_hang", *MORTAL, *INSTANCE)

    assert len(lived) - 1 <= 2 * 3, first_errors(lived)
    taken = shop.assert_account_closes()
    assert (taken.processed, taken.dead_lettered) == (80, 2)
    assert [reason(letter) for letter in shop.dead_letters()] == ["process.killed_consumer"] * 2
    assert max(innocent_attempts(shop)) == 1


@LONG
@pytest.mark.parametrize("workers", ["1", "4"])
def test_a_handler_that_hangs_is_a_killer_too(strict_shop: NewShop, workers: str) -> None:
    """HANDLER_TIMEOUT says so and ends the process with 1; the open mark finds the order."""
    hanging = strict_shop(MAX_RETRIES="0", HANDLER_TIMEOUT="1", WORKERS=workers).create()
    hanging.put([*rows(50), ("POISON-1", "C"), *rows(50, prefix="B")])
    lived = hanging.until_drained("poison_hangs", *MORTAL, *INSTANCE)

    assert {life.code for life in lived[:-1]} == {1}
    assert all("HANDLER_TIMEOUT" in life.err for life in lived[:-1])
    taken = hanging.assert_account_closes()
    assert (taken.processed, taken.dead_lettered) == (100, 1)
    assert [reason(letter) for letter in hanging.dead_letters()] == ["process.killed_consumer"]


@LONG
def test_a_normal_crash_costs_no_order_its_budget(strict_shop: NewShop) -> None:
    """Killed from outside amid its work: all are processed, none was called with a second attempt."""
    crashed = strict_shop(CALL_S="0.001", WORKERS="4").create()
    crashed.put(rows(1500))
    running = crashed.consume("works", *MORTAL, *INSTANCE)
    eventually(lambda: len(crashed.calls()) > 300, why=running.describe)
    running.kill()
    crashed.drain("works", *MORTAL, *INSTANCE)

    assert crashed.assert_account_closes().processed == 1500
    assert max(innocent_attempts(crashed)) == 1
