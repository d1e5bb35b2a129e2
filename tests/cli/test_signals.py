"""Signals that ask to stop: heard from the first moment, in whatever call, by whichever process."""

import ast
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import textwrap
from fcntl import ioctl
from pathlib import Path
from typing import Any, Iterator, List, Sequence

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPTS = ("producer.py", "consumer.py", "dlq_handler.py")
BUSY = (
    "import hashlib, threading; threading.Timer(0.2, print, kwargs={'flush': True}).start(); "
    "hashlib.pbkdf2_hmac('sha256', b'x', b'y', 2_000_000_000)"
)
"""A call of minutes that returns to Python only at its end, as some of the Kafka client's do.

It prints a line when the call is under way: another thread does, since the call lets others run.
"""


@pytest.fixture(autouse=True)
def no_nohup() -> Iterator[None]:
    """Children are hung up by SIGHUP even where the tests themselves were started with nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def started(body: str, *prefix: str, **options: Any) -> "subprocess.Popen[str]":
    """A Python process with this body, once it has printed its first line."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [*prefix, sys.executable, "-c", textwrap.dedent(body)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environ, **options)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def ended(process: "subprocess.Popen[str]", numbers: Sequence[int]) -> "subprocess.CompletedProcess[str]":
    """Send signals, each after a line that answers the one before; how it ended, within seconds."""
    assert process.stderr is not None
    said = ""
    for place, number in enumerate(numbers):
        said += process.stderr.readline() if place else ""
        process.send_signal(number)
    try:
        out, err = process.communicate(timeout=10)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, out, said + err)


EARLY = f"""
from orderflow.cli.signals import end_at_once
end_at_once()
{BUSY}
"""


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_before_there_is_anything_to_stop_a_signal_ends_it_at_once(number: int, code: int) -> None:
    """Without a traceback, and in the midst of a long call."""
    finished = ended(started(EARLY), [number])

    assert (finished.returncode, finished.stderr) == (code, "")


def test_the_first_process_of_a_container_obeys_too() -> None:
    """The system ignores a signal for it that it does not handle itself."""
    unshare = [shutil.which("unshare") or "", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]
    if not unshare[0] or subprocess.run([*unshare, "true"], capture_output=True).returncode:
        pytest.skip("no process namespaces here")
    outer = started(EARLY, *unshare)
    inner = int(Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()[0])
    os.kill(inner, signal.SIGTERM)

    assert ended(outer, []).returncode == 143


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_hears_signals_before_it_imports_what_takes_its_time(script: str) -> None:
    """The Kafka client and Avro take a second or more on a busy machine."""
    text = (ROOT / script).read_text(encoding="utf-8")
    tree = ast.parse(text)
    first = (ast.get_source_segment(text, tree.body[1]) or "").split("\n")

    assert first[0].startswith('if __name__ == "__main__":')
    assert [line.strip() for line in first[1:] if line] == [
        "from orderflow.cli.signals import end_at_once",
        "end_at_once()",
    ]


STOPPING = f"""
import sys
from orderflow.cli.output import Notes
from orderflow.cli.signals import StopSignals
with StopSignals(Notes(sys.stderr)) as stop:
    {BUSY}
"""


def test_a_signal_is_answered_in_the_midst_of_a_long_call_and_a_second_one_ends_it() -> None:
    finished = ended(started(STOPPING), [signal.SIGTERM, signal.SIGTERM])

    assert (finished.returncode, finished.stderr) == (143, "-c: stopping (SIGTERM); again to stop at once\n")


def test_a_signal_that_is_heard_in_both_ways_counts_once() -> None:
    """By the pipe at once, and by Python's handler when the call is over."""
    body = """
        import sys, time
        from orderflow.cli.output import Notes
        from orderflow.cli.signals import StopSignals
        with StopSignals(Notes(sys.stderr)) as stop:
            print(flush=True)
            until = time.monotonic() + 20
            while not stop.requested and time.monotonic() < until: time.sleep(0.01)
            for _ in range(20): time.sleep(0.01)
        sys.exit(stop.exit_code)
    """
    finished = ended(started(body), [signal.SIGTERM])

    assert finished.returncode == 143
    assert finished.stderr.count("stopping") == 1


