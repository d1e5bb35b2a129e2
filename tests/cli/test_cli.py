"""What the scripts share as command-line programs, on streams, pipes, pseudo-terminals and signals."""

import contextlib
import io
import os
import pty
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, Callable, Iterator, List, Sequence, TextIO

import pytest

from orderflow.cli.outage import Outage
from orderflow.cli.output import Notes
from orderflow.cli.status import StatusLine
from orderflow.cli.terminal import can_rewrite, duration, has_colour, program
from orderflow.model.text import escape

ROOT = Path(__file__).resolve().parent.parent.parent


class Clock:
    """A clock that advances only when told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        """The time, in seconds."""
        return self.now_s


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Always."""
        return True


def script(body: str) -> List[str]:
    """The command line of a script whose `main` has this body."""
    code = (
        "import sys, os, signal, time\n"
        "from orderflow.cli.arguments import arguments\n"
        "from orderflow.cli.run import run, standard_input\n"
        "from orderflow.cli.signals import StopSignals\n"
        "from orderflow.cli.status import StatusLine\n"
        "from orderflow.exits import CommandError, Refused, Tripped, UsageError\n"
        "def main(argv, out, err):\n"
    )
    code += textwrap.indent(textwrap.dedent(body), "    ") + "\nsys.exit(run(main))"
    return [sys.executable, "-c", code]


def run(body: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    # Python 3.12 and newer warn of each fork beside threads, such as those of the Kafka client.
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore::DeprecationWarning"}
    return subprocess.run(script(body), capture_output=True, text=True, env=environ, timeout=30, **options)


# --- text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, ünïcödé, नमस्ते, שָׁלוֹם and 漢字 stay", "plain text, ünïcödé, नमस्ते, שָׁלוֹם and 漢字 stay"),
        ("a\u200bb\u00adc\u3164d\u2800e\ufe0f", "a\\u200bb\\u00adc\\u3164d\\u2800e\\ufe0f"),
        ("\u0301b, a\u0301, \u0301", "\\u0301b, a\u0301, \\u0301"),
        ("e" + "\u0301" * 5, "e" + "\u0301" * 4 + "\\u0301"),
        ("a\x1b[31mb", "a\\u001b[31mb"),
        ("a\nb\r\tc", "a\\u000ab\\u000d\\u0009c"),
        ("a\x9bb", "a\\u009bb"),
        ("a\u202eb\u2066c", "a\\u202eb\\u2066c"),
        ("a\u2028b\u0085c", "a\\u2028b\\u0085c"),
        ("a\ud800b", "a\\ud800b"),
        ("a\U000e0001b", "a\\U000e0001b"),
        ("C:\\new", "C:\\new"),
    ],
)
def test_text_of_unknown_origin_is_shown_on_one_line_and_moves_no_cursor(text: str, shown: str) -> None:
    assert escape(text) == shown


@pytest.mark.parametrize(
    "typed", ["shop:hush@kafka:9092", "https://shop:hush@registry/a", "a shop:hush@b c:hush@d"]
)
def test_a_password_that_was_typed_in_the_wrong_place_is_not_repeated(typed: str) -> None:
    """Neither by an error of ours, nor by that of a flag that nobody knows."""
    ours = run(f"raise CommandError({typed!r})")
    flags = run(f"arguments('Doc.', ['x']).parse_args([{typed!r}])")

    assert (ours.returncode, flags.returncode) == (1, 2)
    assert "shop:…@" in ours.stderr
    assert "hush" not in ours.stderr + flags.stderr


# --- ends


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        ("CommandError('no luck')", 1, "-c: no luck\n"),
        ("UsageError('wrong')", 2, "-c: wrong\n"),
        ("Refused('not confirmed')", 4, "-c: not confirmed\n"),
        ("Tripped('too many came back')", 5, "-c: too many came back\n"),
        ("CommandError('two', 'lines, a \\n break')", 1, "-c: two\nlines, a \\u000a break\n"),
        ("KeyboardInterrupt()", 130, ""),
    ],
)
def test_an_expected_failure_is_its_text_and_its_exit_code(error: str, code: int, told: str) -> None:
    finished = run(f"raise {error}")

    assert (finished.returncode, finished.stdout, finished.stderr) == (code, "", told)


def test_a_bug_keeps_its_traceback_and_its_text_cannot_forge_one() -> None:
    finished = run("try: 1 // 0\nexcept Exception: raise ValueError('a\\n\\x1b[2Jb')")

    assert (finished.returncode, finished.stdout) == (1, "")
    assert "ZeroDivisionError: integer division or modulo by zero\n" in finished.stderr
    assert finished.stderr.endswith("\nValueError: a\\u000a\\u001b[2Jb\n")


def test_a_reader_that_goes_away_ends_it_quietly_with_zero() -> None:
    """`| head` is no failure."""
    command = script("while True: out.lines(['line'] * 100)")
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        complaint = process.stderr.read()

    assert (process.returncode, complaint) == (0, b"")


