"""Decides when to retry a settlement that Kafka did not accept. Pure: the time is an argument."""

from typing import NamedTuple, Optional

KEEP_S = 10.0
"""A rebalance takes less than this; after it, retries back off."""
REFUSED_RETRY_S = (1.0, 30.0)
"""First and longest pause if somebody has to fix something first."""
FAILED_RETRY_S = (0.2, 5.0)
"""First and longest pause if it may work again at any moment."""


class Pause(NamedTuple):
    """A pause before the next attempt."""

    for_s: float
    is_first: bool
    """It follows the first failed attempt."""


class _Hold(NamedTuple):
    since_s: float
    for_s: float
    """Length of the last pause; 0 if there was none."""
    until_s: float
    is_refused: bool = False
    is_between: bool = False


class Patience:
    """Tracks whether settling is on hold, since when, and until when."""

    def __init__(self) -> None:
        self._hold: Optional[_Hold] = None

    @property
    def is_needed(self) -> bool:
        """Whether Kafka has yet to accept a settlement."""
        return self._hold is not None

    @property
    def is_between_generations(self) -> bool:
        """Whether the group is rebalancing, which should be over soon."""
        return self._hold is not None and self._hold.is_between

    @property
    def has_paused(self) -> bool:
        """Whether there was a pause since the last success."""
        return self._hold is not None and self._hold.for_s > 0

    @property
    def is_refused(self) -> bool:
        """Whether Kafka works but refuses the records."""
        return self._hold is not None and self._hold.is_refused

    def is_over(self, now_s: float) -> bool:
        """Whether it is time for the next attempt."""
        return self._hold is None or now_s >= self._hold.until_s

    def wait_for_generation(self, now_s: float) -> bool:
        """The group is between generations. False if that has lasted implausibly long."""
        hold = self._hold
        if hold is not None and hold.is_between:
            return now_s - hold.since_s <= KEEP_S
        self._hold = _Hold(now_s, 0.0 if hold is None else hold.for_s, now_s, is_between=True)
        return True

    def pause(self, now_s: float, is_refused: bool) -> Pause:
        """An attempt failed: pause twice as long as last time, between two limits.

        The last attempt may have failed for another reason, whose pause can be shorter than this one takes.
        """
        least_s, most_s = REFUSED_RETRY_S if is_refused else FAILED_RETRY_S
        last_s = 0.0 if self._hold is None else self._hold.for_s
        for_s = min(most_s, max(least_s, last_s * 2))
        self._hold = _Hold(now_s, for_s, now_s + for_s, is_refused)
        return Pause(for_s, not last_s)

    def end(self) -> None:
        """It succeeded, or no longer matters."""
        self._hold = None
