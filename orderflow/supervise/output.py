"""What the processes print, line by line and above the status line.

It is passed on as it is: what a handler prints is its own, and our own lines were made harmless where they
come from.
"""

import contextlib
import io
import sys
from typing import Callable, Iterator

LONGEST_LINE = 1_000_000
"""A longer one is passed on in pieces."""


class Lines:
    """Cuts a stream of bytes into lines."""

    def __init__(self) -> None:
        self._begun = b""

    def take(self, chunk: bytes) -> Iterator[bytes]:
        """The lines that this chunk completes, without their ends."""
        *lines, self._begun = (self._begun + chunk).split(b"\n")
        if len(self._begun) > LONGEST_LINE:
            lines.append(self._begun)
            self._begun = b""
        return iter(lines)

    def rest(self) -> bytes:
        """The line that was begun and not ended, once."""
        rest, self._begun = self._begun, b""
        return rest


class Passage:
    """Prints what the processes say: errors to stderr, the rest to stdout."""

    def __init__(self, make_room: Callable[[], None], processes: int) -> None:
        """`make_room` removes the status line. Of several processes, it matters which one says what."""
        self._make_room = make_room
        self._has_several = processes > 1

    def line(self, number: int, line: bytes, is_error: bool) -> None:
        """Print a line of process number `number`, with that number if it is for people.

        What handlers print to stdout may be data for another program, and so is a line of JSON.
        """
        has_number = self._has_several and is_error and not line.startswith(b"{")
        stream = sys.stderr if is_error else sys.stdout
        text = line.decode(stream.encoding or "utf-8", "backslashreplace")
        self._make_room()
        with contextlib.suppress(OSError):
            stream.write(f"[{number}] {text}\n" if has_number else f"{text}\n")
            stream.flush()


def print_whole_lines() -> None:
    """Print each line at once, not in blocks as into any other pipe: a person watches."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)
