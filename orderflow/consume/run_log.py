"""The log of one run of the consumer: every event is counted, and written above the status line."""

import time
from typing import Any, Callable

from orderflow.cli.log import JSON, Log
from orderflow.cli.output import Notes
from orderflow.cli.status import StatusLine
from orderflow.consume.event_counts import EventCounts
from orderflow.consume.event_log import entry_of


class RunLog:
    """Takes every event of a run, from any thread."""

    def __init__(
        self, err: Notes, form: str, level: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """From now on, what anybody logs in this process comes out here."""
        self.counts = EventCounts()
        self.status = StatusLine(err, clock, is_plain=form == JSON)
        self._log = Log(self.status.note, form, level, err.is_terminal)
        self._log.begin()

    def report(self, event: str, **fields: Any) -> None:
        """Count and write an event."""
        self.counts.note(event, fields)
        self._log.write(entry_of(event, fields))
