"""The pool of threads: every task comes back once, and a thread that dies is never silent."""

import asyncio
import ctypes
import os
import threading
import time
from typing import Any, Callable, Iterator, List, NoReturn, Optional

import pytest

from orderflow.consume.workers import Finished, Workers

DEADLINE_S = 10.0


class Pool:
    """Workers, and a patient way to collect from them."""

    def __init__(self, count: int, call: Callable[[Any], Any]) -> None:
        self.workers = Workers(count, call)

    def submit(self, *tasks: Any) -> None:
        """Submit each."""
        for task in tasks:
            self.workers.submit(task)

    def collect(self, count: int) -> List[Finished]:
        """That many outcomes, waited for up to a deadline."""
        finished: List[Finished] = []
        until_s = time.monotonic() + DEADLINE_S
        while len(finished) < count and time.monotonic() < until_s:
            finished += [each._replace(took_s=0.0) for each in self.workers.collect(0.05)]
        return finished


def wait_until(happened: Callable[[], bool]) -> None:
    """Poll until the condition holds; fails the test at the deadline."""
    until_s = time.monotonic() + DEADLINE_S
    while not happened():
        assert time.monotonic() < until_s, "it never happened"
        time.sleep(0.001)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """A gate that calls can wait at; it opens when the test ends, so that no thread stays behind."""
    event = threading.Event()
    yield event
    event.set()


def test_every_task_comes_back_once_with_its_result() -> None:
    """Whichever thread took it."""
    pool = Pool(4, lambda task: task * 2)
    pool.submit(*range(100))

    finished = pool.collect(100)

    assert [(task, task * 2, None) for task in range(100)] == sorted(one[:3] for one in finished)
    assert ([], 0) == (pool.workers.collect(0.0), pool.workers.in_flight)


def test_a_call_comes_back_with_its_length() -> None:
    """As the worker measured it, whatever else the threads had to wait for."""
    workers = Workers(1, time.sleep)
    workers.submit(0.05)
    (finished,) = workers.collect(DEADLINE_S)

    assert 0.05 <= finished.took_s < DEADLINE_S


def test_tasks_that_no_thread_has_begun_can_be_taken_back(gate: threading.Event) -> None:
    """Only those that are asked for; a running one comes back as ever."""
    begun = threading.Event()

    def call(task: int) -> None:
        begun.set()
        gate.wait(DEADLINE_S)

    pool = Pool(1, call)
    pool.submit(*range(6))
    assert begun.wait(DEADLINE_S)
    withdrawn = pool.workers.withdraw(lambda task: task % 2 == 1)
    gate.set()

    assert [1, 3, 5] == withdrawn
    assert [0, 2, 4] == [finished.task for finished in pool.collect(3)]
    assert ([], 0, True) == (pool.workers.collect(0.0), pool.workers.in_flight, pool.workers.forget(0.0))


class Boom(Exception):
    """Somebody's own error."""


@pytest.mark.parametrize(
    "error",
    [
        Boom("boom"),
        RecursionError("boom"),
        MemoryError(),
        OSError("boom"),
        asyncio.CancelledError(),
        KeyboardInterrupt(),
        GeneratorExit(),
        StopIteration(),
        BaseException(),
    ],
    ids=repr,
)
def test_an_error_comes_back_with_its_task_and_the_thread_goes_on(error: BaseException) -> None:
    """A handler's failure is an outcome, of whatever class it is."""

    def call(task: int) -> int:
        if task == 1:
            raise error
        return task

    pool = Pool(1, call)
    pool.submit(1, 2)
    failed, succeeded = pool.collect(2)

    assert Finished(1, None, error, failed.took_s) == failed
    assert Finished(2, 2, None, succeeded.took_s) == succeeded


def test_one_worker_keeps_the_order() -> None:
    """Of what was submitted."""
    pool = Pool(1, lambda task: task)
    pool.submit(*range(50))

    assert list(range(50)) == [finished.task for finished in pool.collect(50)]


def test_calls_run_side_by_side(gate: threading.Event) -> None:
    """As many as there are threads: none of these can end before all have begun."""
    together = threading.Barrier(8)
    pool = Pool(8, lambda task: together.wait(DEADLINE_S))
    pool.submit(*range(8))

    finished = pool.collect(8)

    assert [None] * 8 == [outcome.error for outcome in finished]


def test_no_more_run_than_there_are_threads(gate: threading.Event) -> None:
    """The rest waits its turn, and counts as in flight."""
    begun: List[int] = []

    def call(task: int) -> None:
        begun.append(task)
        gate.wait(DEADLINE_S)

    pool = Pool(3, call)
    pool.submit(*range(10))
    wait_until(lambda: len(begun) == 3)

    assert [] == pool.workers.collect(0.02)
    assert (3, 10) == (len(begun), pool.workers.in_flight)
    gate.set()
    assert 10 == len(pool.collect(10))


def test_collecting_waits_no_longer_than_asked(gate: threading.Event) -> None:
    """The thread that owns the clients never waits for a handler."""
    pool = Pool(1, lambda task: gate.wait(DEADLINE_S))
    pool.submit(1)

    began_s = time.monotonic()
    assert [] == pool.workers.collect(0.0)
    assert [] == pool.workers.collect(0.05)
    assert time.monotonic() - began_s < DEADLINE_S / 2


