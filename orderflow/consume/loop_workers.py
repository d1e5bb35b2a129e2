"""The calls of an async handler: many at a time, on one event loop."""

import asyncio
import threading
import time
from collections import deque
from concurrent.futures import wait
from typing import Any, Awaitable, Callable, Deque, Dict, List, NamedTuple, Optional, Set

from orderflow.consume.event_loop import EventLoop
from orderflow.consume.forked import Forks
from orderflow.consume.partition import Task
from orderflow.consume.workers import Finished
from orderflow.errors import is_a

AHEAD = 256
"""Orders handed over beyond those that can run, to keep the loop busy while finished ones are settled."""
TURN_S = 0.005
"""How long calls that never wait may go on one after the other, before the loop runs something else."""
GRACE_S = 5.0
"""How long a call that is cancelled for taking too long may take to end, before the process is ended."""

CANCEL_S = 1.0
"""How long calls may take to end that are cancelled because the consumer stops."""


Turn = Callable[[], Awaitable[Optional[Finished]]]
"""Calls orders one after the other. One that waits for something ends the turn, and is what has finished."""


class _Run(NamedTuple):
    """One running call."""

    started_s: float
    """Of one in a turn: when the turn began, which is at most a slice earlier."""
    worker: "asyncio.Task[None]"


