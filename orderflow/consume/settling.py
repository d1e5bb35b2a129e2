"""Settling: what was done becomes certain, all of it or none.

One settlement is on its way at a time. What has records to send goes out in a thread, while the next orders
are already being called; offsets alone are committed on the spot.

What was called is never called again while its partition is ours: whatever Kafka answers, only the writing is
tried again, and until then the verdict is HELD. It is LOST where nothing that we hold can be committed.
"""

import enum
from typing import Callable, List, NamedTuple, Optional, Set

from orderflow.consume.assignment import Assignment
from orderflow.consume.dispatch import Answer, Dispatch, Work
from orderflow.consume.failing import Failing
from orderflow.consume.outbox import Outbox
from orderflow.consume.pace import Progress
from orderflow.consume.partition import Partition
from orderflow.consume.patience import Patience
from orderflow.consume.session import Session
from orderflow.consume.settlement import Outcome, Settlement
from orderflow.consume.watchdog import Watchdog
from orderflow.consume.world import World

MOST_TRIES = 60
"""More than it takes to shrink a dead letter to the least that a topic can take."""
STEP = "settling"
REFUSED = (Outcome.REFUSED, Outcome.TOO_LARGE, Outcome.TIME_REFUSED)
HOPELESS = (Outcome.EXPELLED, Outcome.METADATA_TOO_LARGE)


class Verdict(enum.Enum):
    """What the loop has to know of the settlements."""

    SETTLED = "what was done is committed, or on its way to be"
    HELD = "Kafka does not take it now: all of it is kept, and nothing else may be called"
    LOST = "it can never be committed by us: drop it, and restore what is committed"


class Counts(NamedTuple):
    """What this process has done, counted when it is settled."""

    processed: int = 0
    dead_lettered: int = 0


