"""Async handlers: many calls on one event loop, with the ledger and the guarantees of any other."""

import asyncio
import contextlib
import os
import sys
import threading
import time
from typing import Any, AsyncIterator, Callable, Dict, Iterator, List, Set

import pytest

from orderflow import Publish, RejectOrder
from orderflow.consume.durations import REJECTED, SUCCEEDED
from orderflow.consume.event_loop import EventLoop
from orderflow.consume.loop_workers import LoopWorkers
from orderflow.consume.partition import Task
from orderflow.consume.retry import Policy
from orderflow.consume.waiting_bytes import size_of
from orderflow.testing.memory import Clock
from tests.consume.test_engine_handlers import fates
from tests.support.scripted_session import DEAD_LETTERS, RESULTS, Life, Topic

Order = Dict[str, Any]
SOON = Policy(max_retries=1, backoff_s=0.01, backoff_max_s=0.01)
WORKERS = pytest.mark.parametrize("workers", [1, 3, 50])
NewLife = Callable[..., Life]


@pytest.fixture
def live() -> Iterator[NewLife]:
    """Begin a process over a topic; its event loop ends with the test."""
    begun: List[Life] = []

    def begin(topic: Topic, handler: Any, **options: Any) -> Life:
        begun.append(Life(topic, handler, **options))
        return begun[-1]

    yield begin
    for life in begun:
        life.close()


# --- every order has one outcome


@WORKERS
@pytest.mark.parametrize("waits", ["never", "always", "sometimes"])
@pytest.mark.parametrize("keys", [None, 7])
def test_every_order_is_called_once_and_its_result_is_published(
    live: NewLife, workers: int, waits: str, keys: Any
) -> None:
    """Whether its call waits for something or not."""
    topic, called = Topic(2), []
    topic.fill(300, 0, keys)
    topic.fill(300, 1, keys)

    async def handler(order: Order) -> Any:
        called.append(order["value"])
        if waits == "always" or (waits == "sometimes" and len(called) % 3 == 0):
            await asyncio.sleep(0.0001)
        return order["value"]

    life = live(topic, handler, workers=workers, publishes=True).drain()

    assert 600 == len(called) == len(set(called)) == life.engine.settling.counts.processed
    assert sorted(called) == sorted(record.value or b"" for record in topic.of(RESULTS))
    assert {0: 300, 1: 300} == {number: offset for number, (offset, _) in topic.committed.items()}


@WORKERS
def test_orders_of_a_key_are_called_one_after_the_other(live: NewLife, workers: int) -> None:
    """In their order, while other keys go on; never two at a time."""
    topic, running = Topic(), set()
    topic.fill(200, keys=5)
    seen: Dict[int, List[int]] = {}

    async def handler(order: Order) -> None:
        offset = int(order["value"].split(b":")[1])
        key = offset % 5
        assert key not in running
        running.add(key)
        if offset % 2:
            await asyncio.sleep(0.0005)
        seen.setdefault(key, []).append(offset)
        running.discard(key)

    life = live(topic, handler, workers=workers).drain()

    assert [] == fates(life)
    assert all(offsets == sorted(offsets) for offsets in seen.values())


@pytest.mark.parametrize("workers", [1, 8])
def test_as_many_calls_run_at_a_time_as_there_are_workers(live: NewLife, workers: int) -> None:
    """No fewer, no more."""
    topic, running, most = Topic(), [0], [0]
    topic.fill(100)

    async def handler(order: Order) -> None:
        running[0] += 1
        most[0] = max(most[0], running[0])
        await asyncio.sleep(0.002)
        running[0] -= 1

    live(topic, handler, workers=workers).drain()

    assert workers == most[0]


class RealClock(Clock):
    """The time of this machine."""

    def __call__(self) -> float:
        """Now."""
        return time.monotonic()


@pytest.mark.parametrize("seventh", ["succeeds", "waits", "waits and fails", "fails"])
def test_each_call_is_timed_from_its_own_beginning(live: NewLife, seventh: str) -> None:
    """What the calls before it took is not counted again, however it ends."""
    topic = Topic()
    done_s: List[float] = []
    failed_s: List[float] = []
    topic.clock = RealClock()
    topic.fill(210)

    async def handler(order: Order) -> None:
        began_s = time.monotonic()
        time.sleep(0.001)
        is_seventh = int(order["value"][2:]) % 7 == 6
        if is_seventh and "waits" in seventh:
            await asyncio.sleep(0.001)
        fails = is_seventh and "fails" in seventh
        (failed_s if fails else done_s).append(time.monotonic() - began_s)
        if fails:
            raise RejectOrder("the seventh")

    timed = live(topic, handler, workers=3).drain().engine.reading().calls

    assert timed[SUCCEEDED].sum_s == pytest.approx(sum(done_s), rel=0.5, abs=0.05)
    assert timed[REJECTED].sum_s == pytest.approx(sum(failed_s), rel=0.5, abs=0.05)


