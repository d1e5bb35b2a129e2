"""Kinds of failure: what belongs together stays together, in bounded memory."""

from typing import Any, Optional

import pytest

from orderflow.dlq import grouping
from orderflow.dlq.grouping import FEW, Groups, worth_a_row
from orderflow.dlq.letter import FailureKind, Letter
from orderflow.dlq.tally import OTHERS
from orderflow.errors import Failure, Undecodable
from orderflow.model.dead_letter import Circumstances, dead_letter
from orderflow.model.records import Record

HOUR_MS = 3_600_000
ABOUT = Circumstances("g", "host-1", 4, 1, 2, None, 1)


def decode(value: Optional[bytes]) -> Any:
    raise Undecodable("not an order", "decode.framing")


def letter(mark: str = "aa", at_ms: Optional[int] = 0) -> Letter:
    one = Letter(Record("dlq", 0, 0, at_ms, "CreateTime", None, None, []), decode)
    one._kind = FailureKind("orderflow", mark, "process.failed", "process", "KeyError", "orders")
    return one


def died(
    message: str, stack: Optional[str] = None, error_class: str = "KeyError", frame: Optional[str] = None
) -> Letter:
    source = Record("orders", 0, 1, 1, "CreateTime", b"k", b"v", [])
    failure = Failure("process.failed", "process", error_class, message, True, stack=stack, frame=frame)
    return Letter(
        Record("dlq", 0, 7, 2, None, b"k", b"v", dead_letter(source, failure, ABOUT, "d").headers), decode
    )


def counted(*letters: Letter) -> Groups:
    groups = Groups()
    for one in letters:
        groups.add(one)
    return groups


