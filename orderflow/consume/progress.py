"""Shows how a run goes: on the terminal and to Prometheus, or to the supervisor of several processes."""

import time
from typing import Mapping, Optional, Protocol, Sequence, Tuple

from orderflow.consume.engine import Engine
from orderflow.consume.figures import Figures
from orderflow.consume.metrics import Metrics
from orderflow.consume.monitor import Monitor
from orderflow.consume.run_log import RunLog
from orderflow.consume.status_text import status_text
from orderflow.supervise.link import Link
from orderflow.supervise.report import BEGAN, ENDED, WORKING, Report

REPORT_EVERY_S = 0.4
SUSPECTS_CALLED = ("called_alone", "called_in_company")


class Progress(Protocol):
    """Whoever follows a run."""

    def begin(self) -> None:
        """The run begins: all settings are good."""

    def show(self) -> None:
        """Show how it goes. Called after each step, so it has to cost nothing most of the time."""

    def watched(self, figures: Figures) -> None:
        """The monitor has looked, in its own thread, whatever the loop is doing."""

    def heard(self, event: str) -> None:
        """The engine has reported this event."""

    def leave(self) -> None:
        """The run is over, in whatever way."""

    def sum_up(self) -> None:
        """The run has ended as it should, and its session is closed."""


class Display:
    """The terminal or the log, and the metrics port if there is one."""

    def __init__(self, engine: Engine, monitor: Monitor, log: RunLog, metrics: Optional[Metrics]) -> None:
        self._engine = engine
        self._monitor = monitor
        self._log = log
        self._metrics = metrics
        self._began_s = time.monotonic()

    def begin(self) -> None:
        """From now on time counts."""
        self._began_s = time.monotonic()

    def show(self) -> None:
        """The status line, if it is due."""
        self._log.catch_up()
        if self._log.status.due():
            processed = self._engine.settling.counts.processed
            figures = self._monitor.figures._replace(processed=processed)
            show_progress(self._log, figures, status_text(figures, time.monotonic() - self._began_s))

    def watched(self, figures: Figures) -> None:
        """Prometheus gets the figures of now."""
        if self._metrics is not None:
            self._metrics.show(figures)

    def heard(self, event: str) -> None:
        """It has its own line."""

    def leave(self) -> None:
        """Take the status line away."""
        self._log.catch_up(is_over=True)
        self._log.status.clear()

    def sum_up(self) -> None:
        """One line."""
        processed, dead_lettered = self._engine.settling.counts
        self._log.report(
            "ended",
            processed=processed,
            dead_lettered=dead_lettered,
            retries=self._engine.retries,
            waiting=self._engine.waiting,
            took_s=time.monotonic() - self._began_s,
        )


def show_progress(log: RunLog, figures: Figures, text: str) -> None:
    """Show it in place on a terminal, else log it."""
    if log.status.is_live:
        return log.status.show(text)
    log.status.logged()
    log.report(
        "progress",
        text=text,
        processed=figures.processed,
        dead_lettered=sum(figures.dead_lettered.values()),
        waiting=figures.waiting,
        in_flight=figures.in_flight,
        queued=figures.queued,
        unseen=figures.unseen,
    )
    return None


class Reports:
    """The supervisor, which shows all processes together."""

    def __init__(self, engine: Engine, monitor: Monitor, log: RunLog, link: Link) -> None:
        self._engine = engine
        self._monitor = monitor
        self._log = log
        self._link = link
        self._due_s = 0.0
        self._state = ""
        self._partitions: Mapping[int, Tuple[int, int]] = {}
        self._suspects: Sequence[Tuple[int, int]] = ()

    def begin(self) -> None:
        """Let the other processes be started."""
        self._state = BEGAN
        self._send(Figures())

    def show(self) -> None:
        """A few times a second."""
        self._log.catch_up()
        if time.monotonic() >= self._due_s:
            self._due_s = time.monotonic() + REPORT_EVERY_S
            self._state = WORKING
            self._look()
            self._send(self._figures())

    def watched(self, figures: Figures) -> None:
        """Also while the loop is in a call that takes minutes. The partitions are as the loop left them."""
        if self._state == WORKING:
            self._send(figures)

    def heard(self, event: str) -> None:
        """What may end the process is reported before it is called."""
        if event in SUSPECTS_CALLED:
            self._look()
            self._send(self._figures())

    def leave(self) -> None:
        """A run that fails has no last word."""
        self._log.catch_up(is_over=True)

    def sum_up(self) -> None:
        """That it has ended in its own time, which an exit code alone does not prove."""
        self._state = ENDED
        self._look()
        self._send(self._figures())

    def _look(self) -> None:
        """Only the loop's thread may."""
        self._partitions, self._suspects = self._engine.in_hand, self._engine.suspects_in_flight

    def _figures(self) -> Figures:
        """Those of the monitor, which are up to a second old, with the counts of now."""
        return self._monitor.figures._replace(
            processed=self._engine.settling.counts.processed,
            dead_lettered=dict(self._log.counts.dead_lettered),
            retries=dict(self._log.counts.retries),
        )

    def _send(self, figures: Figures) -> None:
        self._link.send(Report(self._state, figures.as_json(), self._partitions, self._suspects))
