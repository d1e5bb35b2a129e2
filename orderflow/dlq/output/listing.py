"""Dead letters, groups and totals: a line each, safe for a terminal.

All text of a record goes through `escape`.
"""

from functools import lru_cache
from typing import Iterator, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from orderflow.dlq.letter import FailureKind, Letter
from orderflow.dlq.output.envelope import Json
from orderflow.dlq.output.times import age, ago, clock, countdown, day_of, minute_of, time_of_day
from orderflow.dlq.retention import Retention
from orderflow.dlq.tally import NOT_CARRIED, Shortener, Totals
from orderflow.model.cells import cells, fit, padded
from orderflow.model.text import Heading, escape, plural, shown_bytes

Lines = Iterator[str]


# --- JSON: kcat's envelope, made lossless, and ours beside it ---


def totals_row(topic: str, totals: Totals, unresolved_oldest_ms: Optional[int], retention: Retention) -> Json:
    """The totals of a topic as an object."""
    step_ms = (totals.window.end_ms - totals.window.begin_ms) // totals.window.parts
    return {
        "topic": topic,
        "count": totals.count,
        "oldest_ts": totals.oldest_ms,
        "newest_ts": totals.newest_ms,
        **totals.by_label(),
        "hours": [
            {"from_ts": totals.window.begin_ms + place * step_ms, "count": count}
            for place, count in enumerate(totals.parts)
        ],
        "earlier": totals.earlier,
        "later": totals.later,
        "undated": totals.undated,
        "retention_ms": retention.time_ms,
        "retention_bytes": retention.bytes,
        "first_expiry_ts": retention.first_expiry_ms(unresolved_oldest_ms),
    }


# --- Times and counts ---

SPARKS = "▁▂▃▄▅▆▇█"


