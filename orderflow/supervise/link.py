"""A consumer's link to its supervisor: reports go up, the request to stop comes down.

A socket that both inherit. Its end tells each side that the other is gone, however that happened.
"""

import contextlib
import faulthandler
import os
import select
import signal
import socket
import threading
import time
from typing import Callable, Optional

from orderflow import exits
from orderflow.supervise.output import print_whole_lines
from orderflow.supervise.report import ENDED, Report, written

SUPERVISED = "--supervised"
"""The flag by which a consumer is told that it has a supervisor."""
STOP = b"s"
LAST_WORD_S = 2.0
"""How long a last report may take, so that nothing depends on a supervisor that hangs."""


class Link:
    """The consumer's end. Any thread may send; one of its own waits for the request to stop."""

    def __init__(self, number: int, descriptor: int, is_watched: bool, run: str) -> None:
        self.number = number
        """Which of the processes this is, from 1; its successors have the same."""
        self.place = f"{socket.gethostname()}-{run}-{number}"
        """A name that its predecessors and successors have too, one at a time, and nobody else."""
        self.is_watched = is_watched
        """Whether what it logs ends up on a terminal."""
        self._socket = socket.socket(fileno=descriptor)
        self._socket.set_inheritable(False)
        self._unsent = b""
        self._sending = threading.Lock()
        self._on_stop: Optional[Callable[[int], None]] = None
        threading.Thread(target=self._listen, name="supervisor", daemon=True).start()

    # --- up --------------------------------------------------------------------------------------

    def send(self, report: Report) -> None:
        """Send a report, if there is room: the next one says the same and more."""
        with self._sending:
            if report.state == ENDED:
                self._send_last(report)
            elif self._send_rest():
                self._unsent = written(report)
                self._send_rest()

    def _send_rest(self) -> bool:
        """Send what is left of the last report; whether that was all."""
        try:
            while self._unsent:
                sent = self._socket.send(self._unsent, socket.MSG_DONTWAIT)
                self._unsent = self._unsent[sent:]
        except BlockingIOError:
            return False
        except OSError:  # nobody hears it any more
            self._unsent = b""
        return True

    def _send_last(self, report: Report) -> None:
        self._unsent += written(report)
        until_s = time.monotonic() + LAST_WORD_S
        while not self._send_rest() and time.monotonic() < until_s:
            select.select((), (self._socket,), (), max(0.0, until_s - time.monotonic()))

    # --- down ------------------------------------------------------------------------------------

    def on_stop(self, stop: Callable[[int], None]) -> None:
        """Call this, with SIGTERM, when asked to stop or when the supervisor is gone."""
        self._on_stop = stop

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.recv(1)
        if self._on_stop is None:  # not in the group yet: there is nothing to finish
            os._exit(exits.TERMINATED)
        self._on_stop(signal.SIGTERM)


def join(told: Optional[str]) -> Optional[Link]:
    """The link of a process that was started as one of several, by what SUPERVISED told it."""
    if told is None:
        return None
    number, descriptor, is_watched, run = told.split(",")
    print_whole_lines()
    faulthandler.enable(all_threads=False)
    return Link(int(number), int(descriptor), is_watched == "1", run)
