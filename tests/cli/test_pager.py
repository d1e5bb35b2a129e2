"""Long output goes through the user's pager; what fits on the screen does not."""

import io
import sys
from pathlib import Path
from typing import List, Optional

import pytest

from orderflow.cli.output import Output, ReaderLeft
from orderflow.cli.pager import paged, pager_of


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        """It does."""
        return True


@pytest.fixture(autouse=True)
def screen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of the usual height and abilities."""
    monkeypatch.setenv("LINES", "24")
    monkeypatch.setenv("TERM", "xterm")


@pytest.mark.parametrize(("chosen", "command"), [("more -x", ["more", "-x"]), ("cat", None), ("", None)])
def test_the_users_own_choice(chosen: str, command: Optional[List[str]]) -> None:
    """PAGER says which, or that there is to be none."""
    assert pager_of(Output(Terminal()), {"PAGER": chosen}) == command


def test_a_choice_that_is_no_command_is_none() -> None:
    """A quote that is never closed keeps nobody from reading."""
    assert pager_of(Output(Terminal()), {"PAGER": "less 'x"}) is None


def test_a_dumb_terminal_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """It could not show it."""
    monkeypatch.setenv("TERM", "dumb")

    assert pager_of(Output(Terminal()), {"PAGER": "less"}) is None


def test_a_pipe_keeps_everything_as_it_is() -> None:
    """Nobody reads it page by page."""
    assert pager_of(Output(io.StringIO()), {"PAGER": "less"}) is None


def pager(tmp_path: Path) -> List[str]:
    """One that writes what it reads into a file."""
    code = "import sys; open(sys.argv[1], 'wb').write(sys.stdin.buffer.read())"
    return [sys.executable, "-c", code, str(tmp_path / "paged")]


def test_what_fits_on_the_screen_is_printed(tmp_path: Path) -> None:
    """No pager is started for it."""
    out = Terminal()
    with paged(Output(out), pager(tmp_path)) as shown:
        shown.lines(["one", "two\x1b[2J"])

    assert out.getvalue() == "one\ntwo\\u001b[2J\n"
    assert not (tmp_path / "paged").exists()


def test_more_than_a_screen_goes_to_the_pager(tmp_path: Path) -> None:
    """All of it, in order, from the first line on, as safe as on the terminal."""
    out, lines = Terminal(), [f"line {number} grün" for number in range(100)]
    with paged(Output(out), pager(tmp_path)) as shown:
        for line in lines:
            shown.line(line)
        shown.line("\x1b[2J")

    assert (tmp_path / "paged").read_text("utf-8").splitlines() == [*lines, "\\u001b[2J"]
    assert out.getvalue() == ""


@pytest.mark.parametrize(
    ("encoding", "line"), [("latin-1", b"gr\xfcn \\u6ce8 ##~"), ("ascii", b"gr\\u00fcn \\u6ce8 ##~")]
)
def test_a_pager_gets_what_its_terminal_can_show(tmp_path: Path, encoding: str, line: bytes) -> None:
    """It passes bytes on: those of another encoding would be other characters there."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding)
    with paged(Output(stream), pager(tmp_path)) as shown:
        shown.lines(["grün 注 ██…"] * 100)

    assert (tmp_path / "paged").read_bytes() == (line + b"\n") * 100


def test_a_reader_who_leaves_ends_the_writing() -> None:
    """As at the end of any pipe, and without waiting for what nobody will read."""

    def write_for_ever() -> None:
        with paged(Output(Terminal()), [sys.executable, "-c", ""]) as shown:
            while True:
                shown.lines(["line"] * 100)

    with pytest.raises(ReaderLeft):
        write_for_ever()


def test_a_pager_that_is_not_there_is_done_without() -> None:
    """A misspelt PAGER must not hide what was asked for."""
    out = Terminal()
    with paged(Output(out), ["no-such-pager"]) as shown:
        shown.lines(["line"] * 100)

    assert out.getvalue() == "line\n" * 100
