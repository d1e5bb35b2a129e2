"""Times in ISO 8601, with every digit they have, and compared with texts that spell them."""

from datetime import date, datetime, time, timedelta, timezone
from typing import Any, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderflow.model.moments import LocalTimestampNanos, TimestampNanos, ticks, ticks_of, written

UTC = timezone.utc
EAST = timezone(timedelta(hours=1))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (datetime(2026, 11, 25, tzinfo=UTC), "2026-11-25T00:00:00Z"),
        (datetime(2026, 11, 25, 0, 0, 0, 250_000, UTC), "2026-11-25T00:00:00.250Z"),
        (datetime(2026, 11, 25, 0, 0, 0, 1, UTC), "2026-11-25T00:00:00.000001Z"),
        (datetime(2026, 11, 25, 1, tzinfo=EAST), "2026-11-25T00:00:00Z"),
        (datetime(2026, 11, 25, 12, 30), "2026-11-25T12:30:00"),
        (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00Z"),
        (TimestampNanos(1_795_564_800_000_000_001), "2026-11-25T00:00:00.000000001Z"),
        (TimestampNanos(-1), "1969-12-31T23:59:59.999999999Z"),
        (LocalTimestampNanos(1_500_000_000), "1970-01-01T00:00:01.500"),
        (TimestampNanos(2**63 - 1), "2262-04-11T23:47:16.854775807Z"),
        (date(2026, 11, 25), "2026-11-25"),
        (time(12, 30, 0, 250_001), "12:30:00.250001"),
        (time(12, 30), "12:30:00"),
        (1_795_564_800_000, None),
        ("2026-11-25", None),
    ],
)
def test_a_time_is_written_with_every_digit_it_has(value: Any, text: Optional[str]) -> None:
    assert written(value) == text


@given(
    st.datetimes(timezones=st.sampled_from([None, UTC, EAST]), min_value=datetime(1, 1, 2))
    | st.dates()
    | st.times()
    | st.integers(-(2**63), 2**63 - 1).map(TimestampNanos)
    | st.integers(-(2**63), 2**63 - 1).map(LocalTimestampNanos)
)
def test_what_is_written_is_equal_to_it(value: Any) -> None:
    """What `list` shows can be typed into `--where`."""
    assert ticks_of(written(value) or "", value) == ticks(value)


@pytest.mark.parametrize(
    ("text", "like", "found"),
    [
        ("1970-01-01", TimestampNanos(0), 0),
        ("1970-01-01T00:00", TimestampNanos(0), 0),
        ("1970-01-01 00:00:01,5", TimestampNanos(0), 1_500_000_000),
        ("1970-01-01T01:00:00+01:00", datetime(1970, 1, 1, tzinfo=UTC), 0),
        ("1970-01-01T01:00:00+0100", datetime(1970, 1, 1, tzinfo=UTC), 0),
        ("1970-01-01T00:00:00Z", datetime(1970, 1, 1), None),
        ("1970-01-01T00:00", date(1970, 1, 1), None),
        ("1970-01-02", date(1970, 1, 1), 86_400_000_000_000),
        ("00:01", time(), 60_000_000_000),
        ("1970-01-01", time(), None),
        ("00:01", TimestampNanos(0), None),
        ("1970-13-01", TimestampNanos(0), None),
        ("", TimestampNanos(0), None),
        ("yesterday", TimestampNanos(0), None),
    ],
)
def test_a_text_spells_a_time_of_a_kind_or_none(text: str, like: Any, found: Optional[int]) -> None:
    assert ticks_of(text, like) == found


def test_nanoseconds_are_numbers_to_a_handler() -> None:
    """Nothing that could be calculated before is lost."""
    assert TimestampNanos(5) + 1 == 6
    assert f"{TimestampNanos(5)}" == "5"
