"""The engine: takes orders in, has them handled, and settles what came of it.

Owns: the road of an order from the session to its one fate, and how far each partition has got.
Does not know: the command line, how a dead letter or a commit is written, what an order means.
Used by: consumer.py. One thread calls it, and that thread owns both Kafka clients and every ledger.

Read `step` first. Of its parts, assignment.py restores partitions, calls.py calls orders that have
an entry in a ledger, settling.py makes certain what was done.
"""

from collections import deque
from typing import Callable, Deque, Dict, Iterator, List, Optional, Sequence, Set, Tuple

from confluent_kafka import KafkaException

from orderflow.consume import caution
from orderflow.consume.assignment import FIRST_CHUNK, LARGEST_CHUNK, Assignment, Partition, Report, size_of
from orderflow.consume.brakes import Successes
from orderflow.consume.calls import KILLED, REGISTRY_RETRY_S, Business, Caller, Task, told_by
from orderflow.consume.handler import delivery_of, wants_delivery
from orderflow.consume.ledger import Head
from orderflow.consume.results import PLAIN, require_outcome
from orderflow.consume.session import Session
from orderflow.consume.settling import Settler
from orderflow.errors import Failure, RegistryUnavailable, describe, is_permanent
from orderflow.model.records import Message

MAX_BATCH = 20_000
INTAKE_SPAN = 4 * MAX_BATCH
"""Offsets that one batch may span, holes included, in the count of heads that must fit."""
SLICE_S = 0.15
"""Handlers run so long before what they did is settled: a kill repeats no more than that."""
SLOW_SLICE_S = 0.01
SLOW_CALL_S = 0.0001
"""Calls that take longer than this are settled every 10 ms, if Kafka can: a kill then repeats a handful."""
SWIFT_CALL_S = 0.00002
LOOK_EVERY = 64
"""While calls are shorter than that, one look at the clock serves so many."""
DUE_SHARE = 0.3
"""The share of handler time that retries may take while fresh orders are there."""
POOL_SETTLE_S = 0.02
"""Workers go on while the last calls are settled, so settling more often than this gains nothing."""
POOL_RUN = 800
"""Orders that workers are given between two settlements: so far the next owner has to be careful."""
MIN_BACKLOG, MAX_BACKLOG = 500, 2_000
"""Records polled but not taken in at which fetching goes on, and is paused. A pause costs a fetch."""
IDLE_S = 0.1
WORKING_S = 0.01
SOON_S = 0.001
"""What is done waits for the settlement before: look after it so often."""
PROBE_S = 1.0
"""While the outage brake holds a partition, a fresh order of it is tried this often."""
PROBE_PAUSE = 2.0
"""So many times as long as a failed probe took, no other is made while other partitions flow.

A call to what is down may take until its time-out, and would take their time.
"""
REGISTRY_LINE_S = 30.0
LOSS_LOOK_S = 5.0
"""Holes in the offsets are looked into no more often than this: most are markers of transactions."""


