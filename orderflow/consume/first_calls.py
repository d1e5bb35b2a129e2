"""The fast path: the first call of each fresh order, in batches.

An order that succeeds at once costs no object, no look-up and no ledger entry. Only an order that fails, or
whose key is busy, is entered in its partition's ledger.
"""

from typing import List, Optional, Sequence, Tuple

from orderflow.consume.calls import Calls
from orderflow.consume.forked import Forks
from orderflow.consume.handler import delivery_of, wants_delivery
from orderflow.consume.intake import Intake
from orderflow.consume.outcomes import Business, Outcomes, told_by
from orderflow.consume.pace import Pace
from orderflow.consume.partition import REGISTRY, Partition
from orderflow.consume.results import is_plain
from orderflow.consume.successes import Successes
from orderflow.consume.world import World
from orderflow.errors import Failure, RegistryUnavailable, describe, is_a, is_permanent
from orderflow.model.records import Message


class FirstCalls:
    """Makes the first call of each order, inline or by workers."""

    def __init__(
        self,
        intake: Intake,
        calls: Calls,
        outcomes: Outcomes,
        business: Business,
        pace: Pace,
        world: World,
    ) -> None:
        self._intake = intake
        self._calls = calls
        self._outcomes = outcomes
        self._business = business
        self._wants_delivery = wants_delivery(business.handler)
        self._pace = pace
        self._world = world
        self._successes = Successes([])
        """Those of the last batch."""
        self._forks = Forks()

    def call(self, records: List[Message]) -> List[Message]:
        """Call these in order until the slice ends; returns the records not admitted."""
        if self._calls.has_workers:
            return self._hand_out(records)
        return self._call_inline(records)

    def _call_inline(self, records: List[Message]) -> List[Message]:  # noqa: C901, PLR0912, PLR0915 - for speed
        """A single loop, since every look-up in it is paid for by every order.

        Orders that no retry can help need no ledger entry either, and are dead-lettered with the batch.
        """
        read, handler, wants_delivery = self._business.read, self._business.handler, self._wants_delivery
        topic_id, queue, stopped = self._business.topic_id, self._intake.queue, self._intake.stopped
        busy, failing = self._intake.busy, self._outcomes.key_brake.failing
        publish, publishes = self._outcomes.publish, self._outcomes.publishes
        tells_each, report = self._business.tells_each, self._world.report
        forked = self._forks.marks
        self._successes = Successes(records)
        others = self._successes.others
        clock, until_s, began_s = self._world.clock, self._calls.until_s, self._world.clock()
        look_every, lap = self._pace.look_every, self._outcomes.call_times.lap(began_s)
        rejected: List[Tuple[Message, Failure]] = []
        taken = undone = 0
        next_look, lap_at_s = 1, 0.0
        for taken, message in enumerate(records, 1):
            if busy and message.key() in busy and queue(message):
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
                if forked:
                    self._forks.end_child()
                if result is not None and (publishes or not is_plain(result)):
                    publish(message, result)
            except SystemExit:  # the handler ends the process, which is not a failure of its order yet
                raise
            except BaseException as error:  # noqa: BLE001 - whatever codec, rules or handler raise
                if forked:
                    self._forks.end_child(error)
                lap.failed(error, clock())
                if is_permanent(error):
                    rejected.append((message, self._rejected(error, taken)))
                else:
                    undone += 1
                    others.add(taken)
                    if self._failed(message, error, taken) or stopped:
                        break
            else:
                if tells_each:
                    report("order_done", record=message)
                if failing and message.key() in failing:
                    self._outcomes.key_brake.succeeded(message.key())
            if taken >= next_look:
                now_s = clock()
                if now_s >= lap_at_s:
                    lap_at_s = lap.passed(taken - undone - len(rejected), now_s)
                if now_s >= until_s:
                    break
                next_look += look_every
        self._successes.end_at(taken)
        done, now_s = taken - undone - len(rejected), clock()
        lap.passed(done, now_s)
        self._outcomes.processed(done)
        self._outcomes.reject(rejected)
        cut_short = taken < len(records) and self._calls.slice_is_over
        self._pace.batch_done(taken, now_s - began_s, cut_short)
        return records[taken:]

    def _rejected(self, error: BaseException, place: int) -> Failure:
        failure = describe(error, self._business.keep_stack)
        if not told_by(failure):
            self._successes.others.add(place)
        return failure

    def _failed(self, message: Message, error: BaseException, place: int) -> bool:
        """A first call failed but may succeed later: only now is the order entered in the ledger.

        `place`: the message's place in the batch. True if the outage brake now holds its partition.
        """
        partition = self._intake.partition_of(message)
        if is_a(error, RegistryUnavailable):
            self._wait_for_registry(partition, message.offset(), error)
            return False
        self._count_successes(partition.number, place)
        head = partition.admit(message)
        self._calls.follow(partition, self._outcomes.failed(partition, head, error))
        self._intake.stop_if_full(partition, message)
        return self._outcomes.outage.holds(partition.number)

    def _wait_for_registry(self, partition: Partition, offset: int, error: BaseException) -> None:
        self._outcomes.wait_for_registry(partition, error)
        self._intake.stop(partition, offset, REGISTRY, partition.holds[REGISTRY])

    def _hand_out(self, records: List[Message]) -> List[Message]:
        """Hand fresh orders to the workers, as many as they can start soon."""
        index, most = 0, self._pace.may_give_out
        while index < min(len(records), most) and self._calls.has_free_worker:
            if not self._intake.is_stopped(records[index].partition()):
                self.call_one(records[index])
            index += 1
        self._pace.gave_out(index)
        return records[index:]

    def call_one(self, message: Message) -> None:
        """Queue an order behind the head of its key, or list it as a head and have it called."""
        if self._intake.queues(message):
            return
        partition = self._intake.partition_of(message)
        head = partition.admit(message)
        self._calls.start(partition, head)
        self._intake.stop_if_full(partition, message)

    # --- successes for the outage brake ----------------------------------------------------------

    def count_successes(self, numbers: Sequence[int]) -> None:
        """Report the last batch's successes to the outage brake, for the partitions it watches."""
        for number in numbers:
            if number in self._outcomes.outage.uneasy:
                self._count_successes(number, None)
        self._successes = Successes([])

    def _count_successes(self, number: int, until: Optional[int]) -> None:
        """Called before a failure is reported to the brake, and at the end of the batch."""
        found = self._successes.count(number, self._outcomes.outage.needed(number), until)
        if found:
            self._outcomes.answered(number, found)
