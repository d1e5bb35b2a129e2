"""Output for people: errors, numbers, durations, and colour if the terminal has it."""

import contextlib
import os
import sys
from typing import Mapping, Optional, TextIO

from orderflow.model.text import escape, without_passwords
from orderflow.model.time_spans import write_span


def complain(err: TextIO, message: str) -> None:
    """Write one error after the script's name. Line breaks are kept; everything else is escaped."""
    lines = [escape(without_passwords(line)) for line in message.split("\n")]
    with contextlib.suppress(OSError):  # the exit code says it too
        err.write(f"{program()}: " + "\n".join(lines) + "\n")
        err.flush()


def program() -> str:
    """The script's file name, with which messages start."""
    return os.path.basename(sys.argv[0]) or "orderflow"


# --- Terminals ---


def is_terminal(stream: TextIO, environ: Optional[Mapping[str, str]] = None) -> bool:
    """Whether the stream is a terminal that can rewrite a line, which `TERM=dumb` cannot."""
    term = (os.environ if environ is None else environ).get("TERM", "")
    return stream.isatty() and term != "dumb"


def has_colour(stream: TextIO, environ: Optional[Mapping[str, str]] = None) -> bool:
    """Whether the stream may get colour: a capable terminal, and no `NO_COLOR` (no-color.org)."""
    return is_terminal(stream, environ) and not (os.environ if environ is None else environ).get("NO_COLOR")


def count(number: int) -> str:
    """A number for people: 1,284."""
    return f"{number:,}"


def duration(seconds: float) -> str:
    """A duration for people, in its two largest units: 6d 5h, 2m 3s, 0.4s."""
    if seconds < 10:
        return f"{seconds:.1f}s"
    return write_span(int(seconds) * 1000)
