"""Shows long output through the user's pager, as git does; what fits on the screen is simply printed."""

import contextlib
import io
import os
import shlex
import shutil
import subprocess
from typing import Any, Iterator, List, Mapping, Optional, TextIO, cast

from orderflow.cli.terminal import is_terminal

LESS = "FRX"
"""Quit if it fits one screen, pass colours through, leave the text on the screen."""


def pager_of(out: TextIO, environ: Optional[Mapping[str, str]] = None) -> Optional[List[str]]:
    """The command of the pager; None where nobody would see it, or none is wanted or there.

    Ask before any file of settings is read: what is run here is the user's own choice alone.
    """
    environ = os.environ if environ is None else environ
    if not is_terminal(out, environ):
        return None
    chosen = environ.get("PAGER")
    if chosen is not None:
        command = shlex.split(chosen)
        return command if command and command != ["cat"] else None
    less = shutil.which("less")
    return None if less is None else [less]


@contextlib.contextmanager
def paged(out: TextIO, command: Optional[List[str]]) -> Iterator[TextIO]:
    """What to write to: the output itself, or on its way there the pager."""
    if command is None:
        yield out
        return
    rows = shutil.get_terminal_size().lines
    with PagedOutput(out, command, rows) as shown:
        yield cast(TextIO, shown)


class PagedOutput(io.TextIOBase):
    """Keeps what is written until it is more than a screen, and from then on gives it to the pager.

    Use as a context manager. If the reader leaves the pager, the next write raises BrokenPipeError.
    """

    def __init__(self, out: TextIO, command: List[str], rows: int) -> None:
        super().__init__()
        self._out = out
        self._command = command
        self._rows = rows
        self._kept: List[str] = []
        self._lines = 0
        self._pager: Any = None

    def __enter__(self) -> "PagedOutput":
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()

    def isatty(self) -> bool:
        """What is written ends up on a terminal either way."""
        return True

    def writable(self) -> bool:
        """It is for nothing else."""
        return True

    def write(self, text: str) -> int:
        """Keep it, or pass it on."""
        if self._pager is not None:
            self._pager.stdin.write(text)
            return len(text)
        self._kept.append(text)
        self._lines += text.count("\n")
        if self._lines >= self._rows:
            self._start()
        return len(text)

    def flush(self) -> None:
        """What is kept stays so, since it may still be less than a screen."""
        if self._pager is not None:
            self._pager.stdin.flush()

    def finish(self) -> None:
        """Print what fits on the screen; else wait until the reader has seen enough."""
        if self._pager is None:
            self._out.write("".join(self._kept))
            self._kept = []
            return
        with contextlib.suppress(OSError):  # the reader has left
            self._pager.stdin.close()
        while True:
            try:
                self._pager.wait()
                return
            except KeyboardInterrupt:  # it is the pager's to handle
                continue

    def _start(self) -> None:
        environ = {"LESS": LESS, "LESSCHARSET": "utf-8", **os.environ}
        self._out.flush()
        try:
            self._pager = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, env=environ, encoding="utf-8", errors="backslashreplace"
            )
        except OSError:  # there is no such program: print as if there were no pager
            self._pager = _Straight(self._out)
        text, self._kept = "".join(self._kept), []
        self._pager.stdin.write(text)


class _Straight:
    """Stands in for a pager that cannot be run."""

    def __init__(self, out: TextIO) -> None:
        self.stdin = _Unclosed(out)

    def wait(self) -> None:
        """Nothing runs."""


class _Unclosed:
    """A stream that is not ours to close."""

    def __init__(self, out: TextIO) -> None:
        self.write = out.write
        self.flush = out.flush
        self.close = out.flush
