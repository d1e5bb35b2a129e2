"""How long calls and settlements took: counts by bucket, as a histogram needs them.

Plain numbers, written by the thread that measures. Whoever shows them takes a copy.
"""

from bisect import bisect_left
from typing import Dict, List, Optional

from orderflow.errors import OrderError, RegistryUnavailable, RetryLater, is_a, is_permanent
from orderflow.model.metric import BOUNDS_S, Histogram

SUCCEEDED, FAILED, REJECTED, POSTPONED = "succeeded", "failed", "rejected", "postponed"
"""Outcomes of a call: done, to be retried or given up, not worth a retry, asked for later by the handler."""


BUCKETS = len(BOUNDS_S) + 1
LAP_S = 0.0002
"""Calls shorter than this are timed together, since to time each would cost up to a twentieth of it."""


class Durations:
    """Durations by outcome."""

    def __init__(self, *outcomes: str) -> None:
        """There are these outcomes, which are told from the start, also before there is one."""
        self._counts: Dict[str, List[int]] = {name: [0] * BUCKETS for name in outcomes}
        self._sums_s: Dict[str, float] = dict.fromkeys(outcomes, 0.0)

    def add(self, outcome: str, seconds: float, times: int = 1) -> None:
        """Something took this long, this many times."""
        self._counts[outcome][bisect_left(BOUNDS_S, seconds)] += times
        self._sums_s[outcome] += seconds * times

    def histograms(self) -> Dict[str, Histogram]:
        """A copy, by outcome."""
        sums_s = dict(self._sums_s)
        return {name: Histogram(tuple(self._counts[name]), sum_s) for name, sum_s in sums_s.items()}


class CallTimes(Durations):
    """How long handler calls took, decoding and validation included."""

    def __init__(self) -> None:
        super().__init__(SUCCEEDED, FAILED, REJECTED, POSTPONED)
        self._usual_s = 0.0
        """What a call of the last series took on average."""

    def failed(self, error: BaseException, seconds: float) -> None:
        """A call raised this."""
        outcome = outcome_of(error)
        if outcome is not None:
            self.add(outcome, seconds)

    def succeeded(self, calls: int, seconds: float) -> None:
        """A series of calls took this long together.

        If it took longer than usual, a single long call in it is the likely reason, and must not vanish in
        the average.
        """
        if calls <= 0:
            return
        mean_s = seconds / calls
        if calls > 1:
            usual_s = min(self._usual_s, mean_s)
            self.add(SUCCEEDED, usual_s, calls - 1)
            self.add(SUCCEEDED, max(0.0, seconds - usual_s * (calls - 1)))
        else:
            self.add(SUCCEEDED, seconds)
        self._usual_s = mean_s

    def lap(self, now_s: float) -> "Lap":
        """Begin to time a batch of calls."""
        return Lap(self, now_s)


class Lap:
    """Times a batch of calls that are made one after the other."""

    def __init__(self, times: CallTimes, now_s: float) -> None:
        self._times = times
        self._at_s = now_s
        self._done = 0

    def passed(self, done: int, now_s: float) -> float:
        """So many calls of the batch have succeeded by now. Returns when to say so again, at the earliest."""
        self._times.succeeded(done - self._done, now_s - self._at_s)
        self._done, self._at_s = done, now_s
        return now_s + LAP_S

    def skip(self, now_s: float) -> None:
        """The time since the clock was last read belongs to a call that is timed by itself."""
        self._at_s = now_s

    def failed(self, error: BaseException, now_s: float) -> None:
        """A call raised this; calls that succeeded since the clock was last read had their share."""
        self._times.failed(error, now_s - self._at_s)
        self._at_s = now_s


def outcome_of(error: BaseException) -> Optional[str]:
    """The outcome of a call that raised this; None if the handler was not called for lack of a schema."""
    if not is_a(error, OrderError):
        return None if is_a(error, RegistryUnavailable) else FAILED
    if is_a(error, RetryLater):
        return POSTPONED
    return REJECTED if is_permanent(error) else FAILED
