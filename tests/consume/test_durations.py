"""How long calls took: each call counts once, and a long one does not vanish among short ones."""

from typing import List

import pytest

from orderflow.consume.durations import (
    FAILED,
    POSTPONED,
    REJECTED,
    SUCCEEDED,
    CallTimes,
    Durations,
)
from orderflow.errors import InvalidOrder, RegistryUnavailable, RejectOrder, RetryLater
from orderflow.model.metric import BOUNDS_S, Histogram


def bucket(seconds: float) -> int:
    """The place of the bucket in which a call of this length has to be."""
    return sum(seconds > bound for bound in BOUNDS_S)


def test_a_bucket_holds_what_is_as_long_as_its_bound() -> None:
    """As Prometheus counts: `le` means less or equal; the last bucket takes the rest."""
    durations = Durations(SUCCEEDED)
    for seconds in (0.0, 0.0001, 0.00011, 1e9):
        durations.add(SUCCEEDED, seconds)

    counts = durations.histograms()[SUCCEEDED].counts

    assert (counts[0], counts[1], counts[-1], sum(counts)) == (2, 1, 1, 4)


def test_a_copy_stands_still() -> None:
    """What is shown does not change under whoever reads it."""
    durations = Durations(SUCCEEDED)
    durations.add(SUCCEEDED, 1.0)
    before = durations.histograms()
    durations.add(SUCCEEDED, 1.0)

    assert sum(before[SUCCEEDED].counts) == 1


def test_one_long_call_is_told_from_many_short_ones() -> None:
    """The clock is read once for 64 short calls; a second's call among them is one call of a second."""
    times = CallTimes()
    times.succeeded(64, 64 * 0.000_01)
    times.succeeded(64, 63 * 0.000_01 + 1.0)

    found = times.histograms()[SUCCEEDED]

    assert found.counts[bucket(1.0)] == 1
    assert sum(found.counts) == 128
    assert found.sum_s == pytest.approx(127 * 0.000_01 + 1.0)


def test_a_batch_is_timed_in_laps() -> None:
    """Each call is counted once, by its outcome; the failed one has the time that passed before it failed."""
    times = CallTimes()
    lap = times.lap(10.0)
    lap.passed(1, 10.2)
    lap.failed(ValueError("no"), 10.9)
    lap.passed(1, 10.9)
    lap.passed(2, 11.1)

    found = times.histograms()

    assert found[SUCCEEDED].counts[bucket(0.2)] == 2
    assert found[FAILED].counts[bucket(0.7)] == 1
    assert sum(each.sum_s for each in found.values()) == pytest.approx(1.1)


@pytest.mark.parametrize(
    ("error", "outcomes"),
    [
        (ValueError(), [FAILED]),
        (KeyboardInterrupt(), [FAILED]),
        (RejectOrder(), [REJECTED]),
        (InvalidOrder("x", "validate.price"), [REJECTED]),
        (RetryLater(), [POSTPONED]),
        (RegistryUnavailable("down"), []),
    ],
)
def test_outcomes_of_calls(error: BaseException, outcomes: List[str]) -> None:
    """An order whose schema could not be looked up was not called."""
    times = CallTimes()
    times.failed(error, 0.1)

    assert [name for name, each in times.histograms().items() if any(each.counts)] == outcomes


def test_histograms_add_up() -> None:
    """Those of several processes are one."""
    one, other = Durations(SUCCEEDED), Durations(SUCCEEDED)
    one.add(SUCCEEDED, 0.2, 3)
    other.add(SUCCEEDED, 0.2)
    together = one.histograms()[SUCCEEDED].plus(other.histograms()[SUCCEEDED])

    assert together.counts[bucket(0.2)] == 4
    assert together.sum_s == pytest.approx(0.8)
    assert together.plus(Histogram()) == together
