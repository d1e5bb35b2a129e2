"""Settling: what was done becomes certain, all of it or none.

Owns: the outbox, the thread in which a settlement is on its way, the counts of what is settled, and
the patience with a Kafka that refuses what must be sent.
Does not know: how orders are called, why one is retried.
Used by: processor, calling (fills the outbox).
"""

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Set, Tuple

from orderflow.consume.assignment import Assignment, Partition, Report
from orderflow.consume.failing import Failing
from orderflow.consume.outbox import Outbox
from orderflow.consume.session import Session
from orderflow.consume.settlement import Outcome, Settlement
from orderflow.consume.watchdog import Watchdog
from orderflow.consume.workers import Workers
from orderflow.model.records import Outgoing

KEEP_S = 10.0
"""A rebalance is over long before; then the next tries come more slowly."""
LOOK_S = 0.1
"""How long to wait for a settlement before the watchdog is told that nothing is being called."""
REFUSED_RETRY_S = (1.0, 30.0)
"""Somebody has to repair something first."""
FAILED_RETRY_S = (0.2, 5.0)
"""It may work again at any moment."""
STEP = "settling"


REFUSED = (Outcome.REFUSED, Outcome.TOO_LARGE, Outcome.TIME_REFUSED)


class Work(NamedTuple):
    """One settlement on its way."""

    outbox: Outbox
    records: List[Outgoing]
    """Made in the thread that polls: two threads that compute get in each other's way."""
    partitions: List[Partition]
    offsets: Dict[int, Tuple[int, str]]
    member: Any
    is_unsure: bool = False
    """It was sent, and what became of it is not known yet."""


def _without(work: Work, numbers: Set[int]) -> Optional[Work]:
    """What is left of it, None for nothing: whether it was committed can be told by any partition of it."""
    work.outbox.forget(numbers)
    partitions = [partition for partition in work.partitions if partition.number not in numbers]
    offsets = {number: commit for number, commit in work.offsets.items() if number not in numbers}
    return work._replace(partitions=partitions, offsets=offsets) if offsets else None


class Counts:
    """What this process has done, counted when it is settled."""

    def __init__(self) -> None:
        self.processed = 0
        self.dead_lettered = 0


