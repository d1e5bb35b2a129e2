"""Times, ages and time left, as people read them."""

from datetime import datetime, timedelta, timezone
from typing import Optional

from orderflow.dlq.tally import DAY_MS, NOT_CARRIED
from orderflow.model.time_spans import write_span

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
TOO_LATE, TOO_EARLY = "after 9999", "before 1"
"""In place of a day that the calendar does not reach: some clocks are broken, and some dates are made up."""
SKEW_MS = 60_000
"""By which the clocks of two machines may differ without anything being wrong."""


def clock(at_ms: Optional[int]) -> str:
    """`2026-11-24 23:58:12` in UTC; the number where the calendar does not reach."""
    if at_ms is None:
        return NOT_CARRIED
    day = day_of(at_ms)
    return f"{at_ms} ms" if day in (TOO_LATE, TOO_EARLY) else f"{day} {time_of_day(at_ms)}"


def clock_ms(at_ms: Optional[int]) -> str:
    """`2026-11-24 23:58:12.250Z`."""
    told = clock(at_ms)
    return told if at_ms is None or told.endswith(" ms") else f"{told}.{at_ms % 1000:03d}Z"


def day_of(at_ms: int) -> str:
    """`2026-11-24` in UTC."""
    try:
        return (EPOCH + timedelta(days=at_ms // DAY_MS)).date().isoformat()
    except OverflowError:
        return TOO_EARLY if at_ms < 0 else TOO_LATE


def year_of(at_ms: int) -> str:
    """`2026`."""
    return day_of(at_ms).partition("-")[0]


def minute_of(at_ms: int) -> str:
    """`2026-11-24 23:58` in UTC."""
    return f"{day_of(at_ms)} {time_of_day(at_ms)[:5]}"


def time_of_day(at_ms: int) -> str:
    """`23:58:12` in UTC."""
    of_day_s = at_ms % DAY_MS // 1000
    return f"{of_day_s // 3600:02d}:{of_day_s // 60 % 60:02d}:{of_day_s % 60:02d}"


def age(span_ms: int) -> str:
    """A span in its largest unit: `19h`, `2m`, `0s`."""
    return write_span(span_ms, 1)


def countdown(span_ms: int) -> str:
    """A span in its two largest units: `6d 5h`."""
    return write_span(span_ms)


def ago(at_ms: Optional[int], now_ms: int) -> str:
    """`2m ago`; `in 2h` where a clock is ahead."""
    if at_ms is None:
        return NOT_CARRIED
    return until(at_ms, now_ms) if at_ms - now_ms >= SKEW_MS else f"{age(max(0, now_ms - at_ms))} ago"


def until(at_ms: int, now_ms: int) -> str:
    """`in 2m`, or `now`."""
    return f"in {age(at_ms - now_ms)}" if at_ms > now_ms else "now"
