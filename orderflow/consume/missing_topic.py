"""Reports that the topic of the orders does not exist any more, however long that lasts."""

from typing import Any, Callable, Optional

TOLD_AFTER_S = 10.0
"""A broker that has just started may not know of a topic yet."""
AGAIN_EVERY_S = 60.0


class MissingTopic:
    """What has been told of a topic that is not there."""

    def __init__(self, clock: Callable[[], float], report: Callable[..., Any]) -> None:
        self._clock = clock
        self._report = report
        self._told_at_s: Optional[float] = None
        """When it was told last; None while it is there."""

    @property
    def is_told(self) -> bool:
        """Whether it has been missing for long enough to be told."""
        return self._told_at_s is not None

    def look(self, topic: str, missing_s: Optional[float]) -> None:
        """`missing_s`: for how long Kafka has not known the topic; None if it knows it."""
        if missing_s is None:
            if self._told_at_s is not None:
                self._told_at_s = None
                self._report("topic_back", topic=topic)
            return
        last_s, now_s = self._told_at_s, self._clock()
        if missing_s >= TOLD_AFTER_S and (last_s is None or now_s >= last_s + AGAIN_EVERY_S):
            self._told_at_s = now_s
            self._report("topic_missing", topic=topic, for_s=missing_s)
