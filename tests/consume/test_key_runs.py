"""How far a key runs before a settlement, and which calls keep a partition from being restored."""

from typing import List

import pytest

from orderflow.consume.caution import KEY_RUN
from orderflow.consume.key_runs import KeyRuns
from orderflow.consume.ledger import Ledger
from orderflow.consume.orphans import Orphans
from orderflow.consume.partition import Partition, Task


def tasks(number: int, key: bytes, count: int) -> List[Task]:
    """The orders of one key, one behind the other."""
    partition = Partition(number, Ledger(0), end=count)
    return [Task(partition, Ledger(0).admit("record", offset, key)) for offset in range(count)]


def test_a_key_runs_so_far_and_then_waits_for_a_settlement() -> None:
    """The first one beyond is held back and handed out again; then the key may run as far again."""
    runs = KeyRuns()
    first, second = tasks(0, b"k", KEY_RUN + 1), tasks(0, b"k", KEY_RUN + 1)

    assert [runs.hold_back(task) for task in first] == [False] * KEY_RUN + [True]
    assert runs
    assert runs.settled() == first[-1:]
    assert not runs
    assert [runs.hold_back(task) for task in second] == [False] * KEY_RUN + [True]


@pytest.mark.parametrize(("number", "key"), [(0, b"other"), (1, b"k")])
def test_another_key_or_partition_runs_on(number: int, key: bytes) -> None:
    """Each is counted apart."""
    runs = KeyRuns()
    for task in tasks(0, b"k", KEY_RUN + 5):
        runs.hold_back(task)

    assert not runs.hold_back(tasks(number, key, 1)[0])


def test_a_partition_has_orphans_until_all_its_calls_have_ended() -> None:
    """Those of a partition that is given up twice add up; one without running calls has none."""
    orphans, busy, idle = Orphans(), Partition(1, Ledger(0), end=0), Partition(2, Ledger(0), end=0)
    busy.call_begins()
    for partition in (busy, busy, idle):
        orphans.give_up(partition)

    assert orphans.partitions == {1}
    orphans.ended(1)
    assert orphans.partitions == {1}
    orphans.ended(1)
    assert orphans.partitions == set()
