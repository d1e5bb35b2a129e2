"""Progress of long work on stderr."""

import os
import signal
import threading
import time
from typing import Callable, Optional

from orderflow.cli.output import Notes
from orderflow.model.cells import fit
from orderflow.model.text import escape


class StatusLine:
    """Progress of long work: one line rewritten in place on a terminal, else a plain line every 10 s."""

    def __init__(
        self,
        err: Notes,
        clock: Callable[[], float] = time.monotonic,
        plain_every_s: float = 10.0,
        is_plain: bool = False,
    ) -> None:
        """`is_plain`: as if it were no terminal."""
        self._err = err
        self._clock = clock
        self._lock = threading.RLock()
        """Other threads have something to note too, and a line must not be torn into another."""
        self._live = err.can_rewrite and not is_plain
        self._every_s = 0.2 if self._live else plain_every_s
        self._due = clock() + self._every_s
        self._shown: Optional[str] = None
        self._pid = os.getpid()

    @property
    def abandoned(self) -> bool:
        """Whether nobody can read the output any more: finish what has begun, then end."""
        return self._err.reader_left

    @property
    def is_live(self) -> bool:
        """Whether progress is a line that is rewritten; otherwise it may as well be logged."""
        return self._live

    def logged(self) -> None:
        """The progress that was due went into the log."""
        self._due = self._clock() + self._every_s

    def due(self) -> bool:
        """Whether it is time to show progress again. Cheap, so build the text only if it is due."""
        return self._clock() >= self._due

    def show(self, text: str, done: int = 0) -> None:
        """Show this progress now. `done`: records so far, for a log that machines read."""
        self._due = self._clock() + self._every_s
        with self._lock:
            if not self._live:
                self._err.tell("progress", text=text, done=done)
                return
            if self._shown is None:
                _call_on_resize(self._resized)
            self._shown = text
            self._paint(text)

    def note(self, line: str) -> None:
        """Write a permanent line above the progress."""
        with self._lock:
            self.clear()
            self._err.line(line)

    def tell(self, event: str, **fields: object) -> None:
        """Write an event of the scripts' catalogue above it."""
        with self._lock:
            self.clear()
            self._err.tell(event, **fields)

    def written(self, line: str) -> None:
        """Write a line of a log above it, which has its form already."""
        with self._lock:
            self.clear()
            self._err.written(line)

    def clear(self) -> None:
        """Remove the progress from the terminal, before other output or at the end."""
        with self._lock:
            if self._shown is not None:
                self._err.clear()
                self._shown = None

    def _paint(self, text: str) -> None:
        """As much of it as fits now: a line that wraps cannot be rewritten."""
        self._err.status(fit(escape(text), (self._err.width or 80) - 1))

    def _resized(self) -> None:
        """The window has another size. A child that a handler forked hears of it too."""
        text = self._shown
        if text is not None and os.getpid() == self._pid:
            self._paint(text)


def _call_on_resize(call: Callable[[], None]) -> None:
    """Call this when the window changes, and nothing that was called before."""
    if hasattr(signal, "SIGWINCH") and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGWINCH, lambda number, frame: call())
