"""Whether owners did what they were asked is told by what they commit, and by nothing that was so before."""

from typing import List, Optional

import pytest

from orderflow.dlq.taken_up import Account, Asked, Stated, accounts, total
from orderflow.model.command import GIVE_UP, RETRY_NOW
from orderflow.model.commit_metadata import Commit, Entry, PageName

NOW_S = 1_764_000_000
ORDERS = [Asked(0, 5, 1), Asked(0, 7, 2)]


def stated(entries: List[Entry], at_s: int = NOW_S, offset: Optional[int] = 5, until: int = 20) -> Stated:
    """A commit that lists these."""
    return Stated(offset, Commit(until, entries, False, False, None, at_s))


BEFORE = stated([Entry(5, 1, 600), Entry(7, 2, 600)], NOW_S - 60)


def account(do: str, now: Stated, before: Stated = BEFORE) -> Account:
    """Of the one partition."""
    return accounts(do, ORDERS, {0: before}, {0: now}, NOW_S * 1000)[0]


def test_orders_that_are_due_by_now_are_tried() -> None:
    """So are those that are called again, and those that are done."""
    assert account(RETRY_NOW, stated([Entry(5, 1, 0), Entry(7, 2, 600)])) == Account(2, 1, 0)
    assert account(RETRY_NOW, stated([Entry(5, 2, 600), Entry(7, 2, 600)])) == Account(2, 1, 0)
    assert account(RETRY_NOW, stated([Entry(5, 1, 600, announced=True), Entry(7, 2, 9)])).done == 1
    assert account(RETRY_NOW, stated([])) == Account(2, 2, 0)


def test_orders_that_wait_no_more_are_given_up() -> None:
    """Being due is not enough, and one that was called meanwhile waits again."""
    assert account(GIVE_UP, stated([Entry(7, 2, 600)])) == Account(2, 1, 0)
    assert account(GIVE_UP, stated([Entry(5, 1, 0), Entry(7, 3, 600)])) == Account(2, 0, 1)
    assert account(GIVE_UP, stated([])) == Account(2, 2, 0)


@pytest.mark.parametrize("do", [RETRY_NOW, GIVE_UP])
def test_what_was_committed_before_tells_nothing(do: str) -> None:
    """Orders that were overdue already, because nobody runs, are not tried."""
    overdue = stated([Entry(5, 1, 0), Entry(7, 2, 0)], NOW_S - 6_000)

    assert account(do, overdue, overdue) == Account(2, 0, 0)


@pytest.mark.parametrize("do", [RETRY_NOW, GIVE_UP])
@pytest.mark.parametrize(
    "now",
    [
        Stated(None, None),
        Stated(9, None),
        Stated(5, Commit(20, [], False, False, None, NOW_S, page=PageName("orders-waiting", 0, 1))),
        stated([], offset=0, until=3),
    ],
    ids=["no commit", "foreign", "the page is gone", "reset"],
)
def test_a_list_that_is_not_known_proves_nothing(do: str, now: Stated) -> None:
    """That an order is not in it does not mean that it is done."""
    assert account(do, now) == Account(2, 0, 0)


def test_partitions_are_told_apart() -> None:
    """One whose owner has not answered does not hide another that has."""
    orders = [Asked(0, 5, 1), Asked(1, 5, 1), Asked(2, 5, 1)]
    before = {0: BEFORE, 1: BEFORE}

    found = accounts(GIVE_UP, orders, before, {0: BEFORE, 1: stated([])}, NOW_S * 1000)

    assert {number: one.done for number, one in found.items()} == {0: 0, 1: 1, 2: 0}
    assert total(found.values()) == Account(3, 1, 0)


class Looked(List[Entry]):
    """A list that counts how often it is compared, entry by entry."""

    compared = 0
    __hash__ = None

    def __eq__(self, other: object) -> bool:
        """As of any list."""
        type(self).compared += 1
        return super().__eq__(other)


def test_a_list_is_compared_once_however_many_orders_it_has() -> None:
    """Or a command for tens of thousands of orders would take minutes to look once."""
    entries = [Entry(offset, 1, 600) for offset in range(5, 300)]
    orders = [Asked(0, entry.offset, 1) for entry in entries]
    before, now = (stated(Looked(entries), until=300) for _ in range(2))

    assert accounts(RETRY_NOW, orders, {0: before}, {0: now}, NOW_S * 1000)[0].left == len(orders)
    assert Looked.compared == 1
