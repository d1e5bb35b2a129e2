"""Times as they are written: ISO 8601 with every digit they have, down to nanoseconds."""

import re
from datetime import date, datetime, time, timedelta, timezone
from functools import lru_cache
from typing import Any, Optional

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_DAY_S = 86_400
_NS = 1_000_000_000


class Nanoseconds(int):
    """Nanoseconds since 1970, for which Python has no type. A number to calculate with, a time to show."""

    zone = ""

    def isoformat(self) -> str:
        """`2026-11-25T00:00:00.250123456`; the number where the calendar does not reach."""
        whole_s, ns = divmod(int(self), _NS)
        try:
            whole = (_EPOCH + timedelta(seconds=whole_s)).strftime("%Y-%m-%dT%H:%M:%S").zfill(19)
        except OverflowError:
            return str(int(self))
        return whole + _fraction(ns) + self.zone


class TimestampNanos(Nanoseconds):
    """A point in time."""

    zone = "Z"


class LocalTimestampNanos(Nanoseconds):
    """A local time, in whichever zone."""


def _fraction(ns: int) -> str:
    """As many groups of three digits as it takes."""
    digits = f"{ns:09d}"
    while digits.endswith("000"):
        digits = digits[:-3]
    return f".{digits}" if digits else ""


def written(value: Any) -> Optional[str]:
    """A date, time or point in time in ISO 8601, None for anything else."""
    if isinstance(value, datetime):
        zoned = value if value.tzinfo is None else value.astimezone(timezone.utc)
        zone = "" if value.tzinfo is None else "Z"
        return zoned.strftime("%Y-%m-%dT%H:%M:%S").zfill(19) + _fraction(zoned.microsecond * 1000) + zone
    if isinstance(value, time):
        return value.strftime("%H:%M:%S") + _fraction(value.microsecond * 1000)
    if isinstance(value, (date, Nanoseconds)):
        return value.isoformat()
    return None


# --- Compared with a text ---

_TEXT = re.compile(
    r"(?:(?P<day>\d{4}-\d\d-\d\d)(?:[T ]|\Z))?"
    r"(?:(?P<clock>\d\d:\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))?)?)?"
    r"(?P<zone>[Zz]|[+-]\d\d:?\d\d)?",
    re.ASCII,
)


def ticks(value: Any) -> Optional[int]:
    """A time in nanoseconds, from 1970 or, for a time of day, from midnight; None for anything else."""
    if isinstance(value, Nanoseconds):
        return int(value)
    if isinstance(value, datetime):
        zoned = value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value
        return _ns(zoned - _EPOCH)
    if isinstance(value, date):
        return (value.toordinal() - _EPOCH.toordinal()) * _DAY_S * _NS
    if isinstance(value, time):
        clock_s = (value.hour * 60 + value.minute) * 60 + value.second
        return clock_s * _NS + value.microsecond * 1000
    return None


def ticks_of(text: str, like: Any) -> Optional[int]:
    """The same of a text that spells a time of the kind of `like`; None for another text.

    A point in time is in UTC unless the text has a zone, and at midnight if it is a date alone.
    """
    has_zone = isinstance(like, TimestampNanos) or (isinstance(like, datetime) and like.tzinfo is not None)
    is_of_day = isinstance(like, time)
    is_date = isinstance(like, date) and not isinstance(like, datetime)
    return _ticks_of(text, has_zone, is_of_day, is_date)


@lru_cache(1_000)
def _ticks_of(text: str, has_zone: bool, is_of_day: bool, is_date: bool) -> Optional[int]:
    match = _TEXT.fullmatch(text)
    if match is None or not text or (match["day"] is None) != is_of_day:
        return None
    if (match["zone"] and not (has_zone and match["clock"])) or (is_date and match["clock"]):
        return None
    try:
        clock = f"{match['clock'] or '00:00'}:{match['second'] or '00'}"
        whole = datetime.fromisoformat(f"{match['day'] or '1970-01-01'}T{clock}")
    except ValueError:
        return None
    ns = int((match["fraction"] or "").ljust(9, "0"))
    return _ns(whole.replace(tzinfo=timezone.utc) - _EPOCH - offset(match["zone"])) + ns


def _ns(span: timedelta) -> int:
    return (span.days * _DAY_S + span.seconds) * _NS + span.microseconds * 1000


def offset(zone: Optional[str]) -> timedelta:
    """How far a zone, as `Z` or `+01:00`, is ahead of UTC."""
    if zone is None or zone in "Zz":
        return timedelta()
    hours, minutes = int(zone[1:3]), int(zone[-2:])
    return timedelta(hours=hours, minutes=minutes) * (-1 if zone[0] == "-" else 1)
