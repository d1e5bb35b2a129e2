"""Dead letters as a stock: what is unresolved, how old it is, and what is new."""

from typing import List, Optional, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderflow.dlq.letter import FailureKind
from orderflow.dlq.stock import METRICS, MOST_ROWS, OTHERS, Stock
from orderflow.model.metric import COUNTER, GAUGE, Metric

HOUR_MS = 3_600_000


def kind(number: int = 0, reason: str = "process.failed") -> FailureKind:
    """One kind of failure."""
    return FailureKind("ours", f"{number:016x}"[::-1], reason, reason.split(".")[0])


def filled(letters: int, kinds: int = 1) -> Stock:
    """A stock of so many, of these kinds in turn, one an hour."""
    stock = Stock()
    for number in range(letters):
        stock.add(0, 10 * number, number * HOUR_MS, kind(number % kinds), True)
    return stock


def unresolved(stock: Stock) -> int:
    """How many there are in all."""
    return sum(stock.figures(0, None).unresolved.values())


def test_what_is_resolved_leaves_the_stock_and_may_come_back() -> None:
    """Replayed or discarded, and a discard that is taken back; twice the same is once."""
    stock = filled(5)
    for is_open, left in ((False, 4), (False, 4), (True, 5), (True, 5), (False, 4)):
        stock.set_open(0, 20, is_open)
        assert unresolved(stock) == left
    assert stock.figures(0, None).held == 5


def test_what_is_not_held_cannot_be_resolved() -> None:
    """A marker's offset, one that is deleted, one to come, another partition."""
    stock = filled(5)
    for partition, offset in ((0, 25), (0, -1), (0, 1_000), (7, 20)):
        stock.set_open(partition, offset, False)

    assert unresolved(stock) == 5


def test_unresolved_ones_are_told_apart_by_stage_reason_and_group() -> None:
    """The group is what -g takes."""
    stock = Stock()
    stock.add(0, 1, 0, kind(1, "decode.framing"), True)
    stock.add(1, 1, 0, kind(2), True)
    stock.add(1, 2, 0, kind(2), True)
    stock.add(1, 3, 0, FailureKind("connect", "f" * 16), True)

    assert stock.figures(0, None).unresolved == {
        ("process", "process.failed", "20000000"): 2,
        ("decode", "decode.framing", "10000000"): 1,
        ("none", "none", "ffffffff"): 1,
    }


def test_the_age_is_that_of_the_oldest_unresolved_one() -> None:
    """In any partition; the resolved ones before it do not count."""
    stock = filled(5)
    stock.add(1, 0, 2 * HOUR_MS, kind(), True)
    now_ms = 10 * HOUR_MS
    assert stock.figures(now_ms, None).oldest_s == 10 * 3_600

    for offset in (0, 10, 20):
        stock.set_open(0, offset, False)
    assert stock.figures(now_ms, None).oldest_s == 8 * 3_600
    assert Stock().figures(now_ms, None).oldest_s == 0.0


@pytest.mark.parametrize(
    ("retention_ms", "expected"), [(12 * HOUR_MS, 7_200.0), (5 * HOUR_MS, 0.0), (-1, None)]
)
def test_the_first_expiry_is_known_from_the_retention(retention_ms: int, expected: Optional[float]) -> None:
    """Two hours from now, overdue, and never."""
    assert filled(5).figures(10 * HOUR_MS, retention_ms).expiry_s == expected
    assert filled(5).figures(10 * HOUR_MS, None).expiry_s is None
    assert Stock().figures(10 * HOUR_MS, retention_ms).expiry_s is None


@given(
    st.lists(st.integers(0, 20), min_size=1),
    st.lists(st.tuples(st.integers(0, 20), st.booleans())),
    st.integers(0, 20),
)
def test_the_oldest_is_found_in_whatever_order_they_came(
    times_h: List[int], acts: List[Tuple[int, bool]], gone: int
) -> None:
    """An import brings older ones behind newer ones; then some are resolved, reopened and deleted."""
    stock, now_ms = Stock(), 100 * HOUR_MS
    is_open = dict.fromkeys(range(len(times_h)), True)
    for offset, at_h in enumerate(times_h):
        stock.add(0, offset, at_h * HOUR_MS, kind(), True)
    for offset, opens in acts:
        stock.set_open(0, offset, opens)
        is_open.update({offset: opens} if offset in is_open else {})
        stock.figures(now_ms, None)
    stock.drop_before(0, gone)
    left = [times_h[offset] for offset, opens in is_open.items() if opens and offset >= gone]

    found = stock.figures(now_ms, None).oldest_s

    assert found == ((100 - min(left)) * 3600.0 if left else 0.0)


def test_what_is_deleted_unresolved_is_lost_to_everybody() -> None:
    """And counted; what was resolved before may go."""
    stock = filled(5)
    stock.follow()
    stock.set_open(0, 0, False)
    stock.drop_before(0, 25)
    figures = stock.figures(0, None)

    assert (figures.held, figures.expired, unresolved(stock)) == (2, 2, 2)
    stock.drop_before(0, 25)
    stock.drop_before(3, 25)
    assert stock.figures(0, None).expired == 2


def test_only_what_comes_later_is_new() -> None:
    """What the topic held at the start is no news."""
    stock = filled(5, kinds=2)
    stock.follow()
    stock.add(0, 100, 0, kind(1), True)
    stock.add(0, 101, 0, kind(7), True)
    stock.add(0, 102, 0, kind(7), True)

    figures = stock.figures(0, None)

    assert (figures.arrived, figures.new_kinds) == (3, 1)


def test_many_kinds_do_not_fill_the_memory_of_prometheus() -> None:
    """The most frequent ones are told apart, the rest is counted together, and none is left out."""
    stock = filled(3_000, kinds=1_000)
    stock.add(1, 0, 0, kind(5), True)
    figures = stock.figures(0, None)

    assert len(figures.unresolved) == MOST_ROWS + 1
    assert sum(figures.unresolved.values()) == 3_001
    assert max(figures.unresolved, key=lambda labels: figures.unresolved[labels]) == (OTHERS,) * 3
    assert ("process", "process.failed", "50000000") in figures.unresolved


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_the_catalogue_keeps_the_conventions(metric: Metric) -> None:
    """Names by kind, and a value for each label."""
    figures = filled(5).figures(10 * HOUR_MS, HOUR_MS)

    assert metric.kind in (COUNTER, GAUGE)
    assert metric.name.startswith("orders_dead_letters")
    assert metric.name.endswith("_total") == (metric.kind == COUNTER)
    assert all(len(labels) == len(metric.labels) for labels, _ in metric.read(figures))
    assert list(metric.read(figures))
