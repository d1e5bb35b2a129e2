"""Several consumers as one command: one status line, one metrics port and one stop for all of them."""

import os
import time
from functools import reduce
from typing import Dict, Optional, Sequence

from orderflow.cli.signals import StopSignals
from orderflow.cli.status import StatusLine
from orderflow.cli.terminal import program
from orderflow.consume.events import line_of
from orderflow.consume.metrics import Figures, Metrics
from orderflow.consume.progress import METRICS_EVERY_S, account, state
from orderflow.consume.streams import HandlerStreams
from orderflow.supervise.crew import Crew, own_command
from orderflow.supervise.link import SUPERVISED
from orderflow.supervise.output import Passage
from orderflow.supervise.report import ENDED, Report
from orderflow.supervise.supervisor import Plan, State, Supervisor


def run_processes(
    argv: Sequence[str],
    processes: int,
    shutdown_timeout_s: float,
    metrics: Optional[Metrics],
    streams: HandlerStreams,
) -> int:
    """Run this command as so many processes until all are done or asked to stop; returns the exit code."""
    status = StatusLine(streams.err)
    crew = Crew(own_command(argv), SUPERVISED, Passage(status.clear).line)

    def end_at_once(code: int) -> None:
        crew.kill()
        os._exit(code)

    together = Together(streams, status, metrics)
    with StopSignals(streams.err, end_at_once) as stop:
        crew.suspend_with_us()
        code = Supervisor(crew, Plan(processes, shutdown_timeout_s), stop, together, time.monotonic).run()
    together.sum_up()
    return code


# --- sums ---

NONE = Figures(0, 0, 0, 0, 0, False)


def plus(one: Figures, other: Figures) -> Figures:
    """The figures of both."""
    return Figures(
        one.processed + other.processed,
        one.dead_lettered + other.dead_lettered,
        one.retries + other.retries,
        one.waiting + other.waiting,
        one.lag + other.lag,
        one.outage or other.outage,
    )


def counted(figures: Figures) -> Figures:
    """What stays counted when its process has ended; orders that waited are with the living by then."""
    return figures._replace(waiting=0, lag=0, outage=False)


def figures_of(report: Report) -> Optional[Figures]:
    """The figures that a process has sent, if it has begun."""
    return None if report.figures is None else Figures(*report.figures)


# --- what the user sees ---


class Together:
    """Shows all processes as one consumer."""

    def __init__(self, streams: HandlerStreams, status: StatusLine, metrics: Optional[Metrics]) -> None:
        self._streams = streams
        self._status = status
        self._metrics = metrics
        self._metrics_due_s = 0.0
        self._of_ended = NONE
        self._left_waiting: Dict[int, int] = {}
        """By partition: the orders that waited when its last owner ended."""
        self._began_s = time.monotonic()

    def say(self, line: str) -> None:
        """Print a line of our own."""
        self._status.note(f"{program()}: {line}")

    def show(self, found: State) -> None:
        """The status line if it is due, the metrics once a second."""
        if self._status.due():
            self._status.show(self._text(found))
        lost = self._streams.take_loss()
        if lost is not None:
            self._status.note(line_of("output_lost", {"detail": lost}))
        if self._metrics is not None and time.monotonic() >= self._metrics_due_s:
            self._metrics_due_s = time.monotonic() + METRICS_EVERY_S
            self._metrics.show(self._figures(found.living))

    def _text(self, found: State) -> str:
        working = sum(bool(report.state) for report in found.living)
        few = f"{working} of {found.wanted} running  " if working < found.wanted else ""
        again = f"restarts {found.restarts}  " if found.restarts else ""
        return few + again + state(self._figures(found.living), time.monotonic() - self._began_s)

    def _figures(self, living: Sequence[Report]) -> Figures:
        return reduce(plus, filter(None, map(figures_of, living)), self._of_ended)

    def has_left(self) -> bool:
        """Whether stdout or stderr was a pipe whose reader has gone."""
        return self._streams.reader_left

    def count_ended(self, report: Report) -> None:
        """A process has ended, and this was its last report."""
        self._of_ended = plus(self._of_ended, counted(figures_of(report) or NONE))
        if report.state == ENDED:
            self._left_waiting.update({number: waiting for number, (_, waiting) in report.partitions.items()})

    def sum_up(self) -> None:
        """The account of the run, as of one consumer."""
        self._status.clear()
        figures = self._figures([])._replace(waiting=sum(self._left_waiting.values()))
        if any(figures):
            self._status.note(account(figures, time.monotonic() - self._began_s))
