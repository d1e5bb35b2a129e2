"""What the processes print, line by line and above the status line."""

import contextlib
from typing import Iterator, Protocol, TextIO

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


class Status(Protocol):
    """The status line."""

    def note(self, line: str) -> None:
        """Write a permanent line above it."""

    def clear(self) -> None:
        """Remove it before other output."""


class Output:
    """Prints what the processes say: errors to stderr, the rest to stdout."""

    def __init__(self, out: TextIO, err: TextIO, status: Status) -> None:
        self._out = out
        self._encodings = (out.encoding or "utf-8", err.encoding or "utf-8")
        self._status = status
        self._has_numbers = False
        """Whether each line starts with the number of its process: since a second one has spoken."""

    def line(self, number: int, line: bytes, is_error: bool) -> None:
        """Print a line of process number `number`."""
        self._has_numbers = self._has_numbers or number > 1
        text = line.decode(self._encodings[is_error], "backslashreplace")
        text = f"[{number}] {text}" if self._has_numbers else text
        if is_error:
            self._status.note(text)
            return
        self._status.clear()
        with contextlib.suppress(OSError):
            self._out.write(f"{text}\n")
            self._out.flush()