def test_one_bug_is_one_group() -> None:
    """450 keys that a table does not hold are one failure, with or without its stack trace."""
    skus = [chr(65 + n // 26) + chr(65 + n % 26) for n in range(450)]
    stack = 'Traceback:\n  File "/app/shop/prices.py", line 21, in total\nKeyError: {}\n'

    assert len(counted(*(died(repr(sku)) for sku in skus)).rows()) == 1
    assert len(counted(*(died(repr(sku), stack.format(sku)) for sku in skus)).rows()) == 1


def test_two_bugs_are_two_groups() -> None:
    """The same error in two functions, and two errors in the same function."""
    stack = '  File "/app/shop/prices.py", line 21, in {}\n'
    letters = [
        died("x", stack.format(name), kind)
        for name in ("total", "tax")
        for kind in ("KeyError", "ValueError")
    ]

    assert len(counted(*letters).rows()) == 4


@pytest.mark.parametrize(
    "stack",
    [
        '  File "/app/shop/prices.py", line {}, in total\n',
        "x.Y: z\n\tat com.shop.Pricing.total(Pricing.java:{})\n",
    ],
)
def test_a_deploy_that_moves_the_line_begins_no_new_group(stack: str) -> None:
    """Since when it fails would be wrong, and the alarm for new kinds would ring for an old one."""
    assert len(counted(*(died("x", stack.format(line)) for line in (21, 35))).rows()) == 1


def test_functions_without_a_name_are_told_apart_by_their_lines() -> None:
    """A file may have many lambdas."""
    stack = '  File "/app/shop/prices.py", line {}, in <lambda>\n'

    assert len(counted(*(died("x", stack.format(line)) for line in (21, 35))).rows()) == 2


def test_what_is_counted_together_keeps_its_states(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report tells of each group what became of it, also where groups are folded."""
    monkeypatch.setattr(grouping, "MOST_GROUPS", 4)
    groups = Groups()
    for number, mark in enumerate("aabcdefg"):
        groups.add(letter(mark)).add_state("new" if number % 2 else "replayed")
    rows = groups.rows()

    assert all(sum(group.states.values()) == group.count for group in rows)
    assert sum(group.states["new"] for group in rows if "new" in group.states) == 4


def test_a_frame_in_a_header_counts_like_one_in_a_stack_trace() -> None:
    """The engine keeps the frame of every failure; an older dead letter may have its stack trace alone."""
    stack = '  File "/app/shop/prices.py", line 21, in total\n'
    old, new = died("'QM'", stack), died("'GT'", frame="shop/prices.py:21 in total")

    assert len(counted(old, new).rows()) == 1


def test_groups_count_and_keep_the_first_example() -> None:
    """Each kind has its number, and its first and last time, whatever order they are read in."""
    times = (("aa", 70_000), ("bb", 10_000), ("aa", 20_000), ("aa", None), ("aa", 500_000))
    first, second = counted(*(letter(mark, at_ms) for mark, at_ms in times)).rows()

    assert (first.kind.fingerprint, first.count, first.first_ms, first.last_ms) == ("aa", 4, 20_000, 500_000)
    assert (second.kind.fingerprint, second.count) == ("bb", 1)


def test_kinds_beyond_the_most_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many kinds there are, memory is bounded and nothing goes uncounted."""
    monkeypatch.setattr(grouping, "MOST_GROUPS", 4)
    counts = {group.kind.fingerprint: group.count for group in counted(*map(letter, "aabcdefg")).rows()}

    assert len(counts) <= 4
    assert sum(counts.values()) == 8
    assert counts["a"] == 2
    assert counts[OTHERS] >= 4


@pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
def test_what_is_frequent_is_not_displaced(first: bool) -> None:
    """Records of 5,000 kinds that never come again leave the real failure its row, above all else."""
    real = [letter("real")] * 50
    flood = [letter(f"flood {number}") for number in range(5_200)]
    rows = counted(*real, *flood).rows() if first else counted(*flood, *real).rows()

    assert (rows[0].kind.fingerprint, rows[0].count) == ("real", 50)
    assert rows[-1].kind.fingerprint == OTHERS
    assert sum(group.count for group in rows) == 5_250


def test_what_is_new_is_not_displaced_either() -> None:
    """A failure that has just begun is small, and what one looks for."""
    old = [letter(f"old {number}", number) for number in range(5_100)]
    rows = counted(*old[:4_999], letter("new", 999_999), *old[4_999:]).rows()

    assert "new" in {group.kind.fingerprint for group in rows}


def test_small_groups_are_folded_but_for_the_newest() -> None:
    """A screen shows what is frequent and what has just begun; the rest is a line."""
    frequent = [letter(f"f{number}", 0) for number in range(FEW) for _ in range(100)]
    small = [letter(f"s{number}", number * 1_000) for number in range(20)]
    rows = counted(*frequent, *small).rows()
    shown, folded = worth_a_row(rows)

    assert len(shown) + len(folded) == len(rows)
    assert {group.kind.fingerprint for group in shown[FEW:]} == {"s17", "s18", "s19"}


def test_a_few_small_groups_are_not_folded() -> None:
    """A line that stands for one row saves nothing."""
    rows = counted(*(letter(f"g{number}") for number in range(FEW))).rows()

    assert worth_a_row(rows) == (rows, [])


@pytest.mark.parametrize("hours", [0, 1, 24, 96, 1_000])
@pytest.mark.parametrize("burst_at_ms", [0, 1, 1_000, HOUR_MS - 1])
def test_the_span_of_an_incident_begins_before_it_ends(hours: int, burst_at_ms: int) -> None:
    """And holds the burst, though times far apart are told in coarse steps and the burst is early in one."""
    groups = counted(*(letter(at_ms=hour * HOUR_MS) for hour in range(hours)))
    began_ms = hours * HOUR_MS + burst_at_ms
    for number in range(max(200, 100 * hours + 200)):
        groups.add(letter(at_ms=began_ms + number // 10))

    window = groups.window(12)

    assert window is not None
    assert window.begin_ms <= began_ms < window.end_ms
