"""SIGINT and SIGTERM as a request to stop; a second one ends the process at once."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, List, Optional, TextIO, Type

from orderflow.cli.terminal import is_terminal, program
from orderflow.exits import OK


class StopSignals:
    """While the block runs, the first SIGINT or SIGTERM requests a stop; the second ends the process.

    Poll `requested` between short steps; calls into the client return to Python only at their time-outs. A
    child forked meanwhile gets the previous handlers back: whoever terminates it wants it to end.
    """

    def __init__(self, err: TextIO, is_silent: bool = False) -> None:
        """`is_silent`: somebody else says that the request was heard."""
        self._err = err
        self._is_silent = is_silent
        self._before: List[Any] = []
        self._unblocked = threading.local()
        """For each thread that forks: the signals that it had blocked itself."""
        self.signal: Optional[int] = None
        self._limit_s: Optional[float] = None

    def limit(self, seconds: float) -> None:
        """End the process this long after the first signal, whatever still blocks it."""
        self._limit_s = seconds

    @property
    def requested(self) -> bool:
        """Whether a signal has arrived."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """130 or 143 after a signal, 0 without one."""
        return OK if self.signal is None else 128 + self.signal

    def __enter__(self) -> "StopSignals":
        self._before = [
            (number, signal.signal(number, self._on_signal)) for number in (signal.SIGINT, signal.SIGTERM)
        ]
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._block, after_in_parent=self._unblock, after_in_child=self._restore_in_child
            )
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before:
            signal.signal(number, handler)
        self._before = []

    def _block(self) -> None:
        """Until the child has its old handlers back, it would treat a signal as a request to us."""
        self._unblocked.mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))

    def _unblock(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._unblocked.mask)

    def _restore_in_child(self) -> None:
        self._restore()
        self._unblock()

    def _end_later(self, number: int, limit_s: float) -> None:
        def end() -> None:
            left = "ending as it is; nothing is lost"
            _write_directly(self._err, f"{program()}: not done within {limit_s:g} s: {left}\n")
            os._exit(128 + number)

        timer = threading.Timer(limit_s, end)
        timer.daemon = True
        timer.start()

    def _on_signal(self, number: int, frame: Optional[FrameType]) -> None:
        if self.signal is not None:
            os._exit(128 + number)
        self.signal = number
        if self._limit_s is not None:
            self._end_later(number, self._limit_s)
        if self._is_silent:
            return
        # os.write, since this may interrupt a write to the same buffer, which is not reentrant
        _write_directly(
            self._err, f"{program()}: stopping ({signal.Signals(number).name}); again to stop at once\n"
        )


def _write_directly(stream: TextIO, text: str) -> None:
    try:
        clear = "\r\x1b[K" if is_terminal(stream) else ""
        os.write(stream.fileno(), (clear + text).encode())
    except (OSError, ValueError):  # no file behind it, or closed: stopping matters more than saying so
        pass