class LoopWorkers:
    """Tasks on an event loop that run `call(task)`, `count` at a time; the owner submits and collects.

    A worker takes one order after the other: a call that never waits costs no task and no turn of the loop.
    Another worker is woken only when calls are waiting and the running ones wait for something.
    """

    def __init__(
        self, count: int, call: Callable[[Any], Awaitable[Any]], loop: EventLoop, timeout_s: float
    ) -> None:
        """`timeout_s`: how long a call may take before it is cancelled."""
        self.count = count
        self.most = count + min(AHEAD, 3 * count)
        self.in_flight = 0
        self._call = call
        self._loop = loop
        self._timeout_s = timeout_s
        self._waiting: Deque[Any] = deque()
        self._finished: Deque[Finished] = deque()
        self._arrived = threading.Event()
        self._is_woken = False
        self._idle: List[asyncio.Future[None]] = []
        self._workers: List[asyncio.Task[None]] = []
        self._running: Dict[int, _Run] = {}
        """By worker, in the order in which the calls started."""
        self._overdue: Set[int] = set()
        """The workers whose call was cancelled for taking too long."""
        self._is_ending = False
        self._forks = Forks()
        loop.on_beat(self._cancel_overdue)
        loop.on_end(self.cancel)

    # --- the owner's side ------------------------------------------------------------------------

    def submit(self, task: Any) -> None:
        """Have a worker run this task."""
        self.in_flight += 1
        self._waiting.append(task)
        self._wake_soon()

    def _wake_soon(self) -> None:
        if not self._is_woken:
            self._is_woken = True
            self._loop.call_soon(self._wake)

    def withdraw(self, is_wanted_back: Callable[[Any], bool]) -> List[Any]:
        """Take back those of the tasks whose calls have not begun; returns them. They are not collected."""
        kept: List[Any] = []
        withdrawn: List[Any] = []
        for task in iter(self._next, None):
            is_back = isinstance(task, Task) and is_wanted_back(task)
            (withdrawn if is_back else kept).append(task)
        self.in_flight -= len(withdrawn)
        self._waiting.extend(kept)
        if kept:
            self._wake_soon()  # the workers may have found nothing to do meanwhile
        return withdrawn

    def _next(self) -> Any:
        """The next of what waits for a worker, None if nothing does. Any thread may call this."""
        try:
            return self._waiting.popleft()
        except IndexError:
            return None

    def run_turn(self, turn: Turn) -> None:
        """Have a worker run this before anything else. Call it in the loop's thread."""
        self._waiting.appendleft(turn)
        self._wake()

    def waits(self) -> None:
        """A call of a turn waits for something, so it is in flight from now on."""
        self.in_flight += 1

    def collect(self, timeout_s: float) -> List[Finished]:
        """Return finished calls, waiting up to `timeout_s` for the first.

        Raises SystemExit where a call ended the process, after everything finished before it was collected.
        """
        if timeout_s and not self._finished:
            self._arrived.clear()
            if not self._finished and self.in_flight:
                self._arrived.wait(timeout_s)
        finished: List[Finished] = []
        while self._finished and not _ends_the_process(self._finished[0]):
            finished.append(self._finished.popleft())
        self.in_flight -= len(finished)
        if not finished:
            self._raise_crash()
        return finished

    def _raise_crash(self) -> None:
        crash = self._loop.take_crash()
        if self._finished:
            crash = self._finished.popleft().error
            self.in_flight -= 1
        if crash is not None:
            raise crash

    def oldest_start_s(self) -> Optional[float]:
        """When the longest running call started, on the monotonic clock; None if none is running.

        Later by the time that a cancelled call has to end: until then, the others need not die with it.
        """
        oldest = next(iter(list(self._running.values())), None)
        return None if oldest is None else oldest.started_s + GRACE_S

    def cancel(self) -> None:
        """Cancel every call and wait a little: nobody will collect them any more."""
        self._waiting.clear()
        ended = self._loop.start(self._end_workers())
        wait([ended], CANCEL_S + 0.5)

    async def _end_workers(self) -> None:
        self._is_ending = True
        for worker in self._workers:
            worker.cancel()
        if self._workers:
            await asyncio.wait(self._workers, timeout=CANCEL_S)

    # --- in the loop -----------------------------------------------------------------------------

    def _wake(self) -> None:
        """Start one worker, if there is work. It has the next one started."""
        self._is_woken = False
        if not self._waiting:
            return
        if self._idle:
            idle = self._idle.pop()
            if not idle.done():
                idle.set_result(None)
        elif len(self._workers) < self.count:
            self._workers.append(asyncio.ensure_future(self._work(len(self._workers))))

    async def _work(self, number: int) -> None:
        loop = asyncio.get_event_loop()
        while True:
            if not self._waiting:
                idle = loop.create_future()
                self._idle.append(idle)
                await idle
            turn_ends_s = time.monotonic() + TURN_S
            for task in iter(self._next, None):
                if self._waiting and not self._is_woken:
                    # Runs once this call waits for something, or ends this turn.
                    self._is_woken = True
                    loop.call_soon(self._wake)
                began_s = time.monotonic()
                self._running[number] = _Run(began_s, self._workers[number])
                finished = await (self._finish(task) if isinstance(task, Task) else task())
                self._running.pop(number, None)
                if self._is_ending or self._loop.is_closing:
                    return
                if finished is not None:
                    self._hand_in(self._judged(number, finished))
                if began_s >= turn_ends_s:
                    await asyncio.sleep(0)
                    turn_ends_s = time.monotonic() + TURN_S

    async def _finish(self, task: Any) -> Finished:
        began_s = time.monotonic()
        try:
            result = await self._call(task)
        except BaseException as error:  # noqa: BLE001 - whatever a handler raises is its failure
            self._forks.end_child(error)
            return Finished(task, None, error, time.monotonic() - began_s)
        self._forks.end_child()
        return Finished(task, result, None, time.monotonic() - began_s)

    def _judged(self, number: int, finished: Finished) -> Finished:
        """A call that was cancelled for taking too long has failed of that."""
        is_overdue = number in self._overdue
        self._overdue.discard(number)
        _forget_cancellation(self._workers[number])
        if not is_overdue or finished.error is None or not is_a(finished.error, asyncio.CancelledError):
            return finished
        error = TimeoutError(f"not done within {self._timeout_s:g} s (HANDLER_TIMEOUT), so it was cancelled")
        return finished._replace(error=error.with_traceback(finished.error.__traceback__))

    def _cancel_overdue(self) -> None:
        """Cancel the calls that take too long. The first of the running ones started first."""
        before_s = time.monotonic() - self._timeout_s
        for number, run in self._running.items():
            if run.started_s > before_s:
                return
            if number not in self._overdue:
                self._overdue.add(number)
                run.worker.cancel()

    def _hand_in(self, finished: Finished) -> None:
        self._finished.append(finished)
        if not self._arrived.is_set():
            self._arrived.set()


def _ends_the_process(finished: Finished) -> bool:
    return finished.error is not None and is_a(finished.error, SystemExit)


def _forget_cancellation(worker: "asyncio.Task[None]") -> None:
    """A handler that cancels itself must not leave the worker half cancelled: Python 3.11 and later count."""
    cancelling = getattr(worker, "cancelling", None)
    while cancelling is not None and cancelling():
        worker.uncancel()  # type: ignore[attr-defined,unused-ignore]
