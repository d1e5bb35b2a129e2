"""The supervisor's decisions, with scripted processes and a clock of our own: a day takes milliseconds."""

import errno
import os
import signal
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

import pytest

from orderflow import exits
from orderflow.supervise.report import BEGAN, ENDED, NOTHING, WORKING, Report
from orderflow.supervise.supervisor import GRACE_S, Plan, State, Supervisor

FOREVER_S = 1e9
BEGINS_AFTER_S = 1.0
SHUTDOWN_TIMEOUT_S = 25.0


class Life(NamedTuple):
    """What becomes of one process, if nobody asks it to stop."""

    lasts_s: float = FOREVER_S
    code: int = 0
    last: str = WORKING
    """The state that it reports last; empty: it never begins."""
    stops_after_s: float = 0.5
    """How long it takes when it is asked to stop."""
    stops_with: int = exits.TERMINATED


class ScriptedChild:
    """A process that lives its life by the clock."""

    def __init__(self, life: Life, clock: Callable[[], float]) -> None:
        self._life = life
        self._clock = clock
        self.began_s = self.heard_at_s = clock()
        self._ends = (self.began_s + life.lasts_s, life.code, life.last)
        self.orders: List[str] = []

    @property
    def report(self) -> Report:
        """Its last one."""
        ends_s, _, last = self._ends
        if self._clock() >= ends_s and last != WORKING:
            return Report(last) if last else NOTHING
        begun = self._life.last and self._clock() >= self.began_s + BEGINS_AFTER_S
        return Report(BEGAN, partitions={0: (17, 0)}) if begun else NOTHING

    def poll(self) -> Optional[int]:
        """Its code once its time is up."""
        ends_s, code, _ = self._ends
        return code if self._clock() >= ends_s else None

    def ask_to_stop(self) -> None:
        """It takes its time."""
        self.orders.append("stop")
        last = ENDED if self._life.last else ""
        self._ends = (self._clock() + self._life.stops_after_s, self._life.stops_with, last)

    def kill(self) -> None:
        """At once."""
        self.orders.append("kill")
        self._ends = (self._clock(), -int(signal.SIGKILL), WORKING)


class Stage:
    """A clock, the lives of each process in turn, a request to stop, and somebody who watches."""

    def __init__(self, *lives: List[Life], stop_at_s: float = FOREVER_S, stop_with: int = 143) -> None:
        self.now_s = 100.0
        self._lives = [iter(each) for each in lives]
        self._stop_at_s = self.now_s + stop_at_s
        self._stop_with = stop_with
        self.leaves_at_s = FOREVER_S
        self.has_no_memory = 0
        self.children: Dict[int, List[ScriptedChild]] = {}
        self.started: List[Tuple[int, float]] = []
        self.said: List[str] = []
        self.shown: List[State] = []

    def run(self) -> int:
        """To the end."""
        plan = Plan(len(self._lives), SHUTDOWN_TIMEOUT_S)
        return Supervisor(self, plan, self, self, lambda: self.now_s).run()

    # --- the crew

    def start(self, number: int) -> ScriptedChild:
        """The next life of this number."""
        if self.has_no_memory:
            self.has_no_memory -= 1
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        self.started.append((number, round(self.now_s - 100.0, 1)))
        child = ScriptedChild(next(self._lives[number - 1]), lambda: self.now_s)
        self.children.setdefault(number, []).append(child)
        return child

    def wait(self, timeout_s: float) -> None:
        """Time passes."""
        self.now_s += timeout_s

    # --- the request to stop

    @property
    def requested(self) -> bool:
        """By the clock."""
        return self.now_s >= self._stop_at_s

    @property
    def exit_code(self) -> int:
        """As after a signal."""
        return self._stop_with

    # --- who watches

    def say(self, number: int, what: str) -> None:
        """Keep it."""
        self.said.append(f"process {number} {what}")

    def show(self, state: State) -> None:
        """Keep it."""
        self.shown.append(state)

    def has_left(self) -> bool:
        """By the clock."""
        return self.now_s >= self.leaves_at_s

    def count_ended(self, report: Report) -> None:
        """Nobody counts here."""


