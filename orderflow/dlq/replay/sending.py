"""Carries a replay out: sends in transactions of about a second, and keeps the job's record.

Before anything is sent others are fenced and the states are read anew. Then each dead letter is judged again.
"""

import getpass
import os
import secrets
import socket
import time
from collections import Counter
from contextlib import suppress
from datetime import datetime, timezone
from typing import Callable, Dict, Mapping, NamedTuple, Optional, Tuple
from typing import Counter as CounterOf

from orderflow.cli.status import StatusLine
from orderflow.cli.terminal import count, duration
from orderflow.dlq import audit
from orderflow.dlq.audit import Job
from orderflow.dlq.audit_topic import taken_over_by
from orderflow.dlq.desk import now_ms
from orderflow.dlq.letter import Letter
from orderflow.dlq.replay import canary
from orderflow.dlq.replay import judge as replay
from orderflow.dlq.replay.outlook import Bench
from orderflow.dlq.replay.returned import returned_text
from orderflow.dlq.replay.text import resume_command
from orderflow.dlq.selection import Selection
from orderflow.dlq.topic import audit_topics
from orderflow.exits import CommandError, TopicMissing, Tripped
from orderflow.kafka.positions import Range
from orderflow.kafka.transactions import Fenced, Interrupted, Transactions
from orderflow.model.records import Outgoing

TRANSACTION_S = 1.0
MOST_IN_TRANSACTION = 50_000
ANNOUNCE_S = 5.0
"""Within this time whoever takes over has written who it is."""


def at_gap(name: str) -> None:
    """Nothing. Tests put a death here, to prove that it may come at any of the named places."""


