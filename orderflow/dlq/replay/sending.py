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
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple
from typing import Counter as CounterOf

from orderflow.cli.status import StatusLine
from orderflow.cli.terminal import count, duration
from orderflow.dlq import audit, job_marks
from orderflow.dlq.audit import Job
from orderflow.dlq.audit_topic import taken_over_by
from orderflow.dlq.desk import now_ms
from orderflow.dlq.replay import canary
from orderflow.dlq.replay import judge as replay
from orderflow.dlq.replay.outlook import Bench
from orderflow.dlq.replay.rate import Looks, Pace
from orderflow.dlq.replay.refused import Parcel, Refusal, Refusals, send_again
from orderflow.dlq.replay.returned import returned_lines
from orderflow.dlq.replay.text import resume_words
from orderflow.dlq.selection import Selection
from orderflow.dlq.topic import audit_topics
from orderflow.exits import CommandError, TopicMissing, Tripped
from orderflow.kafka.places import spans_of
from orderflow.kafka.positions import Range
from orderflow.kafka.reader import Unreadable
from orderflow.kafka.transactions import Fenced, Interrupted, OutOfStep, RecordsRefused, Transactions
from orderflow.model.records import Outgoing

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


class Sent(NamedTuple):
    """How a job ended in this process."""

    job: Job
    by_reason: CounterOf[str]
    """Why some were not sent."""
    took_s: float
    sent_here: int
    """How many this process sent; the job may have begun in another."""
    gone_here: int
    """How many it found deleted when it came to them."""

    @property
    def refused(self) -> int:
        """How many were not sent although something is left to do for them."""
        judged = sum(number for why, number in self.by_reason.items() if why not in replay.SETTLED)
        return judged + audit.refused_count(self.job)


def _refusal_of(act: Callable[[], None]) -> Optional[Refusal]:
    try:
        act()
    except (RecordsRefused, OutOfStep) as refusal:
        return refusal
    return None


