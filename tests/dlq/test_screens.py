"""Dead letters and waiting orders on a narrow screen: what matters, in 80 columns."""

import re
from typing import Any, List, Optional

import pytest

from orderflow.avro.codec import Inspection
from orderflow.dlq.grouping import Groups
from orderflow.dlq.letter import Letter
from orderflow.dlq.output import times
from orderflow.dlq.output.group_table import Look, group_lines, span_text
from orderflow.dlq.output.listing import LetterLines, columns
from orderflow.dlq.output.narrow import NarrowLines
from orderflow.dlq.output.portrait import Shown, hex_dump, show_lines
from orderflow.dlq.output.waiting_lines import Due, reason_lines, reason_rows, summary_lines, summary_row
from orderflow.dlq.timeline import Window
from orderflow.errors import Undecodable
from orderflow.model.cells import cells
from orderflow.model.reasons import Kind
from orderflow.model.records import Record, read_position
from tests.support.dlq_tools import T0_MS, ours

DAY_MS = 86_400_000
STACK = 'Traceback:\n  File "/app/shop/stock.py", line 21, in take\napp.OutOfStock: no stock\n'


def decode(value: Optional[bytes]) -> Any:
    raise Undecodable("not an order", "decode.framing")


def letter(number: int, **changes: Any) -> Letter:
    sent = ours(number, **changes)
    record = Record("dlq", 0, number, sent.timestamp_ms, "CreateTime", sent.key, sent.value, sent.headers)
    return Letter(record, decode)


def test_a_line_says_when_where_which_and_what() -> None:
    """Time, position, group, key, and the error with its place, within 80 columns."""
    (_, line) = NarrowLines().lines([letter(3, stack=STACK)], 80)

    assert re.fullmatch(
        r"00:03:00  0:3 {7}[0-9a-f]{4}   O-3 {9}stock\.py:21  OutOfStock: no .*", line.replace("shop/", "")
    )
    assert len(line) <= 80


def test_the_day_stands_above_once() -> None:
    """A divider where a day begins, and nowhere else."""
    lines = NarrowLines()
    told = lines.lines([letter(1), letter(2)], 80)
    told += lines.lines([letter(3), letter(4, died_ms=T0_MS + DAY_MS)], 80)

    assert [place for place, line in enumerate(told) if line.startswith("──")] == [0, 4]
    assert told[0].startswith("── 2026-11-25 UTC ─")
    assert {len(told[0]), len(told[4])} == {80}


@pytest.mark.parametrize("key", [b"\x1b[2J", b"\xff" * 50, "\u202egrün".encode(), b"k" * 300])
def test_whatever_a_key_holds_the_line_is_safe_and_fits(key: bytes) -> None:
    """Hostile text stays text, and a long one takes no more than its column."""
    for line in NarrowLines().lines([letter(1, key=key, message="\x1b[2J {}")], 80):
        assert line.isprintable()
        assert len(line) <= 80


def portrait(with_diagnostics: bool) -> List[str]:
    shown = Shown(letter(3, stack=STACK), Inspection(None, None, None, None, ValueError("x")), None, False)
    return list(show_lines(shown, T0_MS, with_diagnostics=with_diagnostics))


def test_show_begins_with_what_went_wrong_and_where() -> None:
    """The error and its frame stand before anything else; what it is made of is asked for."""
    lines = portrait(with_diagnostics=False)

    assert [line.split()[0] for line in lines[1:5]] == ["error", "at", "class", "message"]
    assert lines[2].endswith("shop/stock.py:21 in take")
    assert lines[-1] == "diagnostics  17 headers: --headers lists them"
    assert any("orders.dlq.reason = process.failed" in line for line in portrait(with_diagnostics=True))


@pytest.mark.parametrize(
    "text",
    [
        "0:3",
        "dlq:0:3",
        "dlq-0-3",
        portrait(False)[0].split()[0],
        letter(3).position,
        letter(3).record.position,
    ],
)
def test_every_position_that_is_printed_can_be_typed(text: str) -> None:
    """Whatever screen it is copied from."""
    topic, partition, offset = read_position(text)

    assert (partition, offset) == (0, 3)
    assert topic in (None, "dlq")


WAITING = [
    Due(0, 1, T0_MS - 300_000, False),
    Due(0, 3, T0_MS + 30_000, True),
    Due(2, 2, T0_MS + 600_000, False),
    Due(2, 2, T0_MS + 9_000_000, False),
]


def test_waiting_orders_are_summed_up_by_partition_and_time() -> None:
    """How many are due when; times at which none is due take no room."""
    assert list(summary_lines(WAITING, T0_MS, 80)) == [
        "PARTITION  WAITING  OVERDUE  IN 1M  IN 10M  LATER  ATTEMPTS  NEXT",
        "0                2        1      1       0      0  1 to 3    now",
        "2                2        0      0       1      1  2 to 2    in 10m",
    ]
    row = summary_row(WAITING, [2], T0_MS)
    assert row["due"] == {"overdue": 1, "now": 0, "in 1m": 1, "in 10m": 1, "in 1h": 0, "later": 1}
    assert [one["braked"] for one in row["partitions"]] == [False, True]
    assert row["partitions"][0]["with_followers"] == 1


