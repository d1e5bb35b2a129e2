"""Where the loop is when it does not turn: told from the stack of its thread."""

import gc
import re
import subprocess
import sys
import threading
from typing import Callable, Iterator, List

import pytest

from orderflow.consume.liveness import Place, Where, stack_of, where
from orderflow.consume.workers import Workers
from tests.support.pipeline import ROOT
from tests.support.scripted_session import Life, Topic


def places(*parts: str) -> List[Place]:
    """A stack of our own frames, the innermost first."""
    return [Place(part, "") for part in parts]


@pytest.mark.parametrize(
    ("stack", "expected"),
    [
        (places("first_calls", "loop", "service"), Where.CALLING),
        (places("calls", "due_calls", "loop"), Where.CALLING),
        (places("avro", "first_calls", "loop"), Where.CALLING),
        (places("source", "session", "intake", "loop"), Where.WAITING),
        (places("kafka", "kafka_watch", "service"), Where.WAITING),
        (places("workers", "session", "restoring"), Where.WAITING),
        (places("workers", "dispatch", "settling", "session", "source"), Where.WAITING),
        (places("ledger", "calls", "loop"), Where.ELSEWHERE),
        (places("loop", "service"), Where.ELSEWHERE),
        (places("workers"), Where.ELSEWHERE),
        ([], Where.ELSEWHERE),
    ],
)
def test_the_innermost_frame_decides(stack: List[Place], expected: Where) -> None:
    """A wait on somebody's behalf is that one's; a part of ours that does not return hangs."""
    assert where(stack) is expected


class Stuck:
    """Something that does not return before the test ends."""

    def __init__(self) -> None:
        self.is_in = threading.Event()
        self.may_go_on = threading.Event()

    def __call__(self, *arguments: object) -> None:
        """Wait."""
        self.is_in.set()
        self.may_go_on.wait(30)


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    made = Stuck()
    yield made
    made.may_go_on.set()


def stack_while(stuck: Stuck, run: Callable[[], object]) -> List[Place]:
    """The stack of a thread that runs this, once it is stuck."""
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert stuck.is_in.wait(10)
    assert thread.ident is not None
    return stack_of(thread.ident)


def life(handler: Callable[..., None], **more: object) -> Life:
    """An engine with an order to call."""
    topic = Topic()
    topic.fill(3)
    return Life(topic, handler, **more)  # type: ignore[arg-type]


def test_a_handler_call_is_seen_in_a_real_stack(stuck: Stuck) -> None:
    """The first call of a fresh order, inline."""
    stack = stack_while(stuck, life(stuck).drain)

    assert where(stack) is Where.CALLING


def test_a_retry_is_a_handler_call_too(stuck: Stuck) -> None:
    """The call of an order that was listed."""

    def fails_once(order: object) -> None:
        failed.append(order)
        if len(failed) == 1:
            raise ValueError("once")
        if len(failed) > 3:
            stuck()

    failed: List[object] = []
    stack = stack_while(stuck, life(fails_once).drain)

    assert where(stack) is Where.CALLING


def test_a_loop_that_hangs_is_in_neither(stuck: Stuck) -> None:
    """Here in the report of an event, and the place is named."""
    stack = stack_while(stuck, life_with_report(stuck).drain)

    assert where(stack) is Where.ELSEWHERE
    assert "restoring.py" in stack[0].line


def life_with_report(report: Callable[..., None]) -> Life:
    """An engine whose reports go there."""

    class Reporting(Life):
        """One that does not keep its events."""

        def report(self, event: str, **fields: object) -> None:
            """Pass it on."""
            report(event)

    topic = Topic()
    topic.fill(3)
    return Reporting(topic, lambda order: None)


def test_a_thread_that_waits_for_a_worker_waits_for_whoever_asked(stuck: Stuck) -> None:
    """A queue is nobody's fault."""
    workers = Workers(1, stuck)
    workers.submit(1)

    stack = stack_while(stuck, lambda: workers.collect(20.0))

    assert [place.part for place in stack][-1:] == ["workers"]


def test_a_thread_that_has_ended_has_no_stack() -> None:
    """Nor has one that never was."""
    assert stack_of(-1) == []


LOOKING = """
import faulthandler, gc, sys, threading
from orderflow.consume.liveness import stack_of

faulthandler.dump_traceback_later(20, exit=True)
sys.setswitchinterval(1e-5)
gc.set_threshold(5)

class Garbage:
    def __init__(self):
        self.me = self

    def __del__(self):
        for _ in range(300):
            pass

done = threading.Event()

def look():
    for _ in range(2000):
        Garbage()
        stack_of(threading.main_thread().ident)
    done.set()

def begin_and_end_threads():
    while not done.is_set():
        begun = threading.Thread(target=int)
        begun.start()
        begun.join()

for _ in range(3):
    threading.Thread(target=begin_and_end_threads, daemon=True).start()
threading.Thread(target=look, daemon=True).start()
begin_and_end_threads()
"""
"""Looks at a stack again and again while threads begin and end, and garbage has something to do."""


def test_to_look_at_a_stack_never_stops_the_process() -> None:
    """A garbage collection amid the look would, in Python 3.11: every other thread waits for ever then.

    One amid the walk along the frames made objects of what had become other memory, in 3 of 12 times 200,000.
    """
    looked = subprocess.run([sys.executable, "-c", LOOKING], cwd=ROOT, capture_output=True, text=True)

    assert looked.returncode == 0, looked.stderr


def test_to_look_at_a_stack_leaves_garbage_to_be_collected() -> None:
    """As it was: a program may have turned it off itself."""
    assert stack_of(threading.get_ident())
    assert gc.isenabled()
    gc.disable()
    try:
        stack_of(threading.get_ident())
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_nobody_looks_at_stacks_in_another_way() -> None:
    """It would lack the caution."""
    asking = [
        path.name
        for path in (ROOT / "orderflow").rglob("*.py")
        if re.search(r"_current_frames\(\)|\.f_back", path.read_text("utf-8"))
    ]

    assert sorted(asking) == ["frames.py", "liveness.py"]