DRAINED = Life(10.0, exits.OK, ENDED)
CRASHES = Life(10.0, -int(signal.SIGSEGV))


# ---- starting


def test_the_first_goes_ahead_and_the_others_follow_when_it_has_begun() -> None:
    """What is wrong with the settings is said once, by the first."""
    stage = Stage([DRAINED], [DRAINED], [DRAINED])

    assert stage.run() == exits.OK
    assert [number for number, _ in stage.started] == [1, 2, 3]
    assert stage.started[0][1] == 0
    assert {at_s for _, at_s in stage.started[1:]} == {BEGINS_AFTER_S}


def test_the_others_are_not_needed_where_the_first_has_done_it_all_by_then() -> None:
    """A topic with hardly anything in it."""
    stage = Stage([Life(BEGINS_AFTER_S - 0.1, exits.OK, ENDED)], [DRAINED])

    assert stage.run() == exits.OK
    assert len(stage.started) == 1


@pytest.mark.parametrize("code", [exits.USAGE, exits.FAILED, -int(signal.SIGSEGV)])
def test_what_keeps_the_first_from_beginning_ends_the_run(code: int) -> None:
    """Bad settings, no Kafka, a handler that crashes while it is imported: one try, its exit code."""
    stage = Stage([Life(0.5, code, "")], [DRAINED])

    assert stage.run() == (code if code > 0 else exits.FAILED)
    assert len(stage.started) == 1
    assert len(stage.said) == (0 if code > 0 else 1)  # with an exit code it has said why itself


def test_the_others_start_even_if_the_first_dies_as_soon_as_it_has_begun() -> None:
    """A killer order may be the first one in the topic."""
    stage = Stage([Life(BEGINS_AFTER_S + 0.1, -9), DRAINED], [DRAINED])

    assert stage.run() == exits.OK
    assert [number for number, _ in stage.started] == [1, 2, 1]


# ---- restarting


def test_a_process_that_dies_is_restarted_later_each_time() -> None:
    """After 1 s, then twice as long up to 30 s."""
    stage = Stage([CRASHES] * 7 + [DRAINED])

    assert stage.run() == exits.OK
    begun = [at_s for _, at_s in stage.started]
    waits = [round(after - before - CRASHES.lasts_s) for before, after in zip(begun, begun[1:])]
    assert waits == [1, 2, 4, 8, 16, 30, 30]
    assert stage.shown[-1].restarts == 7


def test_after_a_quiet_minute_a_death_is_the_first_one_again() -> None:
    """The back-off is against a process that keeps dying, not against one that dies now and then."""
    stage = Stage([CRASHES, CRASHES, CRASHES, Life(61.0, 1), DRAINED])
    stage.run()

    assert [line.rpartition(" starts in ")[2] for line in stage.said] == ["1 s", "2 s", "4 s", "1 s"]


def test_one_that_dies_leaves_the_others_alone() -> None:
    """Only its own successor is started."""
    stage = Stage([Life(60.0, exits.OK, ENDED)], [CRASHES, DRAINED])

    assert stage.run() == exits.OK
    assert [number for number, _ in stage.started] == [1, 2, 2]
    assert stage.children[1][0].orders == []


@pytest.mark.parametrize("code", [exits.OK, exits.USAGE, exits.TRIPPED, exits.TERMINATED])
def test_an_exit_code_alone_proves_nothing(code: int) -> None:
    """A handler may end the process with any: one that did not say goodbye has died."""
    stage = Stage([Life(5.0, code, WORKING), DRAINED])

    assert stage.run() == exits.OK
    assert len(stage.started) == 2


def test_settings_that_are_bad_by_now_end_the_run() -> None:
    """A restart that cannot help is not repeated: the others stop in their own time."""
    stage = Stage([Life()], [CRASHES, Life(0.5, exits.USAGE, "")])

    assert stage.run() == exits.USAGE
    assert stage.children[1][0].orders == ["stop"]


