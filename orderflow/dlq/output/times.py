"""Times, ages and time left, as people read them."""

from datetime import datetime, timedelta, timezone
from typing import Optional

from orderflow.dlq.tally import NOT_CARRIED
from orderflow.model.time_spans import write_span

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def clock(at_ms: Optional[int]) -> str:
    """`2026-11-24 23:58:12` in UTC."""
    if at_ms is None:
        return NOT_CARRIED
    try:
        return (EPOCH + timedelta(milliseconds=at_ms)).isoformat(" ")[:19]
    except OverflowError:
        return f"{at_ms} ms"


def clock_ms(at_ms: Optional[int]) -> str:
    """`2026-11-24 23:58:12.250Z`."""
    return NOT_CARRIED if at_ms is None else f"{clock(at_ms)}.{at_ms % 1000:03d}Z"


def age(span_ms: int) -> str:
    """A span in its largest unit: `19h`, `2m`, `0s`."""
    return write_span(span_ms, 1)


def countdown(span_ms: int) -> str:
    """A span in its two largest units: `6d 5h`."""
    return write_span(span_ms)


def ago(at_ms: Optional[int], now_ms: int) -> str:
    """`2m ago`."""
    return NOT_CARRIED if at_ms is None else f"{age(max(0, now_ms - at_ms))} ago"


def until(at_ms: int, now_ms: int) -> str:
    """`in 2m`, or `now`."""
    return f"in {age(at_ms - now_ms)}" if at_ms > now_ms else "now"
