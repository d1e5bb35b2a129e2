"""Counting dead letters: by kind and by what they tell, in bounded memory."""

from typing import Any, Optional

import pytest

from orderflow.dlq import tally
from orderflow.dlq.letter import FailureKind, Letter
from orderflow.dlq.tally import OTHERS, Groups, Shortener, Totals, Window, short_length
from orderflow.errors import Undecodable
from orderflow.model.records import Record


def decode(value: Optional[bytes]) -> Any:
    raise Undecodable("not an order", "decode.framing")


def letter(
    mark: str = "aa", at_ms: Optional[int] = 0, reason: str = "process.failed", partition: int = 0
) -> Letter:
    one = Letter(Record("dlq", partition, 0, at_ms, "CreateTime", None, None, []), decode)
    one._kind = FailureKind("orderflow", mark, reason, "process", "KeyError", "orders")
    return one


@pytest.mark.parametrize(("at_ms", "part"), [(99, None), (100, 0), (149, 0), (150, 1), (199, 1), (200, None)])
def test_window_has_equal_parts(at_ms: int, part: Optional[int]) -> None:
    """A time falls in one part, or outside."""
    assert Window(100, 200, 2).part(at_ms) == part


def test_groups_count_and_keep_the_first_example() -> None:
    """Each kind has its number, first and last time, and its share of each part of the window."""
    groups = Groups(Window(0, 100, 2))
    for one in (letter("aa", 70), letter("bb", 10), letter("aa", 20), letter("aa", None), letter("aa", 500)):
        groups.add(one)
    first, second = groups.rows()

    assert (first.kind.fingerprint, first.count, first.first_ms, first.last_ms) == ("aa", 4, 20, 500)
    assert first.parts == [1, 1]
    assert (second.kind.fingerprint, second.count) == ("bb", 1)


def test_kinds_beyond_the_most_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many kinds there are, memory is bounded and nothing goes uncounted."""
    monkeypatch.setattr(tally, "MOST_GROUPS", 4)
    groups = Groups(Window(0, 100))
    for mark in "aabcdefg":
        groups.add(letter(mark))
    counts = {group.kind.fingerprint: group.count for group in groups.rows()}

    assert len(counts) <= 4
    assert sum(counts.values()) == 8
    assert counts["a"] == 2
    assert counts[OTHERS] >= 4


@pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
def test_what_is_frequent_is_not_displaced(first: bool) -> None:
    """Records of 5,000 kinds that never come again leave the real failure its row."""
    groups = Groups(Window(0, 100))
    real = [letter("real")] * 50
    flood = [letter(f"flood {number}") for number in range(5_200)]
    for one in [*real, *flood] if first else [*flood, *real]:
        groups.add(one)
    rows = [group for group in groups.rows() if group.kind.fingerprint != OTHERS]

    assert (rows[0].kind.fingerprint, rows[0].count) == ("real", 50)
    assert sum(group.count for group in groups.rows()) == 5_250


def test_totals_by_everything_that_is_told() -> None:
    """Labels are counted one by one, what is not carried under its own name."""
    totals = Totals(Window(100, 200, 2))
    for at_ms, partition in ((50, 0), (100, 0), (199, 1), (None, 1), (200, 1)):
        totals.add(letter(at_ms=at_ms, partition=partition))
    by = totals.by_label()

    assert (totals.count, totals.oldest_ms, totals.newest_ms) == (5, 50, 200)
    assert totals.parts == [1, 1]
    assert (totals.earlier, totals.later, totals.undated) == (1, 1, 1)
    assert (by["reasons"], by["states"]) == ({"process.failed": 5}, {"new": 5})
    assert by["partitions"] == {"0": 2, "1": 3}


def test_totals_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of different reasons ends up under one label."""
    monkeypatch.setattr(tally, "MOST_LABELS", 2)
    totals = Totals(Window(0, 1))
    for reason in "abcde":
        totals.add(letter(reason=reason))

    assert totals.by_label()["reasons"] == {OTHERS: 3, "a": 1, "b": 1}


@pytest.mark.parametrize(
    ("marks", "length"),
    [
        ([], 4),
        (["abcdef"], 4),
        (["abcdef", "abcxyz"], 4),
        (["abcdef", "abcdxy"], 5),
        (["abcdef", "abcdex"], 6),
    ],
)
def test_fingerprints_are_shown_as_short_as_they_can_be(marks: Any, length: int) -> None:
    """Four digits, or as many as tell all of them apart."""
    assert short_length(marks) == length


def test_fingerprints_that_come_one_by_one() -> None:
    """The first keeps its four digits; one that begins alike gets more, and both keep what they have."""
    shortener = Shortener()

    assert shortener.short("abcd11") == "abcd"
    assert shortener.short("abcd22") == "abcd2"
    assert shortener.short("abcd11") == "abcd"
