"""A pool of threads that run one function: the handler, or a slow call of the client."""

import contextlib
import queue
import threading
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Union

from orderflow.consume.forked import Forks

AHEAD = 4
"""Orders handed out per worker: enough to keep it busy while finished ones are settled."""


class Finished(NamedTuple):
    """The outcome of one call."""

    task: Any
    result: Any
    error: Optional[BaseException]
    took_s: float = 0.0
    """How long the call took."""


class _Crash(NamedTuple):
    """The exception that ended a thread."""

    cause: BaseException


class Workers:
    """Threads that run `call(task)`; the owner submits and collects, and never blocks on a call."""

    def __init__(self, count: int, call: Callable[[Any], Any]) -> None:
        self.count = count
        self.most = AHEAD * count
        """Calls that may be in flight at a time, those that wait for a thread included."""
        self.in_flight = 0
        self._submitted = 0
        self._ended = count * [0]
        """How many calls have ended, by thread: each number has one writer."""
        self._starts_s: Dict[int, float] = {}
        self._call = call
        self._forks = Forks()
        self._tasks: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._finished: queue.SimpleQueue[Union[Finished, _Crash]] = queue.SimpleQueue()
        self._crash: Optional[BaseException] = None
        for number in range(count):
            threading.Thread(target=self._run, args=(number,), name=f"worker-{number}", daemon=True).start()

    def submit(self, task: Any) -> None:
        """Have a worker run this task."""
        self.in_flight += 1
        self._submitted += 1
        self._tasks.put(task)

    def withdraw(self, is_wanted_back: Callable[[Any], bool]) -> List[Any]:
        """Take back those of the tasks whose calls have not begun; returns them. They are not collected."""
        kept: List[Any] = []
        withdrawn: List[Any] = []
        with contextlib.suppress(queue.Empty):
            while True:
                task = self._tasks.get_nowait()
                (withdrawn if is_wanted_back(task) else kept).append(task)
        for task in kept:
            self._tasks.put(task)
        self.in_flight -= len(withdrawn)
        self._submitted -= len(withdrawn)
        return withdrawn

    @property
    def has_finished(self) -> bool:
        """Whether everything submitted can be collected without waiting."""
        return self._finished.qsize() + (self._crash is not None) == self.in_flight

    def collect(self, timeout_s: float) -> List[Finished]:
        """Return finished calls, waiting up to `timeout_s` for the first if any is in flight.

        Raises the exception that ended a thread, once, after everything finished before it was collected.
        """
        finished: List[Finished] = []
        while self._crash is None:
            ended = self._take(timeout_s if self.in_flight and not finished else 0.0)
            if ended is None:
                break
            if isinstance(ended, _Crash):
                self._crash = ended.cause
            else:
                finished.append(ended)
        self.in_flight -= len(finished)
        if not finished:
            self._raise_crash()
        return finished

    def forget(self, timeout_s: float) -> bool:
        """Wait up to `timeout_s`, and drop what has ended. Returns whether that was everything.

        Unlike `in_flight`, this is right even after an exception has interrupted `collect`, which may have
        lost what it had just taken. Raises the exception that ended a thread.
        """
        has_ended = sum(self._ended) >= self._submitted
        taken = self._take(0.0 if has_ended else timeout_s)
        while taken is not None:
            if isinstance(taken, _Crash):
                raise taken.cause
            taken = self._take(0.0)
        if has_ended:
            self.in_flight = 0
        return has_ended

    def _take(self, timeout_s: float) -> Union[Finished, _Crash, None]:
        try:
            return self._finished.get(timeout=timeout_s) if timeout_s else self._finished.get_nowait()
        except queue.Empty:
            return None

    def _raise_crash(self) -> None:
        if self._crash is None:
            return
        crash, self._crash = self._crash, None
        self.in_flight -= 1
        raise crash

    def oldest_start_s(self) -> Optional[float]:
        """When the longest running call started, on the monotonic clock; None if none is running."""
        return min(list(self._starts_s.values()), default=None)

    def _run(self, number: int) -> None:
        try:
            while True:
                task = self._tasks.get()
                began_s = self._starts_s[number] = time.monotonic()
                finished = self._call_one(task)
                self._starts_s.pop(number, None)
                self._finished.put(finished._replace(took_s=time.monotonic() - began_s))
                self._ended[number] += 1
        except BaseException as crash:  # noqa: BLE001 - a dead thread must end the process, whatever killed it
            self._forks.end_child(crash)
            self._starts_s.pop(number, None)
            self._finished.put(_Crash(crash))
            self._ended[number] += 1

    def _call_one(self, task: Any) -> Finished:
        try:
            finished = Finished(task, self._call(task), None)
        except SystemExit:  # the handler ends the process
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a handler raises is its failure
            finished = Finished(task, None, error)
        self._forks.end_child(finished.error)
        return finished
