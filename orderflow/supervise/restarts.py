"""The back-off between the death of a process and the start of its successor."""

FIRST_S, LONGEST_S = 1.0, 30.0
QUIET_S = 60.0
"""A process that lived this long was well: its death is the first one again."""


class Restarts:
    """The deaths of one process after the other."""

    def __init__(self) -> None:
        self.count = 0
        self._delay_s = 0.0

    def delay_s(self, lived_s: float) -> float:
        """Count a death after this long a life; returns how long to wait before the next start."""
        self.count += 1
        return self._next_s(was_well=lived_s >= QUIET_S)

    def failed_start_delay_s(self) -> float:
        """How long to wait before the next start where one failed: nobody has died, so nothing counts."""
        return self._next_s(was_well=False)

    def _next_s(self, was_well: bool) -> float:
        is_first = not self._delay_s or was_well
        self._delay_s = FIRST_S if is_first else min(LONGEST_S, 2 * self._delay_s)
        return self._delay_s
