"""What dead letters look like: safe, short, and the same for everyone."""

from decimal import Decimal
from typing import Any, List, Optional, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderflow.avro.codec import Inspection
from orderflow.dlq.grouping import Groups
from orderflow.dlq.letter import FailureKind, Letter
from orderflow.dlq.output import portrait, times
from orderflow.dlq.output.envelope import envelope, plain, to_json
from orderflow.dlq.output.group_table import Look, group_lines
from orderflow.dlq.output.listing import (
    LetterLines,
    Overview,
    overview,
    sparkline,
    summary,
)
from orderflow.dlq.output.portrait import Shown
from orderflow.dlq.output.times import clock, clock_ms
from orderflow.dlq.retention import Retention
from orderflow.dlq.sums import Amount
from orderflow.errors import Undecodable
from orderflow.model.cells import fit
from orderflow.model.dead_letter import CLIENT, MESSAGE, OFFSET, PARTITION, REASON, TOPIC
from orderflow.model.records import Headers, Record

NOW_MS = 1_795_564_800_000
DAY_MS = 86_400_000


def decode(value: Optional[bytes]) -> Any:
    raise Undecodable("not an order", "decode.framing")


def letter(headers: Headers, key: Optional[bytes] = b"k", value: Optional[bytes] = b"v") -> Letter:
    return Letter(Record("dlq", 0, 7, NOW_MS, "CreateTime", key, value, headers), decode)


@pytest.mark.parametrize(
    ("counts", "line"),
    [
        ([0, 0, 0, 1, 4, 7, 6, 5], "▁▁▁▂▅█▇▆"),
        ([0, 0], "▁▁"),
        ([1, 1_000_000], "▂█"),
        ([], ""),
    ],
)
def test_sparkline(counts: List[int], line: str) -> None:
    """Heights in proportion to the largest; what happened at all is never drawn as nothing."""
    assert sparkline(counts) == line


@pytest.mark.parametrize(
    ("span_ms", "age", "countdown"),
    [
        (0, "0s", "0s"),
        (59_999, "59s", "59s"),
        (61_000, "1m", "1m 1s"),
        (3_600_000, "1h", "1h"),
        (6 * DAY_MS + 5 * 3_600_000 + 60_000, "6d", "6d 5h"),
    ],
)
def test_spans(span_ms: int, age: str, countdown: str) -> None:
    """An age in its largest unit, a countdown in its two largest."""
    assert (times.age(span_ms), times.countdown(span_ms)) == (age, countdown)


@pytest.mark.parametrize("at_ms", [None, 0, -1, NOW_MS, 2**62, -(2**62)])
def test_any_timestamp_is_shown(at_ms: Optional[int]) -> None:
    """Times before 1970, beyond year 9999 and none at all are shown, not raised."""
    assert clock(at_ms)
    assert clock_ms(at_ms)


@pytest.mark.parametrize(
    ("retention_ms", "oldest_ms", "told"),
    [
        (7 * DAY_MS, NOW_MS - 19 * 3_600_000, "first expiry in 6d 5h"),
        (7 * DAY_MS, NOW_MS - 8 * DAY_MS, "first expiry is due"),
        (-1, NOW_MS, "kept for ever"),
        (None, NOW_MS, "first expiry unknown"),
    ],
)
def test_first_expiry(retention_ms: Optional[int], oldest_ms: int, told: str) -> None:
    """How long there is left to act, never a guess."""
    about = Overview("orders-dlq", 1, 1_284, 1_900, oldest_ms, Retention(retention_ms, -1))
    line = overview(about, NOW_MS)

    assert line.startswith("orders-dlq  1 partition  1,284 unresolved of 1,900  oldest ")
    assert line.endswith(told)


@pytest.mark.parametrize(
    ("kind", "message", "told"),
    [
        ("app.errors.OutOfStock", "no stock\nsecond line", "OutOfStock: no stock"),
        ("app.PaymentTimeout", "PaymentTimeout in charge", "PaymentTimeout in charge"),
        ("KeyError", None, "KeyError"),
        (None, "said without a class", "said without a class"),
        (None, None, ""),
        ("X", "\x1b[2J", "X: \\u001b[2J"),
    ],
)
def test_summary(kind: Optional[str], message: Optional[str], told: str) -> None:
    """The bare class and the first line, made safe."""
    assert summary(kind, message) == told


