"""Transactions that somebody left open in a topic: they hide from readers what was written after them.

A busy writer has one open at most times, each for milliseconds. So one look proves nothing: a transaction
counts as left open if its first record is seconds old, and a second look finds it still there.
"""

from typing import List, Mapping, NamedTuple, Optional

from orderflow.model.records import BY_ITS_BROKER, Record
from orderflow.model.text import plural
from orderflow.model.time_spans import write_span

OPEN_MS = 5_000
"""Up to this age it may be at work. Committing takes less than a second, but over a slow link some."""
LASTING_MS = 90_000
"""Longer than any of our scripts': an import's may take a minute, and Kafka looks for such every 10 s."""


class Ends(NamedTuple):
    """The offsets of a partition."""

    low: int
    high: int
    stable: int
    """Up to where no transaction is open, so that a consumer can read."""


class Hidden(NamedTuple):
    """What nobody can read of a partition, since a transaction is open there."""

    partition: int
    begin: int
    end: int
    """Exclusive."""
    since_ms: Optional[int]
    """None: not known. Of a record that its writer dated, as an import does, the time tells nothing."""

    def is_lasting(self, now_ms: int) -> bool:
        """Whether nothing that our scripts do explains it."""
        return self.since_ms is not None and now_ms - self.since_ms > LASTING_MS

    def told(self, topic: str, now_ms: int) -> str:
        """What is hidden, since when, and how that ends."""
        for_so_long = "" if self.since_ms is None else f" for {write_span(now_ms - self.since_ms)}"
        return (
            f"what {topic} holds from {self.partition}:{self.begin} on, about "
            f"{plural(self.end - self.begin, 'record')}: a transaction has been open there{for_so_long}, and "
            f"hides it; {HOW_IT_ENDS}"
        )


HOW_IT_ENDS = (
    "Kafka ends it after its transaction.timeout.ms; where that takes minutes, a person has to "
    "(kafka-transactions.sh; see the runbook)"
)


def may_be_open(ends: Mapping[int, Ends]) -> Mapping[int, Ends]:
    """The partitions of which a reader gets less than there is."""
    return {partition: one for partition, one in ends.items() if one.stable < one.high}


def may_be_left(first: Record, now_ms: int) -> bool:
    """Whether a transaction with this first record is too old to be at work, as far as its time tells."""
    return first.timestamp_ms is None or now_ms - first.timestamp_ms >= OPEN_MS


def hidden_by(firsts: Mapping[int, Record], after: Mapping[int, Ends]) -> List[Hidden]:
    """What is hidden by those that began with these records, and are open yet."""
    return [
        Hidden(partition, one.stable, one.high, _since_ms(firsts[partition]))
        for partition, one in sorted(may_be_open(after).items())
        if partition in firsts and firsts[partition].offset == one.stable
    ]


def _since_ms(first: Record) -> Optional[int]:
    return first.timestamp_ms if first.timestamp_type == BY_ITS_BROKER else None
