"""Positions are read in every form that our tools print, on every verb that takes one."""

from typing import Any, Optional, Tuple

import pytest

from orderflow.model.records import Record, place_in, read_position, time_of


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("0:12", (None, 0, 12)),
        ("00:012", (None, 0, 12)),
        ("orders-dlq:0:12", ("orders-dlq", 0, 12)),
        ("orders-dlq-0-12", ("orders-dlq", 0, 12)),
        ("a-1-2:3:4", ("a-1-2", 3, 4)),
        ("a-1-2-3-4", ("a-1-2", 3, 4)),
        ("7-0-12", ("7", 0, 12)),
        ("7:0:12", ("7", 0, 12)),
        ("-:0:12", ("-", 0, 12)),
        ("--0-12", ("-", 0, 12)),
        ("a.b_c-0-12", ("a.b_c", 0, 12)),
        ("999999999:999999999999999999", (None, 999_999_999, 999_999_999_999_999_999)),
    ],
)
def test_a_position_is_read_in_every_form(text: str, read: Tuple[Optional[str], int, int]) -> None:
    """Partition and offset are the last two numbers; a topic before them may hold dashes and digits."""
    assert read_position(text) == read


@pytest.mark.parametrize(
    "text",
    [
        *("", "first", "7", "0:", ":0", "0-12", "0:1:2:3x", "-1:2", "0:-1", " 0:1", "0:1\n", "0:1.5"),
        *("0:1e3", "a:0-12", "a-0:12", "a:b:0:12", "a/b:0:1", "\u0661:0", "0:\u0661", "0:" + "9" * 5000),
        "9" * 10 + ":0",
    ],
)
def test_anything_else_is_no_position(text: str) -> None:
    """It is refused in one sentence, whatever was typed, and never breaks the conversion of a number."""
    with pytest.raises(
        ValueError, match="is not a position: give PARTITION:OFFSET or TOPIC-PARTITION-OFFSET"
    ):
        read_position(text)


def test_the_position_of_a_record_is_read_back() -> None:
    """A record's own position is accepted wherever a position is expected."""
    record = Record("orders-dlq-2", 3, 17, None, None, None, None, [])

    assert read_position(record.position) == ("orders-dlq-2", 3, 17)


@pytest.mark.parametrize(
    ("position", "place"),
    [
        ("orders-dlq-0-17", (0, 17)),
        ("orders-dlq-12-0", (12, 0)),
        ("0:17", (0, 17)),
        ("orders-dlq:0:17", (0, 17)),
        ("other:0:17", None),
        ("orders-dlq-2-0-17", None),
        ("orders-0-17", None),
        ("orders-dlq-0-x", None),
        ("orders-dlq-0-\u0661", None),
        ("", None),
        (None, None),
    ],
)
def test_places_in_a_topic(position: Optional[str], place: Optional[Tuple[int, int]]) -> None:
    """A position is understood only if it lies in the topic in question, whatever dashes its name has."""
    assert place == place_in("orders-dlq", position)


@pytest.mark.parametrize(
    ("told", "time"),
    [
        ((1, 1_795_564_800_000), ("CreateTime", 1_795_564_800_000)),
        ((2, 0), ("LogAppendTime", 0)),
        ((1, -1), (None, None)),
        ((1, -62_135_596_800_000), (None, None)),
        ((0, 0), (None, None)),
        ((0, -1), (None, None)),
    ],
)
def test_a_record_without_a_time_is_of_no_time(told: Tuple[int, int], time: Any) -> None:
    """Kafka says -1, of type CreateTime; that is no moment of 1969."""

    class Told:
        def timestamp(self) -> Tuple[int, int]:
            return told

    message: Any = Told()

    assert time_of(message) == time
