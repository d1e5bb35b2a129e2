"""Shows long output through the user's pager, as git does; what fits on the screen is simply printed."""

import codecs
import contextlib
import io
import os
import shlex
import shutil
import subprocess
from typing import Any, Iterator, List, Mapping, Optional

from orderflow.cli.output import Output, ReaderLeft, write_all

LESS = "FRX"
"""Quit if it fits one screen, pass colours through, leave the text on the screen."""


def pager_of(out: Output, environ: Optional[Mapping[str, str]] = None) -> Optional[List[str]]:
    """The command of the pager; None where nobody would see it, or none is wanted or there.

    Ask before any file of settings is read: what is run here is the user's own choice alone.
    """
    if not out.can_rewrite:
        return None
    chosen = (os.environ if environ is None else environ).get("PAGER")
    if chosen is not None:
        try:
            command = shlex.split(chosen)
        except ValueError:  # a quote that is never closed
            return None
        return command if command and command != ["cat"] else None
    less = shutil.which("less")
    return None if less is None else [less]


@contextlib.contextmanager
def paged(out: Output, command: Optional[List[str]]) -> Iterator[Output]:
    """What to write to: the output itself, or on its way there the pager."""
    if command is None:
        yield out
        return
    shown = PagedOutput(out, command, shutil.get_terminal_size().lines)
    try:
        yield shown
    finally:
        shown.finish()


class PagedOutput(Output):
    """Keeps what is written until it is more than a screen, and from then on gives it to the pager."""

    def __init__(self, out: Output, command: List[str], rows: int) -> None:
        super().__init__(io.StringIO())
        self._out = out
        self._command = command
        self._rows = rows
        self._kept: List[str] = []
        self._lines = 0
        self._pager: Any = None

    @property
    def is_terminal(self) -> bool:
        """What is written ends up on one, either way."""
        return self._out.is_terminal

    @property
    def colour(self) -> bool:
        """As there."""
        return self._out.colour

    @property
    def width(self) -> Optional[int]:
        """As there."""
        return self._out.width

    def finish(self) -> None:
        """Print what fits on the screen; else wait until the reader has seen enough."""
        if self._pager is None:
            kept, self._kept = self._kept, []
            if kept:
                self._out._write("".join(kept))
            return
        with contextlib.suppress(OSError):  # the reader has left
            self._pager.stdin.close()
        while True:
            try:
                self._pager.wait()
                return
            except KeyboardInterrupt:  # it is the pager's to handle
                continue

    def _write(self, text: str) -> None:
        if self._pager is not None:
            self._give(text)
            return
        self._kept.append(text)
        self._lines += text.count("\n")
        if self._lines >= self._rows:
            self._start()

    def _start(self) -> None:
        is_utf8 = codecs.lookup(self._out.encoding).name == "utf-8"
        charset = {"LESSCHARSET": "utf-8"} if is_utf8 else {}  # else less knows it by the locale, as we do
        environ = {"LESS": LESS, **charset, **os.environ}
        try:
            self._pager = subprocess.Popen(self._command, stdin=subprocess.PIPE, env=environ)
        except OSError:  # there is no such program: print as if there were no pager
            self._rows = 2**63
            return
        text, self._kept = "".join(self._kept), []
        self._give(text)

    def _give(self, text: str) -> None:
        try:
            write_all(self._pager.stdin.fileno(), self._out.encoded(text))
        except OSError as error:
            self.lost = error
            raise ReaderLeft from error
