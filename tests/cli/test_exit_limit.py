"""The exit of a script is not held up for ever by what a user's code has left behind."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPT = """
import atexit, concurrent.futures, sys, threading, time
from orderflow.cli.exit_limit import ExitLimit

def tell(event, **fields):
    print(event, fields["detail"], file=sys.stderr, flush=True)

class Asked:
    ends_by_s = None

asked = Asked()
limit = ExitLimit()
limit.set({limit_s}, tell)
limit.heed(asked)
atexit.register(print, "atexit was called")
{body}
limit.begin(3)
sys.exit(3)
"""


class Ended(NamedTuple):
    """How a script has ended."""

    code: int
    out: str
    told: str
    took_s: float


def ended(body: str, limit_s: float) -> Ended:
    """Run a script with this body to its end; its stdout is a pipe, and so has a buffer."""
    text = SCRIPT.format(body=textwrap.dedent(body), limit_s=limit_s)
    began_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", text],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr, time.monotonic() - began_s)


THREAD = "threading.Thread(target=time.sleep, args=(100,), name='poller').start()\n"
BUSY_POOL = "concurrent.futures.ThreadPoolExecutor(thread_name_prefix='mail').submit(time.sleep, 100)\n"
IDLE_POOL = "concurrent.futures.ThreadPoolExecutor(4).submit(int).result()\n"


@pytest.mark.parametrize(("left", "name"), [(THREAD, "poller"), (BUSY_POOL, "mail_0")])
@pytest.mark.skipif(sys.version_info < (3, 9), reason="pools of Python 3.8 have daemon threads")
def test_a_thread_that_never_ends_is_named_then_left_behind(left: str, name: str) -> None:
    """The exit code is that of the work, atexit is heeded, and what was printed comes out."""
    done = ended(f"{left}print('printed')", 4)

    assert (3, ["printed", "atexit was called"]) == (done.code, done.out.split("\n")[:2]), done
    assert [f"exit_waits thread {name}", f"exit_forced thread {name}"] == done.told.splitlines()


@pytest.mark.parametrize("left", ["", IDLE_POOL], ids=["nothing", "idle pool"])
def test_an_exit_that_nothing_holds_up_is_an_ordinary_one(left: str) -> None:
    """A pool that nobody has shut down is none: Python ends its idle threads."""
    done = ended(left, 30)

    assert (3, "atexit was called\n", "") == done[:3]
    assert done.took_s < 25


def test_a_function_of_atexit_that_never_returns_is_left_behind() -> None:
    """As one that sends the last figures to a server that does not answer."""
    done = ended("atexit.register(time.sleep, 100)", 4)

    assert 3 == done.code
    assert ["exit_waits", "exit_forced"] == [line.split()[0] for line in done.told.splitlines()]
    assert done.told.count("a function registered with atexit") == 2


def test_a_function_of_atexit_that_never_returns_after_a_thread_does_not_hold_it_up_either() -> None:
    done = ended(f"{THREAD}atexit.register(time.sleep, 100)", 3)

    assert (3, "exit_forced thread poller") == (done.code, done.told.splitlines()[-1])


def test_a_request_to_stop_sets_an_earlier_end() -> None:
    """Whoever asked may kill it soon: Kubernetes does."""
    done = ended(f"{THREAD}asked.ends_by_s = time.monotonic() + 2", 60)

    assert (3, "atexit was called\n") == done[:2]
    assert done.took_s < 50
