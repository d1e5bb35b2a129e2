"""Decides what follows from a call: the order is processed, waits for a retry, or is dead-lettered.

This is the only place that decides. Both brakes see every outcome here and may change what follows.
"""

from typing import Callable, NamedTuple, Optional, Sequence, Tuple

from orderflow.consume.assignment import Assignment
from orderflow.consume.caution import is_guilty
from orderflow.consume.durations import CallTimes
from orderflow.consume.event_loop import EventLoop
from orderflow.consume.handler import Handler, Order
from orderflow.consume.head import Head
from orderflow.consume.key_brake import KeyBrake
from orderflow.consume.last_failures import LastFailures
from orderflow.consume.outage_brake import FailedCall, OutageBrake
from orderflow.consume.outbox import Dead, Outbox
from orderflow.consume.partition import REGISTRY, Partition
from orderflow.consume.publications import Targets
from orderflow.consume.retry import GiveUp, Policy, decide
from orderflow.consume.tracebacks import Tracebacks
from orderflow.consume.world import World
from orderflow.errors import Failure, RegistryUnavailable, describe, is_a
from orderflow.model.dead_letter import Circumstances
from orderflow.model.delivery_id import delivery_id
from orderflow.model.records import Message, Outgoing, record_of

REGISTRY_RETRY_S = 2.0
REGISTRY_LINE_S = 30.0

KILLED = Failure(
    reason="process.killed_consumer",
    stage="process",
    error_class="ConsumerKilled",
    message="the process died each time this order was handled; it was not decoded again",
    retryable=True,
)


class Destination(NamedTuple):
    """Where the engine sends records, and how it identifies itself in dead letters."""

    targets: Targets
    group: str
    client: str


class Business(NamedTuple):
    """The functions to call: from bytes to an order, and from an order to a result."""

    read: Callable[[Optional[bytes]], Order]
    handler: Handler
    schema_of: Callable[[Optional[bytes]], Optional[str]]
    """The schema a value was written with, for its dead letter."""
    keep_stack: bool
    topic_id: Optional[str] = None
    """Kafka's id of the orders topic, part of every delivery id."""
    workers: int = 1
    """Calls that run at a time; 1 means that the polling thread makes them, unless the handler is async."""
    loop: Optional[EventLoop] = None
    """Where an async handler runs; None for any other."""
    tells_each: bool = False
    """Whether each processed order is reported, as -v asks for."""

    @property
    def has_workers(self) -> bool:
        """Whether calls are made outside of the polling thread."""
        return self.workers > 1 or self.loop is not None


class Rules(NamedTuple):
    """The rules for giving up an order: the retry policy and the two brakes."""

    policy: Policy
    outage: OutageBrake
    key: KeyBrake


