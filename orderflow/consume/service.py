"""Runs an engine until it is stopped, drained or lost, and reports its progress."""

import time
from typing import NamedTuple, Optional

from orderflow import exits
from orderflow.cli.signals import StopSignals
from orderflow.consume.drain import Drain
from orderflow.consume.engine import Engine
from orderflow.consume.forked import Forks
from orderflow.consume.kafka_watch import KafkaWatch
from orderflow.consume.monitor import Monitor
from orderflow.consume.progress import Progress
from orderflow.consume.session import Session
from orderflow.consume.settlement import SessionLost
from orderflow.consume.streams import HandlerStreams
from orderflow.consume.watchdog import Watchdog
from orderflow.consume.world import Report
from orderflow.exits import CommandError

EXITED = (
    "the handler ended the process (sys.exit); the order is retried after a restart, and dead-lettered "
    "if it keeps doing this"
)
LEAVING_S = 5.0
"""The part of the shutdown timeout reserved for settling and leaving the group; half of a shorter one."""


class Outlets(NamedTuple):
    """Where a running consumer writes and reports."""

    streams: HandlerStreams
    progress: Progress
    monitor: Monitor
    report: Report


class End(NamedTuple):
    """When to stop."""

    stop: StopSignals
    shutdown_timeout_s: float
    drain: Optional[Drain]
    """For a run that ends once all orders are done."""


class Service:
    """One run of a consumer."""

    def __init__(
        self,
        engine: Engine,
        session: Session,
        watch: KafkaWatch,
        watchdog: Watchdog,
        outlets: Outlets,
        end: End,
    ) -> None:
        self._engine = engine
        self._loop = engine.loop
        self._session = session
        self._watch = watch
        self._watchdog = watchdog
        self._streams, self._progress, self._monitor, self._report = outlets
        self._stop, self._shutdown_timeout_s, self._drain = end
        self._forks = Forks()

    # --- running ---------------------------------------------------------------------------------

    def run(self) -> int:
        """Work until stopped, drained or lost; returns the exit code. Raises CommandError."""
        try:
            code = self._work()
        except SessionLost as lost:
            raise CommandError(str(lost)) from lost
        finally:
            self._progress.leave()
        self._progress.sum_up()
        return code

    def _work(self) -> int:
        self._progress.begin()
        leave_by_s: Optional[float] = None
        try:
            code = self._step_until_done()
            leave_by_s = time.monotonic() + self._shutdown_timeout_s
            self._monitor.stopping()
            self._watch.require_same_topic()
            leaving_s = min(LEAVING_S, self._shutdown_timeout_s / 2)
            self._loop.finish_calls(max(time.monotonic(), leave_by_s - leaving_s))
            return code
        except BaseException as crash:
            self._forks.end_child(crash)
            # No clean mark either: an order may be to blame, and the next owner has to find out which.
            self._loop.abandon()
            if isinstance(crash, SystemExit):
                raise CommandError(EXITED) from crash
            raise
        finally:
            self._leave(leave_by_s)
            self._monitor.end()

    def _leave(self, by_s: Optional[float]) -> None:
        """Leave the group by then (monotonic clock; None: there was no shutdown), or end the process."""
        left_s = self._shutdown_timeout_s if by_s is None else by_s - time.monotonic()
        self._watchdog.leaving(max(LEAVING_S, left_s))
        self._engine.leave()  # nothing is in hand after a crash
        self._session.close()
        self._watchdog.left()

    def _step_until_done(self) -> int:
        while not self._stop.requested:
            self._loop.step()
            self._watch.look()
            self._monitor.turned(self._engine.reading)
            self._show()
            if self._streams.reader_left:
                return exits.OK
            code = None if self._drain is None else self._drained(self._drain)
            if code is not None:
                return code
        return self._stop.exit_code

    def _drained(self, drain: Drain) -> Optional[int]:
        """The exit code if nothing is left to do, else None."""
        drain.note_ends()
        ready = self._engine.assignment.ready
        if self._loop.is_drained:
            is_done = drain.ours_are_done(ready) and drain.others_are_done(ready)
            return exits.OK if is_done else None
        is_held = self._loop.has_only_held and drain.ours_are_done(ready)
        return exits.TRIPPED if is_held else None

    # --- reporting -------------------------------------------------------------------------------

    def _show(self) -> None:
        self._progress.show()
        lost = self._streams.take_loss()
        if lost is not None:
            self._report("output_lost", detail=lost)
