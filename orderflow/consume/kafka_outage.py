"""Reports once that Kafka is lost and once that it is back, however many errors come between."""

from typing import Callable, Optional

from orderflow.consume.world import Report


class KafkaOutage:
    """Whether any broker is reached."""

    def __init__(self, brokers: str, clock: Callable[[], float], report: Report) -> None:
        self._brokers = brokers
        self._clock = clock
        self._report = report
        self._since_s: Optional[float] = None

    @property
    def holds(self) -> bool:
        """Whether Kafka is considered lost now."""
        return self._since_s is not None

    def lost(self, why: str) -> None:
        """The client reports that no broker can be reached."""
        if self._since_s is None:
            self._since_s = self._clock()
            self._report("kafka_lost", brokers=self._brokers, detail=why)

    def back(self) -> None:
        """Something got through to Kafka."""
        if self._since_s is not None:
            for_s, self._since_s = self._clock() - self._since_s, None
            self._report("kafka_back", brokers=self._brokers, for_s=for_s)
