"""The engine: takes orders in, has them handled, and settles what came of it.

Owns: the road of an order from the session to its one fate, and the books that say how far it got.
Does not know: the command line, how a dead letter or a commit is written, what an order means.
Used by: consumer.py. It is the only file that knows ledger, retry and session at once; one thread
calls it, and that thread owns both Kafka clients and every ledger.

Read `step` first.
"""

from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

from confluent_kafka import KafkaException

from orderflow.assignment import Assignment, Partition, Report, size_of
from orderflow.dead_letters import Circumstances
from orderflow.errors import Failure, RegistryUnavailable, describe
from orderflow.handler import Handler, Order, delivery_of, encode_result, wants_delivery
from orderflow.ledger import Head
from orderflow.outbox import Dead, Outbox
from orderflow.records import Message, Outgoing, Record
from orderflow.retry import Decision, GiveUp, KeyBrake, OutageBrake, Policy, decide
from orderflow.session import Outcome, Session, Settlement
from orderflow.watchdog import Watchdog
from orderflow.workers import Workers

MAX_BATCH = 10_000
INTAKE_SPAN = 4 * MAX_BATCH
"""Offsets that one batch may span, holes included, in the count of heads that must fit."""
SLICE_S = 0.15
"""Handlers run so long before what they did is settled: a kill repeats no more than that."""
SLOW_SLICE_S = 0.02
SLOW_CALL_S = 0.0001
"""Calls that take longer than this are settled every 20 ms: a kill then repeats a handful."""
SWIFT_CALL_S = 0.00002
LOOK_EVERY = 64
"""While calls are shorter than that, one look at the clock serves so many."""
DUE_SHARE = 0.3
"""The share of handler time that retries may take while fresh orders are there."""
CHUNK = 100
"""Orders of a partition announced at once after an owner did not stop properly."""
AHEAD = 4
"""Orders given out for each worker: enough to keep it busy while the last ones are settled."""
POOL_SETTLE_S = 0.02
"""Workers go on while the last calls are settled, so settling more often than this gains nothing."""
MIN_BACKLOG, MAX_BACKLOG = 500, 2_000
"""Records polled but not taken in at which fetching goes on, and is paused. A pause costs a fetch."""
IDLE_S = 0.1
WORKING_S = 0.01
PROBE_S = 1.0
"""While the outage brake holds, a fresh order is tried this often."""
REGISTRY_RETRY_S = 2.0
REGISTRY_LINE_S = 30.0
BLOCKED_RETRY_S = (1.0, 30.0)

KILLED = Failure(
    reason="process.killed_consumer",
    stage="process",
    error_class="ConsumerKilled",
    message="the process died each time this order was handled; it was not decoded again",
    retryable=True,
)


Task = Tuple[Partition, Head]
"""What a worker is given."""


class Work(NamedTuple):
    """One settlement on its way."""

    outbox: Outbox
    partitions: List[Partition]
    offsets: Dict[int, Tuple[int, str]]
    member: Any


class Destination(NamedTuple):
    """Where the engine sends, and what it says of itself in a dead letter."""

    dlq_partitions: int
    processed_topic: Optional[str]
    group: str
    client: str


class Counts:
    """What this process has done, counted when it is settled."""

    def __init__(self) -> None:
        self.processed = 0
        self.dead_lettered = 0
        self.retries = 0


