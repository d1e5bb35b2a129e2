"""Notices that the client does not begin to fetch a partition that it says it was assigned."""

from typing import Callable, Optional

from confluent_kafka import KafkaError

from orderflow.consume.settlement import SessionLost

STUCK_S = 45.0
"""While an assignment changes, the client refuses to seek for moments. Once it did for good (librdkafka
2.16), after its broker had stood still for 20 s on a crowded machine: the group took it for a member at work,
commits were accepted, and nothing was fetched. Only a new client gets out of that."""


class Seeking:
    """How long the client has refused to seek."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since_s: Optional[float] = None

    def succeeded(self) -> None:
        """A partition is fetched from where we want it."""
        self._since_s = None

    def refused(self, error: KafkaError) -> None:
        """A step of restoring failed. Raises SessionLost if the client has refused to seek for too long."""
        if error.code() != KafkaError._STATE:
            return self.succeeded()
        now_s = self._clock()
        if self._since_s is None:
            self._since_s = now_s
        elif now_s - self._since_s > STUCK_S:
            for_s = now_s - self._since_s
            raise SessionLost(
                f"Kafka's client has not begun to fetch what it was assigned for {for_s:.0f} s: "
                f"{error.str()}. Nothing is lost: restart the consumer"
            )
        return None
