"""Calling the handler for orders that have an entry in a ledger, and what comes of each call.

Owns: the road of a head from its call to "processed", "waits" or "dead-lettered"; the two brakes.
Does not know: polling, positions, when things are settled.
Used by: processor. `attempt` also runs in worker threads, and only reads.
"""

from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from orderflow.consume.assignment import Assignment, Partition, Report
from orderflow.consume.brakes import FailedCall, KeyBrake, OutageBrake
from orderflow.consume.caution import KEY_RUN, is_guilty
from orderflow.consume.handler import Handler, Order, delivery_of, wants_delivery
from orderflow.consume.ledger import Head
from orderflow.consume.outbox import Dead, Outbox
from orderflow.consume.results import encode_result, require_outcome
from orderflow.consume.retry import GiveUp, Policy, decide
from orderflow.consume.watchdog import Watchdog
from orderflow.consume.workers import Workers
from orderflow.errors import Failure, RegistryUnavailable, ResultTooLarge, describe
from orderflow.model.dead_letter import Circumstances
from orderflow.model.delivery_id import delivery_id
from orderflow.model.records import Message, Outgoing, record_of

AHEAD = 4
"""Orders given out for each worker: enough to keep it busy while the last ones are settled."""
ANY = 1_000_000
REGISTRY_RETRY_S = 2.0

KILLED = Failure(
    reason="process.killed_consumer",
    stage="process",
    error_class="ConsumerKilled",
    message="the process died each time this order was handled; it was not decoded again",
    retryable=True,
)

Task = Tuple[Partition, Head]
"""What is called: a head, and the partition whose ledger lists it."""


class Destination(NamedTuple):
    """Where the engine sends, and what it says of itself in a dead letter."""

    processed_topic: Optional[str]
    max_result_bytes: int
    group: str
    client: str


class Business(NamedTuple):
    """What is called: from bytes to an order, and from an order to a result."""

    read: Callable[[Optional[bytes]], Order]
    handler: Handler
    schema_of: Callable[[Optional[bytes]], Optional[str]]
    """Says of a value which schema it was written with, for its dead letter."""
    keep_stack: bool
    topic_id: Optional[str] = None
    """Kafka's id of the orders' topic: a part of what each order is called."""