def test_orders_that_wait_hold_their_memory_however_their_call_began(live: NewLife) -> None:
    """Those whose first call waited for something too: MAX_WAITING_BYTES bounds them all."""
    topic = Topic()
    topic.fill(50)

    async def handler(order: Order) -> None:
        await asyncio.sleep(0)
        if int(order["value"].split(b":")[1]) % 5 == 0:
            raise ConnectionError

    life = live(topic, handler, workers=8)
    life.until(lambda: 0 in life.engine.assignment.ready)
    ledger = life.engine.assignment.ready[0].ledger
    life.until(lambda: len(list(ledger.waiting())) == ledger.unfinished == 10)

    assert ledger.held.bytes == sum(size_of(head.record) for head in ledger.waiting())


@pytest.mark.parametrize("wait", [False, True])
def test_every_call_is_timed_whether_it_waits_or_not(live: NewLife, wait: bool) -> None:
    """By outcome: what the metrics tell of an async handler's calls adds up to them."""
    topic = Topic()
    topic.fill(30)

    async def handler(order: Order) -> None:
        if wait:
            await asyncio.sleep(0)
        number = int(order["value"].split(b":")[1])
        if number % 3 == 1:
            raise RejectOrder("no")
        if number == 3:
            raise ConnectionError

    life = live(topic, handler, workers=8).drain()

    timed = {name: sum(each.counts) for name, each in life.engine.reading().calls.items() if any(each.counts)}
    assert timed == {"succeeded": 19, "rejected": 10, "failed": 4}


@WORKERS
def test_whatever_a_handler_raises_is_its_orders_failure(live: NewLife, workers: int) -> None:
    """Before or after it has waited; a cancelled task too, and one that cancels itself."""
    topic = Topic()
    topic.fill(40)

    async def handler(order: Order) -> None:
        kind = int(order["value"].split(b":")[1])
        if kind >= 8:
            return
        if kind % 2:
            await asyncio.sleep(0)
        if kind < 2:
            raise asyncio.CancelledError
        if kind < 4:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(1)
        if kind < 6:
            raise KeyboardInterrupt
        raise RejectOrder("no")

    life = live(topic, handler, workers=workers, policy=SOON).drain()

    exhausted = [(b"0:%d" % number, "process.retries_exhausted") for number in range(6)]
    assert [*exhausted, (b"0:6", "process.rejected"), (b"0:7", "process.rejected")] == fates(life)
    assert (32, 6) == (life.engine.settling.counts.processed, life.engine.retries)


@WORKERS
@pytest.mark.parametrize("wait", [True, False])
def test_what_has_not_run_is_not_processed(live: NewLife, workers: int, wait: bool) -> None:
    """A coroutine that an async handler forgot to await, and one handed back where a plain value belongs."""
    topic = Topic()
    topic.fill(3)

    async def charge() -> None:
        """Charge."""

    async def handler(order: Order) -> Any:
        if wait:
            await asyncio.sleep(0)
        return charge() if order["value"] == b"0:1" else Publish(b"paid", topic="mail")

    life = live(topic, handler, workers=workers).drain()

    assert [(b"0:1", "process.not_run")] == fates(life)
    assert 2 == len(topic.of("mail"))


@WORKERS
@pytest.mark.parametrize("wait", [True, False])
def test_a_handler_that_ends_the_process_ends_it(live: NewLife, workers: int, wait: bool) -> None:
    """Its order is neither processed nor dead-lettered."""
    topic = Topic()
    topic.fill(3)

    async def handler(order: Order) -> None:
        if wait:
            await asyncio.sleep(0)
        if order["value"] == b"0:1":
            sys.exit("no more")

    with pytest.raises(SystemExit, match="no more"):
        live(topic, handler, workers=workers).drain(steps=500)
    assert [] == topic.of(DEAD_LETTERS)


