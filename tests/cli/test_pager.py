"""Long output goes through the user's pager; what fits on the screen does not."""

import io
import sys
from pathlib import Path
from typing import Dict, List, Optional

import pytest

from orderflow.cli.pager import paged, pager_of


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        """It does."""
        return True


@pytest.mark.parametrize(
    ("environ", "command"),
    [
        ({"PAGER": "more -x"}, ["more", "-x"]),
        ({"PAGER": "cat"}, None),
        ({"PAGER": ""}, None),
        ({"PAGER": "less", "TERM": "dumb"}, None),
    ],
)
def test_the_users_own_choice(environ: Dict[str, str], command: Optional[List[str]]) -> None:
    """PAGER says which, or that there is to be none."""
    assert pager_of(Terminal(), environ) == command


def test_a_pipe_keeps_everything_as_it_is() -> None:
    """Nobody reads it page by page."""
    assert pager_of(io.StringIO(), {"PAGER": "less"}) is None


def pager(tmp_path: Path) -> List[str]:
    """One that writes what it reads into a file."""
    code = "import sys; open(sys.argv[1], 'w', encoding='utf-8').write(sys.stdin.read())"
    return [sys.executable, "-c", code, str(tmp_path / "paged")]


def test_what_fits_on_the_screen_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No pager is started for it."""
    monkeypatch.setenv("LINES", "24")
    out = Terminal()
    with paged(out, pager(tmp_path)) as shown:
        shown.write("one\ntwo\n")

    assert out.getvalue() == "one\ntwo\n"
    assert not (tmp_path / "paged").exists()


def test_more_than_a_screen_goes_to_the_pager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it, in order, from the first line on."""
    monkeypatch.setenv("LINES", "24")
    out, lines = Terminal(), [f"line {number} grün\n" for number in range(100)]
    with paged(out, pager(tmp_path)) as shown:
        for line in lines:
            shown.write(line)

    assert (tmp_path / "paged").read_text("utf-8") == "".join(lines)
    assert out.getvalue() == ""


def test_a_reader_who_leaves_ends_the_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As at the end of any pipe, and without waiting for what nobody will read."""
    monkeypatch.setenv("LINES", "24")

    def write_for_ever() -> None:
        with paged(Terminal(), [sys.executable, "-c", ""]) as shown:
            while True:
                shown.write("line\n" * 100)

    with pytest.raises(BrokenPipeError):
        write_for_ever()


def test_a_pager_that_is_not_there_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt PAGER must not hide what was asked for."""
    monkeypatch.setenv("LINES", "24")
    out = Terminal()
    with paged(out, ["no-such-pager"]) as shown:
        shown.write("line\n" * 100)

    assert out.getvalue() == "line\n" * 100
