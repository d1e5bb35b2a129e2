"""How much retries may do while there are fresh orders: a share of the handlers' time. Pure."""

from typing import Optional

DUE_SHARE = 0.3
"""The share of handler time that retries may take while there are fresh orders."""
LONGEST_S = 0.05
"""How long retries are called at a time while no fresh order is there: one may arrive."""
LATELY_S = 1.0
"""With workers, retries keep to their share for so long after the last fresh order."""
MEMORY = 16
"""About how many calls a mean goes back."""


class Rest:
    """Without workers: after retries, it is the fresh orders' turn until the shares are right."""

    def __init__(self) -> None:
        self._until_s = 0.0

    def is_over(self, now_s: float) -> bool:
        """Whether retries may be called although there are fresh orders."""
        return now_s >= self._until_s

    def begin(self, took_s: float, now_s: float) -> None:
        """Retries took that long: one call may take longer than their share of a slice."""
        self._until_s = now_s + took_s * (1 - DUE_SHARE) / DUE_SHARE


class WorkerShare:
    """With workers: how many of the calls in flight may be retries."""

    def __init__(self, workers: int, most_in_flight: int) -> None:
        self._workers = workers
        self._most_in_flight = most_in_flight
        self._retry_s: Optional[float] = None
        self._fresh_s: Optional[float] = None

    def took(self, is_retry: bool, call_s: float) -> None:
        """A call took that long."""
        if is_retry:
            self._retry_s = _mean_s(self._retry_s, call_s)
        else:
            self._fresh_s = _mean_s(self._fresh_s, call_s)

    @property
    def most_retries(self) -> int:
        """How many retries may be in flight while there are fresh orders."""
        return most_retries(self._workers, self._most_in_flight, self._retry_s, self._fresh_s)


def most_retries(
    workers: int, most_in_flight: int, retry_s: Optional[float], fresh_s: Optional[float]
) -> int:
    """How many of the calls in flight may be retries, by the mean durations; always one.

    Retries that run into time-outs would soon occupy every worker. So no more are in flight than their share
    of the workers, unless they are known to be as short as fresh calls: then their share of the queue.
    """
    safe = max(1, int(DUE_SHARE * workers))
    if not retry_s or not fresh_s:
        return safe
    share_of_calls = DUE_SHARE * fresh_s / ((1 - DUE_SHARE) * retry_s + DUE_SHARE * fresh_s)
    return max(safe, int(share_of_calls * most_in_flight))


def _mean_s(mean_s: Optional[float], call_s: float) -> float:
    return call_s if mean_s is None else mean_s + (call_s - mean_s) / MEMORY