class Processor:
    """Calls the handler for each order and sees the order through to its one fate."""

    def __init__(
        self,
        session: Session,
        assignment: Assignment,
        outbox: Outbox,
        read: Callable[[Optional[bytes]], Order],
        handler: Handler,
        destination: Destination,
        policy: Policy,
        brake: OutageBrake,
        watchdog: Watchdog,
        clock: Callable[[], float],
        time_of_day: Callable[[], float],
        chance: Callable[[], float],
        report: Report,
        workers: Optional[Workers] = None,
        schema_of: Callable[[Optional[bytes]], Optional[str]] = lambda value: None,
        keep_stack: bool = False,
        ask_max_bytes: Callable[[], Optional[int]] = lambda: None,
        on_crash: Callable[[BaseException], None] = lambda crash: None,
    ) -> None:
        self.counts = Counts()
        self.brake = brake
        self.key_brake = KeyBrake()
        self._session = session
        self._assignment = assignment
        self._ready = assignment.ready
        self._busy = assignment.busy
        self._outbox = outbox
        self._read = read
        self._handler = handler
        self._wants_delivery = wants_delivery(handler)
        self._to = destination
        self._policy = policy
        self._watchdog = watchdog
        self._clock = clock
        self._time_of_day = time_of_day
        self._chance = chance
        self._report = report
        self._workers = workers
        self._settler = Workers(1, self._send, on_crash)
        self._schema_of = schema_of
        self._keep_stack = keep_stack
        self._ask_max_bytes = ask_max_bytes

        self._batch_size = 500
        self._call_s = 0.0
        """The mean length of a call in the last batch."""
        self._deadline_s = 0.0
        """When the running slice of calls ends."""
        self._leftover: List[Message] = []
        """Polled but not taken in: beyond `next`, as if never seen."""
        self._stopped: Dict[int, int] = {}
        """Partitions that take in no more of this batch, and the offset to go on at."""
        self._alone: Dict[int, int] = {}
        """The one offset that is being called alone, by partition."""
        self._orphans: Dict[int, int] = {}
        """Calls that still run for partitions that were taken away or are being restored."""
        self._settle_at_s = 0.0
        self._goes_on = True
        self._next_probe_s = 0.0
        self._blocked_for_s = 0.0
        self._blocked_until_s = 0.0
        self._next_registry_line_s = 0.0

    # --- the road of an order --------------------------------------------------------------------

    def step(self) -> None:
        """One round: take in what Kafka has, call what is due and what is fresh, settle all of it."""
        fresh = self._poll()
        self._assignment.refresh(not_yet=set(self._orphans))
        if self._is_blocked():
            self._leftover = self._leftover + fresh
            return
        self._collect()
        self._call_due(has_fresh=bool(fresh or self._leftover))
        self._call_fresh(fresh)
        if self._is_time_to_settle():
            self._settle()
        self._steer_intake()

    # --- taking in -------------------------------------------------------------------------------

    def _poll(self) -> List[Message]:
        """What Kafka has. Partitions may be taken away in here, after all that was done is settled."""
        records = self._session.poll(max(1, self._batch_size - len(self._leftover)), self._patience_s())
        lost = self._session.take_lost()
        if lost:
            self._forget(lost)
        elif self._assignment.is_settled:
            return records
        # The client may hand over records of partitions that it took away in the same call.
        self._leftover = self._of_ready(self._leftover)
        return self._of_ready(records)

    def _of_ready(self, records: List[Message]) -> List[Message]:
        return [message for message in records if message.partition() in self._ready]

    def _patience_s(self) -> float:
        if self._leftover or (self._workers and self._workers.in_flight):
            return 0.0
        if not self._assignment.is_settled:
            return WORKING_S
        now_s = self._clock()
        dues = [due_s for due_s in map(_next_due_s, self._ready.values()) if due_s is not None]
        return max(0.0, min([IDLE_S, *(due_s - now_s for due_s in dues)]))

    def _forget(self, partitions: Set[int]) -> None:
        """What is not settled of partitions that were taken away belongs to their next owner."""
        self._drop(partitions & set(self._ready))
        self._assignment.drop(partitions)
        if self._outbox:
            self._start_again("partitions were taken away before what was done for them was settled")

    def _start_again(self, why: str) -> None:
        """Restore everything from what is committed."""
        self._report("start_again", detail=why)
        self.abandon()

    def abandon(self) -> None:
        """Drop everything that is not settled, as it must be after a crash, which may cut a step short."""
        while self._settler.in_flight:
            self._settler.collect(IDLE_S)
        self._outbox.clear()
        self._leftover = []
        self._drop(set(self._ready))

    def _drop(self, numbers: Set[int]) -> None:
        """Forget these partitions. Calls that still run for them are waited for before they come back."""
        for number in numbers:
            self._alone.pop(number, None)
            self._stopped.pop(number, None)
            if self._ready[number].in_flight:
                self._orphans[number] = self._orphans.get(number, 0) + self._ready[number].in_flight
        self._assignment.drop(numbers)

    # --- calling what is due ---------------------------------------------------------------------

    def _call_due(self, has_fresh: bool) -> None:
        """Call the orders whose time has come, one of each partition in turn."""
        if self._alone:
            return
        self._start_slice(DUE_SHARE if has_fresh else 1.0)
        guarded: List[Task] = []
        for partition, head in self._due_heads():
            if head.suspect or head.careful:
                guarded.append((partition, head))
            else:
                self._start(partition, head)
        if guarded:
            self._call_guarded(guarded)

    def _due_heads(self) -> Iterator[Task]:
        waiting = [partition for partition in self._ready.values() if partition.ledger.heads]
        while waiting and self._clock() < self._deadline_s and self._has_free_worker():
            still = []
            for partition in waiting:
                head = partition.ledger.take_due(self._clock())
                if head is not None:
                    still.append(partition)
                    yield partition, head
            waiting = still

    def _call_guarded(self, guarded: List[Task]) -> None:
        """After an owner died: list what is about to be called, so that a second death names it."""
        suspects = [(partition, head) for partition, head in guarded if head.suspect]
        careful = [(partition, head) for partition, head in guarded if not head.suspect]
        if careful:
            chunk, late = careful[:CHUNK], careful[CHUNK:]
            self._postpone(late)
            self._call_announced(chunk)
        while suspects and self._call_alone(*suspects[0]):
            del suspects[0]
            if self._clock() >= self._deadline_s:
                break
        self._postpone(suspects)

    def _postpone(self, heads: Sequence[Task]) -> None:
        """Have them taken again in the next round; nothing else would ever call them."""
        for partition, head in heads:
            partition.ledger.wait(head, self._clock())

    def _call_announced(self, chunk: Sequence[Task]) -> bool:
        """List these heads as about to be called, and call them once that is committed."""
        for partition, head in chunk:
            head.announced = partition.dirty = True
        if not self._settle_now():
            self._postpone(chunk)
            return False
        for partition, head in chunk:
            self._start(partition, head)
        return True

    def _call_alone(self, partition: Partition, head: Head) -> bool:
        """Call a suspect with nothing else in flight, its attempt committed first."""
        if head.died_alone and head.attempts >= self._policy.max_retries:
            head.attempts += 1  # the death among others, which was counted to none of them
            self._follow(partition, self._give_up(partition, head, KILLED))
            return True
        if self._workers and self._workers.in_flight:
            return False
        head.attempts += 1
        self._alone[partition.number] = head.offset
        if self._call_announced([(partition, head)]):
            return self._settle_now()
        head.attempts -= 1
        self._alone.pop(partition.number, None)
        return False

    # --- calling what is fresh -------------------------------------------------------------------

    def _call_fresh(self, fresh: List[Message]) -> None:
        """Take in and call as much of the batch as fits into a slice; the rest stays unseen."""
        records = self._leftover + fresh if self._leftover else fresh
        if not self._assignment.is_settled:
            records = self._of_ready(records)
        if not records:
            return self._note_positions()
        for partition in self._ready.values():
            partition.ledger.plan_intake(INTAKE_SPAN)
        self._start_slice(1.0)
        self._leftover = self._calling(records)
        self._note_positions()

    def _calling(self, records: List[Message]) -> List[Message]:
        """Call what may be called of the records, the way that suits; what was not taken in."""
        if self._alone:
            return records
        if self.brake.holds:
            return self._probe(records)
        if any(partition.careful_left for partition in self._ready.values()):
            return self._call_carefully(records)
        if self._workers:
            return self._hand_out(records)
        return self._call_inline(records)

    def _call_inline(self, records: List[Message]) -> List[Message]:  # noqa: C901 - one loop, for speed
        """The fast road: nothing is built, looked up or written for an order that succeeds at once."""
        read, handler, wants_delivery = self._read, self._handler, self._wants_delivery
        busy, failing, stopped = self._busy, self.key_brake.failing, self._stopped
        publishes = self._to.processed_topic is not None
        clock, deadline_s, began_s = self._clock, self._deadline_s, self._clock()
        look_every = LOOK_EVERY if 0 < self._call_s < SWIFT_CALL_S else 1
        keys_matter = bool(busy or failing or stopped)
        taken = done = counted = next_look = 0
        for message in records:
            taken += 1
            if keys_matter:
                if message.partition() in stopped:
                    continue
                if message.key() in busy and self._queue(message):
                    continue
            try:
                order = read(message.value())
                result = handler(order, delivery_of(message, 1)) if wants_delivery else handler(order)
                if publishes and result is not None:
                    self._publish(message, encode_result(result))
            except Exception as error:  # noqa: BLE001 - whatever codec, rules or handler raise
                self.brake.succeeded(done - counted)
                counted = done
                self._fresh_failed(message, error)
                keys_matter = bool(busy or failing or stopped)
                if self.brake.holds:
                    break
            else:
                done += 1
                if keys_matter and message.key() in failing:
                    self.key_brake.succeeded(message.key())
            if taken >= next_look:
                if clock() >= deadline_s:
                    break
                next_look += look_every
        self.brake.succeeded(done - counted)
        self._outbox.done += done
        self._pace(taken, clock() - began_s, len(records))
        return self._without_stopped(records[taken:])

    def _fresh_failed(self, message: Message, error: Exception) -> None:
        """A first call failed: only now the order gets an entry in its ledger."""
        partition = self._ready[message.partition()]
        if isinstance(error, RegistryUnavailable):
            return self._wait_for_registry(partition, message.offset(), error)
        head = partition.ledger.take_in(message, message.offset(), message.key())
        self._follow(partition, self._failed(partition, head, error))
        self._stop_if_full(partition, message)

    def _queue(self, message: Message) -> bool:
        """Keep the record behind the head of its key, if its partition has one."""
        partition = self._ready[message.partition()]
        key = message.key()
        if key not in partition.ledger.by_key:
            return False
        partition.ledger.queue(key, message, message.offset(), size_of(message))
        partition.dirty = True
        self._stop_if_full(partition, message)
        return True

    def _stop_if_full(self, partition: Partition, taken: Message) -> None:
        if partition.ledger.is_full:
            self._stop(partition, taken.offset() + 1, "full")
            self._report("ledger_full", partition=partition.number, waiting=partition.ledger.unfinished)

    def _stop(self, partition: Partition, offset: int, why: str, until_s: Optional[float] = None) -> None:
        """Take in nothing from `offset` on for now; Kafka keeps it."""
        self._stopped[partition.number] = offset
        self._assignment.hold(partition, why, until_s)

    def _wait_for_registry(self, partition: Partition, offset: int, error: Exception) -> None:
        if self._clock() >= self._next_registry_line_s:
            self._next_registry_line_s = self._clock() + REGISTRY_LINE_S
            self._report("registry_down", partition=partition.number, detail=str(error))
        self._stop(partition, offset, "registry", self._clock() + REGISTRY_RETRY_S)

    def _without_stopped(self, records: List[Message]) -> List[Message]:
        if not self._stopped:
            return records
        return [message for message in records if message.partition() not in self._stopped]

    def _probe(self, records: List[Message]) -> List[Message]:
        """During an outage: try one fresh order now and then."""
        if self._clock() < self._next_probe_s or not self._has_free_worker():
            return records
        self._next_probe_s = self._clock() + PROBE_S
        self._take_one(records[0])
        return self._without_stopped(records[1:])

    def _hand_out(self, records: List[Message]) -> List[Message]:
        """Give fresh orders to the workers, as many as they can take soon."""
        index = 0
        while index < len(records) and self._has_free_worker():
            if records[index].partition() not in self._stopped:
                self._take_one(records[index])
            index += 1
        return self._without_stopped(records[index:])

    def _take_one(self, message: Message) -> None:
        partition = self._ready[message.partition()]
        if message.key() in self._busy and self._queue(message):
            return
        head = partition.ledger.take_in(message, message.offset(), message.key())
        partition.dirty = True
        self._start(partition, head)
        self._stop_if_full(partition, message)

    def _call_carefully(self, records: List[Message]) -> List[Message]:
        """After an owner died: a hundred of each partition at a time, announced before the first call."""
        if self._workers and self._workers.in_flight:
            return records
        chosen, rest = self._choose_chunk(records)
        chunk = []
        for message in chosen:
            if message.key() in self._busy and self._queue(message):
                continue
            partition = self._ready[message.partition()]
            chunk.append((partition, partition.ledger.take_in(message, message.offset(), message.key())))
            self._stop_if_full(partition, message)
        self._leftover = self._without_stopped(rest)
        self._note_positions()
        self._call_announced(chunk)
        return self._leftover

    def _choose_chunk(self, records: List[Message]) -> Tuple[List[Message], List[Message]]:
        room = {number: min(CHUNK, part.careful_left or CHUNK) for number, part in self._ready.items()}
        chosen: List[Message] = []
        rest: List[Message] = []
        for message in records:
            number = message.partition()
            if room[number]:
                room[number] -= 1
                self._ready[number].careful_left = max(0, self._ready[number].careful_left - 1)
                chosen.append(message)
            else:
                rest.append(message)
        return chosen, rest

    # --- one call and what comes of it -----------------------------------------------------------

    def attempt(self, task: Task) -> Optional[bytes]:
        """Decode, check and handle one order; its encoded result. Raises whatever went wrong.

        Workers call this in their threads: it only reads.
        """
        partition, head = task
        order = self._read(head.record.value())
        if self._wants_delivery:
            number = self._attempt_number(partition, head)
            result = self._handler(order, delivery_of(head.record, number))
        else:
            result = self._handler(order)
        return None if result is None or self._to.processed_topic is None else encode_result(result)

    def _start(self, partition: Partition, head: Head) -> None:
        """Have a head called: by a worker, or here and now with the followers it releases."""
        if self._ready.get(partition.number) is not partition:
            return None
        if self._workers is None:
            return self._follow(partition, self._call(partition, head))
        partition.in_flight += 1
        self._workers.submit((partition, head))
        return None

    def _follow(self, partition: Partition, following: Optional[Head]) -> None:
        """Go on with the followers that a head releases one by one, until the slice ends."""
        while following is not None:
            if not self._may_follow(following):
                return partition.ledger.wait(following, self._clock())
            if self._workers is not None:
                return self._start(partition, following)
            following = self._call(partition, following)

    def _may_follow(self, head: Head) -> bool:
        if head.suspect or head.careful or not self._goes_on:
            return False
        return self._workers is not None or self._clock() < self._deadline_s

    def _call(self, partition: Partition, head: Head) -> Optional[Head]:
        self._watchdog.busy()
        try:
            value = self.attempt((partition, head))
        except Exception as error:  # noqa: BLE001 - whatever codec, rules or handler raise
            return self._failed(partition, head, error)
        return self._succeeded(partition, head, value)

    def _attempt_number(self, partition: Partition, head: Head) -> int:
        return head.attempts + (0 if self._is_alone(partition, head) else 1)

    def _is_alone(self, partition: Partition, head: Head) -> bool:
        """Whether this head's attempt was counted before it was called."""
        return self._alone.get(partition.number) == head.offset

    def _collect(self) -> None:
        """Take what the workers have finished. Results for partitions that are gone are dropped."""
        if self._workers is None:
            return self._watchdog.busy()
        may_wait = not self._leftover or not self._has_free_worker()
        for finished in self._workers.collect(WORKING_S if may_wait else 0.0):
            self._take_outcome(*finished)
        self._watchdog.busy_since(self._workers.oldest_start_s())

    def _take_outcome(self, task: Task, value: Optional[bytes], error: Optional[Exception]) -> None:
        partition, head = task
        partition.in_flight -= 1
        if self._ready.get(partition.number) is not partition:
            self._bury(partition.number)
        elif error is not None:
            self._follow(partition, self._failed(partition, head, error))
        else:
            self._follow(partition, self._succeeded(partition, head, value))

    def _bury(self, number: int) -> None:
        left = self._orphans.get(number, 0) - 1
        if left > 0:
            self._orphans[number] = left
        else:
            self._orphans.pop(number, None)

    def _succeeded(self, partition: Partition, head: Head, value: Optional[bytes]) -> Optional[Head]:
        """The order is processed. The next of its key, if one waits behind it."""
        if value is not None:
            self._publish(head.record, value)
        self._outbox.done += 1
        self.key_brake.succeeded(head.key)
        self._called(head, succeeded=True, first=self._attempt_number(partition, head) == 1)
        return self._finish(partition, head)

    def _failed(self, partition: Partition, head: Head, error: Exception) -> Optional[Head]:
        """Wait, or give the order up; in the second case, the next of its key."""
        if isinstance(error, RegistryUnavailable):
            if self._alone.pop(partition.number, None) == head.offset:
                head.attempts -= 1
            partition.ledger.wait(head, self._clock() + REGISTRY_RETRY_S)
            return None
        failure = describe(error, self._keep_stack)
        first_call = head.attempts == 0
        head.attempts = self._attempt_number(partition, head)
        if head.first_failed_at_ms is None and first_call:
            head.first_failed_at_ms = self._now_ms()
        self._called(head, succeeded=not failure.retryable or failure.stage != "process", first=first_call)
        decision = self._decide(head, failure)
        if isinstance(decision, GiveUp):
            return self._give_up(partition, head, decision.failure)
        self._alone.pop(partition.number, None)
        partition.dirty = True
        partition.ledger.wait(head, self._clock() + decision.delay_s)
        self.counts.retries += 1
        self._report(
            "retry", record=head.record, failure=failure, attempt=head.attempts, delay_s=decision.delay_s
        )
        return None

    def _decide(self, head: Head, failure: Failure) -> Decision:
        key_failing = head.key in self.key_brake.failing
        at_end = head.attempts > self._policy.max_retries or key_failing
        may_exhaust = not at_end or not failure.retryable or self.brake.may_exhaust(self._clock())
        return decide(failure, head.attempts, self._policy, self._chance(), key_failing, may_exhaust)

    def _called(self, head: Head, succeeded: bool, first: bool = False) -> None:
        """Let the outage brake see the outcome of a call."""
        if self.brake.holds:
            if succeeded:
                self._next_probe_s = 0.0
            if self.brake.probed(succeeded):
                self._release_brake()
        elif succeeded and first:
            self.brake.succeeded(1)
        elif first and self.brake.failed(head.key if head.key is not None else head.offset):
            self._report("outage_begins")

    def _release_brake(self) -> None:
        """The outage is over: what waited through it has its full budget again, and is due."""
        self._report("outage_ends")
        for partition in self._ready.values():
            for head in partition.ledger.waiting():
                if not head.suspect:
                    head.attempts = 0
            partition.ledger.reschedule(self._clock())
            partition.dirty = True
            self._assignment.release(partition, "outage")

    def _give_up(self, partition: Partition, head: Head, failure: Failure) -> Optional[Head]:
        """Dead-letter the order. The next of its key, if one waits behind it."""
        record = record_of(head.record)
        if failure.reason in ("process.retries_exhausted", "process.key_failing"):
            self.key_brake.exhausted(head.key)
        about = Circumstances(
            group=self._to.group,
            client=self._to.client,
            attempts=head.attempts,
            first_failed_at_ms=head.first_failed_at_ms,
            failed_at_ms=self._now_ms(),
            schema=None if failure is KILLED else self._schema_of(record.value),
            partitions=self._to.dlq_partitions,
        )
        self._outbox.dead.append(Dead(record, head.key, failure, about))
        return self._finish(partition, head)

    def _finish(self, partition: Partition, head: Head) -> Optional[Head]:
        self._alone.pop(partition.number, None)
        partition.dirty = True
        return partition.ledger.finish(head)

    def _now_ms(self) -> int:
        return int(self._time_of_day() * 1000)

    def _publish(self, message: Message, value: bytes) -> None:
        """Have the result sent, under the order's key, when what was done is settled."""
        assert self._to.processed_topic is not None
        self._outbox.results.append(Outgoing(self._to.processed_topic, message.key(), value, []))

    # --- settling --------------------------------------------------------------------------------

    def _note_positions(self) -> None:
        """Raise each `next` to the first record that was not taken in, past markers and holes."""
        numbers = list(self._ready)
        places = self._session.positions(numbers)
        for message in reversed(self._leftover):
            places[message.partition()] = message.offset()
        places.update(self._stopped)
        for number, place in places.items():
            partition = self._ready[number]
            if place < partition.ledger.next:
                return self._start_again(f"partition {number} went back to offset {place}")
            if place > partition.ledger.next:
                partition.ledger.next = place
                partition.dirty = True
        self._seek_back()

    def _seek_back(self) -> None:
        try:
            for number, offset in self._stopped.items():
                self._session.seek(number, offset)
        except KafkaException as error:
            return self._start_again(f"cannot seek back: {error.args[0].str()}")
        self._stopped.clear()

    def _is_time_to_settle(self) -> bool:
        return self._workers is None or self._clock() >= self._settle_at_s

    def _settle(self) -> bool:
        """Commit what was done, with what it sends, while the next orders are already being called.

        At most one settlement is on its way. False where the last one is not known to be committed.
        """
        if not self._await_settlement():
            return False
        dirty = [partition for partition in self._ready.values() if partition.dirty]
        if dirty:
            self._settler.submit(self._settlement_of(dirty))
        return True

    def _settle_now(self) -> bool:
        """Commit what was done, and wait until it is certain."""
        return self._settle() and self._await_settlement()

    def _settlement_of(self, dirty: List[Partition]) -> Work:
        offsets = {
            partition.number: self._assignment.commit_of(
                partition, False, self.brake.holds, self._alone.get(partition.number)
            )
            for partition in dirty
        }
        for partition in dirty:
            partition.dirty = False
        return Work(self._outbox.take(), dirty, offsets, self._session.member())

    def _send(self, work: Work) -> Settlement:
        """Runs in the settling thread, the only other one that may use the session."""
        return self._session.settle(work.outbox.records(), work.offsets, work.member)

    def _await_settlement(self) -> bool:
        """Wait for the settlement that is on its way, if there is one. False where it did not succeed."""
        while self._settler.in_flight:
            finished = self._settler.collect(IDLE_S)
            if not finished:
                self._watchdog.idle()
            for work, settlement, error in finished:
                if error is not None:
                    raise error
                if settlement.outcome is not Outcome.SETTLED:
                    return self._not_settled(work, settlement)
                self._settled(work.outbox)
        return True

    def _settled(self, sent: Outbox) -> None:
        self._settle_at_s = self._clock() + POOL_SETTLE_S
        dead_letters = sent.sent + sent.dead
        self.counts.processed += sent.done
        self.counts.dead_lettered += len(dead_letters)
        for dead in dead_letters:
            attempt = dead.about.attempts
            self._report("dead_lettered", record=dead.record, failure=dead.failure, attempt=attempt)
        if self._blocked_for_s:
            self._blocked_for_s = 0.0
            self._report("unblocked")

    def _not_settled(self, work: Work, settlement: Settlement) -> bool:
        outcome = settlement.outcome
        self._take_back(work, settlement)
        if outcome is Outcome.TOO_LARGE and self._outbox.shrink(self._ask_max_bytes()):
            self._report("dead_letter_too_large", max_bytes=self._outbox.max_bytes)
            self._use_max_bytes(self._outbox.max_bytes)
            return self._settle_now()
        if outcome in (Outcome.TOO_LARGE, Outcome.REFUSED):
            return self._block(settlement.detail)
        if outcome is Outcome.METADATA_TOO_LARGE:
            self._assignment.lower_metadata_limit()
        self._start_again(settlement.detail)
        return False

    def _take_back(self, work: Work, settlement: Settlement) -> None:
        work.outbox.confirm(settlement.confirmed)
        self._outbox.put_back(work.outbox)
        for partition in work.partitions:
            partition.dirty = True

    def _use_max_bytes(self, max_bytes: int) -> None:
        self._outbox.max_bytes = max_bytes
        self._session.expect_records_of(max_bytes)

    def _block(self, detail: str) -> bool:
        """Kafka refuses what must be sent: keep everything as it is, say so, and try again."""
        least_s, most_s = BLOCKED_RETRY_S
        self._blocked_for_s = min(most_s, self._blocked_for_s * 2 or least_s)
        self._blocked_until_s = self._clock() + self._blocked_for_s
        self._report("blocked", detail=detail, retry_s=self._blocked_for_s)
        for partition in self._ready.values():
            self._assignment.hold(partition, "blocked")
        return False

    def _is_blocked(self) -> bool:
        """Whether dead letters or results are still refused; tries again when it is time."""
        if not self._blocked_for_s:
            return False
        if self._clock() < self._blocked_until_s:
            return True
        self._use_max_bytes(self._ask_max_bytes() or self._outbox.max_bytes)
        if not self._settle_now():
            return True
        for partition in self._ready.values():
            self._assignment.release(partition, "blocked")
        return False

    # --- pace ------------------------------------------------------------------------------------

    def _start_slice(self, share: float) -> None:
        length_s = SLOW_SLICE_S if self._call_s > SLOW_CALL_S else SLICE_S
        self._deadline_s = self._clock() + share * length_s

    def _pace(self, taken: int, took_s: float, polled: int) -> None:
        """Let the next batch be as large as fits into a slice."""
        if not taken:
            return
        self._call_s = took_s / taken
        if taken < polled:
            self._batch_size = max(1, taken)
        elif taken >= self._batch_size and took_s < SLICE_S / 2:
            self._batch_size = min(MAX_BATCH, self._batch_size * 2)

    def _has_free_worker(self) -> bool:
        return self._workers is None or self._workers.in_flight < AHEAD * self._workers.count

    def _steer_intake(self) -> None:
        """Hold the partitions while there is more than can be called, release them when there is not."""
        self._assignment.release_expired()
        backlog = len(self._leftover)
        for partition in self._ready.values():
            if backlog > MAX_BACKLOG or backlog < MIN_BACKLOG:
                self._hold_if(partition, "backlog", backlog > MAX_BACKLOG)
            self._hold_if(partition, "outage", self.brake.holds and self._clock() < self._next_probe_s)
            if "full" in partition.holds and partition.ledger.has_room:
                self._assignment.release(partition, "full")

    def _hold_if(self, partition: Partition, why: str, wanted: bool) -> None:
        if wanted and why not in partition.holds:
            self._assignment.hold(partition, why)
        elif not wanted and why in partition.holds:
            self._assignment.release(partition, why)

    # --- stopping --------------------------------------------------------------------------------

    def mark_clean(self, partitions: Set[int]) -> None:
        """Partitions are about to be given up: commit where they stand, with the mark of a proper stop."""
        if self._blocked_for_s or not self._settle_now():
            return
        offsets = {
            number: self._assignment.commit_of(partition, self._is_clean(partition), self.brake.holds)
            for number, partition in self._ready.items()
            if number in partitions
        }
        if offsets:
            self._session.settle([], offsets, self._session.member())

    def let_go(self) -> None:
        """Partitions are lost already: nothing may be on its way any more when this returns."""
        self._await_settlement()

    @staticmethod
    def _is_clean(partition: Partition) -> bool:
        heads = partition.ledger.heads.values()
        return not partition.in_flight and not partition.careful_left and not any(
            head.suspect or head.careful for head in heads
        )  # fmt: skip

    def finish_calls(self, until_s: float) -> None:
        """Wait for the workers' running calls, without starting any, and settle them."""
        self._goes_on = False
        while self._workers is not None and self._workers.in_flight and self._clock() < until_s:
            self._poll()
            self._collect()
            self._settle()
        self._settle_now()

    # --- what the outside may ask ----------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Orders that wait for a retry, those behind them included."""
        return sum(partition.ledger.unfinished for partition in self._ready.values())

    def lag(self) -> int:
        """Records that were not taken in yet, as far as the last fetch knew."""
        ends = ((part, self._session.known_end(number)) for number, part in self._ready.items())
        return sum(max(0, end - part.ledger.next) for part, end in ends if end is not None)

    def is_drained(self) -> bool:
        """All that was there at the start is processed or dead-lettered."""
        return self._has_taken_all() and not any(part.ledger.heads for part in self._ready.values())

    def has_only_held(self) -> bool:
        """Nothing is left but orders that an outage keeps waiting."""
        return self.brake.holds and self._has_taken_all() and bool(self.waiting)

    def _has_taken_all(self) -> bool:
        idle = not self._leftover and not self._outbox and not self._settler.in_flight
        settled = self._assignment.is_settled and bool(self._ready) and idle
        return settled and all(part.ledger.next >= part.end for part in self._ready.values())


def _next_due_s(partition: Partition) -> Optional[float]:
    return partition.ledger.next_due_s()


def record_of(message: Message) -> Record:
    """The client's message as our record."""
    kind, timestamp_ms = message.timestamp()
    return Record(
        topic=message.topic(),
        partition=message.partition(),
        offset=message.offset(),
        timestamp_ms=timestamp_ms if kind else None,
        timestamp_type={1: "CreateTime", 2: "LogAppendTime"}.get(kind),
        key=message.key(),
        value=message.value(),
        headers=list(message.headers() or []),
    )
