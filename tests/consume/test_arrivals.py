"""How long the oldest unseen order has been there, told from the ends of the log alone."""

import pytest

from orderflow.consume.arrivals import MOST_ENDS, Arrivals

NOON_S = 1_764_000_000.0


def age_s(arrivals: Arrivals, next_offset: int, now_s: float) -> float:
    """The age in partition 0; the time of day goes with the clock."""
    return arrivals.age_s(0, next_offset, now_s, NOON_S + now_s)


def test_where_nothing_is_unseen_there_is_no_age() -> None:
    """At the end, beyond the known end, and where no end is known."""
    arrivals = Arrivals()
    assert age_s(arrivals, 7, 100.0) == 0.0
    arrivals.end_is(0, 7, 1.0)

    assert age_s(arrivals, 7, 100.0) == 0.0
    assert age_s(arrivals, 9, 100.0) == 0.0


def test_an_order_came_when_the_end_first_passed_it() -> None:
    """However far the end has moved since, and however long nothing has been taken in."""
    arrivals = Arrivals()
    for at_s, end in ((0.0, 10), (2.0, 10), (4.0, 15), (6.0, 4_000), (3_600.0, 9_000)):
        arrivals.end_is(0, end, at_s)

    assert age_s(arrivals, 10, 3_600.0) == pytest.approx(3_596.0)
    assert age_s(arrivals, 15, 3_600.0) == pytest.approx(3_594.0)
    assert age_s(arrivals, 4_000, 3_600.0) == pytest.approx(0.0)


def test_an_idle_partition_makes_no_order_old() -> None:
    """An order that comes after a quiet night is not as old as the night."""
    arrivals = Arrivals()
    for at_s in range(0, 30_000, 2):
        arrivals.end_is(0, 10, float(at_s))
    arrivals.end_is(0, 11, 30_002.0)

    assert age_s(arrivals, 10, 30_003.0) == pytest.approx(1.0)


def test_what_was_there_before_is_as_old_as_its_timestamp() -> None:
    """At the start of a consumer with a backlog of a day."""
    arrivals = Arrivals()
    arrivals.end_is(0, 1_000, 50.0)
    assert age_s(arrivals, 3, 60.0) == pytest.approx(10.0)  # all that is known so far

    arrivals.record_at(0, 2, NOON_S - 86_400)

    assert age_s(arrivals, 3, 60.0) == pytest.approx(86_460.0)


@pytest.mark.parametrize("stamp_s", [NOON_S + 1e9, 0.0001])
def test_a_wrong_clock_of_a_producer_does_no_harm_once_arrivals_are_known(stamp_s: float) -> None:
    """What was seen to arrive needs no timestamp."""
    arrivals = Arrivals()
    arrivals.record_at(0, 9, stamp_s)
    arrivals.end_is(0, 10, 0.0)
    arrivals.end_is(0, 12, 2.0)

    assert age_s(arrivals, 10, 7.0) == pytest.approx(5.0)


def test_memory_is_bounded_and_ages_stay_nearly_right() -> None:
    """A partition that nothing is taken from for a day, while it grows."""
    arrivals = Arrivals()
    for at_s in range(0, 86_400, 20):
        arrivals.end_is(0, at_s + 20, float(at_s))

    assert len(arrivals._ends[0]) <= MOST_ENDS
    assert age_s(arrivals, 20, 86_400.0) == pytest.approx(86_380.0)
    for next_offset in (10_000, 50_000, 86_000):
        assert age_s(arrivals, next_offset, 86_400.0) == pytest.approx(86_400 - next_offset, rel=0.15)


def test_partitions_that_are_gone_are_forgotten() -> None:
    """Their next owner knows; we may get them back much later."""
    arrivals = Arrivals()
    arrivals.end_is(0, 5, 0.0)
    arrivals.record_at(0, 1, NOON_S)
    arrivals.forget_all_but({1})

    assert age_s(arrivals, 1, 1_000.0) == 0.0


def test_a_log_that_loses_its_end_is_believed() -> None:
    """After an unclean election, or of a topic that was deleted and created again."""
    arrivals = Arrivals()
    arrivals.end_is(0, 50, 0.0)
    arrivals.end_is(0, 10, 2.0)

    assert age_s(arrivals, 20, 4.0) == 0.0
