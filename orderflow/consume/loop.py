"""The engine's loop: each step polls, calls the handler, and settles the results.

Read `step` first. A single thread runs it, and that thread owns the consumer and every ledger.
"""

from typing import List, NamedTuple, Set

from orderflow.consume.assignment import Assignment
from orderflow.consume.calls import Calls
from orderflow.consume.careful import CarefulCalls
from orderflow.consume.commands import Commands
from orderflow.consume.due_calls import DueCalls
from orderflow.consume.first_calls import FirstCalls
from orderflow.consume.intake import Intake, LostTrack
from orderflow.consume.pace import Pace
from orderflow.consume.probing import Probing
from orderflow.consume.settling import Settling, Verdict
from orderflow.consume.slices import Slices
from orderflow.consume.world import World
from orderflow.model.records import Message

IDLE_S = 0.1
WORKING_S = 0.01
SOON_S = 0.001
"""How long to poll while finished work waits for the previous settlement to return."""


class Calling(NamedTuple):
    """The different ways to call an order."""

    calls: Calls
    due: DueCalls
    first: FirstCalls
    careful: CarefulCalls
    probing: Probing
    slices: Slices
    commands: Commands
    """What operators ask for."""


class Loop:
    """Takes every order from Kafka to exactly one outcome."""

    def __init__(
        self,
        assignment: Assignment,
        intake: Intake,
        calling: Calling,
        settling: Settling,
        pace: Pace,
        world: World,
    ) -> None:
        self._assignment = assignment
        self._ready = assignment.ready
        self._intake = intake
        self._calls = calling.calls
        self._due = calling.due
        self._first = calling.first
        self._careful = calling.careful
        self._probing = calling.probing
        self._slices = calling.slices
        self._commands = calling.commands
        self._settling = settling
        self._pace = pace
        self._world = world

    # --- an order's path -------------------------------------------------------------------------

    def step(self) -> None:
        """One round: poll, call due retries and fresh orders, settle the results."""
        try:
            polled = self._poll()
            self._assignment.refresh(not_yet=self._calls.orphans.partitions)
            if self._retry_settlement() is Verdict.HELD:
                return
            self._collect()
            self._commands.carry_out()
            if not self._careful.call_suspects():
                self._due.call(has_fresh=bool(self._intake.leftover))
                self._call_fresh()
                self._settle(polled)
            self._steer()
        except LostTrack as why:
            self._start_again(str(why))

    # --- polling ---------------------------------------------------------------------------------

    def _poll(self) -> int:
        """Poll for new records; returns how many. Partitions may be revoked in here, once settled."""
        most = max(1, self._pace.batch_size - len(self._intake.leftover))
        records, lost = self._intake.poll(most, self._patience_s())
        if lost:
            self._forget(lost)
        fresh = self._intake.new_ones(records)
        self._intake.keep(fresh)
        return len(fresh)

    def _patience_s(self) -> float:
        """How long to wait for a record when there is nothing else to do."""
        if self._settling.is_held:
            return WORKING_S
        if self._intake.leftover or self._calls.in_flight:
            return 0.0
        if self._settling.outbox:
            return SOON_S
        if not self._assignment.is_settled:
            return 0.0 if self._assignment.reads_back else WORKING_S
        now_s = self._world.clock()
        dues = [*self._due.dues_s(), *self._probing.dues_s()]
        return max(0.0, min([IDLE_S, *(due_s - now_s for due_s in dues)]))

    def _retry_settlement(self) -> Verdict:
        """Retry a settlement that Kafka did not accept, once its pause is over. Raises LostTrack."""
        verdict = self._settling.advance()
        if verdict is Verdict.LOST:
            raise LostTrack(self._settling.lost)
        return verdict

    def _collect(self) -> None:
        """Collect finished worker calls, waiting briefly if nothing else can be called."""
        calls = self._calls
        is_full = not (calls.free_workers if self._careful.is_on else calls.has_free_worker)
        may_wait = not self._intake.leftover or is_full or self._careful.waits_for_suspects
        calls.collect(WORKING_S if may_wait else 0.0)

    # --- calling fresh orders --------------------------------------------------------------------

    def _call_fresh(self) -> None:
        """Admit and call as much of what was polled as fits into a slice; the rest is left over."""
        self._intake.weed()
        records = self._intake.leftover
        if self._probing:
            records = self._probing.take_released() + records
        if records or self._probing:
            self._intake.plan()
            self._slices.begin()
            self._intake.put_back(self._call(records))
        self._note_positions()
        self._pace.note_leftover(len(self._intake.leftover))

    def _call(self, records: List[Message]) -> List[Message]:
        """Call the records in the way that suits the situation; returns those not admitted."""
        if self._probing.is_on:
            records = self._probing.set_aside(records)
            self._probe()
        if not records:
            return []
        if self._careful.is_on:
            return self._call_carefully(records)
        return self._first.call(records)

    def _call_carefully(self, records: List[Message]) -> List[Message]:
        """After an owner died, call one chunk of each partition at a time, announced beforehand."""
        if not self._calls.free_workers:
            return records
        chunk, rest = self._careful.admit_chunk(self._intake, records)
        self._intake.put_back(rest)
        self._note_positions()
        if self._careful.call_announced(chunk):
            self._careful.chunk_survived(chunk)
        return self._intake.leftover

    def _note_positions(self) -> None:
        further = self._intake.note_positions(self._probing.first_offsets())
        self._first.count_successes(further)

    # --- during an outage ------------------------------------------------------------------------

    def _probe(self) -> None:
        """Try one fresh order of each held partition whose probe is due."""
        for number in self._probing.due():
            if self._calls.has_free_worker:
                began_s = self._world.clock()
                self._probe_one(number)
                self._probing.ended(number, began_s)

    def _probe_one(self, number: int) -> None:
        """Try the first order whose key is not busy; queue the ones before it behind their heads."""
        message = self._probing.take(number)
        while message is not None and self._intake.queues(message):
            message = None if self._intake.is_stopped(number) else self._probing.take(number)
        if message is not None:
            self._probing.begin(number)
            self._call_probe(message)
        if self._intake.is_stopped(number):
            self._probing.drop(number)

    def _call_probe(self, message: Message) -> None:
        partition = self._intake.partition_of(message)
        if not partition.careful_left:
            return self._first.call_one(message)
        chunk = self._careful.admit(self._intake, partition, message)
        # An announced offset must be below `next`; everything before it has been admitted.
        partition.ledger.advance_to(message.offset() + 1)
        self._careful.call_announced(chunk)
        return None

    # --- settling --------------------------------------------------------------------------------

    def _settle(self, polled: int) -> None:
        """Settle if it is time, unless the next step starts with an announcement, which settles anyway."""
        leftover = len(self._intake.leftover)
        announces_next = leftover and not self._calls.has_workers and self._careful.is_on
        if not announces_next:
            self._slices.settle_if_time(polled, leftover)

    def _steer(self) -> None:
        """Pause partitions whose orders cannot be called now, and resume the others."""
        self._intake.steer()
        for number, partition in self._ready.items():
            self._assignment.hold_if(partition, "outage", self._probing.waits(number))

    # --- giving up partitions --------------------------------------------------------------------

    def _forget(self, numbers: Set[int]) -> None:
        """Drop unsettled work for revoked partitions: it belongs to their next owner.

        Results and running calls of the partitions that stay are kept.
        """
        ours = numbers & set(self._ready)
        for number in sorted(ours):
            offset = self._ready[number].ledger.commit_point
            self._world.report("partition_given_up", partition=number, offset=offset)
        self._drop(ours)
        self._assignment.drop(numbers)
        self._probing.forget(numbers)
        if self._settling.forget(numbers):
            detail = "partitions were revoked before their finished work was settled"
            self._world.report("start_again", detail=detail)

    def _start_again(self, why: str) -> None:
        """Restore everything from the committed offsets."""
        self._world.report("start_again", detail=why)
        self.abandon()

    def abandon(self) -> None:
        """Drop everything unsettled. Needed after a crash, which may have interrupted a step halfway."""
        self._settling.drop()
        self._drop(set(self._ready))

    def _drop(self, numbers: Set[int]) -> None:
        """Forget these partitions. They are not restored until calls still running for them have ended."""
        for number in numbers:
            self._probing.drop(number)
        self._calls.give_up([self._ready[number] for number in numbers])
        self._assignment.drop(numbers)
        self._intake.drop(numbers)

    def finish_calls(self, until_s: float) -> None:
        """Wait for the workers' running calls without starting new ones, and settle them."""
        self._calls.stop()
        try:
            while self._calls.in_flight and self._world.clock() < until_s:
                self._poll()
                self._collect()
                self._slices.settle()
            self._slices.settle_now()
            self._calls.abandon()
        except LostTrack as why:
            self._start_again(str(why))

    # --- queries ---------------------------------------------------------------------------------

    @property
    def is_drained(self) -> bool:
        """Whether every order our partitions held at the start is done, and committed."""
        return self._assignment.is_settled and all(part.is_drained for part in self._ready.values())

    @property
    def has_only_held(self) -> bool:
        """Whether the only orders left are waiting because of an outage."""
        waiting = [number for number, partition in self._ready.items() if partition.ledger.heads]
        return bool(waiting) and self._has_admitted_all and all(map(self._probing.is_sure_of, waiting))

    @property
    def _has_admitted_all(self) -> bool:
        idle = not self._intake.leftover and not self._probing and self._settling.is_idle
        settled = self._assignment.is_settled and idle
        return settled and all(part.ledger.next >= part.end for part in self._ready.values())
