"""How far each key has run since the last settlement, and what waits for the next one because of it.

With worker threads, a key's followers run on while the settlement before them is in flight. The next owner
relies on how many of them may have been called and not committed, so no key runs further than that.
"""

from typing import Dict, List, Optional, Tuple

from orderflow.consume.caution import KEY_RUN
from orderflow.consume.partition import Task


class KeyRuns:
    """Counts the followers of each key that are called, and holds back those of a key that has run far."""

    def __init__(self) -> None:
        self._runs: Dict[Tuple[int, Optional[bytes]], int] = {}
        """By partition and key."""
        self._held: List[Task] = []

    def __bool__(self) -> bool:
        """Whether anything is held back."""
        return bool(self._held)

    def hold_back(self, follower: Task) -> bool:
        """Count one more follower of its key. Returns whether it is held back: the key has run far enough."""
        key = (follower.partition.number, follower.head.key)
        self._runs[key] = self._runs.get(key, 0) + 1
        if self._runs[key] <= KEY_RUN:
            return False
        self._held.append(follower)
        return True

    def settled(self) -> List[Task]:
        """What ran is settled or being settled, so every key may run on; returns what was held back."""
        self._runs.clear()
        held, self._held = self._held, []
        return held
