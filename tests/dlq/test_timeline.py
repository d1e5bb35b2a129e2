"""When something happened, in few numbers, and the span of an incident."""

from typing import List, Optional, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderflow.dlq.timeline import MOST_BINS, Timeline, Window, incident

HOUR_MS = 3_600_000


def timeline(*times: int) -> Timeline:
    one = Timeline()
    for at_ms in times:
        one.add(at_ms)
    return one


@pytest.mark.parametrize(("at_ms", "part"), [(99, None), (100, 0), (149, 0), (150, 1), (199, 1), (200, None)])
def test_window_has_equal_parts(at_ms: int, part: Optional[int]) -> None:
    """A time falls in one part, or outside."""
    assert Window(100, 200, 2).part(at_ms) == part


@given(st.lists(st.integers(-(2**62), 2**62), max_size=300))
def test_nothing_is_lost_and_memory_is_bounded(times: List[int]) -> None:
    """However many times there are, and however far apart."""
    found = list(timeline(*times).times())

    assert sum(number for _, number in found) == len(times)
    assert len(found) <= MOST_BINS


def test_an_incident_is_told_in_minutes_although_one_died_last_month() -> None:
    """A burst keeps its shape beside a straggler: times far apart take no room."""
    burst = [30 * 24 * HOUR_MS + minute * 60_000 for minute in range(60)]
    parts = timeline(0, *burst * 10).parts(Window(burst[0], burst[-1] + 60_000, 12))

    assert sum(parts) == 600
    assert all(40 <= part <= 60 for part in parts)


@pytest.mark.parametrize(
    ("times", "span"),
    [
        ([HOUR_MS] * 10, (1, 1)),
        ([HOUR_MS] * 500 + [5 * HOUR_MS] * 500, (1, 5)),
        ([0] * 5 + [HOUR_MS] * 500 + [5 * HOUR_MS] * 500 + [2**61] * 5, (1, 5)),
        ([HOUR_MS, 9 * HOUR_MS], (1, 9)),
    ],
)
def test_an_incident_leaves_out_the_few_that_are_far_away(times: List[int], span: Tuple[int, int]) -> None:
    """A dead letter of 1970, or of a wrong clock, does not flatten the chart."""
    window = incident([timeline(*times)], 12)

    assert window is not None
    assert (round(window.begin_ms / HOUR_MS), round(window.end_ms / HOUR_MS)) == span


def test_without_a_time_there_is_no_incident() -> None:
    """Nothing is guessed."""
    assert incident([Timeline()], 12) is None
