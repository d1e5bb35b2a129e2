"""How a script's process ends."""

import subprocess
import sys
from pathlib import Path
from typing import Tuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
from orderflow.cli.quick_end import QuickEnd
end = QuickEnd()
import atexit, os, sys, threading, time
class Client:
    def __del__(self):
        os.write(1, b"destroyed ")
client = Client()
def work():
    time.sleep(0.2)
    print("thread", end=" ")
{body}
sys.exit(end.coded(5) if {is_coded} else 5)
"""


def ended(body: str = "", is_coded: bool = True) -> Tuple[int, str]:
    """The exit code of a script, and what it has written."""
    code = SCRIPT.format(body=body, is_coded=is_coded)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=str(ROOT), stdout=subprocess.PIPE, timeout=60, check=False
    )
    return done.returncode, done.stdout.decode()


def test_nothing_is_destroyed_any_more() -> None:
    """With the script's own exit code."""
    assert ended() == (5, "")


@pytest.mark.parametrize(
    ("body", "written"),
    [
        ("print('printed', end=' ')", "printed "),
        ("atexit.register(print, 'registered', end=' ')", "registered "),
        ("threading.Thread(target=work).start()", "thread "),
    ],
)
def test_what_a_users_code_has_left_to_do_is_done_before(body: str, written: str) -> None:
    """Text that is not flushed yet, functions of atexit, threads that are no daemons."""
    assert ended(body) == (5, written)


def test_without_an_exit_code_the_interpreter_ends_as_always() -> None:
    """As after an error that nobody has caught."""
    assert ended(is_coded=False) == (5, "destroyed ")


@pytest.mark.skipif(not hasattr(sys, "getdlopenflags"), reason="forks")
def test_a_child_that_was_forked_ends_on_its_own() -> None:
    """Its exit code is its own."""
    forks = "child = os.fork()\nif child == 0: end.coded(5); sys.exit(7)\nprint(os.waitpid(child, 0)[1] >> 8)"

    assert ended(forks) == (5, "destroyed 7\n")