def test_a_task_of_the_handlers_that_ends_the_process_ends_it(live: NewLife) -> None:
    """Also where nobody awaits it."""
    topic, tasks = Topic(), []
    topic.fill(3)

    async def leave() -> None:
        sys.exit("no more")

    async def handler(order: Order) -> None:
        tasks.append(asyncio.ensure_future(leave()))
        await asyncio.sleep(0.05)

    with pytest.raises(SystemExit, match="no more"):
        live(topic, handler).drain(steps=500)


def test_calls_that_wait_survive_a_restart(live: NewLife) -> None:
    """They are listed in what is committed, so the next process calls them again and no other."""
    topic, gate, called = Topic(), threading.Event(), []
    topic.fill(20)

    async def handler(order: Order) -> None:
        called.append(order["value"])
        while order["value"] in (b"0:3", b"0:9") and not gate.is_set():
            topic.clock.pass_by(0.01)
            await asyncio.sleep(0.001)

    first = live(topic, handler, workers=4)
    first.until(lambda: topic.committed.get(0, (0, ""))[0] == 3 and len(called) == 20)
    first.until(lambda: first.engine.settling.is_idle)
    first.step(50)
    before = list(called)
    gate.set()
    live(topic, handler, workers=4).drain()

    assert 20 == len(set(before))
    again = called[20:]
    assert {b"0:3", b"0:9"} <= set(again)


def test_running_calls_are_finished_when_the_consumer_stops(live: NewLife) -> None:
    """And settled; those that do not end in time are cancelled."""
    topic, cancelled = Topic(), []
    topic.fill(4)

    async def handler(order: Order) -> None:
        try:
            while order["value"] == b"0:2":
                topic.clock.pass_by(0.001)
                await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            cancelled.append(order["value"])
            raise

    life = live(topic, handler, workers=4)
    life.until(lambda: life.engine.waiting == 1)
    life.loop.finish_calls(life.clock() + 0.05)

    assert [b"0:2"] == cancelled
    assert 3 == life.engine.settling.counts.processed
    assert 2 == topic.committed[0][0]


def test_a_child_that_an_async_handler_forks_may_exit(live: NewLife) -> None:
    """It ends with its own exit code, and does not go on as a copy of the consumer."""
    topic, codes = Topic(), []
    topic.fill(4)

    async def handler(order: Order) -> None:
        if order["value"] in (b"0:1", b"0:2"):
            await asyncio.sleep(0)
        child = os.fork()
        if child == 0:
            sys.exit(3)
        codes.append(os.waitpid(child, 0)[1] >> 8)

    live(topic, handler, workers=2).drain()

    assert [3, 3, 3, 3] == codes


def test_a_ledger_that_is_full_of_running_calls_is_no_trouble(live: NewLife) -> None:
    """It lists fewer than a thousand orders of a partition; there is room again in a moment."""
    topic = Topic()
    topic.fill(2_000)

    async def handler(order: Order) -> None:
        await asyncio.sleep(0.01)

    life = live(topic, handler, workers=1_000).drain()

    assert 2_000 == life.engine.settling.counts.processed
    assert "ledger_full" not in life.names()


# --- an event loop that stands still


def test_a_loop_that_the_handler_blocks_is_named_after_a_second(live: NewLife) -> None:
    """Once, with the place in the handler's code; the order is processed all the same."""
    topic = Topic()
    lives: List[Life] = []
    topic.fill(3)

    async def handler(order: Order) -> None:
        if order["value"] == b"0:1":  # until it is told
            until_s = time.monotonic() + 10
            while "loop_blocked" not in dict(lives[0].events) and time.monotonic() < until_s:
                time.sleep(0.02)

    lives.append(live(topic, handler, workers=2))
    life = lives[0].drain()

    (blocked,) = [fields for name, fields in life.events if name == "loop_blocked"]
    assert 1.0 <= blocked["for_s"] < 5.0
    assert "test_async_handlers.py" in blocked["where"]
    assert blocked["where"].endswith("in handler")
    assert life.engine.settling.counts.processed == 3


# --- the pool by itself


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    """An event loop that ends with the test."""
    one = EventLoop()
    yield one
    one.close()


def task(number: int) -> Task:
    """A task by its number."""
    return Task(number, number)  # type: ignore[arg-type]


def collected(workers: LoopWorkers, count: int) -> List[Any]:
    """That many finished calls."""
    finished: List[Any] = []
    until_s = time.monotonic() + 10
    while len(finished) < count:
        assert time.monotonic() < until_s, finished
        finished += workers.collect(0.1)
    return finished