def test_help_into_a_closed_pipe_is_quiet_too() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    body = "arguments('Doc.', ['x']).parse_args(['--help'])"
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    finished = subprocess.run(script(body), stdout=writing, stderr=subprocess.PIPE, env=environ, timeout=30)
    os.close(writing)

    assert (finished.returncode, finished.stderr) == (0, b"")


@pytest.mark.parametrize(("body", "code"), [("err.line('y'); return 3", 3), ("out.line('x'); return 0", 1)])
def test_a_script_without_streams_runs_and_never_takes_lost_data_for_written(body: str, code: int) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = ["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *script(body)]
    finished = subprocess.run(command, env=environ, timeout=30)

    assert finished.returncode == code


@pytest.mark.parametrize("closing", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_descriptor_that_was_closed_before_the_start_is_given_to_nothing_else(closing: str) -> None:
    """A socket with descriptor 2 would get whatever a library prints to stderr; and handlers may print."""
    body = """
        taken = os.open("/", os.O_RDONLY)
        sys.stdin.read(), print("out"), print("err", file=sys.stderr)
        child = os.system("test -e /dev/fd/0 && test -e /dev/fd/1 && test -e /dev/fd/2")
        return taken if child == 0 else 99
    """
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = ["sh", "-c", f'exec "$@" {closing}', "sh", *script(body)]
    finished = subprocess.run(command, stdin=subprocess.DEVNULL, env=environ, timeout=30)

    assert finished.returncode == 3


@pytest.mark.parametrize(
    ("redirection", "code", "out", "err"),
    [
        ("<&-", 2, "", "-c: cannot read stdin: it is closed\n"),
        ("</dev/null", 0, "[]\n", ""),
        ("</dev/null 2>&-", 0, "[]\n", ""),
    ],
)
def test_data_is_not_read_from_a_stdin_that_was_closed(
    redirection: str, code: int, out: str, err: str
) -> None:
    """Whoever reads orders or dead letters from it would take it for an empty file, and end well."""
    body = "out.line(repr(list(standard_input()))); return 0"
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = ["sh", "-c", f'exec "$@" {redirection}', "sh", *script(body)]
    finished = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=30)

    assert (finished.returncode, finished.stdout, finished.stderr) == (code, out, err)


@pytest.mark.parametrize("where", ["closed pipe", "full disk"])
def test_an_error_that_nobody_can_read_keeps_its_exit_code(where: str) -> None:
    """Whoever started it may look at nothing else."""
    reading, writing = os.pipe()
    os.close(reading)
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    with open("/dev/full", "wb") as full:
        stream = full.fileno() if where == "full disk" else writing
        command = script("raise UsageError('wrong')")
        finished = subprocess.run(command, stderr=stream, stdout=subprocess.PIPE, env=environ, timeout=30)
    os.close(writing)

    assert finished.returncode == 2


# --- signals

WAIT = """
with StopSignals(err) as stop:
    out.line("ready")
    while not stop.requested or {stubborn}: time.sleep(0.01)
    out.line("clean")
    return stop.exit_code
"""


@pytest.fixture(autouse=True)
def no_nohup() -> Iterator[None]:
    """Children are hung up by SIGHUP even where the tests themselves were started with nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def signalled(numbers: Sequence[int], stubborn: bool = False) -> "subprocess.CompletedProcess[str]":
    """Send signals to a script, one after the other has been answered."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command, pipe = script(WAIT.format(stubborn=stubborn)), subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environ)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    said = ""
    for number in numbers:
        process.send_signal(number)
        said += process.stderr.readline()
    out, err = process.communicate(timeout=30)
    return subprocess.CompletedProcess(command, process.returncode, out, said + err)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_the_first_signal_asks_to_stop_and_says_so(number: int, code: int) -> None:
    finished = signalled([number])

    assert (finished.returncode, finished.stdout) == (code, "clean\n")
    assert finished.stderr == f"-c: stopping ({signal.Signals(number).name}); again to stop at once\n"


def test_the_second_signal_ends_it_at_once() -> None:
    finished = signalled([signal.SIGINT, signal.SIGTERM], stubborn=True)

    assert (finished.returncode, finished.stdout) == (143, "")


ASKED_OTHERWISE = """
with StopSignals(err) as stop:
    stop.request(signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    out.line("clean")
    os.kill(os.getpid(), signal.SIGINT)
    return stop.exit_code
"""


def test_a_stop_asked_for_by_other_means_is_no_signal() -> None:
    """A supervisor asks, and the system signals its whole group: still a clean stop. Two signals are two."""
    finished = run(ASKED_OTHERWISE)

    assert (finished.returncode, finished.stdout) == (130, "clean\n")


AT_ONCE = """
def end(code):
    os.write(1, b"ended")
    os._exit(code + 1)

with StopSignals(err, end) as stop:
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)
"""


def test_who_has_others_to_end_is_called_for_the_second_signal() -> None:
    """Instead of ending at once itself."""
    finished = run(AT_ONCE)

    assert (finished.returncode, finished.stdout) == (144, "ended")


FORK = """
import multiprocessing, threading
up = multiprocessing.get_context("fork").Event()
ended = []

def work(tells):
    # Only one that is not killed meanwhile: it would take the lock of the event along.
    if tells: up.set()
    time.sleep(60)

def end(number, when_up=False):
    process = multiprocessing.get_context("fork").Process(target=work, args=(when_up,))
    process.start()
    if when_up: up.wait(20)
    os.kill(process.pid, number)
    process.join(20)
    ended.append(process.exitcode)
    process.kill()

with StopSignals(err) as stop:
    for _ in range(5):
        end(signal.SIGTERM)
    thread = threading.Thread(target=end, args=(signal.SIGTERM,))
    thread.start(), thread.join()
    end(signal.SIGINT, when_up=True)
    os.kill(os.getpid(), signal.SIGTERM)
    out.line(f"{ended} {stop.requested}")
    return stop.exit_code
"""


def test_a_child_that_is_forked_meanwhile_obeys_signals_as_any_other() -> None:
    """Whoever terminates a pool of a handler's does not wait for it; forked from a worker's thread, too."""
    finished = run(FORK)

    assert (finished.returncode, finished.stdout) == (143, f"{[-15] * 6 + [1]} True\n")
    assert finished.stderr.count("stopping") == 1


def test_signals_are_as_before_when_the_block_is_left() -> None:
    """A child that is forked later has nothing to restore."""
    body = """
        before = signal.getsignal(signal.SIGTERM)
        with StopSignals(err): pass
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        child = os.fork()
        if child == 0:
            os._exit(signal.getsignal(signal.SIGINT) is not signal.SIG_IGN)
        return os.waitpid(child, 0)[1] or signal.getsignal(signal.SIGTERM) is not before
    """
    finished = run(body)

    assert (finished.returncode, finished.stderr) == (0, "")


# --- progress


def test_progress_off_a_terminal_is_a_plain_line_every_ten_seconds() -> None:
    err, clock = io.StringIO(), Clock()
    status = StatusLine(Notes(err), clock)
    for second in range(1, 26):
        clock.now_s = 100.0 + second
        if status.due():
            status.show(f"{second} done")
    status.clear()

    assert err.getvalue() == "10 done\n20 done\n"


def test_progress_on_a_terminal_is_rewritten_and_gone_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    err, clock = Terminal(), Clock()
    status = StatusLine(Notes(err), clock)
    status.show("1 done")
    status.show("2 done")
    status.note("something stays")
    status.show("3 done")
    status.clear()

    assert err.getvalue() == "\r\x1b[K1 done\r\x1b[K2 done\r\x1b[Ksomething stays\n\r\x1b[K3 done\r\x1b[K"


def test_progress_that_nobody_can_read_is_noticed_and_is_no_failure() -> None:
    """`2>&1 | head`: what is under way must be finished first."""
    reading, writing = os.pipe()
    os.close(reading)
    err = os.fdopen(writing, "w")
    status = StatusLine(Notes(err))
    assert not status.abandoned

    status.note("hello?")
    assert status.abandoned
    with contextlib.suppress(BrokenPipeError):
        err.close()


@pytest.mark.parametrize(
    ("stream", "environ", "terminal", "colour"),
    [
        (Terminal, {"TERM": "xterm"}, True, True),
        (Terminal, {"TERM": "xterm", "NO_COLOR": "1"}, True, False),
        (Terminal, {"TERM": "xterm", "NO_COLOR": ""}, True, True),
        (Terminal, {"TERM": "dumb"}, False, False),
        (io.StringIO, {"TERM": "xterm"}, False, False),
    ],
)
def test_each_stream_is_judged_by_itself(
    stream: Callable[[], TextIO], environ: Any, terminal: bool, colour: bool
) -> None:
    assert can_rewrite(stream(), environ) is terminal
    assert has_colour(stream(), environ) is colour


def test_a_long_line_never_wraps_on_a_real_terminal() -> None:
    """A wrapped status line cannot be rewritten: it would scroll."""
    body = "status = StatusLine(err); status.show('x' * 500); status.clear(); return 0"
    leader, follower = pty.openpty()
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "40"}
    subprocess.run(script(body), stderr=follower, stdout=subprocess.DEVNULL, env=environ, timeout=30)
    os.close(follower)
    shown = os.read(leader, 10_000).decode()
    os.close(leader)

    assert shown == "\r\x1b[K" + "x" * 38 + "…" + "\r\x1b[K"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.04, "0.0s"), (9.94, "9.9s"), (10, "10s"), (123, "2m 3s"), (3600, "1h"), (536_400, "6d 5h")],
)
def test_a_duration_is_shown_by_its_two_largest_units(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


# --- losing Kafka


def test_an_outage_is_one_line_when_it_begins_and_one_when_it_ends() -> None:
    stream = io.StringIO()
    clock = Clock()
    outage = Outage(Notes(stream).tell, "kafka:9092", clock)
    outage.back()
    outage.lost("Connection refused")
    outage.lost("Connection refused")
    clock.now_s += 75
    outage.back()
    outage.back()

    name = program()
    assert stream.getvalue().splitlines() == [
        f"{name}: Kafka at kafka:9092 is lost (Connection refused); trying until it is back",
        f"{name}: Kafka at kafka:9092 is back after 1m 15s",
    ]
