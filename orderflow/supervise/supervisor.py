"""Keeps a number of consumers running until they are done or asked to stop.

It decides; `crew.py` starts and kills. It holds no Kafka client, and what it knows of its consumers is what
they report.
"""

from typing import Callable, List, NamedTuple, Optional, Protocol, Sequence

from orderflow import exits
from orderflow.supervise.endings import Ending, Verdict, as_exit_code, clean_code, judge, obituary, worst
from orderflow.supervise.report import Report
from orderflow.supervise.restarts import Restarts

TICK_S = 0.2
GRACE_S = 5.0
"""How long after SHUTDOWN_TIMEOUT, at which a consumer ends by itself, it is killed."""


class Child(Protocol):
    """A consumer's process."""

    @property
    def report(self) -> Report:
        """The last one that it sent."""

    @property
    def heard_at_s(self) -> float:
        """When that came, or when the process was started."""

    def poll(self) -> Optional[int]:
        """Its code once it has ended and all that it said has been read, else None."""

    def ask_to_stop(self) -> None:
        """It finishes what it is doing, and leaves the group."""

    def kill(self) -> None:
        """End it as kill -9 does."""


class Crew(Protocol):
    """The processes, and what they say."""

    def start(self, number: int) -> Child:
        """Start the consumer with this number."""

    def wait(self, timeout_s: float) -> None:
        """Until there is something to see."""


class Stop(Protocol):
    """The request to stop."""

    @property
    def requested(self) -> bool:
        """Whether there is one."""

    @property
    def exit_code(self) -> int:
        """What a process ends with that does as asked."""


class Audience(Protocol):
    """Whoever watches."""

    def say(self, number: int, what: str) -> None:
        """Tell what has become of this process."""

    def show(self, state: "State") -> None:
        """Show how it goes; called several times a second."""

    def has_left(self) -> bool:
        """Whether nobody can read what we say."""

    def count_ended(self, report: Report) -> None:
        """A process has ended, and this was its last report."""


class Living(NamedTuple):
    """A process that runs."""

    number: int
    report: Report
    """Its last one."""
    silent_s: float = 0.0
    """How long ago that came."""


class State(NamedTuple):
    """How the processes are."""

    living: Sequence[Living]
    wanted: int
    """How many should be running."""
    restarts: int

    @property
    def begun(self) -> int:
        """How many of the living have begun."""
        return sum(bool(each.report.state) for each in self.living)


class Plan(NamedTuple):
    """What is wanted."""

    processes: int
    shutdown_timeout_s: float


