"""Real processes of the supervisor: what they say is heard, and none outlives it."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Callable, Iterator, List, Tuple

import pytest

from orderflow import exits
from orderflow.supervise.crew import Crew
from orderflow.supervise.link import SUPERVISED
from orderflow.supervise.report import ENDED
from tests.support.pipeline import ROOT, eventually

FLAG = f"{SUPERVISED}={{}},{{}},0,run"
PROLOGUE = f"""
import os, signal, subprocess, sys, time
sys.path.insert(0, {str(ROOT)!r})
from orderflow.supervise import link
from orderflow.supervise.report import ENDED, WORKING, Report
ours = link.join(sys.argv[-1].partition("=")[2])
"""

Heard = List[Tuple[int, bytes, bool]]


class Stage:
    """A crew whose processes run a few lines of Python."""

    def __init__(self, script: str) -> None:
        self.heard: Heard = []
        command = [sys.executable, "-c", PROLOGUE + textwrap.dedent(script)]
        self.crew = Crew(command, FLAG, lambda *line: self.heard.append(line))

    def until(self, condition: Callable[[], object]) -> None:
        """Listen until the condition holds."""

        def listen() -> object:
            self.crew.wait(0.02)
            return condition()

        eventually(listen, why=lambda: repr(self.heard))


@pytest.fixture
def stage() -> Iterator[Callable[[str], Stage]]:
    """Make a stage; nothing that it started outlives the test."""
    made: List[Stage] = []

    def make(script: str) -> Stage:
        made.append(Stage(script))
        return made[-1]

    yield make
    for each in made:
        each.crew.kill()


NewStage = Callable[[str], Stage]


def test_all_that_a_process_said_is_known_when_its_end_is(stage: NewStage) -> None:
    """Its last report, and a last line without an end."""
    told = stage("""
        print("to stdout")
        sys.stderr.write("to stderr, without an end")
        ours.send(Report(WORKING, "one"))
        ours.send(Report(ENDED, "two", {number: (number, 0) for number in range(5000)}))
        sys.exit(7)
    """)
    process = told.crew.start(3)
    told.until(lambda: process.poll() is not None)

    assert process.poll() == 7
    assert (process.report.state, process.report.figures) == (ENDED, "two")
    assert len(process.report.partitions) == 5000
    assert sorted(told.heard) == [(3, b"to stderr, without an end", True), (3, b"to stdout", False)]


def test_a_report_for_which_there_is_no_room_is_left_out(stage: NewStage, tmp_path: Path) -> None:
    """A supervisor that hangs does not hold up the orders; the next report says the same and more."""
    told = stage(f"""
        for number in range(3000):
            ours.send(Report(WORKING, str(number), {{part: (part, 0) for part in range(100)}}))
        open({str(tmp_path / "not-held-up")!r}, "w").close()
        ours.send(Report(ENDED, "3000"))
    """)
    process = told.crew.start(1)
    eventually((tmp_path / "not-held-up").exists)
    told.until(lambda: process.poll() is not None)

    assert process.report.figures == "3000"


def test_a_crash_shows_where_it_happened(stage: NewStage) -> None:
    """The stack of the handler that crashed, and the signal."""
    told = stage("""
        def handler():
            os.kill(os.getpid(), signal.SIGSEGV)
        handler()
    """)
    process = told.crew.start(1)
    told.until(lambda: process.poll() is not None)

    assert process.poll() == -signal.SIGSEGV
    assert any(b"in handler" in line for _, line, _ in told.heard)


def test_a_process_that_is_asked_to_stop_before_it_works_just_ends(stage: NewStage) -> None:
    """While it imports a handler or looks for Kafka there is nothing to finish."""
    told = stage("""
        print("ready")
        time.sleep(60)
    """)
    process = told.crew.start(1)
    told.until(lambda: told.heard)
    process.ask_to_stop()
    told.until(lambda: process.poll() is not None)

    assert process.poll() == exits.TERMINATED


def test_a_process_that_works_is_asked_to_finish(stage: NewStage) -> None:
    """It hears of it as of a SIGTERM, once."""
    told = stage("""
        asked = []
        ours.on_stop(asked.append)
        print("ready")
        while not asked:
            time.sleep(0.01)
        print(*map(int, asked))
    """)
    process = told.crew.start(1)
    told.until(lambda: told.heard)
    process.ask_to_stop()
    told.until(lambda: process.poll() is not None)

    assert told.heard[1] == (1, b"15", False)


def test_what_a_process_forked_does_not_keep_it_alive(stage: NewStage) -> None:
    """Its own end counts, even if another process holds its pipes."""
    told = stage("""
        print(subprocess.Popen(["sleep", "60"]).pid)
    """)
    process = told.crew.start(1)
    told.until(lambda: process.poll() is not None)

    assert process.poll() == 0
    os.kill(int(told.heard[0][1]), signal.SIGKILL)


def test_the_terminal_does_not_reach_a_process(stage: NewStage) -> None:
    """Ctrl-C goes to the whole foreground group, and would count twice."""
    told = stage("print(os.getsid(0) == os.getpid())")
    process = told.crew.start(1)
    told.until(lambda: process.poll() is not None)

    assert told.heard == [(1, b"True", False)]


def test_a_process_starts_as_its_supervisor_was_started(tmp_path: Path) -> None:
    """With the options of the interpreter, where Python tells them."""
    script = tmp_path / "script.py"
    lines = [
        "import sys",
        f"sys.path.insert(0, {str(ROOT)!r})",
        "from orderflow.supervise.crew import own_command",
        "print(own_command(sys.argv[1:])[1:])",
    ]
    script.write_text("\n".join(lines), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-X", "dev", str(script), "--a", "b"], capture_output=True, text=True, check=True
    )

    options = ["-X", "dev"] if sys.version_info >= (3, 10) else []
    assert done.stdout.strip() == str([*options, str(script), "--a", "b"])


SUPERVISOR = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from orderflow.supervise.crew import Crew
command = [sys.executable, "-c", sys.argv[1]]
crew = Crew(command, {FLAG!r}, lambda number, line, is_error: print(line.decode(), flush=True))
crew.start(1)
while True:
    crew.wait(1.0)
"""