def test_nothing_waits() -> None:
    """Then there is nothing to sum up."""
    assert list(summary_lines([], T0_MS, 80)) == []


def test_waiting_orders_are_summed_up_by_what_they_failed_of() -> None:
    """The most frequent first, what nobody has told as such, and no text that controls a terminal."""
    timeout = Kind(
        "process.failed", "shop.PaymentTimeout", "shop/pay.py:21 in charge", "no answer within #\x1b"
    )
    whys = [
        timeout,
        None,
        timeout,
        Kind("decode.unknown_schema", "UnknownSchema", None, "schema # is unknown"),
    ]

    lines = list(reason_lines(whys, 80))

    assert lines[0].split() == ["WAITING", "REASON", "ERROR"]
    assert lines[1].split()[:2] == ["2", "process.failed"]
    assert "shop/pay.py:21  PaymentTimeout: no answer" in lines[1] and "\x1b" not in lines[1]
    assert all(len(line) <= 80 for line in lines)
    assert list(reason_lines([None, None], 80)) == []
    assert reason_rows(whys)[0] == {
        "waiting": 2,
        "error": {
            "reason": "process.failed",
            "class": "shop.PaymentTimeout",
            "frame": "shop/pay.py:21 in charge",
            "message": "no answer within #\x1b",
        },
    }
    assert reason_rows([None]) == [{"waiting": 1, "error": None}]


FAR_MS = 253_402_300_800_000 + 7_000
"""Seven seconds after the last year that a calendar has. A broken clock can be there."""


def test_a_time_that_no_calendar_has_is_not_shown_as_another() -> None:
    """It keeps its place in the line, and its time of day."""
    divider, line = NarrowLines().lines([letter(1, died_ms=FAR_MS)], 80)
    wide = LetterLines().line(letter(1, died_ms=FAR_MS))

    assert divider.startswith("── after 9999 UTC ─")
    assert line.startswith("00:00:07  0:1 ")
    assert wide.startswith("0:1         after 9999 00:00:07  ")


@pytest.mark.parametrize(
    ("begin", "end", "shown"),
    [
        (T0_MS, T0_MS + 60_000, "00:00:00-00:01:00"),
        (T0_MS, T0_MS + DAY_MS // 2, "00:00-12:00"),
        (T0_MS, T0_MS + 3 * DAY_MS, "11-25/11-28"),
        (T0_MS, T0_MS + 60 * DAY_MS, "11-25/01-24"),
        (0, T0_MS, "1970/2026"),
        (T0_MS, FAR_MS, "2026/after 9999"),
    ],
)
def test_the_heading_of_a_chart_says_what_it_spans(begin: int, end: int, shown: str) -> None:
    """Days of different years are not shown as if they were of one."""
    assert span_text(Window(begin, end)) == shown


def test_what_lies_ahead_is_not_shown_as_now() -> None:
    """A clock that is wrong by a moment is nothing; one that is wrong by years has to be seen."""
    assert [times.ago(T0_MS + ahead_ms, T0_MS) for ahead_ms in (-60_000, 0, 59_000, 3_600_000)] == [
        "1m ago",
        "0s ago",
        "0s ago",
        "in 1h",
    ]


def test_a_hex_dump_fits_on_a_narrow_screen() -> None:
    """Sixteen bytes a line, in hex and in ASCII."""
    assert max(map(len, hex_dump(bytes(range(256)) * 9))) <= 80


WIDE = "顧客番号四七一一" * 10


@pytest.mark.parametrize("text", [WIDE, "😀" * 60, "e\u0301" * 90, "ｆｕｌｌ" * 30])
def test_wide_characters_neither_wrap_a_line_nor_move_a_column(text: str) -> None:
    """A terminal draws them in two cells, or in none."""
    letters = [letter(1, key=text.encode(), message=text), letter(2, key=b"K", message=text)]
    lines = NarrowLines().lines(letters, 80)
    groups = Groups()
    groups.add(letters[0])
    wide = [LetterLines().line(one) for one in (letter(1, key="é漢".encode()), letter(2, key=b"K-1"))]

    assert all(cells(line) <= 80 for line in lines)
    assert len({cells(line[: line.index("OutOfStock")]) for line in wide}) == 1
    for line in group_lines(groups.rows(), Look(None, 100), T0_MS):
        assert cells(line) <= 100


def test_one_text_that_is_far_too_long_moves_its_own_row_alone() -> None:
    """The others are still read on one screen."""
    table = [("REASON", "ERROR"), ("x" * 5_000, "a"), ("short", "b")]
    _, first, second = columns(table, None, right=())

    assert first.endswith("x  a")
    assert len(second) < 80
