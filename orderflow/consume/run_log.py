"""The log of one run of the consumer: every event is counted, and written above the status line.

Of retries, only as many get a line as a log can take; the others are summed up, second by second.
"""

import time
from typing import Any, Callable, Mapping, Optional

from orderflow.cli.log import JSON, Log
from orderflow.cli.output import Notes
from orderflow.cli.status import StatusLine
from orderflow.consume.event_counts import EventCounts
from orderflow.consume.event_log import ALL, entry_of
from orderflow.consume.retry_lines import RetryLines

RETRY = "retry"
TRACEBACK = "first_of_its_kind"
"""As text it does not name its order: the line of the retry that follows does."""


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
        self._clock = clock
        self._for_machines = form == JSON
        self._log = Log(
            self.status.written, form, level, err.can_rewrite if is_watched is None else is_watched
        )
        self._log.begin()
        self._retry_lines = None if "debug" in self._log.taken else RetryLines()
        """None: each retry is to have a line."""

    def report(self, event: str, **fields: Any) -> None:
        """Count and write an event."""
        self.counts.note(event, fields)
        if ALL[event].severity in self._log.taken and self._gets_line(event, fields):
            self._log.add(entry_of(event, fields, self._for_machines))

    def _gets_line(self, event: str, fields: Mapping[str, Any]) -> bool:
        """Whether it is no retry, or one of those that have a line."""
        if self._retry_lines is None:
            return True
        if event == TRACEBACK:
            self._retry_lines.await_next()
        if event != RETRY:
            return True
        now_s = self._clock()
        self._sum_up(self._retry_lines, now_s)
        return self._retry_lines.take(fields["failure"], now_s)

    def catch_up(self, is_over: bool = False) -> None:
        """Sum up the retries that got no line, once their second is past, or the run is over."""
        if self._retry_lines is not None:
            self._sum_up(self._retry_lines, None if is_over else self._clock())

    def _sum_up(self, retry_lines: RetryLines, now_s: Optional[float]) -> None:
        untold = retry_lines.take_untold(now_s)
        if untold is not None:
            self.report("retries_untold", retries=untold.retries, kinds=untold.kinds)

    def interject(self, event: str, **fields: Any) -> None:
        """Write an event without ever waiting for whoever reads the log, or for who else writes to it."""
        if ALL[event].severity in self._log.taken:
            self._err.interject_line(self._log.line_of(entry_of(event, fields, self._for_machines)))
