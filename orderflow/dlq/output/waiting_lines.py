"""Orders that wait for a retry, summed up by partition and by when they are due."""

from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from orderflow.dlq.output.envelope import Json
from orderflow.dlq.output.listing import Lines, columns
from orderflow.dlq.output.times import until

LATE_MS = 60_000
"""A retry that is due for so long has been missed: nobody calls it."""
SPANS = (
    ("overdue", None, -LATE_MS),
    ("now", -LATE_MS, 0),
    ("in 1m", 0, 60_000),
    ("in 10m", 60_000, 600_000),
    ("in 1h", 600_000, 3_600_000),
    ("later", 3_600_000, None),
)
"""Names of the times that are told apart, and where each begins and ends, from now."""


class Due(NamedTuple):
    """One order that waits."""

    partition: int
    attempts: int
    due_ms: int
    has_followers: bool


def due_counts(waiting: Sequence[Due], now_ms: int) -> Dict[str, int]:
    """How many are due when."""
    counts = {name: 0 for name, _, _ in SPANS}
    for one in waiting:
        counts[_span_of(one.due_ms - now_ms)] += 1
    return counts


def _span_of(left_ms: int) -> str:
    return next(
        name
        for name, begin, end in SPANS
        if (begin is None or left_ms > begin) and (end is None or left_ms <= end)
    )


def summary_row(waiting: Sequence[Due], braked: Sequence[int], now_ms: int) -> Json:
    """The summary as an object."""
    return {
        "waiting": len(waiting),
        "due": due_counts(waiting, now_ms),
        "partitions": [
            {
                "partition": number,
                "waiting": len(some),
                "due": due_counts(some, now_ms),
                "most_attempts": max(one.attempts for one in some),
                "with_followers": sum(one.has_followers for one in some),
                "braked": number in braked,
            }
            for number, some in _by_partition(waiting)
        ],
    }


def summary_lines(waiting: Sequence[Due], now_ms: int, width: Optional[int]) -> Lines:
    """The summary for people: a row for each partition that has any."""
    if not waiting:
        return
    used = [name for name, number in due_counts(waiting, now_ms).items() if number]
    heading = ("PARTITION", "WAITING", *(name.upper() for name in used), "ATTEMPTS", "NEXT")
    table: List[Tuple[str, ...]] = [heading]
    for number, some in _by_partition(waiting):
        counts = due_counts(some, now_ms)
        attempts = f"{min(one.attempts for one in some)} to {max(one.attempts for one in some)}"
        following = until(min(one.due_ms for one in some), now_ms)
        cells = (f"{counts[name]:,}" for name in used)
        table.append((str(number), f"{len(some):,}", *cells, attempts, following))
    yield from columns(table, width, right=tuple(range(1, len(used) + 2)))


def _by_partition(waiting: Sequence[Due]) -> List[Tuple[int, List[Due]]]:
    found: Dict[int, List[Due]] = {}
    for one in waiting:
        found.setdefault(one.partition, []).append(one)
    return sorted(found.items())
