"""What a topic still holds of one key, what Kafka can do about it, and what it cannot."""

from typing import Dict, FrozenSet, List, NamedTuple, Optional, Tuple

from orderflow.dlq.output.envelope import Json
from orderflow.dlq.output.listing import Lines
from orderflow.dlq.output.times import clock
from orderflow.model.text import escape, plural


class Trace(NamedTuple):
    """What one partition holds of the key."""

    partition: int
    low: int
    last: int
    """Offset of the last record with the key."""
    values: int
    """Records with the key and a value."""
    tombstones: int
    newest_ms: Optional[int]
    others: int
    """Records with other keys up to `last`, which go too if everything up to there is deleted."""
    undone: int = 0
    """Offsets up to `last` that the consumer group has still to be done with."""


class Behind(NamedTuple):
    """Another group that reads the topic, and has not processed all of it up to the key's last record."""

    group: str
    offsets: int
    """How many offsets it has still to process."""


class Holding(NamedTuple):
    """One topic."""

    topic: str
    traces: Tuple[Trace, ...]
    policy: Optional[str]
    """`cleanup.policy`; None: not known."""
    retention_ms: Optional[int]
    behind: Tuple[Behind, ...] = ()
    keys: FrozenSet[bytes] = frozenset()
    """The key, as bytes. Several where a text and other bytes are shown alike."""

    @property
    def values(self) -> int:
        """Records with the key and a value."""
        return sum(trace.values for trace in self.traces)

    @property
    def is_compacted(self) -> bool:
        """Whether a tombstone makes Kafka delete what is older."""
        return self.policy is not None and "compact" in self.policy.split(",")

    @property
    def gone_ms(self) -> Optional[int]:
        """When the newest is old enough to be deleted by itself; None: never, or not known."""
        is_kept = self.policy is None or "delete" not in self.policy.split(",")
        if is_kept or self.retention_ms is None or self.retention_ms < 0:
            return None
        newest = [trace.newest_ms for trace in self.traces if trace.newest_ms is not None]
        return max(newest) + self.retention_ms if newest else None

    @property
    def undone(self) -> int:
        """Orders that would be lost unprocessed if everything up to the key's last record were deleted."""
        return sum(trace.undone for trace in self.traces)

    @property
    def ends(self) -> Dict[int, int]:
        """Up to where each partition would have to be deleted."""
        return {trace.partition: trace.last + 1 for trace in self.traces}


CANNOT = (
    "Kafka cannot delete single records, and cannot reach: results and dead letters under other keys, files",
    "that export wrote, logs, mirrors and backups, and whatever a handler sent elsewhere (docs/privacy.md)",
)


def holding_lines(holding: Holding) -> Lines:
    """One topic for people."""
    topic = escape(holding.topic)
    if not holding.traces:
        yield f"{topic}: nothing with this key"
        return
    yield f"{topic}: {plural(holding.values, 'record')} with this key and a value"
    for trace in holding.traces:
        others = plural(trace.others, "other record")
        yield f"  partition {trace.partition}, the last at {trace.last}, with {others} before it"
    if holding.is_compacted:
        yield "  --tombstone: Kafka then deletes the values when it compacts the topic"
    elif holding.gone_ms is not None:
        yield f"  by itself: deleted by Kafka some time after {clock(holding.gone_ms)} UTC"
    else:
        yield "  by itself: never, as far as the topic's settings can be read"
    if holding.undone:
        undone = plural(holding.undone, "offset before it is", "offsets before it are")
        yield f"  not --delete-up-to-it: {undone} not processed yet"
    elif holding.behind:
        yield from (f"  not --delete-up-to-it: {behind_line(one)}" for one in holding.behind)
    else:
        number = sum(trace.others for trace in holding.traces)
        yield f"  --delete-up-to-it: at once, with {plural(number, 'other record')} that lie before it"


def behind_line(behind: Behind) -> str:
    """Which group keeps the records from being deleted, and what would delete them all the same."""
    group, offsets = escape(behind.group), plural(behind.offsets, "offset")
    return f"group {group} has still to process {offsets} before it (--despite-group {group})"


def holding_row(holding: Holding) -> Json:
    """The same as an object."""
    return {
        "topic": holding.topic,
        "values": holding.values,
        "cleanup_policy": holding.policy,
        "gone_ts": holding.gone_ms,
        "undone": holding.undone,
        "behind": [one._asdict() for one in holding.behind],
        "partitions": [trace._asdict() for trace in holding.traces],
    }


def all_lines(holdings: List[Holding]) -> Lines:
    """All topics, and what nothing here can do."""
    for holding in holdings:
        yield from holding_lines(holding)
    yield from CANNOT