class Caller:
    """Calls heads, here and now or in worker threads, and sees each through to what comes of it."""

    def __init__(
        self,
        assignment: Assignment,
        outbox: Outbox,
        business: Business,
        destination: Destination,
        policy: Policy,
        brake: OutageBrake,
        watchdog: Watchdog,
        clock: Callable[[], float],
        time_of_day: Callable[[], float],
        chance: Callable[[], float],
        report: Report,
        workers: int,
    ) -> None:
        self.brake = brake
        self.key_brake = KeyBrake(policy.key_failures)
        self.retries = 0
        self.deadline_s = 0.0
        """When the running slice of calls ends."""
        self.goes_on = True
        """False while stopping: what runs is finished, nothing is begun."""
        self.orphans: Dict[int, int] = {}
        """Calls that still run for partitions that were taken away or are being restored."""
        self.held: List[Task] = []
        """Orders whose key has run as far as it may before what it did is settled."""
        self._runs: Dict[Tuple[int, Optional[bytes]], int] = {}
        """How far each key has run behind its head since then."""
        self._assignment = assignment
        self._ready = assignment.ready
        self._outbox = outbox
        self._business = business
        self._wants_delivery = wants_delivery(business.handler)
        self._to = destination
        self._policy = policy
        self._watchdog = watchdog
        self._clock = clock
        self._time_of_day = time_of_day
        self._chance = chance
        self._report = report
        self._workers = Workers(workers, self.attempt) if workers > 1 else None

    # --- making calls ----------------------------------------------------------------------------

    def start(self, partition: Partition, head: Head) -> None:
        """Have a head called: by a worker, or here and now with the followers it releases."""
        if self._ready.get(partition.number) is not partition:
            return
        if self._workers is None:
            self.follow(partition, self._call(partition, head))
            return
        partition.in_flight += 1
        self._workers.submit((partition, head))

    def follow(self, partition: Partition, following: Optional[Head]) -> None:
        """Go on with the followers that a head releases one by one, until the slice ends."""
        while following is not None:
            if not self._may_follow(following):
                return partition.ledger.wait(following, self._clock())
            if self._has_run_far(partition, following):
                return self.held.append((partition, following))
            # Should the process die, then the order may be to blame that ran on behind the announced one.
            following.announced = following.careful > 0
            if self._workers is not None:
                return self.start(partition, following)
            following = self._call(partition, following)

    def _may_follow(self, head: Head) -> bool:
        if head.suspect or not self.goes_on or (head.careful and not head.run):
            return False
        return self._workers is not None or self._clock() < self.deadline_s

    def _has_run_far(self, partition: Partition, head: Head) -> bool:
        """Whether its key must not run on before a settlement: the next owner relies on how far it went.

        Without workers the next owner is careful with any number of orders, since they share commits.
        """
        if self._workers is None:
            return False
        key = (partition.number, head.key)
        self._runs[key] = self._runs.get(key, 0) + 1
        return self._runs[key] > KEY_RUN

    def settled(self) -> None:
        """What was done is settled or on its way to be: every key may run on."""
        self._runs.clear()
        held, self.held = self.held, []
        for partition, head in held:
            if self._ready.get(partition.number) is partition:
                partition.ledger.wait(head, self._clock())

    def _call(self, partition: Partition, head: Head) -> Optional[Head]:
        self._watchdog.busy()
        try:
            value = self.attempt((partition, head))
        except SystemExit:  # the handler ends the process: no failure of its order yet
            raise
        except BaseException as error:  # noqa: BLE001 - whatever codec, rules or handler raise
            return self.failed(partition, head, error)
        return self._succeeded(partition, head, value)

    def attempt(self, task: Task) -> Optional[bytes]:
        """Decode, check and handle one order; its encoded result. Raises whatever went wrong."""
        partition, head = task
        order = self._business.read(head.record.value())
        if self._wants_delivery:
            attempt = self._attempt_number(partition, head)
            delivery = delivery_of(head.record, attempt, self._business.topic_id)
            return self.value_of(self._business.handler(order, delivery))
        return self.value_of(self._business.handler(order))

    def value_of(self, result: object) -> Optional[bytes]:
        """What is to be published of a handler's result, or None. Raises OrderError where it cannot be."""
        if result is None:
            return None
        require_outcome(result)
        if self._to.processed_topic is None:
            return None
        value = encode_result(result)
        if len(value) > self._to.max_result_bytes:
            limit = self._to.max_result_bytes
            raise ResultTooLarge(f"the result has {len(value)} bytes, its topic takes {limit}")
        return value

    @staticmethod
    def _attempt_number(partition: Partition, head: Head) -> int:
        """1 for the first call. An order that is called alone has had its attempt counted before."""
        return head.attempts + (0 if partition.alone == head.offset else 1)

    # --- worker threads --------------------------------------------------------------------------

    @property
    def has_workers(self) -> bool:
        """Whether calls are made by worker threads."""
        return self._workers is not None

    @property
    def in_flight(self) -> int:
        """Calls given to worker threads and not collected yet."""
        return 0 if self._workers is None else self._workers.in_flight

    @property
    def free_workers(self) -> int:
        """How many calls would begin at once; more than are ever announced where there are no workers."""
        return ANY if self._workers is None else max(0, self._workers.count - self._workers.in_flight)

    @property
    def has_free_worker(self) -> bool:
        """Whether a call that is started now will be made soon."""
        return self._workers is None or self._workers.in_flight < AHEAD * self._workers.count

    def collect(self, timeout_s: float) -> None:
        """Take what the workers have finished, waiting up to `timeout_s` for the first."""
        if self._workers is None:
            return self._watchdog.busy()
        for finished in self._workers.collect(timeout_s):
            self._take_outcome(*finished)
        self._watchdog.busy_since(self._workers.oldest_start_s())

    def _take_outcome(self, task: Task, value: Optional[bytes], error: Optional[BaseException]) -> None:
        partition, head = task
        partition.in_flight -= 1
        if self._ready.get(partition.number) is not partition:
            self._bury(partition.number)
        elif error is not None:
            self.follow(partition, self.failed(partition, head, error))
        else:
            self.follow(partition, self._succeeded(partition, head, value))

    def orphan(self, partition: Partition) -> None:
        """The partition is given up: the outcome of calls that still run for it will not count."""
        partition.alone = None
        if partition.in_flight:
            self.orphans[partition.number] = self.orphans.get(partition.number, 0) + partition.in_flight

    def _bury(self, number: int) -> None:
        left = self.orphans.get(number, 0) - 1
        if left > 0:
            self.orphans[number] = left
        else:
            self.orphans.pop(number, None)

    # --- what comes of a call --------------------------------------------------------------------

    def _succeeded(self, partition: Partition, head: Head, value: Optional[bytes]) -> Optional[Head]:
        """The order is processed. The next of its key, if one waits behind it."""
        partition.ledger.clear(head)
        if value is not None:
            self.publish(head.record, value)
        self._outbox.done += 1
        self.key_brake.succeeded(head.key)
        self.answered(partition.number)
        return self._finish(partition, head)

    def publish(self, message: Message, value: bytes) -> None:
        """Have the result sent, under the order's key, when what was done is settled."""
        assert self._to.processed_topic is not None
        self._outbox.results.append(
            Outgoing(self._to.processed_topic, message.key(), value, [], source=message.partition())
        )

    def failed(self, partition: Partition, head: Head, error: BaseException) -> Optional[Head]:
        """Wait, or give the order up; in the second case, the next of its key."""
        if isinstance(error, RegistryUnavailable):
            self._uncalled(partition, head)
            return None
        partition.ledger.clear(head)
        failure = describe(error, self._business.keep_stack)
        head.attempts = self._attempt_number(partition, head)
        if head.attempts == 1 and head.first_failed_at_ms is None:
            head.first_failed_at_ms = self._now_ms()
        key_failing = self.key_brake.holds(head.key)
        last = key_failing or head.attempts > self._policy.max_retries
        self._watch(partition, head, failure, last)
        # Asked only where it matters, since a permit is spent by asking.
        keeps = failure.retryable and last and not self._may_give_up(partition)
        decision = decide(failure, head.attempts, self._policy, self._chance(), key_failing, not keeps)
        if isinstance(decision, GiveUp):
            return self.give_up(partition, head, decision.failure)
        self._wait(partition, head, failure, decision.delay_s)
        return None

    def _uncalled(self, partition: Partition, head: Head) -> None:
        """The registry did not answer: nothing was tried, so nothing counts."""
        if partition.alone == head.offset:
            partition.alone = head.offset if head.died_alone else None
            partition.dirty = True
            head.attempts -= 1
        partition.ledger.wait(head, self._clock() + REGISTRY_RETRY_S)

    def _may_give_up(self, partition: Partition) -> bool:
        return self.brake.permits_dead_letter(partition.number, self._clock())

    def is_guilty(self, head: Head) -> bool:
        """Whether it died alone as often as its budget allows."""
        return is_guilty(head, self._policy.max_retries)

    @property
    def max_retries(self) -> int:
        """Calls of an order after its first."""
        return self._policy.max_retries

    def _wait(self, partition: Partition, head: Head, failure: Failure, delay_s: float) -> None:
        self._end_alone(partition, head)
        partition.dirty = True
        partition.ledger.wait(head, self._clock() + delay_s)
        self.retries += 1
        self._report("retry", record=head.record, failure=failure, attempt=head.attempts, delay_s=delay_s)

    def give_up(self, partition: Partition, head: Head, failure: Failure) -> Optional[Head]:
        """Dead-letter the order. The next of its key, if one waits behind it."""
        if failure.retryable and failure is not KILLED:
            self.key_brake.exhausted(head.key, head.began or 0)
        self._dead_letter(head.record, failure, head.attempts, head.first_failed_at_ms, self._now_ms())
        return self._finish(partition, head)

    def reject(self, rejected: Sequence[Tuple[Message, Failure]]) -> None:
        """Dead-letter orders whose first call told that no other can succeed."""
        now_ms = self._now_ms()
        for message, failure in rejected:
            self._dead_letter(message, failure, 1, now_ms, now_ms)

    def _dead_letter(
        self,
        message: Message,
        failure: Failure,
        attempts: int,
        first_failed_at_ms: Optional[int],
        failed_at_ms: int,
    ) -> None:
        record = record_of(message)
        about = Circumstances(
            group=self._to.group,
            client=self._to.client,
            attempts=attempts,
            first_failed_at_ms=first_failed_at_ms,
            failed_at_ms=failed_at_ms,
            schema=None if failure is KILLED else self._business.schema_of(record.value),
            delivery_id=delivery_id(*record[:3], record.headers, self._business.topic_id),
        )
        self._outbox.dead.append(Dead(record, failure, about))

    @staticmethod
    def _end_alone(partition: Partition, head: Head) -> None:
        if partition.alone == head.offset:
            partition.alone = None

    def _finish(self, partition: Partition, head: Head) -> Optional[Head]:
        self._end_alone(partition, head)
        partition.dirty = True
        return partition.ledger.finish(head)

    def _now_ms(self) -> int:
        return int(self._time_of_day() * 1000)

    # --- the outage brake ------------------------------------------------------------------------

    def _watch(self, partition: Partition, head: Head, failure: Failure, last: bool) -> None:
        """Let the outage brake see a call that did not succeed; `last`: its order's budget is used up."""
        outcome = told_by(failure)
        number = partition.number
        if outcome:
            self.answered(number)
        if outcome is not False:
            return
        known = self.key_brake.failing.get(head.key)
        first = head.attempts == 1 and head.began is None
        if head.began is None:
            head.began = self.brake.began(number)
        call = FailedCall(first, last, head.attempts > 1, head.voted, head.began, known)
        head.voted = head.voted or (first and known is None)
        held = self.brake.failed(number, call)
        if held:
            self._report("outage_begins", partitions=held)

    def answered(self, number: int, calls: int = 1) -> None:
        """The handler did what it is there for that many times, for orders of this partition."""
        if self.brake.succeeded(number, calls):
            self._release_brake(number)

    def _release_brake(self, number: int) -> None:
        """The outage is over there: what waited through it has its full budget again, and is due."""
        self._report("outage_ends", partitions=[number])
        partition = self._ready[number]
        for head in partition.ledger.waiting():
            if not head.suspect:
                head.attempts, head.began, head.voted = 0, self.brake.began(number), False
        partition.ledger.reschedule(self._clock())
        partition.dirty = True
        self._assignment.release(partition, "outage")


def told_by(failure: Failure) -> Optional[bool]:
    """What a failure tells of the handler: True that it works, False that it does not, None nothing.

    An order that it rejects is an answer. One that it never saw tells nothing, and one that it asked to be
    given later ("closed for the night") is neither done nor a sign that what it needs is down.
    """
    if failure.stage in ("decode", "validate") or failure.asked_for:
        return None
    return not failure.retryable
