"""kill -9 at every gap of the engine's work, each on topics of its own, at its first and second passing."""

from typing import Callable

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
    shop = strict_shop(GUARANTEE=guarantee, RETRY_BACKOFF="0.1", MAX_RETRIES="30", CALL_S="0.001")
    shop.create(partitions=2).begin_trouble()
    shop.put(rows(300))
    if gap in READING_BACK:
        first = shop.die_at("after _settled", 15, "unlucky_ones_fail", *MORTAL, *INSTANCE)
        assert first.wait(40).code == -9
    deaths = 0
    for number in (1, 2):
        dying = shop.die_at(
            gap, number, "unlucky_ones_fail", *MORTAL, *INSTANCE, "--until-drained", TROUBLE="/nonexistent"
        )
        deaths += dying.wait(40).code == -9
    shop.drain("unlucky_ones_fail", *MORTAL, *INSTANCE, TROUBLE="/nonexistent")

    assert deaths >= 1
    taken = shop.assert_account_closes(repeats_allowed=guarantee == "at-least-once")
    assert taken.processed == taken.published


OF_PAGES = [
    *(("exactly-once", f"{side} {place}") for side in ("before", "after") for place in ("produce", "send")),
    *(("at-least-once", f"{side} {place}") for side in ("before", "after") for place in ("flush", "commit")),
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
    shop = strict_shop(GUARANTEE=guarantee, RETRY_BACKOFF="0.1", MAX_RETRIES="30", CALL_S="0.001", PAGED="1")
    shop.create(partitions=2).begin_trouble()
    shop.put(rows(300))
    first = shop.die_at("after _settled", 15, "most_fail", *MORTAL, *INSTANCE)
    assert first.wait(40).code == -9
    deaths = 0
    for number in (1, 2):
        dying = shop.die_at(
            gap, number, "most_fail", *MORTAL, *INSTANCE, "--until-drained", TROUBLE="/nonexistent"
        )
        deaths += dying.wait(40).code == -9
    shop.until_drained("most_fail", *MORTAL, *INSTANCE, TROUBLE="/nonexistent")

    assert deaths >= 1
    taken = shop.assert_account_closes(repeats_allowed=guarantee == "at-least-once")
    assert taken.processed == taken.published
