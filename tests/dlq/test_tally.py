"""Counting dead letters by what they tell, in bounded memory."""

from typing import Any, Optional

import pytest

from orderflow.dlq import tally
from orderflow.dlq.letter import FailureKind, Letter
from orderflow.dlq.tally import OTHERS, Shortener, Totals, short_length
from orderflow.dlq.timeline import Window
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