def test_a_call_that_takes_too_long_is_cancelled_and_has_failed_of_that(loop: EventLoop) -> None:
    """The others go on: nobody has to end the process for it."""

    async def call(one: Task) -> Any:
        await asyncio.sleep(60 if one.head == 1 else 0)  # type: ignore[comparison-overlap]
        return "done"

    workers = LoopWorkers(2, call, loop, timeout_s=0.2)
    for number in range(4):
        workers.submit(task(number))
    finished = {one.task.head: one for one in collected(workers, 4)}

    assert isinstance(finished[1].error, TimeoutError)
    assert "within 0.2 s (HANDLER_TIMEOUT)" in str(finished[1].error)
    assert ["done"] * 3 == [finished[number].result for number in (0, 2, 3)]
    assert (0, None) == (workers.in_flight, workers.oldest_start_s())


def test_a_call_that_refuses_to_be_cancelled_shows_as_overdue(loop: EventLoop) -> None:
    """So that the watchdog ends the process, a few seconds later than it would for a plain handler."""
    gate = threading.Event()

    async def call(one: Task) -> None:
        while not gate.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)

    workers = LoopWorkers(1, call, loop, timeout_s=0.1)
    workers.submit(task(0))
    assert [] == workers.collect(0.5)
    oldest_s = workers.oldest_start_s()
    gate.set()
    collected(workers, 1)

    assert oldest_s is not None


def test_a_worker_is_whole_again_after_a_call_that_cancelled_itself(loop: EventLoop) -> None:
    """Python 3.11 counts cancellations; what is left of one would spoil the next call's time-outs."""

    async def call(one: Task) -> Any:
        current = asyncio.current_task()
        assert current is not None
        if one.head == 0:  # type: ignore[comparison-overlap]
            current.cancel()
            await asyncio.sleep(1)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.sleep(1), 0.01)
        return getattr(current, "cancelling", int)()

    workers = LoopWorkers(1, call, loop, timeout_s=60)
    workers.submit(task(0))
    workers.submit(task(1))

    assert [None, 0] == [one.result for one in collected(workers, 2)]


def test_a_handler_that_stops_the_loop_does_not_stop_the_others(loop: EventLoop) -> None:
    """Left stopped, it would run no call any more, and each of them would look like one that hangs."""

    async def call(one: Task) -> Any:
        if one.head == 1:  # type: ignore[comparison-overlap]
            asyncio.get_event_loop().stop()
        await asyncio.sleep(0.001)
        return one.partition

    workers = LoopWorkers(2, call, loop, timeout_s=60)
    for number in range(4):
        workers.submit(task(number))

    assert [0, 1, 2, 3] == sorted(finished.result for finished in collected(workers, 4))


def test_calls_that_never_wait_let_others_have_their_turn(loop: EventLoop) -> None:
    """A thousand calls that only compute do not keep one that waited from going on."""
    ended: List[int] = []

    async def call(one: Task) -> None:
        if one.head == 0:  # type: ignore[comparison-overlap]
            await asyncio.sleep(0.001)
        else:
            time.sleep(0.001)
        ended.append(int(one.head))  # type: ignore[call-overload]

    workers = LoopWorkers(2, call, loop, timeout_s=60)
    for number in range(200):
        workers.submit(task(number))
    collected(workers, 200)

    assert ended.index(0) < 100


def test_context_managers_of_asyncio_work_in_a_call(loop: EventLoop) -> None:
    """Each call is made in a task."""

    @contextlib.asynccontextmanager
    async def connection() -> AsyncIterator[int]:
        yield 7

    async def call(one: Task) -> Any:
        async with connection() as value:
            return await asyncio.gather(*(asyncio.sleep(0, value) for _ in range(3)))

    workers = LoopWorkers(2, call, loop, timeout_s=60)
    workers.submit(task(0))

    assert [7, 7, 7] == collected(workers, 1)[0].result


def test_no_more_worker_tasks_are_made_than_calls_wait(loop: EventLoop) -> None:
    """A thousand workers cost nothing while nothing waits."""
    tasks: Set[Any] = set()

    async def call(one: Task) -> None:
        tasks.add(asyncio.current_task())

    workers = LoopWorkers(1_000, call, loop, timeout_s=60)
    for number in range(2_000):
        workers.submit(task(number))
    collected(workers, 2_000)

    assert len(tasks) < 20
