"""A handler's output: printing never fails, whoever reads it, and anything lost is reported."""

import errno
import io
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, Dict, Iterator

import pytest

from orderflow.cli.output import Notes
from orderflow.consume.streams import HandlerStreams, Outlet

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def no_reader() -> Iterator[int]:
    """A pipe that nobody reads any more."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@pytest.fixture
def full_disk() -> Iterator[int]:
    """A file on a disk that is full."""
    full = os.open("/dev/full", os.O_WRONLY)
    yield full
    os.close(full)


PROLOGUE = """
import sys, os, subprocess, time
from orderflow.cli.output import Notes
from orderflow.consume.streams import HandlerStreams
streams = HandlerStreams(Notes(sys.stderr))
"""


def run(body: str, shell: str = "", **environ: str) -> "subprocess.CompletedProcess[str]":
    """Run a script with replaced streams; `shell` closes or redirects some before."""
    code = PROLOGUE + "with streams:\n" + textwrap.indent(textwrap.dedent(body), "    ")
    return subprocess.run(
        ["sh", "-c", f'"$@" {shell}', "sh", sys.executable, *environ.pop("FLAGS", "").split(), "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=30,
        check=False,
        env={**os.environ, **environ},
    )


# --- what cannot be written


def test_a_reader_that_left_is_known_and_nothing_is_raised(no_reader: int) -> None:
    """`| head` has seen enough: the handler continues, and the owner of the streams can stop."""
    outlet = Outlet(no_reader, "wb", closefd=False)

    assert (5, 5) == (outlet.write(b"hello"), outlet.write(b"again"))
    assert isinstance(outlet.lost, BrokenPipeError)


def test_a_full_disk_is_known_and_nothing_is_raised(full_disk: int) -> None:
    """When there is room again, what is printed then is written again."""
    outlet = Outlet(full_disk, "wb", closefd=False)
    with io.TextIOWrapper(io.BufferedWriter(outlet), encoding="utf-8", line_buffering=True) as stream:
        for _ in range(100):
            print("x" * 1000, file=stream)

    assert outlet.lost is not None
    assert errno.ENOSPC == outlet.lost.errno


def test_a_pipe_that_another_program_made_non_blocking_is_waited_for() -> None:
    """As a terminal that is shared with a program that sets it so: print would raise BlockingIOError."""
    finished = run(
        """
        os.set_blocking(1, False)
        print("x" * 1_000_000)
        """,
        shell="| (sleep 0.3; cat)",
    )

    assert (1_000_001, "") == (len(finished.stdout), finished.stderr)


STATES = {"buffered": {}, "unbuffered": {"FLAGS": "-u"}}


@pytest.mark.parametrize("how", STATES.values(), ids=STATES.keys())
def test_prints_go_on_when_the_reader_has_left(how: Dict[str, str]) -> None:
    """All of them, to both streams, as text and as bytes, and the end of the interpreter is quiet, too."""
    finished = run(
        """
        while not streams.reader_left:
            print("a line of a handler " * 100, flush=True)
        for _ in range(1000):
            print("a line of a handler"), sys.stdout.buffer.write(b"bytes")
        streams.err.line(f"{streams.take_loss()} {sys.stdout.errors}")
        """,
        shell="| head -1",
        **how,
    )

    assert "None backslashreplace\n" == finished.stderr
    assert 1 == finished.stdout.count("\n")


def test_a_full_disk_is_told_once() -> None:
    """Nobody has to read it a thousand times, and it is no reason to end."""
    finished = run(
        """
        for _ in range(1000):
            print("a line of a handler")
        sys.stdout.flush()
        streams.err.line(f"{streams.take_loss()} {streams.take_loss()} {streams.reader_left}")
        """,
        shell="> /dev/full",
    )

    assert (0, "No space left on device None False\n") == (finished.returncode, finished.stderr)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_character_that_the_terminal_lacks_is_escaped(encoding: str) -> None:
    """Not the handler's fault, either."""
    finished = run(r"print('10 \u20ac \u6ce8 \ud800')", PYTHONIOENCODING=encoding, PYTHONUTF8="0")

    assert 0 == finished.returncode, finished.stderr
    assert finished.stdout.endswith("\\u6ce8 \\ud800\n")


# --- what else holds of them


def test_what_is_printed_is_seen_in_its_order_by_children_too() -> None:
    """The streams are as they were in every other way: descriptor, encoding, buffering, replaceable."""
    finished = run(
        """
        print("first", flush=True)
        subprocess.run(["echo", "second"], stdout=sys.stdout, check=True)
        print("third")
        sys.stdout.reconfigure(line_buffering=True)
        assert (1, 2) == (sys.stdout.fileno(), sys.stderr.fileno())
        assert not sys.stdout.isatty()
        """
    )

    assert ("first\nsecond\nthird\n", "") == (finished.stdout, finished.stderr)


def test_streams_are_put_back() -> None:
    """What is still in a buffer then is written, and comes before what is printed after."""
    before = sys.stdout, sys.stderr
    with HandlerStreams(Notes(sys.stderr)):
        print("inside")
    assert before == (sys.stdout, sys.stderr)

    assert "inside\n" == run("print('inside')").stdout


def test_a_handler_that_closes_its_stderr_does_not_close_ours() -> None:
    """It closes what it found."""
    finished = run("sys.stderr.close(); sys.stdout.close()\nstreams.err.line('ours')")

    assert (0, "ours\n") == (finished.returncode, finished.stderr)


def test_streams_without_a_descriptor_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a test, or in a program that has replaced them."""
    ours: Any = io.StringIO()
    monkeypatch.setattr(sys, "stdout", ours)
    monkeypatch.setattr(sys, "stderr", None)

    with HandlerStreams(Notes(ours)) as streams:
        print("hello")
        assert (ours, None) == (sys.stdout, sys.stderr)
    assert (None, False, "hello\n") == (streams.take_loss(), streams.reader_left, ours.getvalue())