class Settling:
    """Makes certain what was done."""

    def __init__(
        self,
        session: Session,
        assignment: Assignment,
        outbox: Outbox,
        ask_max_bytes: Callable[[], Optional[int]],
        watchdog: Watchdog,
        world: World,
    ) -> None:
        self.counts = Counts()
        self.outbox = outbox
        self.lost: Optional[str] = None
        """Why everything has to be restored from what is committed."""
        self._session = session
        self._assignment = assignment
        self._ask_max_bytes = ask_max_bytes
        self._world = world
        self._dispatch = Dispatch(session, watchdog, world)
        self._patience = Patience()
        self._unsure: Optional[Work] = None
        """What may be committed or not. Until that is known nothing else is settled."""
        self._failing = Failing(world.clock, world.report)

    @property
    def progress(self) -> Progress:
        """Of the last settlement."""
        return self._dispatch.progress

    @property
    def is_idle(self) -> bool:
        """True when nothing is on its way, and nothing waits to be."""
        return not self.outbox and self._dispatch.is_idle and self._unsure is None

    @property
    def is_held(self) -> bool:
        """True while Kafka does not take what was done."""
        return self._patience.is_needed

    # --- settling --------------------------------------------------------------------------------

    def settle(self) -> Verdict:
        """Send off what was done since the last time. HELD or LOST where that last time did not succeed."""
        return self._repeat(self._settle_once)

    def settle_now(self) -> Verdict:
        """Settle what was done, and wait until it is certain."""
        return self._repeat(self._settle_and_wait)

    def wait(self) -> Verdict:
        """Wait for the settlement that is on its way, if one is."""
        return self._wait() or Verdict.HELD

    def advance(self) -> Verdict:
        """Try again what Kafka did not take, if it is time."""
        if self.lost is not None:
            return Verdict.LOST
        if not self._patience.is_needed:
            return Verdict.SETTLED
        if not self._patience.is_over(self._world.clock()):
            return Verdict.HELD
        if self._patience.is_refused:
            self._expect(self._ask_max_bytes() or self.outbox.max_bytes)
        return self.settle_now()

    def _repeat(self, settle: Callable[[], Optional[Verdict]]) -> Verdict:
        """Settle until there is a verdict: None says that the next try, at once, may end otherwise."""
        for _ in range(MOST_TRIES):
            verdict = settle()
            if verdict is not None:
                return verdict
            if self._patience.is_between_generations:
                return settle() or Verdict.HELD
        return Verdict.HELD

    def _settle_and_wait(self) -> Optional[Verdict]:
        verdict = self._settle_once()
        return self._wait() if verdict is Verdict.SETTLED else verdict

    def _settle_once(self) -> Optional[Verdict]:
        if self.lost is not None:
            return Verdict.LOST
        verdict = self._wait()
        if verdict is Verdict.SETTLED and self._unsure is not None:
            self._dispatch.send_off(self._unsure)
            verdict = self._wait()
        return self._send_off() if verdict is Verdict.SETTLED else verdict

    def _send_off(self) -> Optional[Verdict]:
        changed = [partition for partition in self._assignment.ready.values() if partition.ledger.changed]
        if not changed:
            return Verdict.SETTLED
        work = self._work(changed)
        if not work.records:
            return self._judge(Answer(work, self._session.commit(work.offsets)))
        self._dispatch.send_off(work)
        return Verdict.SETTLED

    def _work(self, changed: List[Partition]) -> Work:
        offsets = {partition.number: self._assignment.commit_of(partition) for partition in changed}
        for partition in changed:
            partition.ledger.told()
        outbox = self.outbox.take()
        return Work(outbox, outbox.records(), changed, offsets, self._session.member())

    def _wait(self) -> Optional[Verdict]:
        """What became of the settlement that is on its way; None where the next try may end otherwise."""
        answer = self._dispatch.answer()
        return Verdict.SETTLED if answer is None else self._judge(answer)

    # --- what Kafka answered ---------------------------------------------------------------------

    def _judge(self, answer: Answer) -> Optional[Verdict]:
        """Keep the books of one answer. None where the next try, at once, may end otherwise."""
        work, settlement = answer
        self._unsure = None
        if settlement.outcome is Outcome.SETTLED:
            self._settled(work.outbox)
            return Verdict.SETTLED
        self._failing.failed(STEP, settlement.detail)
        if settlement.outcome is Outcome.UNKNOWN:
            self._unsure = work._replace(is_unsure=True)
            return self._hold(settlement)
        self._take_back(work, settlement)
        if settlement.outcome in HOPELESS:
            return self._give_up(settlement)
        if settlement.outcome is Outcome.MOVED_ON and not self._session.lost:
            return self._keep(settlement)
        return None if self._can_say_otherwise(settlement) else self._hold(settlement)

    def _settled(self, sent: Outbox) -> None:
        self._dispatch.settled()
        dead_letters = sent.sent + sent.dead
        processed, dead_lettered = self.counts
        self.counts = Counts(processed + sent.done, dead_lettered + len(dead_letters))
        for dead in dead_letters:
            attempt = dead.about.attempts
            self._world.report("dead_lettered", record=dead.record, failure=dead.failure, attempt=attempt)
        self._failing.succeeded(STEP)
        if self._release():
            self._world.report("unblocked")

    def _take_back(self, work: Work, settlement: Settlement) -> None:
        work.outbox.confirm(settlement.confirmed)
        self.outbox.put_back(work.outbox)
        for partition in work.partitions:
            partition.ledger.touch()

    def _give_up(self, settlement: Settlement) -> Verdict:
        if settlement.outcome is Outcome.METADATA_TOO_LARGE:
            self._assignment.lower_metadata_limit()
        self.lost = settlement.detail
        return Verdict.LOST

    def _keep(self, settlement: Settlement) -> Optional[Verdict]:
        """The group is in between generations: settle once more as a member of the new one, or later.

        What is taken away stands in `lost`, and without a poll no new membership can begin. So what is
        ready was ours all the time, and need not be done again.
        """
        had_waited = self._patience.is_between_generations
        if not self._patience.wait_for_generation(self._world.clock()):
            return self._hold(settlement)
        return Verdict.HELD if had_waited else None

    def _can_say_otherwise(self, settlement: Settlement) -> bool:
        """Whether the same can be sent in a way that Kafka may take: smaller, or dated by another clock."""
        outcome = settlement.outcome
        if outcome is Outcome.TOO_LARGE and self.outbox.shrink(self._ask_max_bytes()):
            self._world.report("dead_letter_too_large", max_bytes=self.outbox.max_bytes)
            self._expect(self.outbox.max_bytes)
            return True
        if outcome is Outcome.TIME_REFUSED and self.outbox.distrust_clock():
            self._world.report("time_refused", detail=settlement.detail)
            return True
        return False

    def _expect(self, max_bytes: int) -> None:
        self.outbox.limit_to(max_bytes)
        self._session.expect(max_bytes)

    def _hold(self, settlement: Settlement) -> Verdict:
        """Kafka does not take what was done: keep everything as it is, say so, and try again."""
        is_refused = settlement.outcome in REFUSED
        pause = self._patience.pause(self._world.clock(), is_refused)
        if is_refused:
            self._world.report("blocked", detail=settlement.detail, retry_s=pause.for_s)
        elif pause.is_first:
            self._world.report("settlement_delayed", detail=settlement.detail)
        self._assignment.hold_all("blocked")
        return Verdict.HELD

    def _release(self) -> bool:
        """Kafka takes what was done. Whether it did not before."""
        had_paused = self._patience.has_paused
        self._patience.end()
        if had_paused:
            self._assignment.release_all("blocked")
        return had_paused

    # --- giving up what was done -----------------------------------------------------------------

    def drop(self) -> None:
        """Nothing that is not certain counts any more."""
        self._dispatch.give_up()
        self.outbox.clear()
        self._unsure = self.lost = None
        self._failing.succeeded(STEP)
        self._release()

    def forget(self, numbers: Set[int]) -> bool:
        """Drop what was done for partitions that were taken away; whether there was anything."""
        had = self.outbox.forget(numbers)
        if self._unsure is not None:
            had = bool(numbers & set(self._unsure.offsets)) or had
            self._unsure = self._unsure.without(numbers)
        has_changed = any(partition.ledger.changed for partition in self._assignment.ready.values())
        if not has_changed and self._unsure is None:
            self.drop()
        return had

    def mark_clean(self, numbers: Set[int]) -> None:
        """Partitions are about to be given up: commit where they stand, with the mark of a proper stop."""
        if self._patience.has_paused or self.settle_now() is not Verdict.SETTLED:
            return
        offsets = {
            number: self._assignment.commit_of(partition, clean=partition.is_clean)
            for number, partition in self._assignment.ready.items()
            if number in numbers
        }
        if offsets:
            self._session.commit(offsets)
