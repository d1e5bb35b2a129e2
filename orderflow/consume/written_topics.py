"""The topics that dead letters and results go to: how many partitions they have, and what they accept."""

import contextlib
from typing import Any, Dict, Optional

from orderflow.consume.outbox import DEFAULT_MAX_BYTES, Outbox
from orderflow.consume.publications import Targets
from orderflow.consume.result_topics import ResultTopics
from orderflow.consume.world import Report
from orderflow.exits import CommandError
from orderflow.kafka import topics
from orderflow.kafka.topic_identity import Identity

ASK_AGAIN_S = 1.0
LOOK_S = 60.0
"""Partitions added to the dead letter topic are used after this time at the latest."""


class WrittenTopics:
    """Asks Kafka about them. What may not be asked is taken to be at Kafka's defaults."""

    def __init__(
        self, conf: Dict[str, Any], dlq_topic: str, processed_topic: Optional[str], report: Report
    ) -> None:
        self._conf = conf
        self._dlq_topic = dlq_topic
        self._processed_topic = processed_topic
        self._report = report
        self.dead_letters = Identity(conf, dlq_topic, LOOK_S)

    def outbox(self) -> Outbox:
        """Where dead letters wait to be sent. Compaction would lose some of them, which is reported."""
        found = topics.settings_of(self._conf, self._dlq_topic)
        policy = found.get("cleanup.policy", "")
        if "compact" in policy:
            self._report("dead_letters_compacted", topic=self._dlq_topic, policy=policy)
        limit = topics.record_limit_of(found) or DEFAULT_MAX_BYTES
        return Outbox(self._dlq_topic, limit, partitions=lambda: self.dead_letters.partitions)

    def targets(self, dead_letter_bytes: int) -> Targets:
        """Where results go, beside dead letters of at most so many bytes."""
        topic = self._processed_topic
        max_bytes = (None if topic is None else self._max_bytes(topic)) or DEFAULT_MAX_BYTES
        chosen = ResultTopics(
            lambda name: topics.exists(self._conf, name),
            self._max_bytes,
            self._cleanup_policy,
            (dead_letter_bytes, max_bytes),
        )
        return Targets(topic, max_bytes, chosen.limit_of, chosen.needs_key)

    def ask_dead_letter_limit(self) -> Optional[int]:
        """The largest dead letter accepted by now: the topic may have been changed, or recreated since.

        None if that may not be read.
        """
        with contextlib.suppress(CommandError):
            self.dead_letters.learn(ASK_AGAIN_S)
        return self._max_bytes(self._dlq_topic)

    def _max_bytes(self, topic: str) -> Optional[int]:
        """The largest record a topic accepts, or None if its settings may not be read."""
        return topics.record_limit_of(topics.settings_of(self._conf, topic))

    def _cleanup_policy(self, topic: str) -> Optional[str]:
        """What becomes of a topic's old records, or None if its settings may not be read."""
        return topics.settings_of(self._conf, topic).get("cleanup.policy")