def test_nothing_begun_means_that_the_first_signal_ends_it() -> None:
    """While it waits for a Kafka that does not answer, say."""
    body = STOPPING.replace(BUSY, f"with stop.nothing_begun():\n        {BUSY}")

    assert ended(started(body), [signal.SIGTERM]).returncode == 143


def test_nohup_keeps_a_script_from_being_hung_up() -> None:
    body = """
        import sys, time
        from orderflow.cli.output import Notes
        from orderflow.cli.signals import StopSignals, end_at_once
        end_at_once()
        with StopSignals(Notes(sys.stderr)) as stop:
            print(flush=True)
            sys.stdin.readline()
            sys.exit(7 if stop.signal is None else 0)
    """
    ignore = lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)  # noqa: E731
    process = started(body, stdin=subprocess.PIPE, preexec_fn=ignore)
    process.send_signal(signal.SIGHUP)
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()

    assert ended(process, []).returncode == 7


def test_a_child_of_a_script_that_hears_signals_early_obeys_as_any_other() -> None:
    """It gets the handlers of before, its signals are not its parent's, and it may listen for itself."""
    body = """
        from orderflow.cli.signals import StopSignals, end_at_once
        end_at_once()
        import multiprocessing, os, signal, sys, time
        from orderflow.cli.output import Notes
        with StopSignals(Notes(sys.stderr)) as stop:
            child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
            child.start()
            os.kill(child.pid, signal.SIGTERM)
            child.join(10)
            pid = os.fork()
            if pid == 0:
                with StopSignals(Notes(sys.stderr)) as own:
                    os.kill(os.getpid(), signal.SIGTERM)
                    time.sleep(0.01)
                    os._exit(own.exit_code)
            print(child.exitcode, os.waitpid(pid, 0)[1] >> 8, stop.requested, flush=True)
            child.kill()
    """
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", textwrap.dedent(body)]
    finished = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=30)

    assert finished.stdout == "-15 143 False\n"
    assert finished.stderr.count("stopping") == 1


# --- the window


def test_the_status_line_is_painted_again_when_the_window_changes() -> None:
    """At once, though the script is in a call of its handler."""
    body = """
        import sys, time
        from orderflow.cli.output import Notes
        from orderflow.cli.status import StatusLine
        status = StatusLine(Notes(sys.stderr))
        status.show("x" * 100)
        print(flush=True)
        time.sleep(20)
    """
    leader, follower = pty.openpty()
    resize(leader, 50)
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"}
    command = [sys.executable, "-c", textwrap.dedent(body)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=follower, text=True, env=environ)
    os.close(follower)
    assert process.stdout is not None
    process.stdout.readline()
    first = os.read(leader, 1000).decode()
    resize(leader, 30)
    process.send_signal(signal.SIGWINCH)
    second = os.read(leader, 1000).decode() if select.select([leader], [], [], 10)[0] else ""
    process.kill()
    process.wait()
    os.close(leader)

    assert [shown(first), shown(second)] == ["x" * 48 + "…", "x" * 28 + "…"]


def resize(terminal: int, columns: int) -> None:
    """Give a terminal another width."""
    ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))


def shown(written: str) -> str:
    """What a terminal shows of one line that was written over and over."""
    lines: List[str] = written.split("\r\x1b[K")
    return lines[-1]


def test_a_stop_waits_for_nobody_who_reads() -> None:
    """A pager that shows its first page keeps the pipe full; the script ends all the same."""
    body = """
        import os, sys, time
        from orderflow.cli.output import Notes
        from orderflow.cli.signals import StopSignals
        os.set_blocking(2, False)
        try:
            while True: os.write(2, b"x" * 4096)
        except BlockingIOError:
            os.set_blocking(2, True)
        with StopSignals(Notes(sys.stderr)) as stop:
            print(flush=True)
            while not stop.requested: time.sleep(0.01)
        os._exit(stop.exit_code)
    """
    process = started(body)
    process.send_signal(signal.SIGTERM)

    assert process.wait(10) == 143
    process.communicate()