def who() -> str:
    """Who works here, for the audit: `user@host`."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's user need not have a name
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def new_job_id() -> str:
    """A name that sorts by time and that two people do not choose at once."""
    return datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S-") + secrets.token_hex(2)


class Pace:
    """How many may go into one transaction, and when the next may begin."""

    def __init__(self, rate_per_s: Optional[float], clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate_per_s
        self._clock = clock
        self.began_s = clock()
        self._next_s = self.began_s

    @property
    def quota(self) -> int:
        """Records in one transaction."""
        return MOST_IN_TRANSACTION if self._rate is None else max(1, round(self._rate * TRANSACTION_S))

    def begin(self) -> None:
        """A transaction begins."""
        self.began_s = self._clock()

    def is_over(self) -> bool:
        """Whether the transaction has been open for long enough."""
        return self._clock() - self.began_s >= TRANSACTION_S

    def sent(self, number: int) -> None:
        """A transaction with so many records was committed."""
        if self._rate is not None:
            self._next_s = max(self._next_s, self.began_s) + number / self._rate

    def wait(self, stop: Callable[[], bool]) -> None:
        """Wait until the next transaction may begin, or until asked to stop."""
        while self._clock() < self._next_s and not stop():
            time.sleep(min(0.1, max(0.0, self._next_s - self._clock())))


class Sent(NamedTuple):
    """How a job ended in this process."""

    job: Job
    by_reason: CounterOf[str]
    """Why some were not sent."""
    took_s: float

    @property
    def refused(self) -> int:
        """How many were not sent although something is left to do for them."""
        return sum(number for why, number in self.by_reason.items() if why not in replay.SETTLED)


class Sending:
    """One process at work on one job."""

    def __init__(self, bench: Bench, job: Job, transactions: Transactions) -> None:
        self._bench = bench
        self._desk = bench.desk
        self.job = job._replace(run=secrets.token_hex(4), by=who())
        self._transactions = transactions
        self._status = StatusLine(bench.desk.err)
        self._pace = Pace(bench.request.rate_per_s)
        self._in_transaction = 0
        self._most = 0
        self._sent_here = 0
        self._by_reason: CounterOf[str] = Counter()
        self._values: Dict[str, bytes] = {}
        self._began_s = time.monotonic()
        self._before = self._ends()

    def run(self, selection: Selection) -> Sent:
        """Send what is still to be sent. Raises CommandError, which says how to go on, if it cannot end."""
        try:
            self._commit(audit.RUNNING)  # so that whoever is fenced can say by whom
            self._send_all(selection)
            self._commit(audit.STOPPED if self._is_stopped() else audit.DONE)
        except Fenced as error:
            raise Fenced(f"{error}{self._by_whom()}; {self.how_to_go_on()}") from error
        except Interrupted:
            raise
        except CommandError as error:
            self._transactions.abort()
            raise type(error)(f"{error}; {self.how_to_go_on()}") from error
        finally:
            self._status.clear()
        return Sent(self.job, self._by_reason, time.monotonic() - self._began_s)

    def how_to_go_on(self) -> str:
        """What was sent, and the command for the rest."""
        sent = f"{count(self.job.done)} of {count(self.job.total)} were sent"
        return f"{sent}; next: {resume_command(self.job, self._bench.request.terms)}"

    def _send_all(self, selection: Selection) -> None:
        judge = self._bench.judge(self.job.id)
        for letter in self._bench.letters(selection):
            verdict = judge.verdict(letter)
            if verdict.outgoing is None:
                self._by_reason[verdict.why] += 1
                continue
            self._send(letter, verdict.outgoing)
            if self._in_transaction >= self._most or self._pace.is_over():
                self._end_transaction()
            if self._is_stopped():
                break

    def _send(self, letter: Letter, outgoing: Outgoing) -> None:
        if not self._in_transaction:
            self._pace.begin()
            self._most = self._quota()
        place = audit.entry_key(letter.record.partition, letter.record.offset)
        self._transactions.send(outgoing)
        self._transactions.send(Outgoing(self._desk.audit_topic, place, self._value(outgoing.topic), []))
        self._in_transaction += 1
        at_gap("sent")

    def _value(self, target: str) -> bytes:
        """The audit entry; the same for all that a transaction sends to one topic."""
        value = self._values.get(target)
        if value is None:
            value = audit.entry_value(self.job, now_ms(), target, self._bench.states.dlq_id)
            self._values[target] = value
        return value

    def _quota(self) -> int:
        """How many this transaction may take; canaries have one of their own."""
        left = self._canary_left()
        return min(left, self._pace.quota) if left else self._pace.quota

    def _canary_left(self) -> int:
        return 0 if self.job.canary_passed else max(0, self._bench.request.canary.size - self._sent_here)

    def _end_transaction(self) -> None:
        is_canary = bool(self._canary_left())
        self._commit(audit.RUNNING)
        if is_canary and not self._canary_left():
            self._watch_canary()
        if self._status.due():
            self._show_progress()
        self._pace.wait(self._is_stopped)

    def _commit(self, status: str) -> None:
        """Commit what was sent together with the job's record."""
        sent = self._in_transaction
        job = self.job._replace(status=status, done=self.job.done + sent, changed_ms=now_ms())
        record = Outgoing(self._desk.audit_topic, audit.job_key(job.id), audit.job_value(job), [])
        self._transactions.send(record)
        at_gap("before commit")
        self._transactions.commit()
        at_gap("after commit")
        self.job, self._in_transaction, self._sent_here = job, 0, self._sent_here + sent
        self._values.clear()
        self._pace.sent(sent)

    def _watch_canary(self) -> None:
        """Wait for what becomes of the canaries. Raises Tripped if too many came back."""
        desk, target = self._desk, self._bench.target
        self._status.note(f"canary: {count(self._sent_here)} sent; waiting for group {desk.consumer_group}")
        (begins, dlq_ends), (ends, _) = self._before, self._ends()
        sent = canary.SentCanary(self.job.id, self._sent_here, target, begins, ends, desk.dlq_topic, dlq_ends)
        outcome = canary.await_canary(
            desk.client, desk.consumer_group, sent, self._bench.request.canary, self._is_stopped
        )
        if self._is_stopped():
            return
        if not outcome.passed:
            self._commit(audit.TRIPPED)
            why = returned_text(outcome.returned, desk.decoder.decode, desk.mask)
            raise Tripped(outcome.told + why)
        self._status.note(outcome.told)
        self.job = self.job._replace(canary_passed=True)

    def _ends(self) -> Tuple[Mapping[int, int], Mapping[int, int]]:
        """The ends of the target and of the dead letter topic now, as far as a canary asks for them."""
        if not self._bench.request.canary.size:
            return {}, {}
        dead = {span.partition: span.end for span in self._bench.topic.reader.spans(Range())}
        return self._bench.sources.log_ends(self._bench.target), dead

    def _is_stopped(self) -> bool:
        return self._desk.signals.requested

    def _show_progress(self) -> None:
        job, rate = self.job, self._sent_here / max(1e-9, time.monotonic() - self._began_s)
        left_s = max(0, job.total - job.done) / max(1e-9, rate)
        self._status.show(
            f"{count(job.done)} of {count(job.total)} sent, {count(int(rate))}/s, {duration(left_s)} left"
        )

    def _by_whom(self) -> str:
        """Who took over, as the audit topic tells it once the other has begun."""
        deadline_s = time.monotonic() + ANNOUNCE_S
        while time.monotonic() < deadline_s:
            with suppress(TopicMissing):
                other = taken_over_by(audit_topics(self._desk), self.job)
                if other is not None:
                    return f": job {other.id} of {other.by}"
            time.sleep(0.1)
        return ", or Kafka ended the transaction because it was open for too long"
