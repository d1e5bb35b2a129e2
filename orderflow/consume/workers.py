"""A pool of threads that call the handler, for handlers that wait on I/O.

Owns: the threads, and the queues to and from them.
Does not know: Kafka, ledgers, what a result means. A worker is given work and returns what came of it.
Used by: processor, when more than one worker is asked for.
"""

import queue
import threading
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional


class Finished(NamedTuple):
    """What came of one call."""

    task: Any
    result: Any
    error: Optional[BaseException]


class Workers:
    """Threads that run `call(task)`; the owner submits and collects, and never waits for a call."""

    def __init__(
        self, count: int, call: Callable[[Any], Any], on_crash: Callable[[BaseException], None]
    ) -> None:
        self.count = count
        self.in_flight = 0
        self._starts_s: Dict[int, float] = {}
        self._call = call
        self._on_crash = on_crash
        self._tasks: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._finished: queue.SimpleQueue[Finished] = queue.SimpleQueue()
        for number in range(count):
            threading.Thread(target=self._run, args=(number,), name=f"worker-{number}", daemon=True).start()

    def submit(self, task: Any) -> None:
        """Have a worker call this."""
        self.in_flight += 1
        self._tasks.put(task)

    @property
    def has_finished(self) -> bool:
        """Whether everything that was submitted can be collected without waiting."""
        return self._finished.qsize() == self.in_flight

    def collect(self, timeout_s: float) -> List[Finished]:
        """What has finished; waits up to `timeout_s` for the first."""
        finished: List[Finished] = []
        try:
            finished.append(
                self._finished.get(timeout=timeout_s) if timeout_s else self._finished.get_nowait()
            )
            while True:
                finished.append(self._finished.get_nowait())
        except queue.Empty:
            pass
        self.in_flight -= len(finished)
        return finished

    def oldest_start_s(self) -> Optional[float]:
        """When the longest running call began, on the monotonic clock; None where none runs."""
        return min(list(self._starts_s.values()), default=None)

    def _run(self, number: int) -> None:
        try:
            while True:
                task = self._tasks.get()
                self._starts_s[number] = time.monotonic()
                finished = self._call_one(task)
                self._starts_s.pop(number, None)
                self._finished.put(finished)
        except BaseException as crash:  # noqa: BLE001 - a dead thread must end the process, whatever killed it
            self._on_crash(crash)

    def _call_one(self, task: Any) -> Finished:
        try:
            return Finished(task, self._call(task), None)
        except SystemExit:  # the handler ends the process
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a handler raises is its failure
            return Finished(task, None, error)
