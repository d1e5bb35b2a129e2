"""Which time a dead letter gets when it is imported: its own, unless the topic would not keep it then."""

from typing import Mapping, NamedTuple, Optional

from orderflow.model.records import NO_TIME_MS

SHARE_KEPT = 0.5
"""Of the time that the topic keeps records: what has less than the rest left is dated anew."""


class Dating(NamedTuple):
    """What a topic does to records by their time. None: no limit, or not known."""

    keeps_ms: Optional[int] = None
    """How long it keeps a record, counted from the record's own time."""
    oldest_ms: Optional[int] = None
    """How far in the past the time of a new record may lie."""
    newest_ms: Optional[int] = None
    """How far in the future."""

    def time_for(self, at_ms: Optional[int], now_ms: int) -> int:
        """The time to send a record with that was of this time."""
        if at_ms is None:
            return NO_TIME_MS if self.keeps_ms is None else now_ms
        age_ms = now_ms - at_ms
        is_kept = self.keeps_ms is None or age_ms <= self.keeps_ms * SHARE_KEPT
        is_taken = self.oldest_ms is None or age_ms <= self.oldest_ms * SHARE_KEPT
        is_past = self.newest_ms is None or -age_ms <= self.newest_ms * SHARE_KEPT
        return at_ms if is_kept and is_taken and is_past else now_ms


def dating_of(settings: Mapping[str, str]) -> Dating:
    """What a topic with these settings does; with none, as if it kept all."""
    if settings.get("message.timestamp.type") == "LogAppendTime":
        return Dating()  # whatever is sent, the broker dates it
    keeps = "delete" in settings.get("cleanup.policy", "delete").split(",")
    either = _limit(settings, "message.timestamp.difference.max.ms")  # before Kafka 4.0
    return Dating(
        _limit(settings, "retention.ms") if keeps else None,
        _least(_limit(settings, "message.timestamp.before.max.ms"), either),
        _least(_limit(settings, "message.timestamp.after.max.ms"), either),
    )


def _limit(settings: Mapping[str, str], name: str) -> Optional[int]:
    text = settings.get(name, "")
    return int(text) if text.isdigit() and text.isascii() else None


def _least(one: Optional[int], other: Optional[int]) -> Optional[int]:
    return min((each for each in (one, other) if each is not None), default=None)
