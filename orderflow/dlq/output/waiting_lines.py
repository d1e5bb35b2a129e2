"""Orders that wait for a retry, summed up by partition, by when they are due, and by what they failed of."""

from collections import Counter
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from orderflow.dlq.output.envelope import Json
from orderflow.dlq.output.group_table import frame_text
from orderflow.dlq.output.listing import Lines, columns, summary
from orderflow.dlq.output.times import until
from orderflow.model.reasons import MOST_ORDERS, Kind
from orderflow.model.text import escape

MOST_REASONS = 10
UNTOLD = (
    f"failed before this consumer started, not told yet, or beyond the {MOST_ORDERS:,} told of a partition"
)
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


def reason_rows(whys: Sequence[Optional[Kind]]) -> List[Json]:
    """The kinds of failure as objects, the most frequent first."""
    return [{"waiting": number, "error": error_row(why)} for why, number in Counter(whys).most_common()]


def error_row(why: Optional[Kind]) -> Optional[Json]:
    """What an order failed of, as an object; None where nobody has told."""
    if why is None:
        return None
    return {"reason": why.reason, "class": why.error_class, "frame": why.frame, "message": why.text or None}


def reason_lines(whys: Sequence[Optional[Kind]], width: Optional[int]) -> Lines:
    """The same for people: a row for each kind; nothing where none is known."""
    if not any(whys):
        return
    table: List[Tuple[str, ...]] = [("WAITING", "REASON", "ERROR")]
    for why, number in Counter(whys).most_common(MOST_REASONS):
        if why is None:
            table.append((f"{number:,}", "-", UNTOLD))
            continue
        frame = "" if why.frame is None else f"{escape(frame_text(why.frame))}  "
        table.append((f"{number:,}", escape(why.reason), f"{frame}{summary(why.error_class, why.text)}"))
    yield from columns(table, width, right=(0,))


def _by_partition(waiting: Sequence[Due]) -> List[Tuple[int, List[Due]]]:
    found: Dict[int, List[Due]] = {}
    for one in waiting:
        found.setdefault(one.partition, []).append(one)
    return sorted(found.items())
