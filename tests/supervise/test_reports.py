"""What a consumer tells its supervisor, and what becomes of its output."""

import pytest

from orderflow.supervise.output import LONGEST_LINE, Lines, Passage
from orderflow.supervise.report import BEGAN, WORKING, Report, read, written

FULL = Report(WORKING, "[12, 0, 3]", {0: (17, 2), 3: (0, 0)}, [(0, 17)])


def test_a_report_arrives_as_it_was_sent() -> None:
    """Through its line of JSON."""
    assert read(written(FULL)) == FULL
    assert read(written(Report(BEGAN))) == Report(BEGAN, "", {}, [])


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


def test_each_line_goes_where_the_process_sent_it(capsys: pytest.CaptureFixture[str]) -> None:
    """With the number of its process where there are several, unless it is data for another program."""
    Passage(lambda: None, processes=1).line(1, b"the only one", is_error=True)
    passage = Passage(lambda: None, processes=2)
    passage.line(1, b"the first speaks first", is_error=True)
    passage.line(2, b"info partition 1 is ready", is_error=True)
    passage.line(2, b'{"event":"ready"}', is_error=True)
    passage.line(1, "caf\u00e9 \xff".encode("latin-1"), is_error=False)

    printed = capsys.readouterr()
    assert (
        printed.err
        == 'the only one\n[1] the first speaks first\n[2] info partition 1 is ready\n{"event":"ready"}\n'
    )
    assert printed.out == "caf\\xe9 \\xff\n"


def test_the_status_line_makes_room_for_each_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Or the line would be torn into it."""
    Passage(lambda: print("(cleared)"), processes=1).line(1, b"info", is_error=False)

    assert capsys.readouterr().out == "(cleared)\ninfo\n"
