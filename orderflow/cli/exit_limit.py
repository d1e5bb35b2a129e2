"""Ends a script whose exit is held up by what a user's code has left behind, once all its work is done.

As it exits, Python waits for every thread that is no daemon, those of a ThreadPoolExecutor among them, and
then calls the functions that are registered with atexit. It has no limit for either.
"""

import atexit
import contextlib
import os
import threading
import time
from typing import Any, Callable, List, Optional, Protocol

from orderflow.cli.quick_end import flush_printed
from orderflow.model.text import escape, named

TELL_AFTER_S = 1.0
"""How long an exit may take without a word: one that is well takes a fraction of that."""
ATEXIT_S = 2.0
"""The part of the limit reserved for what is registered with atexit, where threads use up the rest."""
FLUSH_S = 0.5
"""The part reserved for writing out what was printed."""
MOST_NAMED = 8


class Stop(Protocol):
    """A request to stop."""

    @property
    def ends_by_s(self) -> Optional[float]:
        """When the process has to have ended (monotonic clock); None without a request or a limit."""


class ExitLimit:
    """How long the exit of this process may take."""

    def __init__(self) -> None:
        self._limit_s: Optional[float] = None
        self._report: Callable[..., Any] = lambda event, **fields: None
        self._stop: Optional[Stop] = None

    def set(self, limit_s: float, report: Callable[..., Any]) -> None:
        """Allow it this long, and tell of an exit that takes time. Without this, it may take for ever."""
        self._limit_s, self._report = limit_s, report

    def heed(self, stop: Stop) -> None:
        """End no later than this request wants it, whatever it is allowed otherwise."""
        self._stop = stop

    def begin(self, code: int) -> None:
        """The script is about to exit with this code: from now on the time counts."""
        if self._limit_s is None:
            return
        now_s = time.monotonic()
        asked_s = None if self._stop is None else self._stop.ends_by_s
        by_s = now_s + self._limit_s if asked_s is None else min(asked_s, now_s + self._limit_s)
        _Exit(code, by_s, self._report).begin()


class _Exit:
    """The exit, watched by daemon threads: Python waits for none of those."""

    def __init__(self, code: int, by_s: float, report: Callable[..., Any]) -> None:
        self._code = code
        self._by_s = by_s
        self._report = report
        self._threads_have_ended = threading.Event()

    def begin(self) -> None:
        """Watch from now on. The threads are started now: an interpreter that is ending may start none."""
        atexit.register(self._threads_have_ended.set)  # the last one registered is called first
        threading.Thread(target=self._watch, name="exit", daemon=True).start()
        at_last = threading.Timer(self._left_s(), os._exit, (self._code,))
        at_last.daemon = True
        at_last.start()

    def _watch(self) -> None:
        left_s = self._left_s()
        last_s = min(ATEXIT_S, left_s / 4)
        if left_s - last_s > TELL_AFTER_S:
            time.sleep(TELL_AFTER_S)
            self._report("exit_waits", detail=self._holdup(), left_s=round(self._left_s(), 1))
        self._sleep_until_left(last_s)
        if self._threads_have_ended.is_set():
            self._sleep_until_left(min(FLUSH_S, last_s / 2))
        self._end()

    def _end(self) -> None:
        """End the process, after as much of an orderly exit as can be had."""
        self._report("exit_forced", detail=self._holdup())
        if not self._threads_have_ended.is_set():
            with contextlib.suppress(BaseException):  # whatever they raise has been printed
                atexit._run_exitfuncs()
        flush_printed()
        os._exit(self._code)

    def _left_s(self) -> float:
        return max(0.0, self._by_s - time.monotonic())

    def _sleep_until_left(self, left_s: float) -> None:
        time.sleep(max(0.0, self._left_s() - left_s))

    def _holdup(self) -> str:
        """What the exit waits for."""
        names = [] if self._threads_have_ended.is_set() else _names_of_threads()
        return named("thread", names, MOST_NAMED) if names else "a function registered with atexit"


def _names_of_threads() -> List[str]:
    """Those that Python waits for."""
    main = threading.main_thread()
    return [escape(each.name) for each in threading.enumerate() if each is not main and not each.daemon]