class Settler:
    """Makes certain what was done, one settlement at a time.

    What has records to send goes on its way in a thread, while the next orders are already being called;
    offsets alone are committed on the spot.
    """

    def __init__(
        self,
        session: Session,
        assignment: Assignment,
        outbox: Outbox,
        watchdog: Watchdog,
        clock: Callable[[], float],
        report: Report,
        ask_max_bytes: Callable[[], Optional[int]],
    ) -> None:
        self.counts = Counts()
        self.outbox = outbox
        self.settled_at_s = 0.0
        self.sent_off_at_s = 0.0
        """When the last settlement went on its way."""
        self.took_s = 0.0
        """How long Kafka took for the last one that had something to send."""
        self.start_again: Callable[[str], None] = lambda why: None
        """Called when something was not committed: restore everything from what is."""
        self._session = session
        self._assignment = assignment
        self._watchdog = watchdog
        self._clock = clock
        self._report = report
        self._ask_max_bytes = ask_max_bytes
        self._thread = Workers(1, self._send)
        self._is_second_try = False
        self._kept_since_s: Optional[float] = None
        self._blocked_for_s = 0.0
        self._blocked_until_s = 0.0
        self._is_refused = False
        """Blocked since Kafka refuses what is sent, not since it is in trouble itself."""
        self._unsure: Optional[Work] = None
        """What may be committed or not. Until that is known nothing else is settled."""
        self._failing = Failing(clock, report)

    @property
    def is_idle(self) -> bool:
        """True when nothing is on its way, and nothing waits to be."""
        return not self.outbox and not self._thread.in_flight and self._unsure is None

    @property
    def is_on_its_way(self) -> bool:
        """Whether the last settlement has not come back yet."""
        return not self._thread.has_finished

    @property
    def is_held_up(self) -> bool:
        """True while Kafka does not take what was done."""
        return bool(self._blocked_for_s) or self._kept_since_s is not None

    # --- settling --------------------------------------------------------------------------------

    def settle(self) -> bool:
        """Send off what was done since the last time. False where that last time did not succeed."""
        if not self.wait() or not self._is_sure():
            return False
        dirty = [partition for partition in self._assignment.ready.values() if partition.dirty]
        if not dirty:
            return True
        work = self._work(dirty)
        if work.records:
            self.sent_off_at_s = self._clock()
            self._thread.submit(work)
            return True
        return self._is_settled(work, self._session.commit(work.offsets))

    def settle_now(self) -> bool:
        """Settle what was done, and wait until it is certain."""
        return self.settle() and self.wait()

    def wait(self) -> bool:
        """Wait for the settlement that is on its way, if one is. False where it did not succeed."""
        while self._thread.in_flight:
            finished = self._thread.collect(LOOK_S)
            if not finished:
                self._be_patient()
            for work, settlement, error in finished:
                if error is not None:
                    raise error
                if settlement.outcome is Outcome.SENT:
                    settlement = self._session.commit(work.offsets)._replace(confirmed=settlement.confirmed)
                if not self._is_settled(work, settlement):
                    return False
        return True

    def _is_sure(self) -> bool:
        """Whether it is known what became of all that was sent; asks Kafka where it is not."""
        if self._unsure is None:
            return True
        self._thread.submit(self._unsure)
        return self.wait()

    def _is_settled(self, work: Work, settlement: Settlement) -> bool:
        self._unsure = None
        if settlement.outcome is Outcome.SETTLED:
            self._settled(work.outbox)
            return True
        self._failing.failed(STEP, settlement.detail)
        if settlement.outcome is Outcome.UNKNOWN:
            self._unsure = work._replace(is_unsure=True)
            return self._block(settlement)
        return self._not_settled(work, settlement)

    def drop(self) -> None:
        """Nothing that is not certain counts any more."""
        while self._thread.in_flight:
            if not self._thread.collect(LOOK_S):
                self._be_patient()
        self.outbox.clear()
        self._unsure = self._kept_since_s = None
        self._failing.succeeded(STEP)
        self._unblock()

    def forget(self, numbers: Set[int]) -> bool:
        """Drop what was done for partitions that were taken away; whether there was anything."""
        had = self.outbox.forget(numbers)
        if self._unsure is not None:
            had = bool(numbers & set(self._unsure.offsets)) or had
            self._unsure = _without(self._unsure, numbers)
        is_dirty = any(partition.dirty for partition in self._assignment.ready.values())
        if not is_dirty and self._unsure is None:
            self.drop()
        return had

    def _be_patient(self) -> None:
        self._watchdog.idle()
        since_s = self._thread.oldest_start_s()
        if since_s is not None:
            self._session.while_waiting(self._clock() - since_s)

    def _work(self, dirty: List[Partition]) -> Work:
        commit_of = self._assignment.commit_of
        offsets = {partition.number: commit_of(partition, clean=False) for partition in dirty}
        for partition in dirty:
            partition.dirty = False
        outbox = self.outbox.take()
        return Work(outbox, outbox.records(), dirty, offsets, self._session.member())

    def _send(self, work: Work) -> Settlement:
        """Runs in the settling thread, the only other one that may use the session."""
        if work.is_unsure:
            return self._session.find_out(work.offsets)
        began_s = self._clock()
        settlement = self._session.send(work.records, work.offsets, work.member)
        self.took_s = self._clock() - began_s
        return settlement

    def _settled(self, sent: Outbox) -> None:
        self.settled_at_s = self._clock()
        self._kept_since_s = None
        dead_letters = sent.sent + sent.dead
        self.counts.processed += sent.done
        self.counts.dead_lettered += len(dead_letters)
        for dead in dead_letters:
            attempt = dead.about.attempts
            self._report("dead_lettered", record=dead.record, failure=dead.failure, attempt=attempt)
        self._failing.succeeded(STEP)
        if self._blocked_for_s:
            self._unblock()
            self._report("unblocked")

    def _unblock(self) -> None:
        self._blocked_for_s = 0.0
        for partition in self._assignment.ready.values():
            self._assignment.release(partition, "blocked")

    # --- when it does not succeed ----------------------------------------------------------------

    def _not_settled(self, work: Work, settlement: Settlement) -> bool:
        """Take it back, and do what the outcome asks for. True where it succeeded after all.

        What is called is never called again while its partition is ours: whatever Kafka says, only the
        writing is repeated. Two outcomes leave no such choice, since nothing that we hold can be committed.
        """
        outcome = settlement.outcome
        if outcome is Outcome.METADATA_TOO_LARGE:
            self._assignment.lower_metadata_limit()
        if outcome in (Outcome.METADATA_TOO_LARGE, Outcome.EXPELLED):
            self._take_back(work, settlement)
            self.start_again(settlement.detail)
            return False
        self._take_back(work, settlement)
        if outcome is Outcome.MOVED_ON and not self._session.lost:
            return self._keep(settlement)
        if outcome is Outcome.TOO_LARGE and self.outbox.shrink(self._ask_max_bytes()):
            self._report("dead_letter_too_large", max_bytes=self.outbox.max_bytes)
            self._expect(self.outbox.max_bytes)
            return self.settle_now()
        if outcome is Outcome.TIME_REFUSED and self.outbox.distrust_clock():
            self._report("time_refused", detail=settlement.detail)
            return self.settle_now()
        return self._block(settlement)

    def _keep(self, settlement: Settlement) -> bool:
        """The group is in between generations: settle once more as a member of the new one, or later.

        What is taken away stands in `lost`, and without a poll no new membership can begin. So what is
        ready was ours all the time, and need not be done again.
        """
        if self._kept_since_s is None:
            self._kept_since_s = self._clock()
        if self._clock() - self._kept_since_s > KEEP_S:
            self._kept_since_s = None
            return self._block(settlement)
        if self._is_second_try:
            return False
        self._is_second_try = True
        try:
            return self.settle_now()
        finally:
            self._is_second_try = False

    def _take_back(self, work: Work, settlement: Settlement) -> None:
        work.outbox.confirm(settlement.confirmed)
        self.outbox.put_back(work.outbox)
        for partition in work.partitions:
            partition.dirty = True

    def _expect(self, max_bytes: int) -> None:
        self.outbox.max_bytes = max_bytes
        self._session.expect(max_bytes)

    def _block(self, settlement: Settlement) -> bool:
        """Kafka does not take what was done: keep everything as it is, say so, and try again."""
        self._is_refused = settlement.outcome in REFUSED
        least_s, most_s = REFUSED_RETRY_S if self._is_refused else FAILED_RETRY_S
        is_new = not self._blocked_for_s
        self._blocked_for_s = min(most_s, self._blocked_for_s * 2 or least_s)
        self._blocked_until_s = self._clock() + self._blocked_for_s
        if self._is_refused:
            self._report("blocked", detail=settlement.detail, retry_s=self._blocked_for_s)
        elif is_new:
            self._report("settlement_delayed", detail=settlement.detail)
        for partition in self._assignment.ready.values():
            self._assignment.hold(partition, "blocked")
        return False

    def is_blocked(self) -> bool:
        """Whether what was done cannot be settled for now; tries again when it is time."""
        if self._kept_since_s is not None:
            return not self.settle_now()
        if not self._blocked_for_s:
            return False
        if self._clock() < self._blocked_until_s:
            return True
        if self._is_refused:
            self._expect(self._ask_max_bytes() or self.outbox.max_bytes)
        if not self.settle_now():
            return True
        self._unblock()
        return False

    # --- giving partitions up --------------------------------------------------------------------

    def mark_clean(self, numbers: Set[int]) -> None:
        """Partitions are about to be given up: commit where they stand, with the mark of a proper stop."""
        if self._blocked_for_s or not self.settle_now():
            return
        offsets = {
            number: self._assignment.commit_of(partition, clean=partition.is_clean)
            for number, partition in self._assignment.ready.items()
            if number in numbers
        }
        if offsets:
            self._session.commit(offsets)
