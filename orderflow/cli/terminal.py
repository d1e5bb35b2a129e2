"""What terminals can do, and numbers and durations as people read them."""

import os
import re
import sys
from contextlib import suppress
from typing import Mapping, Optional, TextIO

from orderflow.model.time_spans import write_span


def program() -> str:
    """The script's file name, with which messages start."""
    return os.path.basename(sys.argv[0]) or "orderflow"


# --- Terminals ---

USUAL_COLUMNS = 80

ESCAPE_MS = "15"
"""For which a lone Escape is held back, since arrows and the like begin with one, in one packet mostly."""


def answer_escape_soon() -> None:
    """Shorten that wait for a screen that is drawn in this process, unless the user has chosen one."""
    os.environ.setdefault("ESCDELAY", ESCAPE_MS)


def can_rewrite(stream: TextIO, environ: Optional[Mapping[str, str]] = None) -> bool:
    """Whether the stream is a terminal that can rewrite a line, which `TERM=dumb` cannot."""
    term = (os.environ if environ is None else environ).get("TERM", "")
    return stream.isatty() and term != "dumb"


def has_colour(stream: TextIO, environ: Optional[Mapping[str, str]] = None) -> bool:
    """Whether the stream may get colour: a capable terminal, and no `NO_COLOR` (no-color.org)."""
    return can_rewrite(stream, environ) and not (os.environ if environ is None else environ).get("NO_COLOR")


def columns_of(stream: TextIO) -> int:
    """The width of the terminal now. Of this stream: the others may be files, or other terminals."""
    columns = 0
    with suppress(OSError, ValueError):
        columns = os.get_terminal_size(stream.fileno()).columns
    if columns <= 0:  # a terminal that does not know, as one over a serial line
        told = os.environ.get("COLUMNS", "")
        columns = int(told) if re.fullmatch("[1-9][0-9]{0,3}", told) else USUAL_COLUMNS
    return columns


# --- Numbers ---


def count(number: int) -> str:
    """A number for people: 1,284."""
    return f"{number:,}"


def duration(seconds: float) -> str:
    """A duration for people, in its two largest units: 6d 5h, 2m 3s, 0.4s."""
    if seconds < 10:
        return f"{seconds:.1f}s"
    return write_span(int(seconds) * 1000)
