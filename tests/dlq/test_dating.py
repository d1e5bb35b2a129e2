"""Which time an imported dead letter gets, by what its topic does to records of that time."""

from typing import Any, Dict, Optional

import pytest

from orderflow.dlq.dating import dating_of
from orderflow.model.records import NO_TIME_MS

NOW_MS = 1_800_000_000_000
DAY_MS = 86_400_000
WEEK = {"message.timestamp.type": "CreateTime", "cleanup.policy": "delete", "retention.ms": str(7 * DAY_MS)}


def sent_with(settings: Dict[str, str], age_ms: Optional[int]) -> Any:
    """The age that it is sent with; None for no time."""
    at_ms = None if age_ms is None else NOW_MS - age_ms
    sent_ms = dating_of(settings).time_for(at_ms, NOW_MS)
    return None if sent_ms == NO_TIME_MS else NOW_MS - sent_ms


@pytest.mark.parametrize(
    ("age_ms", "sent"),
    [(0, 0), (3 * DAY_MS, 3 * DAY_MS), (4 * DAY_MS, 0), (30 * DAY_MS, 0), (NOW_MS, 0), (None, 0)],
)
def test_what_the_topic_would_soon_delete_is_dated_anew(age_ms: Optional[int], sent: int) -> None:
    """Its own time is kept as long as half of its life in the topic is left."""
    assert sent == sent_with(WEEK, age_ms)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {**WEEK, "retention.ms": "-1"},
        {**WEEK, "cleanup.policy": "compact"},
        {**WEEK, "message.timestamp.type": "LogAppendTime"},
        {**WEEK, "retention.ms": "forever"},
    ],
    ids=str,
)
def test_what_is_kept_whatever_its_time_keeps_it(settings: Dict[str, str]) -> None:
    """Where nothing is deleted by time, where the broker dates, or where nothing is known of the topic."""
    assert [sent_with(settings, age_ms) for age_ms in (0, 30 * DAY_MS, None)] == [0, 30 * DAY_MS, None]


@pytest.mark.parametrize(
    ("name", "age_ms", "sent"),
    [
        ("message.timestamp.before.max.ms", DAY_MS, 0),
        ("message.timestamp.before.max.ms", 60_000, 60_000),
        ("message.timestamp.before.max.ms", -DAY_MS, -DAY_MS),
        ("message.timestamp.after.max.ms", -DAY_MS, 0),
        ("message.timestamp.after.max.ms", -60_000, -60_000),
        ("message.timestamp.after.max.ms", DAY_MS, DAY_MS),
        ("message.timestamp.difference.max.ms", DAY_MS, 0),
        ("message.timestamp.difference.max.ms", -DAY_MS, 0),
    ],
)
def test_what_the_topic_would_refuse_is_dated_anew(name: str, age_ms: int, sent: int) -> None:
    """A time too far in the past or in the future would make the broker refuse the whole import."""
    assert sent == sent_with({**WEEK, "retention.ms": "-1", name: "3600000"}, age_ms)
