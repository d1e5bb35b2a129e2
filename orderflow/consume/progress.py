"""Shows how a run goes: on the terminal and to Prometheus, or to the supervisor of several processes."""

import time
from typing import Optional, Protocol

from orderflow.cli.status import StatusLine
from orderflow.cli.terminal import count, duration
from orderflow.consume.engine import Engine
from orderflow.consume.metrics import Figures, Metrics
from orderflow.supervise.link import Link
from orderflow.supervise.report import BEGAN, ENDED, WORKING, Report

METRICS_EVERY_S = 1.0
REPORT_EVERY_S = 0.4


class Progress(Protocol):
    """Whoever follows a run."""

    def begin(self) -> None:
        """The run begins: all settings are good."""

    def show(self) -> None:
        """Show how it goes. Called after each step, so it has to cost nothing most of the time."""

    def heard(self, event: str) -> None:
        """The engine has reported this event."""

    def leave(self) -> None:
        """The run is over, in whatever way."""

    def sum_up(self) -> None:
        """The run has ended as it should, and its session is closed."""


class Display:
    """The terminal, and the metrics port if there is one."""

    def __init__(self, engine: Engine, status: StatusLine, metrics: Optional[Metrics]) -> None:
        self._engine = engine
        self._status = status
        self._metrics = metrics
        self._began_s = time.monotonic()
        self._metrics_due_s = 0.0

    def begin(self) -> None:
        """From now on time counts."""
        self._began_s = time.monotonic()

    def show(self) -> None:
        """The status line if it is due, the metrics once a second."""
        if self._status.due():
            took_s = time.monotonic() - self._began_s
            self._status.show(state(self._engine.figures(), took_s))
        if self._metrics is not None and time.monotonic() >= self._metrics_due_s:
            self._metrics_due_s = time.monotonic() + METRICS_EVERY_S
            self._metrics.show(self._engine.figures())

    def heard(self, event: str) -> None:
        """It has its own line."""

    def leave(self) -> None:
        """Take the status line away."""
        self._status.clear()

    def sum_up(self) -> None:
        """One line."""
        took_s = time.monotonic() - self._began_s
        self._status.note(account(self._engine.final_figures(), took_s))


class Reports:
    """The supervisor, which shows all processes together."""

    def __init__(self, engine: Engine, link: Link) -> None:
        self._engine = engine
        self._link = link
        self._due_s = 0.0

    def begin(self) -> None:
        """Let the other processes be started."""
        self._send(BEGAN)

    def show(self) -> None:
        """A few times a second."""
        if time.monotonic() >= self._due_s:
            self._due_s = time.monotonic() + REPORT_EVERY_S
            self._send(WORKING)

    def leave(self) -> None:
        """Nothing: a run that fails has no last word."""

    def sum_up(self) -> None:
        """That it has ended in its own time, which an exit code alone does not prove."""
        self._send(ENDED)

    def heard(self, event: str) -> None:
        """What may end the process is reported before it is called."""
        if event in ("called_alone", "called_in_company"):
            self._send(WORKING)

    def _send(self, state: str) -> None:
        engine = self._engine
        figures = engine.figures() if state == WORKING else engine.final_figures()
        self._link.send(Report(state, figures, engine.in_hand, engine.suspects_in_flight))


def state(figures: Figures, took_s: float) -> str:
    """The text of the status line."""
    rate = figures.processed / max(0.001, took_s)
    return (
        f"processed {count(figures.processed)}  {rate:,.0f}/s  waiting {count(figures.waiting)}  "
        f"dead-lettered {count(figures.dead_lettered)}  lag {count(figures.lag)}"
    )


def account(figures: Figures, took_s: float) -> str:
    """The summary of a run."""
    waiting = figures.waiting
    left = f"; {count(waiting)} still waiting, to be resumed at the next start" if waiting else ""
    return (
        f"processed {count(figures.processed)}, dead-lettered {count(figures.dead_lettered)}, "
        f"retries {count(figures.retries)}, in {duration(took_s)}{left}"
    )