def test_json_values() -> None:
    """What JSON cannot say is said otherwise; nothing else is changed."""
    kept = [1, 2.5, "grün", True, None]
    value = {"a": float("nan"), "b": float("inf"), "c": b"\xff", "d": kept, "e": {1: 2}}

    assert plain(value) == {
        "a": "NaN",
        "b": "Infinity",
        "c": {"b64": "/w=="},
        "d": kept,
        "e": {"1": 2},
    }


TEXT = st.text(st.characters(), max_size=30)
BYTES = st.none() | st.binary(max_size=30) | TEXT.map(lambda text: text.encode("utf-8", "surrogatepass"))


@given(st.lists(st.tuples(st.text(max_size=20), BYTES), max_size=6), BYTES, BYTES)
def test_whatever_a_record_holds_is_safe_to_show(headers: Any, key: Any, value: Any) -> None:
    """No line of `list` or `show` holds anything but printable characters, and JSON is ASCII."""
    names = ("exception", "topic", "partition", "offset", "message")
    told = [(f"__streams.errors.{name}", key) for name in names]
    for one in (letter(headers, key, value), letter([*headers, *told], key, value)):
        shown = Shown(one, Inspection(None, None, None, None, ValueError("\x1b")), None, False)
        lines = [LetterLines().line(one), *portrait.show_lines(shown, NOW_MS, True)]

        assert all(line.isprintable() for line in lines)
        json_text = to_json(envelope(one))
        assert json_text.isascii() and json_text.isprintable()


def test_lines_fit_the_terminal() -> None:
    """A line that is too long ends in …, and never wraps."""
    one = letter([("x", b"y")], key=b"k" * 300)

    assert len(fit(LetterLines().line(one), 80)) == 80


def groups_of(*kinds: Tuple[str, int], frame: Optional[str] = None) -> Groups:
    groups = Groups()
    for mark, number in kinds:
        for minute in range(number):
            place: Headers = [(TOPIC, b"orders"), (PARTITION, b"0"), (OFFSET, b"0")]
            one = letter([*place, (MESSAGE, b"sku"), (REASON, b"process.failed"), (CLIENT, b"here")])
            one.record = one.record._replace(timestamp_ms=NOW_MS - minute * 60_000)
            kind = ("orderflow", mark, "process.failed", "process", "KeyError", "orders", frame)
            one._kind = FailureKind(*kind)
            groups.add(one, Amount(Decimal("2.50")))
    return groups


def table(groups: Groups, width: Optional[int] = None, **look: Any) -> List[str]:
    return list(group_lines(groups.rows(), Look(groups.window(12), width, **look), NOW_MS))


def test_table_of_groups() -> None:
    """Since when, until when and how it went, of the time that the incident took, counts to the right."""
    assert table(groups_of(("7f3a0000", 12), ("c01d0000", 1), frame="shop/prices.py:21 in total")) == [
        "GROUP  COUNT  FIRST    LAST    23:49-00:00   REASON          AT                 ERROR",
        "7f3a      12  11m ago  0s ago  ████████████  process.failed  shop/prices.py:21  KeyError: sku",
        "c01d       1  0s ago   0s ago  ▁▁▁▁▁▁▁▁▁▁▁█  process.failed  shop/prices.py:21  KeyError: sku",
    ]


def test_table_of_groups_on_a_narrow_screen() -> None:
    """At 80 columns there is room for where it failed and with what."""
    assert table(groups_of(("7f3a0000", 12), frame="shop/prices.py:21 in total"), 80, with_sums=True) == [
        "GROUP  COUNT    SUM  FIRST    LAST    23:49-00:00   ERROR",
        "7f3a      12  30.00  11m ago  0s ago  ████████████  shop/prices.py:21  KeyError…",
    ]


def test_small_groups_are_a_line_on_a_screen_alone() -> None:
    """A pipe keeps everything."""
    groups = groups_of(("aaaa0000", 999), *((f"{number:08x}", 1) for number in range(16, 50)))

    assert len(table(groups)) == 36
    assert len(table(groups, 80, folded=True)) == 17
    assert table(groups, 80, folded=True)[-1] == (
        "and 20 smaller groups with 20 dead letters: --all-groups lists them"
    )


def test_hex_dump_is_bounded() -> None:
    """A large value shows its beginning and tells how much more there is."""
    lines = list(portrait.hex_dump(b"A\x00" * 1_000))

    assert lines[0].strip().startswith("00000000  41 00 41 00")
    assert lines[0].endswith("A.A.A.A.A.A.A.A.")
    assert "976 bytes more" in lines[-1]
