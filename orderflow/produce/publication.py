"""One run of the producer, from a source of records to the final account."""

import math
import re
import time
from typing import Dict, Iterator, NamedTuple, Optional

from orderflow import exits
from orderflow.cli.signals import StopSignals
from orderflow.cli.status import StatusLine
from orderflow.cli.terminal import count, duration
from orderflow.exits import CommandError
from orderflow.model.text import plural
from orderflow.produce.order_file import BadLine
from orderflow.produce.publisher import Publisher
from orderflow.produce.record_source import KeyAndValue, RecordSource

_LOOK_EVERY = 256
"""Records between two checks of delivery reports and progress."""
_PATIENCE_S = 0.1
"""Longest wait before checking for a signal again."""
_FULL_S = 0.005
"""How long to wait for room in the client's queue, which is not announced."""
_ENOUGH_REFUSALS = 100
"""After this many refused made-up orders in a row, no further one will be accepted either."""
_EARLY_S = 0.005
"""How early a record may be sent: at high rates, one wait serves many."""


class RunLimits(NamedTuple):
    """When to stop, and how fast to go."""

    records: float
    """How many records to publish; infinity for all of them."""
    interval_s: float
    """Time between two records; 0 for no limit."""
    strict: bool
    """Whether to stop at the first bad line."""
    shutdown_s: float
    """How long to wait for records in flight after a request to stop."""


class Account(NamedTuple):
    """What has become of a run."""

    text: str
    """For people."""
    published: int
    failed: int
    broken: int
    """Records that were broken on purpose."""
    bad_lines: int
    took_s: float


class Faults:
    """The bad lines of an input. For each kind of fault the first lines are reported, the rest counted."""

    def __init__(self) -> None:
        self.count = 0
        self._counts: Dict[str, int] = {}
        self._last: Dict[str, BadLine] = {}

    def add(self, line: BadLine) -> bool:
        """Count a bad line. Returns whether it should be reported on a line of its own."""
        self.count += 1
        kind = _VALUES.sub("…", line.reason[:_KIND_CHARS])
        if kind not in self._counts and len(self._counts) >= _MAX_KINDS:
            kind = _OTHERS
        self._counts[kind] = self._counts.get(kind, 0) + 1
        self._last[kind] = line
        return self._counts[kind] <= _TOLD_LINES

    def untold(self) -> Iterator[str]:
        """What was only counted, in a sentence per kind of fault."""
        for kind, number in self._counts.items():
            if number > _TOLD_LINES:
                more = f"{plural(number - _TOLD_LINES, 'more line')} with this fault"
                yield f"{more}, the last is {self._last[kind].where}: {kind}"


_VALUES = re.compile(r"'[^']*'|\S*…|-?[0-9][0-9.,]*")
"""The details in which lines with the same fault differ: a quoted value, a number."""
_TOLD_LINES = 5
_MAX_KINDS, _KIND_CHARS = 100, 200
_OTHERS = "one of many faults"


