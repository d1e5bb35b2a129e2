"""Kinds of failure, for people and for machines: one head line, then a row each."""

from typing import List, NamedTuple, Optional, Sequence, Tuple

from orderflow.dlq.grouping import Group, worth_a_row
from orderflow.dlq.output.envelope import Json
from orderflow.dlq.output.listing import NARROW, Lines, columns, sparkline, summary
from orderflow.dlq.output.sum_lines import decimal_text, sum_row
from orderflow.dlq.output.times import ago, day_of, time_of_day, year_of
from orderflow.dlq.tally import DAY_MS, short_length
from orderflow.dlq.timeline import Window
from orderflow.model.cells import fit
from orderflow.model.text import escape, plural

SPARKS = 12
"""Bars of a group's chart, as wide as the heading that says what they span."""
SHORT_MS = 300_000
"""A chart of less has seconds in its heading."""
YEAR_MS = 365 * DAY_MS
"""One of more has years."""


class Look(NamedTuple):
    """How the table is to look."""

    window: Optional[Window]
    """What the charts span; None where no time is known."""
    width: Optional[int]
    with_sums: bool = False
    folded: bool = False
    """Whether small groups are counted together in one line."""
    with_frames: bool = True
    """Whether any of them tells where it failed."""


def group_row(group: Group, window: Optional[Window], with_sums: bool) -> Json:
    """One group as an object."""
    kind = group.kind
    return {
        "fingerprint": kind.fingerprint,
        "count": group.count,
        "first_ts": group.first_ms,
        "last_ts": group.last_ms,
        "window": None
        if window is None
        else {
            "from_ts": window.begin_ms,
            "to_ts": window.end_ms,
            "counts": group.timeline.parts(window),
        },
        "dialect": kind.dialect,
        "error": {
            "reason": kind.reason,
            "stage": kind.stage,
            "class": kind.error_class,
            "message": group.message,
            "frame": kind.frame,
        },
        "source_topic": kind.topic,
        "example": group.position or None,
        **({"sum": sum_row(group.sum)} if with_sums else {}),
    }


def group_lines(groups: List[Group], look: Look, now_ms: int) -> Lines:
    """The table of groups."""
    digits = digits_of(groups)
    shown, folded = worth_a_row(groups) if look.folded else (groups, [])
    look = look._replace(with_frames=any(group.kind.frame is not None for group in groups))
    table = [_heading(look), *(_cells(group, digits, look, now_ms) for group in shown)]
    yield from columns(table, look.width, right=(1, 2) if look.with_sums else (1,))
    if folded:
        number = sum(group.count for group in folded)
        told = f"{plural(len(folded), 'smaller group')} with {plural(number, 'dead letter')}"
        yield fit(f"and {told}: --all-groups lists them", look.width)


def digits_of(groups: Sequence[Group]) -> int:
    """How many digits of a fingerprint tell all these groups apart."""
    return short_length(group.kind.fingerprint for group in groups)


def span_text(window: Window) -> str:
    """What a chart spans, in UTC: `22:10-03:40`, with seconds if it is short; `11-24/11-27`, `2024/2026`."""
    span_ms, edges = window.end_ms - window.begin_ms, (window.begin_ms, window.end_ms)
    if span_ms < SHORT_MS:
        return "-".join(map(time_of_day, edges))
    if span_ms < DAY_MS:
        return "-".join(time_of_day(at_ms)[:5] for at_ms in edges)
    if span_ms < YEAR_MS:
        return "/".join(day_of(at_ms)[5:] for at_ms in edges)
    return "/".join(map(year_of, edges))


def frame_text(frame: str) -> str:
    """The frame without what is known anyway: `shop/prices.py:21`, `Pricing.java:21`."""
    if frame.endswith(")"):
        return frame[frame.rfind("(") + 1 : -1] or frame
    return frame.partition(" in ")[0]


def _is_narrow(look: Look) -> bool:
    return look.width is not None and look.width < NARROW


def _heading(look: Look) -> Tuple[str, ...]:
    chart = span_text(look.window) if look.window else ""
    counts = ("COUNT", "SUM") if look.with_sums else ("COUNT",)
    at = ("AT",) if look.with_frames else ()
    told = ("ERROR",) if _is_narrow(look) else ("REASON", *at, "ERROR")
    return ("GROUP", *counts, "FIRST", "LAST", chart, *told)


def _cells(group: Group, digits: int, look: Look, now_ms: int) -> Tuple[str, ...]:
    kind = group.kind
    counts = [f"{group.count:,}"] + ([decimal_text(group.sum.total)] if look.with_sums else [])
    chart = sparkline(group.timeline.parts(look.window)) if look.window else ""
    when = (ago(group.first_ms, now_ms), ago(group.last_ms, now_ms), chart)
    error = summary(kind.error_class, group.message)
    frame = "" if kind.frame is None else escape(frame_text(kind.frame))
    reason = escape(kind.reason or kind.stage or "-")
    if _is_narrow(look):
        told: Tuple[str, ...] = ("  ".join(part for part in (frame, error or reason) if part),)
    else:
        told = (reason, *((frame or "-",) if look.with_frames else ()), error)
    return (kind.fingerprint[:digits], *counts, *when, *told)