def test_the_longest_running_call_is_known(gate: threading.Event) -> None:
    """The watchdog asks for it; a call that ended, or waits for a thread, is not it."""
    pool = Pool(3, lambda task: task and gate.wait(DEADLINE_S))
    assert pool.workers.oldest_start_s() is None

    before_s = time.monotonic()
    pool.submit(1)
    wait_until(lambda: pool.workers.oldest_start_s() is not None)
    oldest_s: Optional[float] = pool.workers.oldest_start_s()
    pool.submit(2, 0, 0, 0)
    assert 3 == len(pool.collect(3))

    assert oldest_s is not None
    assert before_s <= oldest_s <= time.monotonic()
    assert oldest_s == pool.workers.oldest_start_s()
    gate.set()
    assert 2 == len(pool.collect(2))
    assert pool.workers.oldest_start_s() is None


@pytest.mark.parametrize("crash", [SystemExit(0), SystemExit("no more")])
def test_what_ends_a_thread_is_raised_where_it_is_collected(crash: SystemExit) -> None:
    """A call that would end the thread is never lost without a word: its order would never be done."""

    def call(task: int) -> NoReturn:
        raise crash

    pool = Pool(1, call)
    pool.submit(1)
    with pytest.raises(SystemExit) as raised:
        pool.collect(1)

    assert raised.value is crash
    assert ([], 0) == (pool.workers.collect(0.0), pool.workers.in_flight)
    assert pool.workers.oldest_start_s() is None


def test_what_finished_before_a_thread_died_is_collected_first() -> None:
    """Nothing that ended well is lost to the crash of another; until the crash is raised, it is in flight."""

    def call(task: int) -> int:
        if task == 2:
            raise SystemExit(task)
        return task

    pool = Pool(1, call)
    pool.submit(0, 1, 2)
    wait_until(lambda: pool.workers.has_finished)

    assert [0, 1] == [finished.task for finished in pool.workers.collect(0.0)]
    assert (True, 1) == (pool.workers.has_finished, pool.workers.in_flight)
    with pytest.raises(SystemExit, match="2"):
        pool.workers.collect(DEADLINE_S)
    assert 0 == pool.workers.in_flight


def test_each_thread_that_dies_is_raised_once() -> None:
    """Two of two: two collections raise."""

    def call(task: int) -> NoReturn:
        raise SystemExit(task)

    pool = Pool(2, call)
    pool.submit(1, 2)
    wait_until(lambda: pool.workers.has_finished)

    for _ in range(2):
        with pytest.raises(SystemExit):
            pool.workers.collect(0.0)
    assert [] == pool.workers.collect(0.0)


def test_a_forked_child_ends_with_its_own_exit_code() -> None:
    """The call that forked continues in the parent only: a child collects nothing and reports nothing."""

    def call(task: int) -> int:
        child = os.fork()
        if child == 0:
            raise SystemExit(task)
        return os.waitpid(child, 0)[1] >> 8

    pool = Pool(1, call)
    pool.submit(3)

    assert [3] == [finished.result for finished in pool.collect(1)]


@pytest.mark.parametrize(("ending", "code"), [("return", 0), ("raise", 1)])
def test_a_forked_child_that_leaves_the_call_ends(ending: str, code: int) -> None:
    """It would go on with the calls that are its parent's: what forgets to end itself is ended."""

    def call(task: int) -> int:
        child = os.fork()
        if child:
            return os.waitpid(child, 0)[1] >> 8
        if ending == "raise":
            raise ValueError(task)
        return task

    pool = Pool(1, call)
    pool.submit(3)

    assert [code] == [finished.result for finished in pool.collect(1)]


def test_threads_do_not_keep_the_process_alive(gate: threading.Event) -> None:
    """A handler that never returns must not hold up a stop."""
    pool = Pool(2, lambda task: gate.wait(DEADLINE_S))
    pool.submit(1, 2)

    workers = [thread for thread in threading.enumerate() if thread.name.startswith("worker-")]

    assert len(workers) >= 2
    assert all(thread.daemon for thread in workers)


def test_what_an_interrupted_owner_lost_keeps_nobody_waiting(gate: threading.Event) -> None:
    """An exception from another thread strikes between taking an outcome and counting it."""
    pool = Pool(1, lambda task: gate.wait(DEADLINE_S))
    pool.submit(1)
    interrupted = threading.Event()

    def owner() -> None:
        try:
            pool.workers.collect(DEADLINE_S)
        except Boom:
            interrupted.set()

    thread = threading.Thread(target=owner)
    thread.start()
    wait_until(lambda: pool.workers.oldest_start_s() is not None)
    assert not pool.workers.forget(0.0)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(Boom))
    gate.set()
    thread.join(DEADLINE_S)

    assert interrupted.is_set()
    wait_until(lambda: pool.workers.forget(0.01))
    assert 0 == pool.workers.in_flight


def test_a_dead_thread_is_told_to_an_owner_who_forgets() -> None:
    """What it had in hand is of no interest then, but that nobody works any more is."""

    def leave(task: int) -> NoReturn:
        raise SystemExit(task)

    pool = Pool(1, leave)
    pool.submit(3)

    with pytest.raises(SystemExit):
        wait_until(lambda: pool.workers.forget(0.01))
