"""When to try again what Kafka did not take. Pure: it is told the time."""

from typing import NamedTuple, Optional

KEEP_S = 10.0
"""A rebalance is over long before; then the next tries come more slowly."""
REFUSED_RETRY_S = (1.0, 30.0)
"""Somebody has to repair something first."""
FAILED_RETRY_S = (0.2, 5.0)
"""It may work again at any moment."""


class Pause(NamedTuple):
    """A pause before the next try."""

    for_s: float
    is_first: bool
    """The try before it was the first that failed."""


class _Hold(NamedTuple):
    since_s: float
    for_s: float
    """How long the last pause was; 0 where there was none."""
    until_s: float
    is_refused: bool = False
    is_between: bool = False


class Patience:
    """Knows whether what was done is held, since when, and until when."""

    def __init__(self) -> None:
        self._hold: Optional[_Hold] = None

    @property
    def is_needed(self) -> bool:
        """Whether what was done has not been taken yet."""
        return self._hold is not None

    @property
    def is_between_generations(self) -> bool:
        """Whether the group is being rebalanced, which is over in a moment."""
        return self._hold is not None and self._hold.is_between

    @property
    def has_paused(self) -> bool:
        """Whether there was a pause since the last success."""
        return self._hold is not None and self._hold.for_s > 0

    @property
    def is_refused(self) -> bool:
        """Whether Kafka refuses what is sent, and is not in trouble itself."""
        return self._hold is not None and self._hold.is_refused

    def is_over(self, now_s: float) -> bool:
        """Whether it is time for the next try."""
        return self._hold is None or now_s >= self._hold.until_s

    def wait_for_generation(self, now_s: float) -> bool:
        """The group is in between generations. False where that has lasted too long to be true."""
        hold = self._hold
        if hold is not None and hold.is_between:
            return now_s - hold.since_s <= KEEP_S
        self._hold = _Hold(now_s, 0.0 if hold is None else hold.for_s, now_s, is_between=True)
        return True

    def pause(self, now_s: float, is_refused: bool) -> Pause:
        """A try failed: each pause is twice the one before, up to a bound."""
        least_s, most_s = REFUSED_RETRY_S if is_refused else FAILED_RETRY_S
        last_s = 0.0 if self._hold is None else self._hold.for_s
        for_s = min(most_s, last_s * 2) if last_s else least_s
        self._hold = _Hold(now_s, for_s, now_s + for_s, is_refused)
        return Pause(for_s, not last_s)

    def end(self) -> None:
        """It succeeded, or does not matter any more."""
        self._hold = None
