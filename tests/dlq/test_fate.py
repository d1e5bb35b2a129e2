"""What became of replayed orders: where they are, and why they came back."""

from typing import Any, Mapping, Optional

import pytest

from orderflow.dlq.masking import Mask
from orderflow.dlq.replay.fate import Asked, Fate, Held, Sent, counted, jobs_of, times_together, where_it_is
from orderflow.dlq.replay.returned import returned_lines
from orderflow.errors import Undecodable
from orderflow.model.commit_metadata import Commit, Entry, PageName
from orderflow.model.records import Record
from tests.support.dlq_tools import ours


def held(*waiting: Entry, keys: Optional[Mapping[Optional[bytes], int]] = None) -> Held:
    """Committed at 10, everything up to 20 taken in."""
    return Held(10, Commit(20, list(waiting), True, False, None, 0), keys or {})


PAGE = PageName("orders-waiting", 0, 7)
ON_A_LOST_PAGE = Held(10, Commit(20, [], False, False, None, 0, page=PAGE))


@pytest.mark.parametrize(
    ("offset", "where", "place"),
    [
        (9, held(), "finished"),
        (15, held(), "finished"),
        (20, held(), "unseen"),
        (12, held(Entry(12, 1, 30)), "waiting"),
        (13, held(Entry(12, 1, 30)), "finished"),
        (13, held(Entry(12, 1, 30, has_followers=True), keys={b"key": 12}), "waiting"),
        (11, held(Entry(12, 1, 30, has_followers=True), keys={b"key": 12}), "finished"),
        (13, held(Entry(12, 1, 30, has_followers=True), keys={b"other": 12}), "finished"),
        (9, Held(10, None), "finished"),
        (10, Held(10, None), "unseen"),
        (0, None, "unseen"),
        (9, ON_A_LOST_PAGE, "finished"),
        (15, ON_A_LOST_PAGE, "unclear"),
        (20, ON_A_LOST_PAGE, "unseen"),
    ],
)
def test_where_a_replayed_order_is(offset: int, where: Optional[Held], place: str) -> None:
    """By the group's commit: below it or listed as waiting, behind a waiting one of its key, or beyond."""
    assert where_it_is(Sent(0, offset, b"key"), where) == place


def test_what_became_of_a_job_is_told_with_its_source() -> None:
    """Processed is what is finished and did not die again; and it says how that is known."""
    sent = [Sent(0, offset, b"key") for offset in (9, 11, 12, 30)]
    fate = counted(Fate("orders", "g"), sent, {0: held(Entry(12, 1, 30))})

    assert list(fate.rows(1)) == [
        ("became", "1 processed, 1 dead again, 1 waiting for a retry, 1 not seen yet, of 4 found in orders"),
        ("told by", "what group g has committed on orders"),
    ]
    assert fate.row(1)["processed"] == 1


def test_what_cannot_be_told_is_not_guessed() -> None:
    """Without a commit nothing is called processed."""
    fate = Fate("orders", "g", unknown="group g has committed nothing on orders")

    assert list(fate.rows(0)) == [("became", "cannot tell: group g has committed nothing on orders")]
    assert fate.row(0)["processed"] is None


def decode(value: Optional[bytes]) -> Any:
    raise Undecodable("not looked at", "decode.framing")


def returned(number: int, **changes: Any) -> Record:
    sent = ours(number, **changes)
    return Record("dlq", 0, number, sent.timestamp_ms, "CreateTime", sent.key, sent.value, sent.headers)


def test_a_canary_says_why_it_tripped() -> None:
    """The groups that came back, the most frequent first, and what to type."""
    records = [returned(1, message="\x1b[2J"), returned(2), returned(3)]
    lines = list(returned_lines(records, decode, Mask(), lambda *words: f"dlq_handler.py {' '.join(words)}"))

    assert lines[0].startswith("  2 of group ")
    assert lines[0].endswith(": OutOfStock: no stock for order 2")
    assert lines[1].startswith("  1 of group ")
    assert lines[2] == "look: dlq_handler.py show 0:2 --stack"
    assert all(line.isprintable() for line in lines)


def test_a_canary_that_did_not_come_back_says_nothing_of_groups() -> None:
    """There are none."""
    assert list(returned_lines([], decode, Mask(), str)) == []


def test_the_times_of_jobs_are_read_once() -> None:
    """Jobs of one hour are found in one go; the days between two incidents are not read."""
    hour, day = 3_600_000, 86_400_000
    asked = [
        Asked("b", day + hour, day + 2 * hour),
        Asked("a", day, day + hour),
        Asked("c", 9 * day, 9 * day),
    ]
    slack = 600_000

    assert times_together(asked) == [
        (day - slack, day + 2 * hour + slack),
        (9 * day - slack, 9 * day + slack),
    ]


def test_an_order_is_found_by_each_job_that_sent_it() -> None:
    """It carries the marks of all its replays; what is no job of ours is passed over."""
    marks = [("orders.replay.job", value) for value in (b"one", b"one", None, b"\xff", b"other")]
    record = Record("orders", 0, 7, 0, "CreateTime", None, None, marks)

    assert jobs_of(record, {"one", "two"}) == {"one"}
