"""kill -9 at every gap of the engine's work, each on topics of its own, at its first and second passing."""

from typing import Callable, Dict

import pytest

from tests.broker.test_engine_kills import GUARANTEES, gaps
from tests.support.engine_tools import INSTANCE, MORTAL, Shop, rows

pytestmark = [pytest.mark.chaos, pytest.mark.broker]
NewShop = Callable[..., Shop]
READING_BACK = ("before poll", "after poll")
"""Of the recovery, which is only asked where orders waited when the last owner died."""
EVERY_GAP = [(guarantee, gap) for guarantee in GUARANTEES for gap in gaps(guarantee)]


@pytest.mark.parametrize(("guarantee", "gap"), EVERY_GAP, ids=lambda value: value.replace(" ", "-"))
def test_a_death_at_a_gap_loses_nothing(strict_shop: NewShop, guarantee: str, gap: str) -> None:
    """Killed at the first and at the second passing: no order is lost, none has two fates (exactly-once)."""
    shop = troubled(strict_shop(**settings_of(guarantee)))
    if gap in READING_BACK:
        die_at_work(shop, "unlucky_ones_fail")
    die_at_both_passings(shop, gap, "unlucky_ones_fail")
    shop.drain("unlucky_ones_fail", *MORTAL, *INSTANCE, TROUBLE="/nonexistent")

    assert_each_was_processed(shop, guarantee)


OF_PAGES = [
    *(("exactly-once", f"{side} {place}") for side in ("before", "after") for place in ("produce", "send")),
    *(
        ("at-least-once", f"{side} {place}")
        for side in ("before", "after")
        for place in ("deliver", "commit")
    ),
    *(
        (guarantee, gap)
        for guarantee in GUARANTEES
        for gap in ("before start", "after start", "after poll", "after _commit_open", "after _settled")
    ),
    ("exactly-once", "before commit_transaction"),
    ("exactly-once", "after commit_transaction"),
]


@pytest.mark.parametrize(("guarantee", "gap"), OF_PAGES, ids=lambda value: value.replace(" ", "-"))
def test_a_death_at_a_gap_loses_nothing_that_a_page_lists(
    strict_shop: NewShop, guarantee: str, gap: str
) -> None:
    """The same where whatever waits is on a page: killed twice at the gap, and once before it."""
    shop = troubled(strict_shop(**settings_of(guarantee), PAGED="1"))
    die_at_work(shop, "most_fail")
    die_at_both_passings(shop, gap, "most_fail")
    shop.until_drained("most_fail", *MORTAL, *INSTANCE, TROUBLE="/nonexistent")

    assert_each_was_processed(shop, guarantee)


def settings_of(guarantee: str) -> Dict[str, str]:
    """Quick retries, as many as it takes."""
    return {"GUARANTEE": guarantee, "RETRY_BACKOFF": "0.1", "MAX_RETRIES": "30", "CALL_S": "0.001"}


def troubled(shop: Shop) -> Shop:
    """With 300 orders, some of which fail until the trouble ends."""
    shop.create(partitions=2).begin_trouble()
    shop.put(rows(300))
    return shop


def die_at_work(shop: Shop, handler: str) -> None:
    """A first life that ends amid its work, so that the next one has something to read back."""
    first = shop.die_at("after _settled", 15, handler, *MORTAL, *INSTANCE)
    assert first.wait(40).code == -9


def die_at_both_passings(shop: Shop, gap: str, handler: str) -> None:
    """Two lives, one to be killed where it first passes the gap, one at the second time; one gets there."""
    deaths = 0
    for number in (1, 2):
        dying = shop.die_at(
            gap, number, handler, *MORTAL, *INSTANCE, "--until-drained", TROUBLE="/nonexistent"
        )
        deaths += dying.wait(40).code == -9
    assert deaths >= 1


def assert_each_was_processed(shop: Shop, guarantee: str) -> None:
    """No order is lost, and with exactly-once none has two fates."""
    taken = shop.assert_account_closes(repeats_allowed=guarantee == "at-least-once")
    assert taken.processed == taken.published
