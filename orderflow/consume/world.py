"""The engine's outside world besides Kafka: clocks, chance and the reporter.

They are one argument, so that a test can let hours pass in milliseconds.
"""

from typing import Callable, NamedTuple

Report = Callable[..., None]
"""Takes an event's name and fields; see events.py."""


class World(NamedTuple):
    """The clocks, source of chance and reporter of one process."""

    clock: Callable[[], float]
    """Monotonic seconds, for delays."""
    time_of_day: Callable[[], float]
    """Seconds since the epoch, for anything recorded."""
    chance: Callable[[], float]
    """A random number in [0, 1), for jitter."""
    report: Report

    def now_ms(self) -> int:
        """The time of day in epoch milliseconds."""
        return int(self.time_of_day() * 1000)