class Outcomes:
    """Turns the outcome of each call into what happens to its order."""

    def __init__(
        self,
        assignment: Assignment,
        outbox: Outbox,
        business: Business,
        destination: Destination,
        rules: Rules,
        world: World,
    ) -> None:
        self.call_times = CallTimes()
        self.retries = 0
        """Calls that failed and will be made again."""
        self.policy, self.outage, self.key_brake = rules
        self._assignment = assignment
        self._outbox = outbox
        self._business = business
        self._to = destination
        self._world = world
        self._tracebacks = Tracebacks(world.report)
        self._last = LastFailures()
        self._next_registry_line_s = 0.0

    # --- success ---------------------------------------------------------------------------------

    @property
    def publishes(self) -> bool:
        """Whether plain results are published, and not only those that name their topic."""
        return self._to.targets.processed_topic is not None

    def processed(self, orders: int) -> None:
        """Count orders that succeeded at their first call and so needed no ledger entry."""
        self._outbox.add_done(orders)

    def succeeded(self, partition: Partition, head: Head, records: Sequence[Outgoing]) -> Optional[Head]:
        """The order is processed. Returns the next order of its key, if one is waiting."""
        partition.ledger.clear(head)
        self._outbox.results.extend(records)
        self._outbox.add_done(1)
        if self._business.tells_each:
            self._world.report("order_done", record=head.record)
        self.key_brake.succeeded(head.key)
        self.answered(partition.number)
        return self._finish(partition, head)

    def records_of(self, message: Message, result: object) -> Sequence[Outgoing]:
        """The records to publish for a handler's result. Raises OrderError if they cannot be published."""
        return self._to.targets.records_of(message, result)

    def publish(self, message: Message, result: object) -> None:
        """Add a handler's result to the next settlement. Raises OrderError if it cannot be published."""
        self._outbox.results.extend(self._to.targets.records_of(message, result))

    # --- failure ---------------------------------------------------------------------------------

    def failed(self, partition: Partition, head: Head, error: BaseException) -> Optional[Head]:
        """Have the order wait, or give it up and return the next order of its key."""
        if is_a(error, RegistryUnavailable):
            self._not_called(partition, head)
            self.wait_for_registry(partition, error)
            return None
        partition.ledger.clear(head)
        failure = describe(error, self._business.keep_stack)
        self._tracebacks.note(error, failure, head.record)
        head.failed(partition.attempt_of(head), self._world.now_ms(), self._last.kept(failure))
        key_failing = self.key_brake.holds(head.key)
        last = key_failing or head.attempts > self.policy.max_retries
        self._watch(partition, head, failure, last)
        # Asked only if it matters, because asking uses up a permit.
        keeps = failure.retryable and last and not self._take_permit(partition)
        decision = decide(failure, head.attempts, self.policy, self._world.chance(), key_failing, not keeps)
        if isinstance(decision, GiveUp):
            return self.give_up(partition, head, decision.failure)
        self._wait(partition, head, failure, decision.delay_s)
        return None

    def _take_permit(self, partition: Partition) -> bool:
        return self.outage.take_permit(partition.number, self._world.clock())

    def wait_for_registry(self, partition: Partition, error: BaseException) -> None:
        """The schema registry does not answer: the partition takes in nothing for a moment."""
        now_s = self._world.clock()
        if now_s >= self._next_registry_line_s:
            self._next_registry_line_s = now_s + REGISTRY_LINE_S
            self._world.report("registry_down", partition=partition.number, detail=str(error))
        self._assignment.hold(partition, REGISTRY, now_s + REGISTRY_RETRY_S)

    def _not_called(self, partition: Partition, head: Head) -> None:
        """The registry did not answer, so the handler was not called and no attempt counts."""
        if partition.alone == head.offset:
            partition.mark_alone(head.offset if head.died_alone else None)
            head.uncount_call()
        partition.ledger.postpone(head, self._world.clock() + REGISTRY_RETRY_S)

    def _wait(self, partition: Partition, head: Head, failure: Failure, delay_s: float) -> None:
        partition.end_alone(head)
        partition.ledger.wait(head, self._world.clock() + delay_s)
        self.retries += 1
        self._world.report(
            "retry", record=head.record, failure=failure, attempt=head.attempts, delay_s=delay_s
        )

    # --- giving up -------------------------------------------------------------------------------

    def is_guilty(self, head: Head) -> bool:
        """Whether it has killed the process as often as its retry budget allows."""
        return is_guilty(head, self.policy.max_retries)

    def condemn(self, partition: Partition, head: Head) -> Optional[Head]:
        """Dead-letter an order that killed the process. Returns the next order of its key, if any."""
        head.count_call()  # the death in company, which was not counted for any order
        return self.give_up(partition, head, KILLED)

    def give_up(self, partition: Partition, head: Head, failure: Failure) -> Optional[Head]:
        """Dead-letter the order. Returns the next order of its key, if any."""
        if failure.retryable and failure is not KILLED:
            self.key_brake.exhausted(head.key, head.began or 0)
        return self.put_away(partition, head, failure)

    def put_away(self, partition: Partition, head: Head, failure: Failure) -> Optional[Head]:
        """The same where it is no evidence against the key: somebody has decided it."""
        first_failed_at_ms = head.first_failed_at_ms
        self._dead_letter(head.record, failure, head.attempts, first_failed_at_ms, self._world.now_ms())
        return self._finish(partition, head)

    def reject(self, rejected: Sequence[Tuple[Message, Failure]]) -> None:
        """Dead-letter orders whose first call showed that no retry can succeed."""
        now_ms = self._world.now_ms()
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
    def _finish(partition: Partition, head: Head) -> Optional[Head]:
        partition.end_alone(head)
        return partition.ledger.finish(head)

    # --- the outage brake ------------------------------------------------------------------------

    def _watch(self, partition: Partition, head: Head, failure: Failure, last: bool) -> None:
        """Report an unsuccessful call to the outage brake; `last`: the order has no retries left."""
        number, outcome = partition.number, told_by(failure)
        if outcome:
            self.answered(number)
        if outcome is not False:
            return
        known = self.key_brake.failing.get(head.key)
        first = head.attempts == 1 and head.began is None
        call = FailedCall(first, last, head.attempts > 1, head.voted, head.began, known)
        head.first_seen_failing(self.outage.began(number))
        if first and known is None:
            head.vote()
        held = self.outage.failed(number, call)
        if held:
            self._world.report("outage_begins", partitions=held)

    def answered(self, number: int, calls: int = 1) -> None:
        """The handler gave this many answers to orders of this partition, so it works."""
        if self.outage.succeeded(number, calls):
            self._outage_is_over(number)

    def _outage_is_over(self, number: int) -> None:
        """Give orders that waited through the outage their full retry budget back, and make them due."""
        self._world.report("outage_ends", partitions=[number])
        partition, began = self._assignment.ready[number], self.outage.began(number)
        now_s = self._world.clock()
        for head in partition.ledger.waiting():
            if not head.suspect:
                head.start_over(began)
            if not self._waits_anyway(head, now_s):
                partition.ledger.bring_forward(head, now_s)
        partition.ledger.touch()
        self._assignment.release(partition, "outage")

    def _waits_anyway(self, head: Head, now_s: float) -> bool:
        """Whether it waits for a time that no outage has to do with, as its handler may have asked for.

        What it failed of is not known if that was before this process began, but only such an order can wait
        for longer than the longest back-off.
        """
        if head.failure is not None:
            return told_by(head.failure) is None
        return head.due_s is not None and head.due_s > now_s + self.policy.backoff_max_s


def told_by(failure: Failure) -> Optional[bool]:
    """Whether a failure shows that the handler works (True), does not work (False), or neither (None).

    Rejecting an order is an answer. An order it never saw shows nothing, unless the rules themselves failed:
    they are the user's code as the handler is, and may need what is down. An order that it asked to have back
    later ("closed for the night") is not done, but no sign of an outage either.
    """
    if failure.asked_for or failure.stage == "decode":
        return None
    if failure.stage == "validate" and not failure.retryable:
        return None
    return not failure.retryable
