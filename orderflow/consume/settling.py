"""Settles finished work: commits results, dead letters and offsets, all or nothing.

One settlement is in flight at a time. If it has records to send, a thread sends it while the next orders are
called; offsets alone are committed synchronously.

A finished call is never repeated while its partition is ours: whatever Kafka answers, only the settlement is
retried, and until it succeeds the verdict is HELD. It is LOST if our work can never be committed.
"""

import enum
from typing import Callable, List, NamedTuple, Optional, Set

from orderflow.consume.assignment import Assignment
from orderflow.consume.dispatch import Answer, Dispatch, Work
from orderflow.consume.durations import Durations
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
"""More than it takes to shrink a dead letter to the smallest size a topic can be limited to."""
STEP = "settling"
REFUSED = (Outcome.REFUSED, Outcome.TOO_LARGE, Outcome.TIME_REFUSED)
HOPELESS = (Outcome.EXPELLED, Outcome.METADATA_TOO_LARGE)


class Verdict(enum.Enum):
    """What the loop needs to know about settling."""

    SETTLED = "finished work is committed, or being committed"
    HELD = "Kafka does not accept it now: keep everything, and call nothing else"
    LOST = "we can never commit it: drop it, and restore the committed state"


class Counts(NamedTuple):
    """Orders this process has finished, counted when settled."""

    processed: int = 0
    dead_lettered: int = 0


