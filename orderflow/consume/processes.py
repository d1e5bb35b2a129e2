"""Several consumers as one command: one status line, one metrics port and one stop for all of them."""

import os
import time
import uuid
from typing import Callable, Dict, Optional, Sequence

from orderflow.cli.signals import StopSignals
from orderflow.consume.figures import Figures, Health, ProcessFigures, total
from orderflow.consume.metrics import STALE_S, Metrics
from orderflow.consume.process_figures import process_figures
from orderflow.consume.progress import show_progress
from orderflow.consume.run_log import RunLog
from orderflow.consume.status_text import status_text
from orderflow.consume.streams import HandlerStreams
from orderflow.model.text import plural
from orderflow.supervise.crew import Crew, own_command
from orderflow.supervise.link import SUPERVISED
from orderflow.supervise.output import Passage
from orderflow.supervise.report import ENDED, Report
from orderflow.supervise.supervisor import Living, Plan, State, Supervisor

SERVE_EVERY_S = 1.0


def run_processes(
    argv: Sequence[str], plan: Plan, metrics: Optional[Metrics], streams: HandlerStreams, log: RunLog
) -> int:
    """Run this command as several processes until all are done or asked to stop; returns the exit code."""
    flag = f"{SUPERVISED}={{}},{{}},{streams.err.can_rewrite:d},{uuid.uuid4().hex[:8]}"
    crew = Crew(own_command(argv), flag, Passage(log.status.clear, plan.processes).line)

    def end_at_once(code: int) -> None:
        crew.kill()
        os._exit(code)

    together = Together(streams, log, None if metrics is None else metrics.show)
    with StopSignals(log, end_at_once) as stop:
        crew.suspend_with_us()
        code = Supervisor(crew, plan, stop, together, time.monotonic).run()
    together.sum_up()
    return code


class Together:
    """Shows all processes as one consumer."""

    def __init__(
        self, streams: HandlerStreams, log: RunLog, serve: Optional[Callable[[Figures], None]]
    ) -> None:
        """`serve` gets the figures once a second; None if no port was asked for."""
        self._streams = streams
        self._log = log
        self._serve = serve
        self._serve_at_s = 0.0
        self._has_begun = False
        self._of_ended = Figures(consumers=0)
        self._left_waiting: Dict[int, int] = {}
        """By partition: the orders that waited when its last owner ended."""
        self._began_s = time.monotonic()

    def say(self, number: int, what: str) -> None:
        """Log what has become of a process."""
        self._log.report("process", process=number, detail=what)

    def show(self, found: State) -> None:
        """The status line if it is due, the metrics once a second."""
        if self._log.status.due():
            figures = self._figures(found.living)
            show_progress(self._log, figures, self._text(found, figures))
        lost = self._streams.take_loss()
        if lost is not None:
            self._log.report("output_lost", detail=lost)
        if self._serve is not None and time.monotonic() >= self._serve_at_s:
            self._serve_at_s = time.monotonic() + SERVE_EVERY_S
            self._serve(self._page(found))

    def _text(self, found: State, figures: Figures) -> str:
        few = f"{found.begun} of {found.wanted} running  " if found.begun < found.wanted else ""
        again = f"restarts {found.restarts}  " if found.restarts else ""
        return few + again + status_text(figures, time.monotonic() - self._began_s)

    def _figures(self, living: Sequence[Living]) -> Figures:
        return total([self._of_ended, *(figures_of(each.report) for each in living)])

    def _page(self, found: State) -> Figures:
        """What Prometheus and probes get: the supervisor counts as a part of its consumers."""
        ours = Figures(consumers=0, process=process_figures(), health=health_of(found))
        return self._figures(found.living).plus(ours)._replace(process_restarts=found.restarts)

    def has_left(self) -> bool:
        """Whether stdout or stderr was a pipe whose reader has gone."""
        return self._streams.reader_left

    def count_ended(self, report: Report) -> None:
        """A process has ended, and this was its last report."""
        self._has_begun = self._has_begun or bool(report.state)
        self._of_ended = self._of_ended.plus(counted(figures_of(report)))
        if report.state == ENDED:
            self._left_waiting.update({number: waiting for number, (_, waiting) in report.partitions.items()})

    def sum_up(self) -> None:
        """The account of the run, as of one consumer."""
        self._log.status.clear()
        done = self._of_ended
        if self._has_begun:
            self._log.report(
                "ended",
                processed=done.processed,
                dead_lettered=sum(done.dead_lettered.values()),
                retries=sum(done.retries.values()),
                waiting=sum(self._left_waiting.values()),
                took_s=time.monotonic() - self._began_s,
            )


# --- sums ---


def figures_of(report: Report) -> Figures:
    """The figures that a process has sent; none of them before it has begun."""
    return Figures.of_json(report.figures) if report.figures else Figures(consumers=0)


def counted(figures: Figures) -> Figures:
    """What stays counted when its process has ended; its partitions are with the living by then."""
    return Figures(
        consumers=0,
        processed=figures.processed,
        dead_lettered=figures.dead_lettered,
        retries=figures.retries,
        restarts=figures.restarts,
        rebalances=figures.rebalances,
        calls=figures.calls,
        settlements=figures.settlements,
        process=ProcessFigures(cpu_s=figures.process.cpu_s),
    )


def health_of(found: State) -> Health:
    """What the processes cannot say of themselves: that they are missing, or silent."""
    missing = found.wanted - found.begun
    silent = [each for each in found.living if each.report.state and each.silent_s > STALE_S]
    return Health(
        tuple(f"process {each.number} has reported nothing for {each.silent_s:.0f} s" for each in silent),
        (f"{missing} of {plural(found.wanted, 'process', 'processes')} still to start",) if missing else (),
    )
