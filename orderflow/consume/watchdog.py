"""Ends the process when a handler call, or the client's good-bye to its group, never returns.

After the restart, the "open" mark in the committed metadata leads to careful calls.
"""

import faulthandler
import os
import threading
import time
from typing import Callable, Optional

GRACE_S = 5.0
"""A call that holds the GIL starves our thread, but faulthandler's timer does not need the GIL."""
ALARM_S = 2.0
"""How long the alarm may take before the process ends without it."""
EXIT_CODE = 1
STDERR = 2


class Watchdog:
    """Armed while the handler is running; on a time-out calls `alarm(seconds)`, then ends the process."""

    def __init__(self, timeout_s: float, alarm: Callable[[float], None]) -> None:
        self.timeout_s = timeout_s
        self._alarm = alarm
        self._dump_to = _own_stderr()
        self._since_s: Optional[float] = None
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()
        self._armed_until_s = 0.0
        self._is_leaving = False

    def busy(self) -> None:
        """A call has started or finished: restart the time-out."""
        self._since_s = time.monotonic()
        self._arm()

    def busy_since(self, started_s: Optional[float]) -> None:
        """The longest running call started then (monotonic clock); None if none is running."""
        if started_s is None:
            self.idle()
        else:
            self._since_s = started_s
            self._arm()

    def _arm(self) -> None:
        """Postpone faulthandler's timer: whoever gets here holds the GIL, so it is not stuck."""
        if self._is_leaving:
            return
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

    def leaving(self, within_s: float) -> None:
        """The client is about to leave its group: end the process if that takes longer.

        What is asked of the client in the last rebalance callback is never answered if its side of the group
        has ended by then, and it waits without a time-out, in part without letting go of the GIL (librdkafka
        issue 4041; met with 2.16). So only faulthandler's timer can help.
        """
        self.idle()
        self._is_leaving = True
        faulthandler.dump_traceback_later(within_s, exit=True, file=self._dump_to)

    def left(self) -> None:
        """The client has left its group."""
        self._is_leaving = False
        faulthandler.cancel_dump_traceback_later()

    def _watch(self) -> None:
        while True:
            time.sleep(min(1.0, self.timeout_s / 4))
            since_s = self._since_s
            if since_s is not None and time.monotonic() - since_s > self.timeout_s:
                self._end()

    def _end(self) -> None:
        # The call may hang because nobody reads our stderr, and then the alarm would hang, too.
        threading.Timer(ALARM_S, os._exit, (EXIT_CODE,)).start()
        try:
            self._alarm(self.timeout_s)
        finally:
            os._exit(EXIT_CODE)


def _own_stderr() -> int:
    """A file descriptor for faulthandler's timer, independent of sys.stderr."""
    try:
        return os.dup(STDERR)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY)
