"""SIGINT, SIGTERM and SIGHUP as a request to stop; a second one ends the process at once.

A handler written in Python runs in the main thread only, and only between two of its steps: while that is in
a call of the Kafka client, a signal goes unheard for as long as the call takes. So the system also writes the
number of each signal into a pipe, and a thread reads it.
"""

import os
import signal
import threading
import time
from collections import Counter
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Callable, Dict, Iterator, List, Optional, Protocol, Type
from typing import Counter as CounterOf

from orderflow.exits import OK

HANGUP = getattr(signal, "SIGHUP", None)
STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class _Ears:
    """Hears the signals that ask to stop, each once, and tells whoever listens."""

    def __init__(self) -> None:
        self._listeners: List[Optional[StopSignals]] = []
        """The last one is told. None ends the process."""
        self._before: Dict[int, Any] = {}
        """The handlers as they were."""
        self._fd_before = -1
        self._writing: Optional[int] = None
        """The pipe's end that the system writes to."""
        self._is_registered = False
        self._blocked = threading.local()
        """For each thread that forks: the signals that it had blocked itself."""
        self._lock = threading.RLock()
        self._by_pipe: CounterOf[int] = Counter()
        self._by_handler: CounterOf[int] = Counter()
        """By Python's handlers, which come late, and once where several signals came meanwhile."""

    def add(self, listener: "Optional[StopSignals]") -> None:
        """Tell this one, until it is removed."""
        self._listeners.append(listener)
        if len(self._listeners) == 1:
            writing = self._pipe() if self._writing is None else self._writing
            self._fd_before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
            self._before = {number: signal.signal(number, self._on_signal) for number in _wanted()}

    def remove(self, listener: "Optional[StopSignals]") -> None:
        """Tell this one no longer. After the last one, all is as it was."""
        if listener in self._listeners:  # not in a child, where they are its parent's
            self._listeners.remove(listener)
            if not self._listeners:
                self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._fd_before)
        self._before = {}

    def _pipe(self) -> int:
        reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        threading.Thread(target=self._read, args=(reading,), name="signals", daemon=True).start()
        if hasattr(os, "register_at_fork") and not self._is_registered:
            self._is_registered = True
            os.register_at_fork(
                before=self._block, after_in_parent=self._unblock, after_in_child=self._restore_in_child
            )
        return self._writing

    def _read(self, reading: int) -> None:
        while True:
            for number in os.read(reading, 64):
                if number in self._before:
                    self._hear(number, self._by_pipe)

    def _on_signal(self, number: int, frame: Optional[FrameType]) -> None:
        self._hear(number, self._by_handler)

    def _hear(self, number: int, where: CounterOf[int]) -> None:
        """Tell of a signal, unless it was heard in the other way before."""
        with self._lock:
            heard = max(self._by_pipe[number], self._by_handler[number])
            where[number] += 1
            if where[number] > heard:
                self._tell(number)

    def _tell(self, number: int) -> None:
        listener = self._listeners[-1] if self._listeners else None
        if listener is None:
            os._exit(128 + number)
        listener.hear(number)

    def _block(self) -> None:
        """Until the child has its old handlers back, it would treat a signal as a request to us."""
        self._blocked.mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)

    def _unblock(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._blocked.mask)

    def _restore_in_child(self) -> None:
        """The pipe is the parent's, and so is whatever there is to stop. The child may listen anew."""
        if self._before:
            self._restore()
        self._listeners, self._writing, self._lock = [], None, threading.RLock()
        self._by_pipe, self._by_handler = Counter(), Counter()
        self._unblock()


def _wanted() -> List[int]:
    """Those to hear. `nohup` ignores SIGHUP for its command, which is then not asked to stop by it."""
    return [n for n in STOPPING if n != HANGUP or signal.getsignal(n) is not signal.SIG_IGN]


_EARS = _Ears()


def end_at_once() -> None:
    """From now on a signal ends the process, unless a `StopSignals` listens: there is nothing to stop yet.

    That is what the system does by itself, but not for the first process of a container, and Python prints
    a traceback for SIGINT. Call this before anything is imported that takes time.
    """
    _EARS.add(None)


class Voice(Protocol):
    """Whoever says that a request was heard."""

    def interject(self, event: str, **fields: object) -> None:
        """Say it, without ever waiting for whoever reads it."""


class StopSignals:
    """While the block runs, the first signal requests a stop; the second ends the process.

    Poll `requested` between short steps. A child forked meanwhile gets the previous handlers back: whoever
    terminates it wants it to end.
    """

    def __init__(self, voice: Voice, at_once: Callable[[int], Any] = os._exit) -> None:
        """`at_once` ends the process with this exit code, after the second signal."""
        self._voice = voice
        self._at_once = at_once
        self._has_heard = False
        """Whether a signal has arrived, so that the next one means at once."""
        self.signal: Optional[int] = None
        self._limit_s: Optional[float] = None
        self.ends_by_s: Optional[float] = None
        """When `limit` ends the process (monotonic clock); None before a request, or without a limit."""
        self._can_end = False

    def limit(self, seconds: float) -> None:
        """End the process this long after the first signal, whatever still blocks it."""
        self._limit_s = seconds

    def request(self, number: int) -> None:
        """Stop as this signal would, asked for by other means. That is not counted as a signal.

        Where both come, as when a whole group of processes is stopped, the stop stays a clean one.
        """
        if self.signal is None:
            self.signal = number
            if self._limit_s is not None:
                self._end_later(number, self._limit_s)

    @contextmanager
    def nothing_begun(self) -> Iterator[None]:
        """Within this block the first signal ends the process, since there is nothing to finish."""
        self._can_end = True
        if self.signal is not None:  # it came just before
            self._at_once(self.exit_code)
        try:
            yield
        finally:
            self._can_end = False

    @property
    def requested(self) -> bool:
        """Whether a stop was requested."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """128 and the signal's number after a signal (130 or 143, mostly), 0 without one."""
        return OK if self.signal is None else 128 + self.signal

    def __enter__(self) -> "StopSignals":
        _EARS.add(self)
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        _EARS.remove(self)

    def hear(self, number: int) -> None:
        """A signal has arrived."""
        if self._has_heard and number == HANGUP == self.signal:
            return  # when a terminal is closed, both the system and the shell send one
        if self._has_heard or self._can_end:
            self._at_once(128 + number)
        self._has_heard = True
        self.request(number)
        self._voice.interject("stopping", signal=number)

    def _end_later(self, number: int, limit_s: float) -> None:
        self.ends_by_s = time.monotonic() + limit_s

        def end() -> None:
            self._voice.interject("not_done", timeout_s=limit_s)
            os._exit(128 + number)

        timer = threading.Timer(limit_s, end)
        timer.daemon = True
        timer.start()
