"""The watchdog in processes of its own: each hang ends the process, and nothing else does."""

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

import pytest

import orderflow.consume.watchdog

ROOT = Path(__file__).resolve().parent.parent.parent
TIMEOUT_S = 0.4
GRACE_S = 0.4
"""Shorter than shipped, so that the tests are; the shipped one is checked below."""

PROLOGUE = f"""
import ctypes, os, re, sys, threading, time
import orderflow.consume.watchdog
from orderflow.consume.workers import Workers
orderflow.consume.watchdog.GRACE_S = {GRACE_S}

def alarm(timeout_s):
    print(f"alarm after {{timeout_s}}", flush=True)

watchdog = orderflow.consume.watchdog.Watchdog({TIMEOUT_S}, alarm)
"""


class Ended(NamedTuple):
    """How a script ended."""

    code: int
    out: str
    err: str


def run(script: str) -> Ended:
    """Run a script with a watchdog; what is still running after a while is killed, and fails the test."""
    done = subprocess.run(
        [sys.executable, "-c", PROLOGUE + textwrap.dedent(script)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


HANGS = {
    "sleeping": "time.sleep(50)",
    "spinning": "while True: pass",
    "waiting for a lock": "threading.Lock().acquire() and threading.Event().wait(50)",
    "swallowing everything": """
        while True:
            try:
                time.sleep(50)
            except BaseException:
                pass""",
}


@pytest.mark.parametrize("hang", HANGS.values(), ids=HANGS.keys())
def test_a_call_that_never_returns_ends_the_process(hang: str) -> None:
    """It says so first, then exits at once: no `finally`, no `atexit`, which a stuck call might hold up."""
    body = textwrap.indent(textwrap.dedent(hang).strip(), "    ")
    cleanup = "import atexit\natexit.register(print, 'atexit')"

    ended = run(f"{cleanup}\nwatchdog.busy()\ntry:\n{body}\nfinally:\n    print('cleanup')")

    assert (1, f"alarm after {TIMEOUT_S}\n") == (ended.code, ended.out)


LOCKED = {
    "a foreign function that sleeps": "ctypes.PyDLL(None).sleep(30)",
    "a regular expression that explodes": "re.match('(a|a)*c', 'a' * 30)",
}
BUSY_ROADS = {"inline": "watchdog.busy()", "workers": "watchdog.busy_since(time.monotonic())"}


@pytest.mark.parametrize("road", BUSY_ROADS.values(), ids=BUSY_ROADS.keys())
@pytest.mark.parametrize("hang", LOCKED.values(), ids=LOCKED.keys())
def test_a_call_that_holds_the_interpreter_ends_the_process(hang: str, road: str) -> None:
    """No thread of Python can run then; the dump timer needs none, and shows where it hangs."""
    ended = run(f"{road}\n{hang}\nprint('returned')")

    assert (1, "") == (ended.code, ended.out)
    assert "Timeout" in ended.err and 'File "<string>"' in ended.err


def test_a_client_that_never_leaves_its_group_ends_the_process() -> None:
    """Whatever is settled meanwhile and says that no call runs, it does not postpone that end."""
    ended = run("watchdog.leaving(0.5)\nwatchdog.idle()\nctypes.PyDLL(None).sleep(30)\nprint('returned')")

    assert (1, "") == (ended.code, ended.out)
    assert "Timeout" in ended.err and 'File "<string>"' in ended.err


def test_a_client_that_has_left_its_group_is_waited_for_no_longer() -> None:
    """What comes after it takes its time."""
    ended = run("watchdog.leaving(0.3)\nwatchdog.left()\nctypes.PyDLL(None).sleep(1)\nprint('returned')")

    assert (0, "returned\n", "") == ended


STDERR_LOST = {
    "closed": "os.close(2)",
    "replaced": "import io; sys.stderr = io.StringIO()",
    "gone": "sys.stderr.close(); sys.stderr = None",
    "full": "os.dup2(os.open('/dev/full', os.O_WRONLY), 2)",
}


@pytest.mark.parametrize("lose", STDERR_LOST.values(), ids=STDERR_LOST.keys())
def test_it_works_whatever_became_of_stderr(lose: str) -> None:
    """Arming needs a descriptor, which is kept from the start; a dump that nobody sees still ends it."""
    renewed = "watchdog = orderflow.consume.watchdog.Watchdog(0.4, alarm)"

    quiet = run(f"{lose}\n{renewed}\nwatchdog.busy()\nwatchdog.idle()\nprint('done')")
    hanging = run(f"watchdog.busy()\n{lose}\nwatchdog.busy()\nctypes.PyDLL(None).sleep(30)")

    assert (0, "done\n") == (quiet.code, quiet.out)
    assert 1 == hanging.code


def test_the_dump_is_seen_though_a_handler_has_replaced_stderr() -> None:
    """It goes where stderr went at the start."""
    ended = run(
        """
        import io
        sys.stderr = io.StringIO()
        watchdog.busy()
        ctypes.PyDLL(None).sleep(30)
        """
    )

    assert "Timeout" in ended.err and 'File "<string>"' in ended.err


@pytest.mark.parametrize("alarm", ["threading.Event().wait(50)", "raise OSError('disk full')"])
def test_an_alarm_that_cannot_be_told_holds_nothing_up(alarm: str) -> None:
    """A pipe that nobody empties may be what the call hangs at, too."""
    ended = run(
        f"""
        orderflow.consume.watchdog.ALARM_S = 0.2
        orderflow.consume.watchdog.GRACE_S = 60
        def alarm(timeout_s): {alarm}
        watchdog = orderflow.consume.watchdog.Watchdog({TIMEOUT_S}, alarm)
        watchdog.busy()
        time.sleep(30)
        """
    )

    assert 1 == ended.code, "0 after the 30 s of its call"


def test_a_hanging_worker_ends_the_process() -> None:
    """Even though the thread that owns the clients keeps running and showing signs of life."""
    ended = run(
        """
        workers = Workers(2, lambda task: time.sleep(task))
        workers.submit(50)
        while True:
            workers.submit(0)
            workers.collect(0.01)
            watchdog.busy_since(workers.oldest_start_s())
        """
    )

    assert (1, f"alarm after {TIMEOUT_S}\n") == (ended.code, ended.out)


def test_many_short_calls_are_no_hang() -> None:
    """Busy for twice the limit, each call for a part of it."""
    ended = run(
        """
        watchdog = orderflow.consume.watchdog.Watchdog(1.0, alarm)
        for _ in range(25):
            watchdog.busy()
            time.sleep(0.05)
        watchdog.idle()
        print("done")
        """
    )

    assert (0, "done\n") == (ended.code, ended.out)


def test_idle_time_is_no_hang() -> None:
    """Nothing is called, so nothing hangs, however long; also after something was called."""
    ended = run(
        """
        watchdog.busy()
        watchdog.idle()
        time.sleep(0.9)
        watchdog.busy_since(time.monotonic())
        watchdog.busy_since(None)
        time.sleep(0.9)
        print("done")
        """
    )

    assert (0, "done\n", "") == ended


def test_it_is_fast_enough_to_be_told_of_every_call() -> None:
    """The timer is put off now and then only: starting it costs a thread."""
    ended = run(
        """
        orderflow.consume.watchdog.GRACE_S = 5.0
        watchdog = orderflow.consume.watchdog.Watchdog(300.0, alarm)
        began_s = time.process_time()
        for _ in range(20_000):
            watchdog.busy()
        print(time.process_time() - began_s < 1.0)
        """
    )

    assert "True\n" == ended.out


def test_the_dump_timer_leaves_the_thread_time_to_say_why() -> None:
    """As shipped, the line for people comes first wherever the interpreter can still run it."""
    assert orderflow.consume.watchdog.GRACE_S >= 2.0
