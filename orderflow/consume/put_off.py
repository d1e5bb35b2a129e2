"""Partitions that cannot be restored now, each by itself: its leader may be away while others have theirs."""

from typing import Callable, Dict, Set

AGAIN_S = 2.0
"""As long as a try may have blocked, or the partitions that are ready would starve."""
TELL_AGAIN_S = 30.0


class PutOff:
    """When to try each of them again, and when to tell of it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._again_at_s: Dict[int, float] = {}
        self._tell_at_s: Dict[int, float] = {}

    def put_off(self, number: int) -> None:
        """It failed just now, and was told to have if that was news."""
        if self.is_news(number):
            self._tell_at_s[number] = self._clock() + TELL_AGAIN_S
        self._again_at_s[number] = self._clock() + AGAIN_S

    def is_news(self, number: int) -> bool:
        """Whether it was not told lately."""
        return self._clock() >= self._tell_at_s.get(number, 0.0)

    def due(self, numbers: Set[int]) -> Set[int]:
        """Those of these partitions that may be tried now."""
        now_s = self._clock()
        return {number for number in numbers if self._again_at_s.get(number, now_s) <= now_s}
