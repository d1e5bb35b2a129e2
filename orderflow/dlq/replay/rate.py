"""How many records go into one transaction of a replay, and when what may follow: the next one, or a look."""

import time
from typing import Callable, Optional

TRANSACTION_S = 1.0
MOST_IN_TRANSACTION = 50_000


LOOK_EVERY_S = 5.0
LOOK_SHARE = 0.05
"""Of a job's time goes to looks at most, since a fast job finds its own records in them."""


class Looks:
    """When a job looks again whether newer orders came."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """It has just looked."""
        self._clock = clock
        self._due_s = clock() + LOOK_EVERY_S

    def is_due(self) -> bool:
        """Whether it is time for the next one."""
        return self._clock() >= self._due_s

    def took(self, for_s: float) -> None:
        """It has just looked, and that took so long."""
        self._due_s = self._clock() + max(LOOK_EVERY_S, for_s / LOOK_SHARE)


class Pace:
    """How many may go into one transaction, and when the next may begin."""

    def __init__(self, rate_per_s: Optional[float], clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate_per_s
        self._clock = clock
        self.began_s = clock()
        self._next_s = self.began_s

    @property
    def quota(self) -> int:
        """Records in one transaction."""
        return MOST_IN_TRANSACTION if self._rate is None else max(1, round(self._rate * TRANSACTION_S))

    def begin(self) -> None:
        """A transaction begins."""
        self.began_s = self._clock()

    def is_over(self) -> bool:
        """Whether the transaction has been open for long enough."""
        return self._clock() - self.began_s >= TRANSACTION_S

    def sent(self, number: int) -> None:
        """A transaction with so many records was committed."""
        if self._rate is not None:
            self._next_s = max(self._next_s, self.began_s) + number / self._rate

    def wait(self, stop: Callable[[], bool]) -> None:
        """Wait until the next transaction may begin, or until asked to stop."""
        while self._clock() < self._next_s and not stop():
            time.sleep(min(0.1, max(0.0, self._next_s - self._clock())))