class Slot:
    """The place of one consumer: its process, or the time when its successor is due."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.restarts = Restarts()
        self.child: Optional[Child] = None
        self.due_s: Optional[float] = None
        self._started_s = 0.0

    @property
    def is_over(self) -> bool:
        """Whether nothing runs here and nothing will."""
        return self.child is None and self.due_s is None

    def wait_until(self, due_s: float) -> None:
        """Start the next process then."""
        self.due_s = due_s

    def give_up(self) -> None:
        """Start no more."""
        self.due_s = None

    def start(self, crew: Crew, now_s: float) -> None:
        """Start the process that is due."""
        self.child, self.due_s, self._started_s = crew.start(self.number), None, now_s

    def ending(self) -> Optional[Ending]:
        """How its process ended, told once; None while there is nothing to tell."""
        code = None if self.child is None else self.child.poll()
        if self.child is None or code is None:
            return None
        ended, self.child = Ending(code, self.child.report), None
        return ended

    def delay_s(self, now_s: float) -> float:
        """How long to wait after the death that was just told."""
        return self.restarts.delay_s(now_s - self._started_s)


class Supervisor:
    """One run of several consumers."""

    def __init__(
        self, crew: Crew, plan: Plan, stop: Stop, audience: Audience, clock: Callable[[], float]
    ) -> None:
        self._crew = crew
        self._plan = plan
        self._stop = stop
        self._audience = audience
        self._clock = clock
        self._slots = [Slot(number + 1) for number in range(plan.processes)]
        self._has_begun = False
        """Whether any process has begun. The first goes ahead, and tells whether the settings are good."""
        self._others_are_due = False
        self._stop_code: Optional[int] = None
        self._kill_at_s: Optional[float] = None
        self._codes: List[int] = []

    def run(self) -> int:
        """Until nothing runs and nothing is to be started; returns the exit code."""
        self._slots[0].wait_until(self._clock())
        while not all(slot.is_over for slot in self._slots):
            self._heed_stop()
            self._start_due()
            self._crew.wait(TICK_S)
            self._note_ends()
            self._let_others_begin()
            self._audience.show(self._state())
        return worst(self._codes)

    def _state(self) -> State:
        now_s = self._clock()
        running = [(slot.number, slot.child) for slot in self._slots if slot.child is not None]
        return State(
            [Living(number, child.report, now_s - child.heard_at_s) for number, child in running],
            sum(not slot.is_over for slot in self._slots),
            sum(slot.restarts.count for slot in self._slots),
        )

    # --- starting --------------------------------------------------------------------------------

    def _start_due(self) -> None:
        now_s = self._clock()
        for slot in self._slots:
            if slot.due_s is not None and now_s >= slot.due_s:
                self._start(slot, now_s)

    def _start(self, slot: Slot, now_s: float) -> None:
        try:
            slot.start(self._crew, now_s)
        except OSError as error:  # no memory, no process number or no descriptor left on this machine
            delay_s = slot.restarts.failed_start_delay_s()
            slot.wait_until(now_s + delay_s)
            self._say(slot, f"cannot be started ({error.strerror}); next try in {delay_s:g} s")

    def _let_others_begin(self) -> None:
        first = self._slots[0].child
        self._has_begun = self._has_begun or (first is not None and bool(first.report.state))
        if self._has_begun and not self._others_are_due and not self._is_stopping:
            self._others_are_due = True
            if not self._slots[0].is_over:  # where it has done all the work by now, they are not needed
                for slot in self._slots[1:]:
                    slot.wait_until(self._clock())

    # --- ending ----------------------------------------------------------------------------------

    def _note_ends(self) -> None:
        for slot in self._slots:
            ending = slot.ending()
            if ending is not None:
                self._has_begun = self._has_begun or ending.had_begun
                self._audience.count_ended(ending.report)
                self._ended_in_stop(slot, ending) if self._is_stopping else self._ended(slot, ending)

    def _ended(self, slot: Slot, ending: Ending) -> None:
        verdict = judge(ending, is_first=not self._has_begun)
        if verdict is Verdict.RESTART:
            delay_s = slot.delay_s(self._clock())
            slot.wait_until(self._clock() + delay_s)
            self._say(slot, f"{obituary(ending)}; its successor starts in {delay_s:g} s")
            return
        self._codes.append(as_exit_code(ending.code))
        if verdict is Verdict.GIVE_UP:
            self._give_up(slot, ending)

    def _give_up(self, slot: Slot, ending: Ending) -> None:
        """End everything: whoever starts it again has something to repair first."""
        if ending.code not in (exits.USAGE, exits.FAILED):  # with these it has said why
            self._say(slot, obituary(ending))
        self._begin_stop(exits.OK)

    def _ended_in_stop(self, slot: Slot, ending: Ending) -> None:
        code = clean_code(ending, self._stop_code or exits.OK)
        self._codes.append(code)
        if code == exits.FAILED:
            self._say(slot, obituary(ending))

    def _say(self, slot: Slot, what: str) -> None:
        self._audience.say(slot.number, what)

    # --- stopping --------------------------------------------------------------------------------

    @property
    def _is_stopping(self) -> bool:
        return self._stop_code is not None

    def _heed_stop(self) -> None:
        if self._is_stopping:
            self._kill_late_ones()
        elif self._stop.requested:
            self._begin_stop(self._stop.exit_code)
        elif self._audience.has_left():
            self._begin_stop(exits.OK)

    def _begin_stop(self, code: int) -> None:
        self._stop_code = code
        self._codes.append(code)
        self._kill_at_s = self._clock() + self._plan.shutdown_timeout_s + GRACE_S
        for slot in self._slots:
            slot.give_up()
            if slot.child is not None:
                slot.child.ask_to_stop()

    def _kill_late_ones(self) -> None:
        if self._kill_at_s is None or self._clock() < self._kill_at_s:
            return
        self._kill_at_s = None
        limit_s = self._plan.shutdown_timeout_s + GRACE_S
        for slot in self._slots:
            if slot.child is not None:
                self._say(slot, f"has not stopped within {limit_s:g} s and is killed; nothing is lost")
                slot.child.kill()
