"""Ends the process when a handler call never returns.

The open mark in the committed metadata does the rest after the restart.
"""

import faulthandler
import os
import threading
import time
from typing import Callable, Optional

GRACE_S = 5.0
"""A call that holds the interpreter's lock starves our thread; the dump timer needs no lock."""
ALARM_S = 2.0
"""What the alarm may take before the process ends without it."""
EXIT_CODE = 1
STDERR = 2


class Watchdog:
    """Armed while something is called; `alarm(seconds)` says so, then the process ends at once."""

    def __init__(self, timeout_s: float, alarm: Callable[[float], None]) -> None:
        self.timeout_s = timeout_s
        self._alarm = alarm
        self._dump_to = _own_stderr()
        self._since_s: Optional[float] = None
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()
        self._armed_until_s = 0.0

    def busy(self) -> None:
        """Something is called from now on, or something that was called has finished."""
        self._since_s = time.monotonic()
        self._arm()

    def busy_since(self, started_s: Optional[float]) -> None:
        """The longest running call began then (monotonic clock), or nothing runs."""
        if started_s is None:
            self.idle()
        else:
            self._since_s = started_s
            self._arm()

    def _arm(self) -> None:
        """Put the dump timer off: whoever calls this has the interpreter's lock."""
        now_s = time.monotonic()
        if now_s > self._armed_until_s - self.timeout_s - GRACE_S / 2:
            faulthandler.dump_traceback_later(self.timeout_s + GRACE_S, exit=True, file=self._dump_to)
            self._armed_until_s = now_s + self.timeout_s + GRACE_S

    def idle(self) -> None:
        """Nothing is being called."""
        self._since_s = None
        if self._armed_until_s:
            faulthandler.cancel_dump_traceback_later()
            self._armed_until_s = 0.0

    def _watch(self) -> None:
        while True:
            time.sleep(min(1.0, self.timeout_s / 4))
            since_s = self._since_s
            if since_s is not None and time.monotonic() - since_s > self.timeout_s:
                self._end()

    def _end(self) -> None:
        # The call may hang because nobody reads our stderr: then the alarm would, too.
        threading.Timer(ALARM_S, os._exit, (EXIT_CODE,)).start()
        try:
            self._alarm(self.timeout_s)
        finally:
            os._exit(EXIT_CODE)


def _own_stderr() -> int:
    """A descriptor for the dump timer, which needs one whatever becomes of sys.stderr."""
    try:
        return os.dup(STDERR)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY)
