"""Progress of long work on stderr, and the two lines of an outage."""

import shutil
import threading
import time
from typing import Callable, Optional, TextIO

from orderflow.cli.terminal import duration, is_terminal, program
from orderflow.model.text import escape


class StatusLine:
    """Progress of long work: one line rewritten in place on a terminal, else a plain line every 10 s."""

    def __init__(
        self,
        err: TextIO,
        clock: Callable[[], float] = time.monotonic,
        plain_every_s: float = 10.0,
        is_plain: bool = False,
    ) -> None:
        """`is_plain`: as if it were no terminal."""
        self._err = err
        self._clock = clock
        self._lock = threading.RLock()
        """Other threads have something to note too, and a line must not be torn into another."""
        self._live = is_terminal(err) and not is_plain
        self._every_s = 0.2 if self._live else plain_every_s
        self._due = clock() + self._every_s
        self._shown = False
        self.abandoned = False
        """Whether nobody can read the output any more: finish what has begun, then end."""

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

    def show(self, text: str) -> None:
        """Show this progress now."""
        self._due = self._clock() + self._every_s
        with self._lock:
            if not self._live:
                self._write(f"{text}\n")
            else:
                self._write("\r\x1b[K" + text[: shutil.get_terminal_size().columns - 1])
                self._shown = True

    def note(self, line: str) -> None:
        """Write a permanent line above the progress."""
        with self._lock:
            self.clear()
            self._write(f"{line}\n")

    def clear(self) -> None:
        """Remove the progress from the terminal, before other output or at the end."""
        with self._lock:
            if self._shown:
                self._write("\r\x1b[K")
                self._shown = False

    def _write(self, text: str) -> None:
        try:
            self._err.write(text)
            self._err.flush()
        except OSError:  # the reader or the terminal is gone; failing here would leave work half done
            self.abandoned = True


# --- Losing and regaining Kafka ---


class Outage:
    """Reports once that Kafka is lost and once that it is back, however many errors come between."""

    def __init__(
        self, note: Callable[[str], None], address: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._note = note
        self._address = address
        self._clock = clock
        self._since: Optional[float] = None

    @property
    def holds(self) -> bool:
        """Whether Kafka is currently considered lost."""
        return self._since is not None

    def lost(self, why: str) -> None:
        """The client reports that no broker can be reached."""
        if self._since is None:
            self._since = self._clock()
            self._note(
                f"{program()}: Kafka at {self._address} is lost ({escape(why)}); trying until it is back"
            )

    def back(self) -> None:
        """Something got through to Kafka."""
        if self._since is not None:
            gone_s = self._clock() - self._since
            self._since = None
            self._note(f"{program()}: Kafka at {self._address} is back after {duration(gone_s)}")
