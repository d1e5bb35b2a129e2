"""What a consumer tells its supervisor, and what becomes of its output."""

import io
from typing import List

import pytest

from orderflow.supervise.output import LONGEST_LINE, Lines, Output
from orderflow.supervise.report import BEGAN, WORKING, Report, read, written

FULL = Report(WORKING, [12, 0, 3], {0: (17, 2), 3: (0, 0)}, [(0, 17)])


def test_a_report_arrives_as_it_was_sent() -> None:
    """Through its line of JSON."""
    assert read(written(FULL)) == FULL
    assert read(written(Report(BEGAN))) == Report(BEGAN, None, {}, [])


@pytest.mark.parametrize("line", [b"", b"hello", b"[]", b"null", b"\xff", b'{"state":"working"}', b"7"])
def test_what_is_no_report_is_none(line: bytes) -> None:
    """A handler may have written into a descriptor that is not its own."""
    assert read(line) is None


def test_lines_are_put_together_from_pieces() -> None:
    """Whatever pieces a pipe gives."""
    lines = Lines()

    assert [list(lines.take(piece)) for piece in (b"on", b"e\ntwo\n\nth", b"ree")] == [
        [],
        [b"one", b"two", b""],
        [],
    ]
    assert (lines.rest(), lines.rest()) == (b"three", b"")


def test_a_line_without_end_is_passed_on_in_pieces() -> None:
    """A handler may print anything, and memory has limits."""
    lines = Lines()

    assert list(lines.take(b"x" * (LONGEST_LINE + 1))) == [b"x" * (LONGEST_LINE + 1)]


class Noted:
    """A status line that keeps what is written above it."""

    def __init__(self) -> None:
        self.lines: List[str] = []

    def note(self, line: str) -> None:
        """Keep it."""
        self.lines.append(line)

    def clear(self) -> None:
        """Before other output."""
        self.lines.append("(cleared)")


def test_each_line_goes_where_the_process_sent_it() -> None:
    """With the number of its process where there are several, and above the status line."""
    out, status = io.StringIO(), Noted()
    output = Output(out, io.StringIO(), status)
    output.line(1, b"the first is alone", is_error=True)
    output.line(2, b"info partition 1 is ready", is_error=True)
    output.line(1, "café \xff".encode("latin-1"), is_error=False)

    assert status.lines == ["the first is alone", "[2] info partition 1 is ready", "(cleared)"]
    assert out.getvalue() == "[1] caf\\xe9 \\xff\n"
