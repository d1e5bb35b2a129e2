"""The one way out for text: on files, pipes, full disks, closed streams and terminals of every encoding."""

import contextlib
import fcntl
import io
import os
import pty
import struct
import termios
import threading
from pathlib import Path
from typing import Iterator, TextIO, Tuple, Type

import pytest

from orderflow.cli.output import Notes, Output, ReaderLeft
from orderflow.dlq.output.listing import sparkline
from orderflow.exits import CommandError
from orderflow.model.cells import fit
from orderflow.model.text import Heading

HOSTILE = "key \x1b[2Jx\nERROR forged\r\u202eb\u2028\u200b\x9b"
SHOWN = r"key \u001b[2Jx\u000aERROR forged\u000d\u202eb\u2028\u200b\u009b"


@contextlib.contextmanager
def terminal() -> Iterator[Tuple[int, TextIO]]:
    """A pseudo-terminal: the end that sees what is shown, and the stream of a script."""
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w", encoding="utf-8") as stream:
        yield leader, stream
    os.close(leader)


# --- what is shown


@pytest.mark.parametrize("kind", [Output, Notes])
def test_text_can_neither_control_a_terminal_nor_forge_a_line(kind: Type[Output]) -> None:
    """In data, and in whatever else is said."""
    stream = io.StringIO()
    kind(stream).line(HOSTILE)

    assert stream.getvalue() == f"{SHOWN}\n"


def test_notes_show_everything_in_this_way() -> None:
    """An error, a question, a status line and what a signal puts in between."""
    stream = io.StringIO()
    err = Notes(stream)
    err.complain("first", HOSTILE)
    for say in (err.prompt, err.status, err.interject_line):
        say(HOSTILE)
    err.interject("note", text=HOSTILE)

    assert stream.getvalue().count(SHOWN) == 5
    assert stream.getvalue().replace("\r\x1b[K", "").replace("\n", "").isprintable()


def test_an_error_repeats_no_password() -> None:
    stream = io.StringIO()
    Notes(stream).complain("cannot reach shop:hush@kafka", "nor shop:hush@other")

    assert "hush" not in stream.getvalue()


def test_only_a_heading_is_bold_and_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a type: no text can ask for it."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    plain = io.StringIO()
    Output(plain).line(Heading("GROUP"))
    with terminal() as (leader, stream):
        Output(stream).lines([Heading("GROUP\x1b[5m"), "row"])
        shown = os.read(leader, 1000)

    assert (plain.getvalue(), shown) == ("GROUP\n", b"\x1b[1mGROUP\\u001b[5m\x1b[0m\r\nrow\r\n")


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", rb"10 \u20ac \u6ce8 \u00fc \U0001f600"),
        ("latin-1", b"10 \\u20ac \\u6ce8 \xfc \\U0001f600"),
        ("cp1252", b"10 \x80 \\u6ce8 \xfc \\U0001f600"),
    ],
)
def test_a_character_that_the_output_lacks_is_shown_as_its_code(
    encoding: str, shown: bytes, tmp_path: Path
) -> None:
    with open(tmp_path / "out", "w", encoding=encoding) as stream:
        Output(stream).line("10 € 注 ü 😀")

    assert (tmp_path / "out").read_bytes() == shown + b"\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437"])
def test_what_we_draw_keeps_its_width_on_an_output_that_lacks_it(encoding: str, tmp_path: Path) -> None:
    """Charts, lines and cuts: no line wraps, and columns stay below each other."""
    lines = [sparkline(range(8)), "── 2026-11-29 UTC ──────", fit("a message that is too long", 12), "██████"]
    with open(tmp_path / "out", "w", encoding=encoding) as stream:
        Output(stream).lines(lines)

    shown = (tmp_path / "out").read_text(encoding).splitlines()
    assert list(map(len, shown)) == list(map(len, lines))
    assert encoding != "ascii" or shown == ["_.:-=+*#", "-- 2026-11-29 UTC ------", "a message t~", "######"]


def test_bytes_are_never_written_to_a_terminal() -> None:
    with terminal() as (_, stream), pytest.raises(CommandError, match="redirect the output"):
        Output(stream).data(b"\x1b[2J")


# --- what cannot be written


@pytest.fixture
def full_disk() -> Iterator[TextIO]:
    """A file on a disk that is full."""
    with open("/dev/full", "w", encoding="utf-8") as stream:
        yield stream


@pytest.fixture
def no_reader() -> Iterator[TextIO]:
    """A pipe that nobody reads any more."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", encoding="utf-8") as stream:
        yield stream


def test_data_that_is_lost_is_an_error(full_disk: TextIO) -> None:
    out = Output(full_disk)
    with pytest.raises(CommandError, match="cannot write to stdout: No space left on device"):
        out.line("x")


def test_data_for_a_stream_that_was_closed_is_an_error(full_disk: TextIO) -> None:
    with pytest.raises(CommandError, match="cannot write to stdout: it is closed"):
        Output(full_disk, is_closed=True).line("x")


def test_a_reader_that_has_seen_enough_is_told_apart(no_reader: TextIO) -> None:
    with pytest.raises(ReaderLeft):
        Output(no_reader).line("x")


def test_the_line_that_tells_what_was_done_fails_nothing(full_disk: TextIO, no_reader: TextIO) -> None:
    """It is done. That nobody could learn it is known afterwards."""
    for stream, left in ((full_disk, False), (no_reader, True)):
        out = Output(stream)
        out.result("20 sent")

        assert (out.lost is not None, out.reader_left) == (True, left)


def test_notes_that_are_lost_stop_no_work(full_disk: TextIO, no_reader: TextIO) -> None:
    for stream in (full_disk, no_reader):
        err = Notes(stream)
        err.line("x")
        err.complain("y")
        err.status("z")

        assert err.lost is not None


def test_a_pipe_that_another_program_made_non_blocking_is_waited_for() -> None:
    """As a terminal that is shared with a program that sets it so."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    found = bytearray()
    reader = threading.Thread(target=lambda: found.extend(iter_all(reading)))
    with os.fdopen(writing, "w", encoding="utf-8") as stream:
        reader.start()
        Output(stream).line("x" * 1_000_000)
    reader.join()

    assert len(found) == 1_000_001


def iter_all(descriptor: int) -> bytes:
    """Everything until the other end is closed."""
    with os.fdopen(descriptor, "rb") as stream:
        return stream.read()


# --- terminals


def test_the_width_is_that_of_its_own_terminal_as_it_is_now() -> None:
    """Stdout may be a pipe, and a window changes while `tail` follows."""
    with terminal() as (leader, stream):
        out, widths = Notes(stream), []
        for columns in (120, 60):
            fcntl.ioctl(leader, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
            widths.append(out.width)

    assert widths == [120, 60]
    assert Output(io.StringIO()).width is None