@pytest.mark.parametrize("works", [True, False])
def test_no_process_outlives_a_supervisor_that_was_killed(works: bool) -> None:
    """Its link breaks, and that is a request to stop."""
    script = f"""
asked = []
if {works}:
    ours.on_stop(asked.append)
print(os.getpid())
while not asked:
    time.sleep(0.01)
"""
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, PROLOGUE + script], stdout=subprocess.PIPE, text=True
    )
    assert supervisor.stdout is not None
    with supervisor.stdout:
        child = int(supervisor.stdout.readline())
        assert _runs(child)
        supervisor.kill()
        supervisor.wait()

    eventually(lambda: not _runs(child))


SUSPENDED = f"""
import os, signal, sys
sys.path.insert(0, {str(ROOT)!r})
from orderflow.supervise.crew import Crew
crew = Crew([sys.executable, "-c", sys.argv[1]], {FLAG!r}, lambda *line: None)
process = crew.start(1)
crew.suspend_with_us()
print(process.pid, flush=True)
while True:
    crew.wait(1.0)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")
def test_ctrl_z_suspends_the_processes_too_and_fg_lets_them_go_on() -> None:
    """The terminal reaches only the supervisor."""
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUSPENDED, PROLOGUE + "time.sleep(60)"], stdout=subprocess.PIPE, text=True
    )
    assert supervisor.stdout is not None
    try:
        with supervisor.stdout:
            both = (supervisor.pid, int(supervisor.stdout.readline()))
        supervisor.send_signal(signal.SIGTSTP)
        eventually(lambda: [_state(pid) for pid in both] == ["T", "T"])
        supervisor.send_signal(signal.SIGCONT)
        eventually(lambda: "T" not in [_state(pid) for pid in both])
    finally:
        supervisor.kill()
        supervisor.wait()


def _runs(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return _state(pid) != "Z"  # nobody may have collected it yet, where no init does
    return False


def _state(pid: int) -> str:
    """One letter of the system, as ps shows it; empty where there is no /proc."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.read_text(encoding="ascii").rpartition(")")[2].split()[0] if stat.exists() else ""


def test_a_place_is_had_by_one_process_after_the_other(stage: NewStage) -> None:
    """Its successor has the same, its neighbour another. By it, Kafka ends what the dead one left open."""
    told = stage("ours.send(Report(ENDED, ours.place))")
    places = []
    for number in (1, 1, 2):
        process = told.crew.start(number)
        told.until(lambda ended=process: ended.poll() is not None)  # type: ignore[misc]
        places.append(process.report.figures)

    first, again, neighbour = places
    assert first == again != neighbour