class Sending:
    """One process at work on one job."""

    def __init__(self, bench: Bench, job: Job, transactions: Transactions) -> None:
        self._bench = bench
        self._desk = bench.desk
        self.job = job._replace(run=secrets.token_hex(4), by=who())
        self._transactions = transactions
        self._status = StatusLine(bench.desk.err)
        self._pace = Pace(bench.request.rate_per_s)
        self._looks = Looks()
        self._parcels: List[Parcel] = []
        """What the open transaction holds."""
        self._refusals = Refusals(self._status.note, shows_keys=not bench.desk.mask.names)
        self._most = 0
        self._sent_here = 0
        self._gone_here = 0
        self._by_reason: CounterOf[str] = Counter()
        self._values: Dict[str, bytes] = {}
        self._began_s = time.monotonic()
        self._before = self._ends()

    def run(self, selection: Selection) -> Sent:
        """Send what is still to be sent. Raises CommandError, which says how to go on, if it cannot end."""
        try:
            self._commit(audit.RUNNING)  # so that whoever is fenced can say by whom
            self._watch_canary_again()
            if not self._is_stopped():
                self._send_all(selection)
            self._conclude(self._end_status)
        except Fenced as error:
            raise Fenced(f"{error}{self._by_whom()}; {self.how_to_go_on()}") from error
        except Interrupted:
            raise
        except CommandError as error:
            self._transactions.abort()
            raise type(error)(*self._with_how_to_go_on(error.lines)) from error
        finally:
            self._status.clear()
        took_s = time.monotonic() - self._began_s
        return Sent(self.job, self._by_reason, took_s, self._sent_here, self._gone_here)

    def _with_how_to_go_on(self, lines: Sequence[str]) -> Sequence[str]:
        """After a message of several lines it has a line of its own."""
        first, *others = lines
        return (*lines, self.how_to_go_on()) if others else (f"{first}; {self.how_to_go_on()}",)

    def how_to_go_on(self) -> str:
        """What was sent, and the command for the rest."""
        sent = f"{count(self.job.done)} of {count(self.job.total)} were sent"
        words = resume_words(self.job, self._bench.request.terms, self._bench.plan)
        return f"{sent}; next: {self._desk.command(*words)}"

    def _send_all(self, selection: Selection) -> None:
        judge = self._bench.judge(self.job.id)
        unseen = self.job.total - self.job.done - audit.refused_count(self.job)
        for letter in self._bench.confirmed():
            unseen -= 1
            self._look_again_if_due()
            verdict = judge.verdict(letter)
            if verdict.outgoing is None or not selection.takes(letter):
                self._by_reason[verdict.why or replay.NOT_SELECTED] += 1
                continue
            self._take(Parcel((letter.record.partition, letter.record.offset), verdict.outgoing))
            if self._is_stopped():
                break
        if not self._is_stopped():
            self._count_gone(unseen)

    def _count_gone(self, unseen: int) -> None:
        """Of those that were confirmed and not found, how many were deleted; for the job's record."""
        self._gone_here = self._bench.gone(unseen)
        self.job = self.job._replace(gone=self.job.gone + self._gone_here)

    def _look_again_if_due(self) -> None:
        """Learn of newer orders. Not amid a transaction, which would hold up who reads the target."""
        if self._parcels or not self._looks.is_due():
            return
        began_s = time.monotonic()
        with suppress(Unreadable):  # if Kafka is away, the next transaction will tell
            self._bench.look_again()
        self._looks.took(time.monotonic() - began_s)

    def _take(self, parcel: Parcel) -> None:
        refusal = _refusal_of(lambda: self._send(parcel))
        if refusal is not None or len(self._parcels) >= self._most or self._pace.is_over():
            self._end_transaction(refusal)

    def _send(self, parcel: Parcel) -> None:
        if not self._parcels:
            self._pace.begin()
            self._most = self._quota()
        self._parcels.append(parcel)
        self._transactions.send(parcel.outgoing, parcel.place)
        self._record(audit.entry_key(*parcel.place), self._value(parcel.outgoing.topic))
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

    def _end_transaction(self, refusal: Optional[Refusal] = None) -> None:
        """Commit it, unless it was refused already; then send what of it is not to blame."""
        is_canary = bool(self._canary_left())
        refusal = refusal or _refusal_of(lambda: self._commit(audit.RUNNING))
        if refusal is not None:
            self._send_again(refusal)
        if is_canary and not self._canary_left():
            self._watch_canary()
        if self._status.due():
            self._show_progress()
        self._pace.wait(self._is_stopped)

    def _conclude(self, status: Callable[[], str]) -> None:
        """Commit what is left, with the status that there is then."""
        refusal = _refusal_of(lambda: self._commit(status()))
        while refusal is not None:
            self._send_again(refusal)
            refusal = _refusal_of(lambda: self._commit(status()))

    def _end_status(self) -> str:
        return audit.STOPPED if self._is_stopped() else audit.DONE

    def _send_again(self, refusal: Refusal) -> None:
        parcels, self._parcels = self._parcels, []
        send_again(parcels, refusal, self._try, self._refusals.add, self._is_stopped)

    def _try(self, part: Sequence[Parcel]) -> Optional[Refusal]:
        """Send these alone. Why that was refused, None if they are committed."""
        refusal = _refusal_of(lambda: self._send_part(part))
        self._parcels = []
        return refusal

    def _send_part(self, part: Sequence[Parcel]) -> None:
        for parcel in part:
            self._send(parcel)
        self._commit(audit.RUNNING)
        self._pace.wait(self._is_stopped)

    def _commit(self, status: str) -> None:
        """Commit what was sent together with the job's record and its marks."""
        sent = len(self._parcels)
        job = self.job._replace(status=status, done=self.job.done + sent, changed_ms=now_ms())
        job = audit.with_refused(job, self._refusals.untold)
        self._record(audit.job_key(job.id), audit.job_value(job))
        places, states = [parcel.place for parcel in self._parcels], self._bench.states
        for key, value in job_marks.records(job.id, states.done, places, states.dlq_id):
            self._record(key, value)
        at_gap("before commit")
        self._transactions.commit()
        at_gap("after commit")
        self.job, self._parcels, self._sent_here = job, [], self._sent_here + sent
        for place in places:
            states.add_done(*place)
        self._refusals.are_told(sent)
        self._values.clear()
        self._pace.sent(sent)

    def _record(self, key: bytes, value: bytes) -> None:
        self._transactions.send(Outgoing(self._desk.audit_topic, key, value, []))

    def _watch_canary(self) -> None:
        """Wait for what becomes of the canaries. Raises Tripped if too many came back."""
        desk, target = self._desk, self._bench.target
        self._status.note(f"canary: {count(self._sent_here)} sent; waiting for group {desk.consumer_group}")
        begins, dlq_ends = self._before
        self._await_canary(
            canary.SentCanary(self.job.id, self._sent_here, target, begins, {}, desk.dlq_topic, dlq_ends)
        )

    def _watch_canary_again(self) -> None:
        """The same for one that was sent before this process began, if nobody knows what became of it."""
        sent = canary.sent_canary(self.job.canary_out, self.job.id)
        if sent is None:
            return
        group = self._desk.consumer_group
        self._status.note(f"canary: {count(sent.size)} were sent before; waiting for group {group}")
        self._await_canary(sent)

    def _await_canary(self, sent: canary.SentCanary) -> None:
        """Raises Interrupted if Kafka is away: once it is back, this canary is asked about again."""
        desk = self._desk
        self.job = self.job._replace(canary_out=sent.to_json())
        try:
            outcome = self._outcome_of(sent)
        except Unreadable as error:
            raise Interrupted(str(error)) from error
        if self._is_stopped():
            return
        if not outcome.is_out:
            self.job = self.job._replace(canary_out={})
        if not outcome.passed:
            self._conclude(lambda: audit.TRIPPED)
            why = returned_lines(outcome.returned, desk.decoder.decode, desk.mask, desk.command)
            raise Tripped(outcome.told, *why)
        self._status.note(outcome.told)
        self.job = self.job._replace(canary_passed=True)

    def _outcome_of(self, sent: canary.SentCanary) -> canary.CanaryResult:
        desk, ends = self._desk, self._bench.sources.log_ends(sent.target)
        if not sent.ends:
            sent = sent._replace(ends=ends)
            self.job = self.job._replace(canary_out=sent.to_json())
            self._commit(audit.RUNNING)  # so that whoever goes on asks about this one
        if any(end > ends.get(partition, 0) for partition, end in sent.moved.items()):
            return canary.CanaryResult(False, f"the canary tripped: {sent.target} no longer holds it")
        return canary.await_canary(
            desk.client, desk.consumer_group, sent, self._bench.request.canary, self._is_stopped
        )

    def _ends(self) -> Tuple[Mapping[int, int], Mapping[int, int]]:
        """The ends of the target and of the dead letter topic now, as far as a canary asks for them."""
        if not self._bench.request.canary.size:
            return {}, {}
        dead = {span.partition: span.end for span in spans_of(self._bench.topic.reader, Range())}
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
