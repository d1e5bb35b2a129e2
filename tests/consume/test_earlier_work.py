"""Offsets that expired or were reset: the list of waiting orders is gone for good, but reported."""

from typing import Any, Dict, List, Optional

import pytest

from orderflow.consume.earlier_work import EarlierWork
from tests.conftest import NewShop
from tests.support.engine_tools import rows
from tests.support.pipeline import eventually
from tests.support.scripted_session import Life, ScriptedSession, Topic


def ledgers(*partitions: int) -> Any:
    """A session of a group that has its ledger of these of three partitions, at offset 0."""
    topic = Topic(partitions=3)
    life = Life(topic, lambda order: None, partitions=partitions)
    life.until(lambda: life.names().count("partition_ready") == len(partitions))
    return ScriptedSession(topic)


@pytest.mark.parametrize(
    ("dead", "listed", "committed", "expected"),
    [
        ({}, [], None, None),
        ({}, [], 40, None),
        ({2: 7}, [], None, "the dead letter of its offset 7"),
        ({2: 7}, [0, 1], 40, "the dead letter of its offset 7"),
        ({0: 7, 1: 9}, [], None, "dead letters of partitions 0, 1"),
        ({}, [0, 1], 40, "the ledger of partitions 0, 1"),
        ({}, [0, 1], None, None),
        ({0: 7}, [0, 1], None, None),
    ],
)
def test_what_shows_that_a_group_worked_before(
    dead: Dict[int, int], listed: List[int], committed: Optional[int], expected: Optional[str]
) -> None:
    """A new group has no trace, and neither has a partition that was added while the others went on."""
    work = EarlierWork(ledgers(*listed), lambda: dead)
    assert work.trace(2, committed) == expected


def test_the_traces_are_looked_for_once() -> None:
    """However many partitions come, and however often."""
    looked: List[int] = []

    def last_dead() -> Dict[int, int]:
        looked.append(1)
        return {}

    work = EarlierWork(ledgers(), last_dead)
    assert [work.trace(number, None) for number in (0, 1, 2, 0)] == [None] * 4
    assert looked == [1]


@pytest.mark.broker
def test_a_reset_that_takes_waiting_orders_along_is_told_at_the_start(shop: NewShop) -> None:
    """With the offsets and the numbers; a first start and a proper restart say nothing of it."""
    reset = shop(RETRY_BACKOFF="600", RETRY_BACKOFF_MAX="600").create()
    reset.put([*rows(20), ("POISON-1", "C1")])
    first = reset.consume("poison_is_rejected")
    eventually(lambda: ": dead-lettered" in first.err)
    first.stop()
    second = reset.consume("works")
    eventually(lambda: "is ready" in second.err)
    second.stop()
    assert "worked here before" not in first.err + second.err

    reset.rewind({0: 5})
    third = reset.consume("poison_is_rejected")
    eventually(lambda: "is ready" in third.err)
    assert "ERROR partition 0: the group has offset 5 without the list of waiting orders" in third.err
    assert "as the dead letter of its offset 20 shows" in third.err
    assert "every order from offset 5 to the end is called (16 offsets)" in third.err