def sparkline(counts: Sequence[int]) -> str:
    """One character a count, of a height in proportion to the largest; nothing at all is the lowest."""
    highest = max(counts, default=0)
    return "".join(SPARKS[-(-count * (len(SPARKS) - 1) // highest) if highest else 0] for count in counts)


# --- Text ---


def summary(error_class: Optional[str], message: Optional[str]) -> str:
    """The error in a few words: its class, bare, and the message's first line."""
    kind = _bare(error_class)
    message = (message or "").partition("\n")[0]
    if not kind or message.startswith(kind):
        return escape(message or kind)
    return escape(f"{kind}: {message}" if message else kind)


@lru_cache(1_000)
def _bare(error_class: Optional[str]) -> str:
    """The class without its module."""
    return "" if error_class is None else error_class.rpartition(".")[2]


class LetterLines:
    """Dead letters one by one, a line each, in columns. Remembers what repeats: most lines are alike."""

    HEADING = (
        f"{'POSITION':<10}  {'DIED (UTC)':<19}  {'GROUP':<5}  {'REASON':<25}  "
        f"{'FROM':<18}  {'KEY':<12}  ERROR"
    )

    def __init__(self) -> None:
        self._shortener = Shortener()
        self._shared = lru_cache(2_000)(self._new_shared)
        self._died = lru_cache(10_000)(_second)

    def line(self, letter: Letter) -> str:
        """The dead letter's line."""
        record, kind, (message, partition, offset) = letter.record, letter.kind, letter.detail
        at_ms, key = record.timestamp_ms, shown_bytes(record.key)
        label, topic = self._shared(kind, letter.state, letter.headers_left_out)
        if partition is None or offset is None:
            origin = f"{topic}-{_known(partition)}-{_known(offset)}"
        else:
            origin = f"{topic}-{partition}-{offset}"
        place = f"{record.partition}:{record.offset}"
        died = f"{NOT_CARRIED:<19}" if at_ms is None else self._died(at_ms // 1000)
        error = summary(kind.error_class, message)
        return f"{place:<10}  {died}  {label}  {origin:<18}  {padded(key, 12)}  {error}"

    def _new_shared(self, kind: FailureKind, state: str, headers_left_out: bool) -> Tuple[str, str]:
        """The cells of group and reason, and the topic, which lines of a kind have in common."""
        told = escape(kind.reason or "-") + ("" if state == "new" else f" [{state}]")
        told += " [headers left out]" if headers_left_out else ""
        return f"{self._shortener.short(kind.fingerprint):<5}  {padded(told, 25)}", escape(_known(kind.topic))


def _known(part: Union[str, int, None]) -> str:
    """The part of a position, `?` where it is not carried."""
    return "?" if part is None else str(part)


def _second(at_s: int) -> str:
    return f"{_day(at_s // 86_400)} {time_of_day(at_s * 1000)}"


@lru_cache(100)
def _day(number: int) -> str:
    return day_of(number * 86_400_000)


class Overview(NamedTuple):
    """What the line above the groups tells of the topic."""

    topic: str
    partitions: int
    unresolved: int
    total: int
    oldest_ms: Optional[int]
    """Of the unresolved ones."""
    retention: Retention
    sum: Optional[str] = None
    """What the groups below add up to, where it was asked for."""


MOST_PADDED = 48
"""Width of the widest column: longer texts in it are exceptions."""
NARROW = 100
"""Columns of a terminal below which only what matters most is shown."""


def overview(about: Overview, now_ms: int, width: Optional[int] = None) -> str:
    """`orders-dlq  1 partition  1,284 unresolved of 1,900  oldest 19h  first expiry in 6d 5h`."""
    is_narrow = width is not None and width < NARROW
    parts = [about.topic] if is_narrow else [about.topic, plural(about.partitions, "partition")]
    parts.append(f"{about.unresolved:,} unresolved of {about.total:,}")
    if about.sum is not None:
        parts.append(f"sum {about.sum}")
    if about.oldest_ms is not None:
        parts += [] if is_narrow else [f"oldest {age(max(0, now_ms - about.oldest_ms))}"]
        parts.append(expiry(about.retention, about.oldest_ms, now_ms))
    return fit("  ".join(parts), width)


def expiry(retention: Retention, oldest_ms: Optional[int], now_ms: int) -> str:
    """When the first of them may be deleted."""
    if retention.time_ms is None:
        return "first expiry unknown"
    due_ms = retention.first_expiry_ms(oldest_ms)
    if due_ms is None:
        return "kept for ever"
    return expiry_at(due_ms, now_ms)


def expiry_at(due_ms: int, now_ms: int) -> str:
    """The same where it is known when."""
    return f"first expiry in {countdown(due_ms - now_ms)}" if due_ms > now_ms else "first expiry is due"


def columns(table: Sequence[Tuple[str, ...]], width: Optional[int], right: Sequence[int] = (1,)) -> Lines:
    """Columns as wide as their widest cell; the numbers, at the places in `right`, to the right.

    One cell that is far too long moves its own row alone.
    """
    widths = [min(MOST_PADDED, max(map(cells, column))) for column in zip(*table)]
    for place, row in enumerate(table):
        told = [padded(cell, size, at in right) for at, (cell, size) in enumerate(zip(row, widths))]
        line = fit("  ".join(told).rstrip(), width)
        yield line if place else Heading(line)


def totals_lines(row: Json, now_ms: int, width: Optional[int]) -> Lines:
    """The totals of a topic for people."""
    partitions = len(row["partitions"])
    yield f"{row['topic']}  {plural(row['count'], 'dead letter')} in {plural(partitions, 'partition')}"
    if row["oldest_ts"] is not None:
        yield f"oldest      {clock(row['oldest_ts'])}  {ago(row['oldest_ts'], now_ms)}"
        yield f"newest      {clock(row['newest_ts'])}  {ago(row['newest_ts'], now_ms)}"
    yield f"retention   {_retention(row, now_ms)}"
    for name in ("states", "stages", "reasons", "dialects", "source_topics", "partitions"):
        yield from _counted(name.replace("_", " "), row[name], width)
    yield from _histogram(row, width)


def _retention(row: Json, now_ms: int) -> str:
    retention = Retention(row["retention_ms"], row["retention_bytes"])
    if retention.time_ms is None:
        return "not known: the topic's settings cannot be read"
    if retention.time_ms < 0:
        return "for ever"
    due_ms = row["first_expiry_ts"]
    first = "nothing unresolved" if due_ms is None else f"first unresolved expires {_due(due_ms - now_ms)}"
    return f"{countdown(retention.time_ms)}; {first}"


def _due(left_ms: int) -> str:
    return f"in {countdown(left_ms)}" if left_ms > 0 else "now"


def _counted(title: str, counts: Mapping[str, int], width: Optional[int]) -> Lines:
    most = list(counts.items())[:20]
    for place, (label, count) in enumerate(most):
        yield fit(f"{title if place == 0 else '':<12}{count:>10,}  {escape(label)}", width)
    if len(counts) > len(most):
        yield f"{'':<12}{'':>10}  and {len(counts) - len(most):,} more"


def _histogram(row: Json, width: Optional[int]) -> Lines:
    highest = max((hour["count"] for hour in row["hours"]), default=0)
    room = min(50, max(10, (width or 80) - 34))
    others = (("earlier", "earlier"), ("later", "later"), ("undated", "without a time"))
    told = [f"{row[name]:,} {words}" for name, words in others if row[name]]
    yield "per hour, in UTC" + (f", and {', '.join(told)}" if told else "")
    for hour in row["hours"]:
        bar = "█" * (-(-hour["count"] * room // highest) if highest else 0)
        yield f"  {minute_of(hour['from_ts'])}  {hour['count']:>10,}  {bar}".rstrip()
