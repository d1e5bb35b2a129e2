"""Tells once that Kafka is lost and once that it is back, however many errors come between."""

import time
from typing import Any, Callable, Optional

from orderflow.cli.terminal import duration, program


class Outage:
    """Whether any broker is reached."""

    def __init__(
        self,
        tell_lost: Callable[[str], Any],
        tell_back: Callable[[float], Any],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`tell_lost` gets the client's reason, `tell_back` the seconds that Kafka was away."""
        self._tell_lost = tell_lost
        self._tell_back = tell_back
        self._clock = clock
        self._since_s: Optional[float] = None

    @property
    def holds(self) -> bool:
        """Whether Kafka is considered lost now."""
        return self._since_s is not None

    def lost(self, why: str) -> None:
        """The client reports that no broker can be reached."""
        if self._since_s is None:
            self._since_s = self._clock()
            self._tell_lost(why)

    def back(self) -> None:
        """Something got through to Kafka."""
        if self._since_s is not None:
            gone_s, self._since_s = self._clock() - self._since_s, None
            self._tell_back(gone_s)


def noted_outage(
    note: Callable[[str], None], address: str, clock: Callable[[], float] = time.monotonic
) -> Outage:
    """An outage of the Kafka at this address that is told by a line for people each time."""

    def tell_lost(why: str) -> None:
        note(f"{program()}: Kafka at {address} is lost ({why}); trying until it is back")

    def tell_back(gone_s: float) -> None:
        note(f"{program()}: Kafka at {address} is back after {duration(gone_s)}")

    return Outage(tell_lost, tell_back, clock)
