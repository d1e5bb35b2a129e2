"""The topics that handlers choose for their results: whether they exist, and how much they accept."""

import threading
import time
from typing import Callable, Dict, NamedTuple, Optional, Sequence, TypeVar

from orderflow.consume.outbox import DEFAULT_MAX_BYTES
from orderflow.errors import TopicUnusable
from orderflow.exits import CommandError

ASK_AGAIN_S = 1.0
"""How long a topic that cannot be used is not asked for again."""
ASK_RIGHT_AGAIN_S = 60.0
"""How long settings that could not be read are not asked for again."""
MOST_KNOWN = 1_000


class _Known(NamedTuple):
    max_bytes: int
    fault: Optional[TopicUnusable] = None
    until_s: float = float("inf")


class _Compacted(NamedTuple):
    is_so: bool
    until_s: float


_Found = TypeVar("_Found", _Known, _Compacted)


class ResultTopics:
    """Looks at each topic before the first result goes there: Kafka's client would wait for it to appear.

    Threads may ask at the same time.
    """

    def __init__(
        self,
        exists: Callable[[str], bool],
        max_bytes: Callable[[str], Optional[int]],
        cleanup_policy: Callable[[str], Optional[str]],
        sizes: Sequence[int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`exists` may raise CommandError. `sizes`: the largest records that our own topics accept.

        `max_bytes` and `cleanup_policy` give None where a topic's settings may not be read.
        """
        self._exists = exists
        self._max_bytes = max_bytes
        self._batch_bytes = min(DEFAULT_MAX_BYTES, *sizes)
        self._most_bytes = max(DEFAULT_MAX_BYTES, *sizes)
        self._clock = clock
        self._known: Dict[str, _Known] = {}
        self._cleanup_policy = cleanup_policy
        self._compacted: Dict[str, _Compacted] = {}
        self._lock = threading.Lock()

    def limit_of(self, topic: str) -> int:
        """The largest record that the topic accepts. Raises TopicUnusable."""
        known = self._kept(self._known, topic, self._asked)
        if known.fault is not None:
            raise TopicUnusable(str(known.fault), known.fault.reason)
        return known.max_bytes

    def needs_key(self, topic: str) -> bool:
        """Whether the topic is compacted, and so refuses records without a key. No, if that is not known."""
        return self._kept(self._compacted, topic, self._look_for_compaction).is_so

    def _look_for_compaction(self, topic: str) -> "_Compacted":
        policy, now_s = self._cleanup_policy(topic), self._clock()
        if policy is None:
            return _Compacted(False, now_s + ASK_RIGHT_AGAIN_S)
        if "compact" in policy:
            return _Compacted(True, now_s + ASK_AGAIN_S)
        return _Compacted(False, float("inf"))

    def _kept(self, known: Dict[str, _Found], topic: str, ask: Callable[[str], _Found]) -> _Found:
        """What is known of a topic, asked for if it is not, or no longer."""
        found = known.get(topic)
        if found is not None and found.until_s > self._clock():
            return found
        with self._lock:
            found = known.get(topic)
            if found is None or found.until_s <= self._clock():  # else another thread was quicker
                if len(known) >= MOST_KNOWN:
                    known.clear()
                found = known[topic] = ask(topic)
        return found

    def _asked(self, topic: str) -> _Known:
        again_s = self._clock() + ASK_AGAIN_S
        try:
            if not self._exists(topic):
                fault = TopicUnusable(f"topic {topic}, which the handler chose for a result, does not exist")
                return _Known(0, fault, again_s)
        except CommandError:  # Kafka is away, or does not let us look: sending will tell
            return _Known(self._batch_bytes, None, again_s)
        limit = self._max_bytes(topic)
        if limit is not None and limit < self._batch_bytes:
            # The client fills batches up to one size for all topics, and Kafka's limit is one for batches.
            what = f"topic {topic} accepts at most {limit} bytes at a time, and a batch may have"
            advice = f"{self._batch_bytes}: raise its max.message.bytes"
            fault = TopicUnusable(f"{what} {advice}", "publish.small_topic")
            return _Known(0, fault, again_s)
        return _Known(self._batch_bytes if limit is None else min(limit, self._most_bytes))