class Publication:
    """One run of the producer, from the first record to the final account."""

    def __init__(
        self,
        publisher: Publisher,
        source: RecordSource,
        limits: RunLimits,
        stop: StopSignals,
        status: StatusLine,
    ) -> None:
        self._publisher = publisher
        self._source = source
        self._limits = limits
        self._stop = stop
        self._status = status
        self._started_s = self._next_s = time.monotonic()
        self._sent = 0
        self._turns = 0
        self._held_back = False
        """Whether the last record read was not passed to the publisher."""
        self._read_all = False
        self._faults = Faults()
        self._fault: Optional[CommandError] = None
        """What ended the reading early. Whatever was read before is still published."""

    def run(self) -> None:
        """Publish all records, or as many as limits and signals allow, and wait for their outcomes."""
        try:
            self._feed()
        except CommandError as error:
            self._fault = error
        self._drain()
        self._status.clear()

    @property
    def _over(self) -> bool:
        """Whether to stop: after a signal, if nobody reads the output, or if nothing can be published."""
        return self._stop.signal is not None or self._status.abandoned or self._publisher.hopeless is not None

    @property
    def _pointless(self) -> bool:
        """Whether more made-up orders would only fill the disk. All orders of a file are kept."""
        return self._source.file is None and self._publisher.refused_in_a_row >= _ENOUGH_REFUSALS

    def _feed(self) -> None:
        if self._limits.records == 0:
            return
        for item in self._source:
            self._turns += 1
            if item is None or self._turns % _LOOK_EVERY == 0:
                self._look()
            if isinstance(item, BadLine):
                self._skip(item)
            elif item is not None:
                self._hand_over(item)
            if self._over or self._pointless or self._sent >= self._limits.records:
                return
        self._read_all = not self._held_back

    def _skip(self, line: BadLine) -> None:
        if self._faults.add(line):
            self._status.tell("bad_line", where=line.where, reason=line.reason)
        if self._limits.strict:
            raise CommandError("stopped at the first bad line, because of --strict")

    def _hand_over(self, record: KeyAndValue) -> None:
        self._keep_pace()
        while not self._over:
            if self._publisher.send(*record, self._source.line):
                self._sent += 1
                return
            self._look(_FULL_S)
        self._held_back = True

    def _keep_pace(self) -> None:
        """Wait for the record's turn. After a delay, at most a second's worth is caught up."""
        if not self._limits.interval_s:
            return
        while not self._over and self._next_s - time.monotonic() > _EARLY_S:
            self._look(min(self._next_s - time.monotonic(), _PATIENCE_S))
        self._next_s = max(self._next_s, time.monotonic() - 1) + self._limits.interval_s

    def _drain(self) -> None:
        """Wait until nothing is in flight; after a request to stop, no longer than the shutdown time-out."""
        deadline_s = math.inf
        while not self._publisher.drain(_PATIENCE_S):
            self._show_progress()
            if self._over and deadline_s == math.inf:
                deadline_s = time.monotonic() + self._limits.shutdown_s
            if time.monotonic() >= deadline_s:
                self._publisher.give_up()
                return

    def _look(self, seconds: float = 0.0) -> None:
        self._publisher.wait(seconds)
        self._show_progress()

    # Telling

    def _show_progress(self) -> None:
        if self._status.due():
            left_s = self._left_s()
            left = "" if left_s is None else f", {duration(left_s)} left"
            self._status.show(self._tally() + left, self._publisher.published)

    def _tally(self) -> str:
        published = self._publisher.published
        rate = published / max(time.monotonic() - self._started_s, 1e-9)
        shown_rate = f"{rate:,.{int(rate < 10)}f}/s"
        return f"published {count(published)}, failed {count(self._publisher.failed)}, {shown_rate}"

    def _left_s(self) -> Optional[float]:
        whole = self._limits.records if self._limits.records < math.inf else self._records_in_file()
        done = self._publisher.published / whole if whole else 0.0
        return (time.monotonic() - self._started_s) * (1 - done) / done if done else None

    def _records_in_file(self) -> float:
        """Estimated number of records in all, from what has been read; 0 if unknown."""
        return self._sent / self._source.fraction if self._source.fraction else 0.0

    @property
    def account(self) -> Account:
        """The final line: published, failed, rate, and anything unusual."""
        spoiled, bad = self._source.spoiled, self._faults.count
        broken = f", {count(spoiled)} broken on purpose" if spoiled else ""
        text = self._tally() + broken + (f", {plural(bad, 'bad line')} skipped" if bad else "")
        took_s = time.monotonic() - self._started_s
        return Account(text, self._publisher.published, self._publisher.failed, spoiled, bad, took_s)

    def troubles(self) -> Iterator[str]:
        """What the user must know, one sentence each."""
        yield from self._faults.untold()
        if self._fault is not None:
            yield str(self._fault)
        if self._publisher.hopeless is not None:
            yield f"no order can be published any more: {self._publisher.hopeless}"
        elif self._pointless:
            yield f"stopped: the last {count(self._publisher.refused_in_a_row)} orders were all refused"
        if self._publisher.in_flight:
            yield f"what became of {plural(self._publisher.in_flight, 'more order')} is not known"
        lost = self._publisher.first_lost
        # A signal may have ended a pipe's writer too, so its end need not be the end of the orders.
        cut_short = lost is not None or (self._over and (self._stop.requested or not self._read_all))
        stopped_before = self._source.resume_from(not self._held_back, lost) if cut_short else None
        if stopped_before is not None:
            done = "" if lost is None else "; orders after it may be published or kept already"
            yield f"stopped before {stopped_before}{done}"

    @property
    def exit_code(self) -> int:
        """Failures take precedence over a signal, a signal over bad lines, and `| head` over those."""
        if self._fault is not None:
            return self._fault.exit_code
        if self._publisher.failed or self._publisher.in_flight or self._publisher.hopeless is not None:
            return exits.FAILED
        if self._stop.requested:
            return self._stop.exit_code
        return exits.INCOMPLETE if self._faults.count and not self._status.abandoned else exits.OK