class Processor:
    """Sees every order through to its one fate."""

    def __init__(
        self,
        session: Session,
        assignment: Assignment,
        caller: Caller,
        settler: Settler,
        business: Business,
        publishes: bool,
        clock: Callable[[], float],
        report: Report,
    ) -> None:
        """`publishes`: results are sent to a topic."""
        self._session = session
        self._assignment = assignment
        self._ready = assignment.ready
        self._caller = caller
        self._settler = settler
        settler.start_again = self._start_again
        self._read = business.read
        self._handler = business.handler
        self._keep_stack = business.keep_stack
        self._wants_delivery = wants_delivery(business.handler)
        self._topic_id = business.topic_id
        self._publishes = publishes
        self._clock = clock
        self._report = report

        self._batch_size = 500
        self._call_s = 1.0
        """The mean length of a call in the last batch; slow until it is known."""
        self._leftover: List[Message] = []
        """Polled but not taken in: beyond `next`, as if never seen."""
        self._held_back: Dict[int, Deque[Message]] = {}
        """The same, of partitions that the outage brake holds."""
        self._successes = Successes([])
        """Of the batch that was called last."""
        self._next_probe_s = 0.0
        self._stopped: Dict[int, int] = {}
        """Partitions that take in no more of this batch, and the offset to go on at."""
        self._taken = 0
        """Orders given to workers since what they did was last settled."""
        self._clears_suspects = False
        """A suspect is called, or what came of its call is not settled."""
        if caller.has_workers:
            assignment.care = caution.POOL
        self._next_registry_line_s = 0.0
        self._next_loss_look_s = 0.0
        self._note_reach()

    # --- the road of an order --------------------------------------------------------------------

    def step(self) -> None:
        """One round: take in what Kafka has, call what is due and what is fresh, settle all of it."""
        fresh = self._poll()
        self._assignment.refresh(not_yet=set(self._caller.orphans))
        if self._settler.is_blocked():
            self._leftover = self._leftover + fresh
            return
        self._collect()
        if self._call_suspects():
            self._leftover = self._leftover + fresh
        else:
            self._call_due(has_fresh=bool(fresh or self._leftover))
            self._call_fresh(fresh)
            if self._is_time_to_settle(len(fresh)) and not self._announces_next:
                self._settle()
        self._steer_intake()

    # --- taking in -------------------------------------------------------------------------------

    def _poll(self) -> List[Message]:
        """What Kafka has. Partitions may be taken away in here, after all that was done is settled."""
        records = self._session.poll(max(1, self._batch_size - len(self._leftover)), self._patience_s())
        lost = self._session.take_lost()
        if lost:
            self._forget(lost)
            self._leftover = self._of_ready(self._leftover)
        return self._new_ones(records)

    def _new_ones(self, records: List[Message]) -> List[Message]:
        """Those that were not handed over before, of partitions that are ours."""
        sifted = self._assignment.intake.sift(records, self._clock())
        for message in sifted.late:
            self._take_late(message)
        for number, offset in sifted.back_to:
            self._go_back(number, offset)
        for number, messages in _by_partition(sifted.repeated).items():
            if number in self._ready:
                self._note_repeated(number, messages)
        return sifted.fresh

    def _note_repeated(self, number: int, messages: Sequence[Message]) -> None:
        """Leave them alone, unless the log has lost its end: then other records stand at these offsets."""
        first, last = messages[0].offset(), messages[-1].offset()
        self._report("handed_over_again", partition=number, first=first, last=last)
        bounds = self._assignment.bounds(number)
        if bounds is not None and bounds[1] < self._assignment.intake.expected(number):
            self._start_again(f"partition {number} ends at offset {bounds[1]} now, before what was read")

    def _take_late(self, message: Message) -> None:
        """Its place was taken for a hole. Whatever came of its key meanwhile, it has to be processed."""
        partition = self._ready[message.partition()]
        self._report("came_late", partition=partition.number, offset=message.offset())
        partition.ledger.wait(partition.ledger.take_in(message, message.offset(), None), self._clock())
        partition.dirty = True

    def _go_back(self, number: int, offset: int) -> None:
        """Have the client read on from there, as if it had not handed over more."""
        if number not in self._ready:
            return
        try:
            self._session.seek(number, offset)
        except KafkaException as error:
            self._start_again(f"cannot seek back: {error.args[0].str()}")
            return
        self._assignment.intake.go_back(number, offset)

    def _of_ready(self, records: List[Message]) -> List[Message]:
        return [message for message in records if message.partition() in self._ready]

    def _patience_s(self) -> float:
        if self._is_held_up:
            return WORKING_S
        if self._leftover or self._caller.in_flight:
            return 0.0
        if self._settler.outbox:
            return SOON_S
        if not self._assignment.is_settled:
            return 0.0 if self._assignment.reads_back else WORKING_S
        now_s = self._clock()
        dues = [due_s for due_s in map(_next_due_s, self._ready.values()) if due_s is not None]
        dues += [max(self._next_probe_s, self._caller.brake.probe_at_s(number)) for number in self._held_back]
        return max(0.0, min([IDLE_S, *(due_s - now_s for due_s in dues)]))

    @property
    def _is_held_up(self) -> bool:
        """Whether nothing polled could be taken in now, so that looking again at once only burns time."""
        return self._settler.is_held_up

    def _forget(self, partitions: Set[int]) -> None:
        """What is not settled of partitions that were taken away belongs to their next owner.

        What was done for those that stay is kept, and so are their calls.
        """
        self._drop(partitions & set(self._ready))
        self._assignment.drop(partitions)
        for number in partitions:
            self._caller.brake.forget(number)
        if self._settler.forget(partitions):
            detail = "partitions were taken away before what was done for them was settled"
            self._report("start_again", detail=detail)

    def _start_again(self, why: str) -> None:
        """Restore everything from what is committed."""
        self._report("start_again", detail=why)
        self.abandon()

    def abandon(self) -> None:
        """Drop everything that is not settled, as it must be after a crash, which may cut a step short."""
        self._settler.drop()
        self._leftover = []
        self._drop(set(self._ready))

    def _drop(self, numbers: Set[int]) -> None:
        """Forget these partitions. Calls that still run for them are waited for before they come back."""
        for number in numbers:
            self._stopped.pop(number, None)
            self._held_back.pop(number, None)
            self._caller.orphan(self._ready[number])
        self._assignment.drop(numbers)

    # --- calling what is due ---------------------------------------------------------------------

    def _call_due(self, has_fresh: bool) -> None:
        """Call the orders whose time has come, one of each partition in turn."""
        self._start_slice(DUE_SHARE if has_fresh else 1.0)
        guarded: List[Task] = []
        for partition, head in self._due_heads():
            if head.careful:
                guarded.append((partition, head))
            else:
                self._caller.start(partition, head)
        if guarded:
            room = min(FIRST_CHUNK, self._caller.free_workers)
            self._postpone(guarded[room:])
            self._call_announced(guarded[:room])

    def _due_heads(self) -> Iterator[Task]:
        waiting = [partition for partition in self._ready.values() if partition.ledger.heads]
        while waiting and self._caller.has_free_worker:
            now_s, still = self._clock(), []
            if now_s >= self._caller.deadline_s:
                return
            for partition in waiting:
                head = partition.ledger.take_due(now_s)
                if head is not None:
                    still.append(partition)
                    yield partition, head
            waiting = still

    def _postpone(self, heads: Sequence[Task]) -> None:
        """Have them taken again in the next round; nothing else would ever call them."""
        for partition, head in heads:
            partition.ledger.wait(head, self._clock())

    def _call_announced(self, chunk: Sequence[Task]) -> bool:
        """After an owner died: list what is about to be called, so that a second death names it.

        What these release may run on behind them, unless there are workers for it to wait for.
        """
        if not self._announce(chunk):
            return False
        for _, head in chunk:
            head.run = 0 if self._caller.has_workers else caution.KEY_RUN
        self._call_all(chunk)
        return True

    def _announce(self, chunk: Sequence[Task]) -> bool:
        """List these heads as about to be called. False where that could not be committed."""
        for partition, head in chunk:
            head.announced = partition.dirty = True
        if chunk and not self._settle_now():
            self._postpone(chunk)
            for partition, _ in chunk:
                partition.dirty = True  # it may have been committed all the same
            return False
        return True

    def _call_all(self, chunk: Sequence[Task]) -> None:
        """Call these, and settle what was done whenever a slice is over."""
        self._start_slice(1.0)
        begun, began_s = 0, self._clock()
        for partition, head in chunk:
            self._caller.start(partition, head)
            begun += 1
            if self._clock() >= self._caller.deadline_s:
                self._call_s = (self._clock() - began_s) / begun
                if self._is_time_to_settle(polled=0):
                    self._settle()
                self._start_slice(1.0)
                begun, began_s = 0, self._clock()

    # --- calling who may be to blame ---------------------------------------------------------------

    def _call_suspects(self) -> bool:
        """Call those who may have ended the last process. True while nothing else may be called."""
        if not self._clears_suspects and not any(part.ledger.suspects for part in self._ready.values()):
            return False
        self._start_slice(1.0)
        while not self._caller.in_flight:
            # What survived must not be under suspicion any more when anything is called without care.
            if self._clears_suspects and not self._settle_now():
                return True
            self._clears_suspects = False
            chosen = self._next_suspects()
            if chosen is None:
                return False
            if not self._call_chosen(chosen) or self._clock() >= self._caller.deadline_s:
                return True
        return True

    def _next_suspects(self) -> Optional[caution.Next]:
        ledgers = {number: partition.ledger for number, partition in self._ready.items()}
        return caution.choose(ledgers, self._clock(), self._caller.max_retries)

    def _call_chosen(self, chosen: caution.Next) -> bool:
        """Announce these suspects, and call them with nothing else in flight."""
        tasks = [(self._ready[number], head) for number, head in zip(chosen.partitions, chosen.heads)]
        for partition, head in tasks:
            partition.ledger.take(head)
        if chosen.alone:
            return self._call_alone(*tasks[0])
        return self._call_in_doubt(tasks)

    def _call_alone(self, partition: Partition, head: Head) -> bool:
        """Call a suspect with its attempt committed first; or give it up, if it has died so too often."""
        if self._caller.is_guilty(head):
            head.attempts += 1  # the death among others, which was counted to none of them
            self._caller.follow(partition, self._caller.give_up(partition, head, KILLED))
            self._clears_suspects = True
            return True
        before = partition.alone
        head.attempts += 1
        partition.alone = head.offset
        if self._call_in_doubt([(partition, head)]):
            return True
        head.attempts -= 1
        partition.alone = before
        return False

    def _call_in_doubt(self, tasks: Sequence[Task]) -> bool:
        if not self._announce(tasks):
            return False
        self._clears_suspects = True
        self._call_all(tasks)
        return True

    # --- calling what is fresh -------------------------------------------------------------------

    def _call_fresh(self, fresh: List[Message]) -> None:
        """Take in and call as much of the batch as fits into a slice; the rest stays unseen."""
        records = self._leftover + fresh if self._leftover else fresh
        if not self._assignment.is_settled:
            records = self._of_ready(records)
        if self._held_back:
            records = self._released() + records
        if not records and not self._held_back:
            return self._note_positions(0)
        for partition in self._ready.values():
            partition.ledger.plan_intake(INTAKE_SPAN)
        self._start_slice(1.0)
        self._leftover = self._calling(records)
        self._note_positions(len(records))
        self._note_reach()

    def _calling(self, records: List[Message]) -> List[Message]:
        """Call what may be called of the records, the way that suits; what was not taken in."""
        if self._caller.brake.is_on:
            records = self._set_aside(records)
            self._probe()
        if not records:
            return []
        if self._is_careful:
            return self._call_carefully(records)
        if self._caller.has_workers:
            return self._hand_out(records)
        return self._call_inline(records)

    @property
    def _is_careful(self) -> bool:
        return any(partition.careful_left for partition in self._ready.values())

    def _call_inline(self, records: List[Message]) -> List[Message]:  # noqa: C901, PLR0912 - for speed
        """The fast road: nothing is built, looked up or written for an order that succeeds at once.

        What no retry can help needs no entry in a ledger either, and is dead-lettered with the batch.
        """
        read, handler, wants_delivery = self._read, self._handler, self._wants_delivery
        topic_id = self._topic_id
        busy, failing, stopped = self._assignment.busy, self._caller.key_brake.failing, self._stopped
        publish, publishes = self._publish, self._publishes
        self._successes = Successes(records)
        others = self._successes.others
        clock, deadline_s, began_s = self._clock, self._caller.deadline_s, self._clock()
        look_every = LOOK_EVERY if self._call_s < SWIFT_CALL_S else 1
        rejected: List[Tuple[Message, Failure]] = []
        taken = undone = 0
        next_look = 1
        for taken, message in enumerate(records, 1):
            if busy and message.key() in busy and self._queue(message):
                undone += 1
                others.add(taken)
                if stopped:
                    break
                continue
            try:
                order = read(message.value())
                result = (
                    handler(order, delivery_of(message, 1, topic_id)) if wants_delivery else handler(order)
                )
                if result is not None:
                    if publishes:
                        publish(message, result)
                    elif type(result) not in PLAIN:
                        require_outcome(result)
            except SystemExit:  # the handler ends the process: no failure of its order yet
                raise
            except BaseException as error:  # noqa: BLE001 - whatever codec, rules or handler raise
                if is_permanent(error):
                    rejected.append((message, self._rejected(error, taken)))
                else:
                    undone += 1
                    others.add(taken)
                    if self._fresh_failed(message, error, taken) or stopped:
                        break
            else:
                if failing and message.key() in failing:
                    self._caller.key_brake.succeeded(message.key())
            if taken >= next_look:
                if clock() >= deadline_s:
                    break
                next_look += look_every
        self._successes.size = taken
        self._settler.outbox.done += taken - undone - len(rejected)
        self._caller.reject(rejected)
        self._pace(taken, clock() - began_s, len(records))
        return self._without_stopped(records[taken:])

    def _publish(self, message: Message, result: object) -> None:
        value = self._caller.value_of(result)
        if value is not None:
            self._caller.publish(message, value)

    def _rejected(self, error: BaseException, place: int) -> Failure:
        failure = describe(error, self._keep_stack)
        if not told_by(failure):
            self._successes.others.add(place)
        return failure

    def _fresh_failed(self, message: Message, error: BaseException, place: int) -> bool:
        """A first call failed and may succeed later: only now the order gets an entry in its ledger.

        `place`: of the message in the batch. True where the outage brake holds its partition now.
        """
        partition = self._ready[message.partition()]
        if isinstance(error, RegistryUnavailable):
            self._wait_for_registry(partition, message.offset(), error)
            return False
        self._count_successes(partition.number, place)
        head = partition.ledger.take_in(message, message.offset(), message.key())
        self._caller.follow(partition, self._caller.failed(partition, head, error))
        self._stop_if_full(partition, message)
        return self._caller.brake.holds(partition.number)

    def _count_successes(self, number: int, until: int) -> None:
        """Tell the outage brake of a partition's successes in this batch, before it is told of a failure."""
        found = self._successes.count(number, self._caller.brake.needed(number), until)
        if found:
            self._caller.answered(number, found)

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

    def _wait_for_registry(self, partition: Partition, offset: int, error: RegistryUnavailable) -> None:
        if self._clock() >= self._next_registry_line_s:
            self._next_registry_line_s = self._clock() + REGISTRY_LINE_S
            self._report("registry_down", partition=partition.number, detail=str(error))
        self._stop(partition, offset, "registry", self._clock() + REGISTRY_RETRY_S)

    def _without_stopped(self, records: List[Message]) -> List[Message]:
        if not self._stopped:
            return records
        return [message for message in records if message.partition() not in self._stopped]

    # --- during an outage ------------------------------------------------------------------------

    def _set_aside(self, records: List[Message]) -> List[Message]:
        """The records of partitions that flow; those of partitions that are held are kept for probes."""
        held = {number for number in self._ready if self._caller.brake.holds(number)}
        flowing = []
        for message in records:
            if message.partition() in held:
                self._held_back.setdefault(message.partition(), deque()).append(message)
            else:
                flowing.append(message)
        return flowing

    def _released(self) -> List[Message]:
        """What was kept of partitions that are not held any more."""
        free = [number for number in self._held_back if not self._caller.brake.holds(number)]
        return [message for number in free for message in self._held_back.pop(number)]

    def _probe(self) -> None:
        """Try one fresh order of each partition that is held, now and then."""
        brake = self._caller.brake
        for number in list(self._held_back):
            due_s = max(self._next_probe_s, brake.probe_at_s(number))
            if self._clock() >= due_s and self._caller.has_free_worker:
                self._probe_one(number, self._held_back[number])

    def _probe_one(self, number: int, kept: Deque[Message]) -> None:
        """Try the first that waits behind no other; those before it join the orders that they wait for."""
        began_s, brake = self._clock(), self._caller.brake
        while kept and number not in self._stopped:
            message = kept.popleft()
            if message.key() in self._assignment.busy and self._queue(message):
                continue
            brake.probing(number, began_s + PROBE_S)
            self._call_probe(self._ready[number], message)
            break
        if not kept or number in self._stopped:
            del self._held_back[number]
        if brake.holds(number) and len(brake.held()) < len(self._ready):
            self._next_probe_s = self._clock() + PROBE_PAUSE * (self._clock() - began_s)

    def _call_probe(self, partition: Partition, message: Message) -> None:
        if not partition.careful_left:
            return self._take_one(message)
        chunk = self._take_in_carefully(partition, message)
        # What is announced has to stand below `next`; all before it was admitted.
        partition.ledger.next = max(partition.ledger.next, message.offset() + 1)
        self._call_announced(chunk)
        return None

    def _hand_out(self, records: List[Message]) -> List[Message]:
        """Give fresh orders to the workers, as many as they can take soon."""
        index = 0
        while index < len(records) and self._caller.has_free_worker and self._taken < POOL_RUN:
            if records[index].partition() not in self._stopped:
                self._take_one(records[index])
            index += 1
        self._taken += index
        return self._without_stopped(records[index:])

    def _take_one(self, message: Message) -> None:
        partition = self._ready[message.partition()]
        if message.key() in self._assignment.busy and self._queue(message):
            return
        head = partition.ledger.take_in(message, message.offset(), message.key())
        partition.dirty = True
        self._caller.start(partition, head)
        self._stop_if_full(partition, message)

    def _call_carefully(self, records: List[Message], most: int = LARGEST_CHUNK) -> List[Message]:
        """After an owner died: a chunk of each partition at a time, announced before the first call.

        Workers are given no more than they can begin: what only waits for one would be suspect for nothing.
        """
        if not self._caller.free_workers:
            return records
        chunk, rest = self._take_chunk(records, min(most, self._caller.free_workers))
        self._leftover = self._without_stopped(rest)
        self._note_positions(len(records) - len(rest))
        if self._call_announced(chunk):
            largest = LARGEST_CHUNK if caution.may_share(self._caller.max_retries) else FIRST_CHUNK
            for partition in {partition for partition, _ in chunk}:
                partition.chunk = min(largest, partition.chunk * 2)
        return self._leftover

    def _take_chunk(self, records: List[Message], most: int) -> Tuple[List[Task], List[Message]]:
        """Heads to announce, and what was not taken in, since its partition's chunk or the pool is full."""
        room = {number: _chunk_size(partition) for number, partition in self._ready.items()}
        chunk: List[Task] = []
        rest: List[Message] = []
        for message in records:
            number = message.partition()
            if not room[number] or len(chunk) >= most:
                room[number] = 0
                rest.append(message)
            elif number not in self._stopped:
                room[number] -= 1
                chunk += self._take_in_carefully(self._ready[number], message)
        return chunk, rest

    def _take_in_carefully(self, partition: Partition, message: Message) -> List[Task]:
        """The record as a head, or none where it queues behind one. What queues is called as carefully."""
        careful, partition.careful_left = partition.careful_left, max(0, partition.careful_left - 1)
        if message.key() in self._assignment.busy and self._queue(message):
            return []
        head = partition.ledger.take_in(message, message.offset(), message.key())
        head.careful = max(1, careful)
        self._stop_if_full(partition, message)
        return [(partition, head)]

    # --- how far it got --------------------------------------------------------------------------

    def _note_positions(self, polled: int) -> None:
        """Raise each `next` to the first record that was not taken in, past markers and holes."""
        places = {message.partition(): message.offset() for message in reversed(self._leftover)}
        places.update((number, kept[0].offset()) for number, kept in self._held_back.items())
        places.update(self._stopped)
        for number, position in self._session.positions(list(self._ready)).items():
            if number not in places:
                places[number] = self._reached(number, position)
        for number, place in places.items():
            partition = self._ready.get(number)
            if partition is not None and place > partition.ledger.next:
                self._look_for_loss(partition, place, polled)
                if number in self._caller.brake.uneasy:
                    self._count_successes(number, self._successes.size)
                partition.ledger.next = place
                partition.dirty = True
        self._successes = Successes([])
        stopped, self._stopped = self._stopped, {}
        for number, offset in stopped.items():
            self._go_back(number, offset)

    def _reached(self, number: int, position: int) -> int:
        """How far the partition has got, past markers and holes."""
        intake = self._assignment.intake
        reached = intake.reached(number, position, self._clock())
        if reached is None:
            reached = intake.expected(number)
            self._go_back(number, reached)
        return reached

    def _look_for_loss(self, partition: Partition, place: int, polled: int) -> None:
        """Offsets were skipped: say so if it was retention that took them, while we were too slow."""
        skipped = place - partition.ledger.next - polled
        if skipped <= 0 or self._clock() < self._next_loss_look_s:
            return
        self._next_loss_look_s = self._clock() + LOSS_LOOK_S
        bounds = self._assignment.bounds(partition.number)
        if bounds is not None and bounds[0] > partition.ledger.next:
            offset = partition.ledger.next
            self._report("lost_by_retention", partition=partition.number, offset=offset, until=bounds[0])

    # --- pace ------------------------------------------------------------------------------------

    def _collect(self) -> None:
        is_full = not (self._caller.free_workers if self._is_careful else self._caller.has_free_worker)
        may_wait = not self._leftover or is_full or self._clears_suspects
        self._caller.collect(WORKING_S if may_wait else 0.0)

    def _start_slice(self, share: float) -> None:
        self._caller.deadline_s = self._clock() + share * self._slice_s

    @property
    def _slice_s(self) -> float:
        """No shorter than Kafka takes to settle, or handlers would wait for Kafka most of the time."""
        least_s = SLOW_SLICE_S if self._call_s > SLOW_CALL_S else SLICE_S
        return max(least_s, min(SLICE_S, self._settler.took_s))

    def _is_time_to_settle(self, polled: int) -> bool:
        """Calls go on while the settlement before is on its way, until they have filled a slice again.

        `polled`: a full batch that was done in time tells of more, and each settlement has its price.
        """
        if self._caller.held or self._taken >= POOL_RUN:
            return True
        if self._settler.is_on_its_way:
            return self._clock() >= self._settler.sent_off_at_s + self._slice_s
        if self._caller.has_workers:
            return self._clock() >= self._settler.settled_at_s + POOL_SETTLE_S
        has_more = polled == MAX_BATCH and not self._leftover
        return not has_more or self._clock() >= self._settler.settled_at_s + SLICE_S / 2

    def _settle(self) -> bool:
        """Send off what was done since the last time. False where that last time did not succeed."""
        return self._note_settled(self._settler.settle())

    def _settle_now(self) -> bool:
        """Settle what was done, and wait until it is certain."""
        return self._note_settled(self._settler.settle_now())

    def _note_settled(self, is_settled: bool) -> bool:
        if is_settled:
            self._taken = 0
            self._caller.settled()
        return is_settled

    def _note_reach(self) -> None:
        """Tell the next owner how far to be careful, should this one die.

        What two settlements, both on their way, may not hold yet: two slices, each twice as long as the
        last, or twice what workers are given between two settlements.
        """
        if self._caller.has_workers:
            self._assignment.reach = 2 * POOL_RUN
        else:
            self._assignment.reach = 4 * self._batch_size + len(self._leftover)

    @property
    def _announces_next(self) -> bool:
        """Whether the next step begins with an announcement, which settles what this one did as well."""
        is_held = self._caller.has_workers
        return bool(self._leftover) and not is_held and self._is_careful

    def _pace(self, taken: int, took_s: float, polled: int) -> None:
        """Let the next batch be as large as fits into a slice."""
        if not taken:
            return
        self._call_s = took_s / taken
        if taken < polled and self._clock() >= self._caller.deadline_s:
            self._batch_size = taken
        elif taken >= self._batch_size and took_s < SLICE_S / 2:
            self._batch_size = min(MAX_BATCH, self._batch_size * 2)

    def _steer_intake(self) -> None:
        """Hold the partitions while there is more than can be called, release them when there is not."""
        self._assignment.release_expired()
        backlog = len(self._leftover)
        for partition in self._ready.values():
            if backlog > MAX_BACKLOG or backlog < MIN_BACKLOG:
                self._hold_if(partition, "backlog", backlog > MAX_BACKLOG)
            self._hold_if(partition, "outage", self._waits_for_probe(partition.number))
            if "full" in partition.holds and partition.ledger.has_room:
                self._assignment.release(partition, "full")

    def _waits_for_probe(self, number: int) -> bool:
        """Whether nothing of this partition need be fetched now: it is held, and the next to try is there."""
        brake = self._caller.brake
        if not brake.is_on or not brake.holds(number):
            return False
        return number in self._held_back or self._clock() < brake.probe_at_s(number)

    def _hold_if(self, partition: Partition, why: str, wanted: bool) -> None:
        if wanted and why not in partition.holds:
            self._assignment.hold(partition, why)
        elif not wanted and why in partition.holds:
            self._assignment.release(partition, why)

    # --- stopping --------------------------------------------------------------------------------

    def finish_calls(self, until_s: float) -> None:
        """Wait for the workers' running calls, without starting any, and settle them."""
        self._caller.goes_on = False
        while self._caller.in_flight and self._clock() < until_s:
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
        """All that was there at the start, in our partitions, is processed or dead-lettered."""
        return self._has_taken_all() and not any(part.ledger.heads for part in self._ready.values())

    def has_only_held(self) -> bool:
        """Nothing is left but orders that an outage keeps waiting."""
        waiting = [number for number, partition in self._ready.items() if partition.ledger.heads]
        return bool(waiting) and self._has_taken_all() and all(map(self._caller.brake.holds, waiting))

    def _has_taken_all(self) -> bool:
        idle = not self._leftover and not self._held_back and self._settler.is_idle
        settled = self._assignment.is_settled and idle
        return settled and all(part.ledger.next >= part.end for part in self._ready.values())


def _by_partition(messages: Sequence[Message]) -> Dict[int, List[Message]]:
    found: Dict[int, List[Message]] = {}
    for message in messages:
        found.setdefault(message.partition(), []).append(message)
    return found


def _chunk_size(partition: Partition) -> int:
    """How many orders to announce at once: no more than can be listed."""
    listable = max(1, partition.ledger.room - 1)
    return min(partition.chunk, partition.careful_left or FIRST_CHUNK, listable)


def _next_due_s(partition: Partition) -> Optional[float]:
    return partition.ledger.next_due_s()
