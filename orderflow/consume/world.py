"""What the engine knows of the world beside Kafka: the time, chance, and whom to report to.

One argument for all of it, so that a test can let hours pass in milliseconds.
"""

from typing import Callable, NamedTuple

Report = Callable[..., None]
"""Told an event's name and its fields; see events.py."""


class World(NamedTuple):
    """The clocks, chance and the reporter of one process."""

    clock: Callable[[], float]
    """Seconds that only ever rise; for delays."""
    time_of_day: Callable[[], float]
    """Seconds since the epoch; for what is written down."""
    chance: Callable[[], float]
    """A random number from 0 up to 1, for jitter."""
    report: Report

    def now_ms(self) -> int:
        """The time of day in epoch milliseconds."""
        return int(self.time_of_day() * 1000)
