"""The log of one run of the consumer: every event is counted, and written above the status line."""

import time
from typing import Any, Callable, Optional

from orderflow.cli.log import JSON, Log
from orderflow.cli.output import Notes
from orderflow.cli.status import StatusLine
from orderflow.consume.event_counts import EventCounts
from orderflow.consume.event_log import ALL, entry_of


class RunLog:
    """Takes every event of a run, from any thread."""

    def __init__(
        self,
        err: Notes,
        form: str,
        level: str,
        is_watched: Optional[bool] = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """From now on, what anybody logs in this process comes out here.

        `is_watched`: whether it ends up on a terminal, where `err` itself does not tell.
        """
        self.counts = EventCounts()
        self.status = StatusLine(err, clock, is_plain=form == JSON)
        self._err = err
        self._for_machines = form == JSON
        self._log = Log(
            self.status.written, form, level, err.can_rewrite if is_watched is None else is_watched
        )
        self._log.begin()

    def report(self, event: str, **fields: Any) -> None:
        """Count and write an event."""
        self.counts.note(event, fields)
        if ALL[event].severity in self._log.taken:
            self._log.add(entry_of(event, fields, self._for_machines))

    def interject(self, event: str, **fields: Any) -> None:
        """Write an event without ever waiting for whoever reads the log, or for who else writes to it."""
        if ALL[event].severity in self._log.taken:
            self._err.interject_line(self._log.line_of(entry_of(event, fields, self._for_machines)))