class Settling:
    """Settles finished work, and retries until Kafka accepts it."""

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
        """Why everything must be restored from the committed offsets."""
        self._session = session
        self._assignment = assignment
        self._ask_max_bytes = ask_max_bytes
        self._world = world
        self._dispatch = Dispatch(session, watchdog, world)
        self._patience = Patience()
        self._unsure: Optional[Work] = None
        """Work that may or may not be committed. Until that is known, nothing else is settled."""
        self._failing = Failing(world.clock, world.report)

    @property
    def progress(self) -> Progress:
        """Progress of the last settlement."""
        return self._dispatch.progress

    @property
    def is_idle(self) -> bool:
        """True when nothing is in flight or waiting to be settled."""
        return not self.outbox and self._dispatch.is_idle and self._unsure is None

    @property
    def is_held(self) -> bool:
        """True while Kafka does not accept a settlement."""
        return self._patience.is_needed

    @property
    def durations(self) -> Durations:
        """How long settlements took, by whether Kafka accepted them."""
        return self._dispatch.durations

    # --- settling --------------------------------------------------------------------------------

    def settle(self) -> Verdict:
        """Start settling the work finished since the last time. HELD or LOST if the last one failed."""
        return self._repeat(self._settle_once)

    def settle_now(self) -> Verdict:
        """Settle all finished work and wait for the outcome."""
        return self._repeat(self._settle_and_wait)

    def wait(self) -> Verdict:
        """Wait for the settlement in flight, if any."""
        return self._wait() or Verdict.HELD

    def advance(self) -> Verdict:
        """Retry a failed settlement if its pause is over."""
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
        """Settle until there is a verdict; None means that an immediate retry may turn out differently."""
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
        if not work.records and not work.pages:
            return self._judge(Answer(work, self._dispatch.commit(work)))
        self._dispatch.send_off(work)
        return Verdict.SETTLED

    def _work(self, changed: List[Partition]) -> Work:
        stated = {partition.number: self._assignment.commit_of(partition) for partition in changed}
        for partition in changed:
            partition.ledger.told()
        outbox = self.outbox.take()
        offsets = {number: statement.place for number, statement in stated.items()}
        pages = [statement.page for statement in stated.values() if statement.page is not None]
        return Work(outbox, outbox.records(), pages, changed, offsets, self._session.member())

    def _wait(self) -> Optional[Verdict]:
        """Wait for the settlement in flight; None if an immediate retry may turn out differently."""
        answer = self._dispatch.answer()
        return Verdict.SETTLED if answer is None else self._judge(answer)

    # --- Kafka's answer --------------------------------------------------------------------------

    def _judge(self, answer: Answer) -> Optional[Verdict]:
        """Act on an answer. None if an immediate retry may turn out differently."""
        work, settlement = answer
        self._unsure = None
        if settlement.outcome is Outcome.SETTLED:
            self._settled(work)
            return Verdict.SETTLED
        self._failing.failed(STEP, settlement.detail)
        if settlement.outcome is Outcome.UNKNOWN:
            self._unsure = work._replace(is_unsure=True)
            return self._hold(settlement)
        self._take_back(work, settlement)
        if settlement.outcome is Outcome.METADATA_TOO_LARGE and self._assignment.lower_metadata_limit():
            return None
        if settlement.outcome in HOPELESS:
            self.lost = settlement.detail
            return Verdict.LOST
        if settlement.outcome is Outcome.MOVED_ON and not self._session.lost:
            return self._keep(settlement)
        return None if self._can_say_otherwise(settlement) else self._hold(settlement)

    def _settled(self, work: Work) -> None:
        self._dispatch.settled()
        for partition in work.partitions:
            partition.settled(work.offsets[partition.number][0])
        dead_letters = work.outbox.sent + work.outbox.dead
        processed, dead_lettered = self.counts
        self.counts = Counts(processed + work.outbox.done, dead_lettered + len(dead_letters))
        for record, failure, about in dead_letters:
            self._world.report("dead_lettered", record=record, failure=failure, attempt=about.attempts)
        self._failing.succeeded(STEP)
        if self._release():
            self._world.report("unblocked")

    def _take_back(self, work: Work, settlement: Settlement) -> None:
        work.outbox.confirm(settlement.confirmed)
        self.outbox.put_back(work.outbox)
        for partition in work.partitions:
            partition.ledger.touch()

    def _keep(self, settlement: Settlement) -> Optional[Verdict]:
        """The group is between generations: settle again as a member of the new one, now or later.

        Revoked partitions are in `lost`, and no new membership can start without a poll. So the ready
        partitions have been ours throughout, and their work need not be repeated.
        """
        had_waited = self._patience.is_between_generations
        if not self._patience.wait_for_generation(self._world.clock()):
            return self._hold(settlement)
        return Verdict.HELD if had_waited else None

    def _can_say_otherwise(self, settlement: Settlement) -> bool:
        """Whether it can be sent in another way that Kafka may accept: smaller, or with other timestamps."""
        outcome = settlement.outcome
        # Of results only the batches can get smaller, which is the session's own business.
        is_of_results = settlement.topic not in (None, self.outbox.dlq_topic)
        if outcome is Outcome.TOO_LARGE and not is_of_results and self.outbox.shrink(self._ask_max_bytes()):
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
        """Kafka does not accept it: keep everything, report it, and retry after a pause."""
        is_refused = settlement.outcome in REFUSED
        pause = self._patience.pause(self._world.clock(), is_refused)
        if is_refused:
            self._world.report("blocked", detail=settlement.detail, retry_s=pause.for_s)
        elif pause.is_first:
            self._world.report("settlement_delayed", detail=settlement.detail)
        self._assignment.hold_all("blocked")
        return Verdict.HELD

    def _release(self) -> bool:
        """Kafka has accepted a settlement. Returns whether that ended a pause."""
        had_paused = self._patience.has_paused
        self._patience.end()
        if had_paused:
            self._assignment.release_all("blocked")
        return had_paused

    # --- dropping work ---------------------------------------------------------------------------

    def drop(self) -> None:
        """Drop everything that is not settled."""
        self._dispatch.give_up()
        self.outbox.clear()
        self._unsure = self.lost = None
        self._failing.succeeded(STEP)
        self._release()

    def forget(self, numbers: Set[int]) -> bool:
        """Drop unsettled work for revoked partitions; returns whether there was any."""
        had = self.outbox.forget(numbers)
        if self._unsure is not None:
            had = bool(numbers & set(self._unsure.offsets)) or had
            self._unsure = self._unsure.without(numbers)
        has_changed = any(partition.ledger.changed for partition in self._assignment.ready.values())
        if not has_changed and self._unsure is None:
            self.drop()
        return had

    def mark_clean(self, numbers: Set[int]) -> bool:
        """Commit the state of partitions that we part with, marked as cleanly stopped; False if refused."""
        if self._patience.has_paused or self.settle_now() is not Verdict.SETTLED:
            return False
        offsets = {
            number: self._assignment.commit_again_of(partition, partition.is_clean).place
            for number, partition in self._assignment.ready.items()
            if number in numbers
        }
        return not offsets or self._session.commit(offsets).outcome is Outcome.SETTLED
