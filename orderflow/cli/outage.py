"""Tells once that Kafka is lost and once that it is back, however many errors come between."""

import time
from typing import Any, Callable, Optional


class Outage:
    """Whether any broker is reached."""

    def __init__(
        self, tell: Callable[..., Any], brokers: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`tell` takes an event and its fields."""
        self._tell = tell
        self._brokers = brokers
        self._clock = clock
        self._since_s: Optional[float] = None

    @property
    def holds(self) -> bool:
        """Whether Kafka is considered lost now."""
        return self._since_s is not None

    def lost(self, why: str, for_s: float = 0.0) -> None:
        """No broker can be reached, and has not been for so long."""
        if self._since_s is None:
            self._since_s = self._clock() - for_s
            self._tell("kafka_lost", brokers=self._brokers, detail=why)

    def back(self) -> None:
        """Something got through to Kafka."""
        if self._since_s is not None:
            gone_s, self._since_s = self._clock() - self._since_s, None
            self._tell("kafka_back", brokers=self._brokers, for_s=gone_s)