def test_a_restart_that_does_not_begin_is_repeated() -> None:
    """Kafka may be down for a while; it was there before."""
    stage = Stage([CRASHES, Life(0.5, exits.FAILED, ""), Life(0.5, exits.FAILED, ""), DRAINED])

    assert stage.run() == exits.OK
    assert "it had not begun" in stage.said[-1]


def test_a_process_that_the_machine_has_no_room_for_is_tried_again() -> None:
    """Whoever supervises must not be the first to go."""
    stage = Stage([DRAINED])
    stage.has_no_memory = 2

    assert stage.run() == exits.OK
    assert [at_s for _, at_s in stage.started] == [3.0]
    assert stage.said[0] == "process 1 cannot be started (Cannot allocate memory); next try in 1 s"
    assert {state.restarts for state in stage.shown} == {0}, "none has died"


# ---- stopping


@pytest.mark.parametrize("code", [exits.TERMINATED, exits.INTERRUPTED, 129])
def test_a_stop_is_passed_on_once(code: int) -> None:
    """Each process is asked, and all end in their own time: the exit code is that of the signal."""
    stage = Stage([Life()], [Life()], stop_at_s=20.0, stop_with=code)

    assert stage.run() == code
    assert [child.orders for each in stage.children.values() for child in each] == [["stop"], ["stop"]]
    assert stage.said == []


def test_one_that_waits_for_its_restart_is_not_started_any_more() -> None:
    """A stop is a stop."""
    stage = Stage([Life(stops_after_s=20.0)], [Life(10.0, -11)], stop_at_s=11.5)

    assert stage.run() == exits.TERMINATED
    assert len(stage.started) == 2


def test_a_process_that_does_not_stop_is_killed_and_named() -> None:
    """It ends by itself after SHUTDOWN_TIMEOUT; if it cannot even do that, it is killed a little later."""
    stage = Stage([Life()], [Life(stops_after_s=FOREVER_S)], stop_at_s=20.0)

    assert stage.run() == exits.FAILED
    assert stage.children[2][0].orders == ["stop", "kill"]
    assert stage.now_s - 100.0 - 20.0 == pytest.approx(SHUTDOWN_TIMEOUT_S + GRACE_S, abs=1.0)
    assert "process 2 has not stopped within 30 s" in stage.said[0]


def test_one_that_dies_instead_of_stopping_makes_the_run_fail() -> None:
    """The exit code is the worst one."""
    stage = Stage([Life()], [Life(stops_with=-11)], stop_at_s=20.0)

    assert stage.run() == exits.FAILED
    assert "process 2 was killed by SIGSEGV" in stage.said[0]


def test_one_that_has_not_begun_yet_has_nothing_to_finish() -> None:
    """Whatever it ends with."""
    stage = Stage([Life(last="", stops_with=-15)], stop_at_s=0.4)

    assert stage.run() == exits.TERMINATED
    assert stage.said == []


def test_when_nobody_reads_any_more_all_stop() -> None:
    """As one consumer does in `| head`."""
    stage = Stage([Life(stops_with=exits.TERMINATED)], [Life()])
    stage.leaves_at_s = 110.0

    assert stage.run() == exits.OK


# ---- draining


def test_the_run_ends_when_all_are_done() -> None:
    """One that is done is not started again, and the others go on."""
    stage = Stage([DRAINED], [Life(50.0, exits.OK, ENDED)])

    assert stage.run() == exits.OK
    assert len(stage.started) == 2


def test_orders_held_by_an_outage_decide_the_exit_code() -> None:
    """5, as of one consumer, whatever the others end with."""
    stage = Stage([DRAINED], [Life(50.0, exits.TRIPPED, ENDED)])

    assert stage.run() == exits.TRIPPED


def test_what_was_in_its_hands_is_told() -> None:
    """With the reason, and when its successor starts."""
    stage = Stage([CRASHES, DRAINED])
    stage.run()

    assert stage.said == [
        "process 1 was killed by SIGSEGV (native code read or wrote where it must not); it had partition 0 "
        "(from offset 17); its successor starts in 1 s"
    ]
