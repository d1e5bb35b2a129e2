"""What becomes of a call: the order is processed, waits for its next call, or is dead-lettered.

The one place that decides. The two brakes see every outcome here, and may change what follows from it.
"""

from typing import Callable, NamedTuple, Optional, Sequence, Tuple

from orderflow.consume.assignment import Assignment
from orderflow.consume.brakes import FailedCall, KeyBrake, OutageBrake
from orderflow.consume.caution import is_guilty
from orderflow.consume.handler import Handler, Order
from orderflow.consume.ledger import Head
from orderflow.consume.outbox import Dead, Outbox
from orderflow.consume.partition import Partition
from orderflow.consume.results import encode_result, require_outcome
from orderflow.consume.retry import GiveUp, Policy, decide
from orderflow.consume.world import World
from orderflow.errors import Failure, RegistryUnavailable, ResultTooLarge, describe
from orderflow.model.dead_letter import Circumstances
from orderflow.model.delivery_id import delivery_id
from orderflow.model.records import Message, Outgoing, record_of

REGISTRY_RETRY_S = 2.0

KILLED = Failure(
    reason="process.killed_consumer",
    stage="process",
    error_class="ConsumerKilled",
    message="the process died each time this order was handled; it was not decoded again",
    retryable=True,
)


class Destination(NamedTuple):
    """Where the engine sends, and what it says of itself in a dead letter."""

    processed_topic: Optional[str]
    max_result_bytes: int
    group: str
    client: str

    def value_of(self, result: object) -> Optional[bytes]:
        """What is to be published of a handler's result, or None. Raises OrderError where it cannot be."""
        if result is None:
            return None
        require_outcome(result)
        if self.processed_topic is None:
            return None
        value = encode_result(result)
        if len(value) > self.max_result_bytes:
            limit = self.max_result_bytes
            raise ResultTooLarge(f"the result has {len(value)} bytes, its topic takes {limit}")
        return value


class Business(NamedTuple):
    """What is called: from bytes to an order, and from an order to a result."""

    read: Callable[[Optional[bytes]], Order]
    handler: Handler
    schema_of: Callable[[Optional[bytes]], Optional[str]]
    """Says of a value which schema it was written with, for its dead letter."""
    keep_stack: bool
    topic_id: Optional[str] = None
    """Kafka's id of the orders' topic: a part of what each order is called."""
    workers: int = 1
    """Threads that call the handler; 1: none but the one that polls."""


class Rules(NamedTuple):
    """What an order is given up by: the policy, and the brakes on it."""

    policy: Policy
    outage: OutageBrake
    key: KeyBrake


class Outcomes:
    """Sees each call through to what becomes of its order."""

    def __init__(
        self,
        assignment: Assignment,
        outbox: Outbox,
        business: Business,
        destination: Destination,
        rules: Rules,
        world: World,
    ) -> None:
        self.retries = 0
        """Calls that failed and will be made again."""
        self.policy, self.outage, self.key_brake = rules
        self._assignment = assignment
        self._outbox = outbox
        self._business = business
        self._to = destination
        self._world = world

    # --- it succeeded ----------------------------------------------------------------------------

    @property
    def publishes(self) -> bool:
        """Whether results are sent to a topic."""
        return self._to.processed_topic is not None

    def processed(self, orders: int) -> None:
        """That many orders succeeded at their first call, and needed no entry in a ledger."""
        self._outbox.add_done(orders)

    def succeeded(self, partition: Partition, head: Head, value: Optional[bytes]) -> Optional[Head]:
        """The order is processed. The next of its key, if one waits behind it."""
        partition.ledger.clear(head)
        if value is not None:
            self.publish(head.record, value)
        self._outbox.add_done(1)
        self.key_brake.succeeded(head.key)
        self.answered(partition.number)
        return self._finish(partition, head)

    def publish(self, message: Message, value: bytes) -> None:
        """Have the result sent, under the order's key, when what was done is settled."""
        assert self._to.processed_topic is not None
        self._outbox.results.append(
            Outgoing(self._to.processed_topic, message.key(), value, [], source=message.partition())
        )

    def publish_result(self, message: Message, result: object) -> None:
        """The same for a handler's result as it is. Raises OrderError where it cannot be published."""
        value = self._to.value_of(result)
        if value is not None:
            self.publish(message, value)

    # --- it failed -------------------------------------------------------------------------------

    def failed(self, partition: Partition, head: Head, error: BaseException) -> Optional[Head]:
        """Wait, or give the order up; in the second case, the next of its key."""
        if isinstance(error, RegistryUnavailable):
            self._not_called(partition, head)
            return None
        partition.ledger.clear(head)
        failure = describe(error, self._business.keep_stack)
        head.failed(partition.attempt_of(head), self._world.now_ms())
        key_failing = self.key_brake.holds(head.key)
        last = key_failing or head.attempts > self.policy.max_retries
        self._watch(partition, head, failure, last)
        # Asked only where it matters, since a permit is spent by asking.
        keeps = failure.retryable and last and not self._permits_dead_letter(partition)
        decision = decide(failure, head.attempts, self.policy, self._world.chance(), key_failing, not keeps)
        if isinstance(decision, GiveUp):
            return self.give_up(partition, head, decision.failure)
        self._wait(partition, head, failure, decision.delay_s)
        return None

    def _permits_dead_letter(self, partition: Partition) -> bool:
        return self.outage.permits_dead_letter(partition.number, self._world.clock())

    def _not_called(self, partition: Partition, head: Head) -> None:
        """The registry did not answer: nothing was tried, so nothing counts."""
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

    # --- it is given up --------------------------------------------------------------------------

    def is_guilty(self, head: Head) -> bool:
        """Whether it died alone as often as its budget allows."""
        return is_guilty(head, self.policy.max_retries)

    def condemn(self, partition: Partition, head: Head) -> Optional[Head]:
        """Dead-letter an order that killed the process. The next of its key, if one waits behind it."""
        head.count_call()  # the death among others, which was counted to none of them
        return self.give_up(partition, head, KILLED)

    def give_up(self, partition: Partition, head: Head, failure: Failure) -> Optional[Head]:
        """Dead-letter the order. The next of its key, if one waits behind it."""
        if failure.retryable and failure is not KILLED:
            self.key_brake.exhausted(head.key, head.began or 0)
        first_failed_at_ms = head.first_failed_at_ms
        self._dead_letter(head.record, failure, head.attempts, first_failed_at_ms, self._world.now_ms())
        return self._finish(partition, head)

    def reject(self, rejected: Sequence[Tuple[Message, Failure]]) -> None:
        """Dead-letter orders whose first call told that no other can succeed."""
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

    # --- what the outage brake makes of it -------------------------------------------------------

    def _watch(self, partition: Partition, head: Head, failure: Failure, last: bool) -> None:
        """Let the outage brake see a call that did not succeed; `last`: its order's budget is used up."""
        number, outcome = partition.number, told_by(failure)
        if outcome:
            self.answered(number)
        if outcome is not False:
            return
        known = self.key_brake.failing.get(head.key)
        first = head.attempts == 1 and head.began is None
        began = self.outage.began(number) if head.began is None else head.began
        head.first_seen_failing(began)
        call = FailedCall(first, last, head.attempts > 1, head.voted, began, known)
        if first and known is None:
            head.vote()
        held = self.outage.failed(number, call)
        if held:
            self._world.report("outage_begins", partitions=held)

    def answered(self, number: int, calls: int = 1) -> None:
        """The handler did what it is there for that many times, for orders of this partition."""
        if self.outage.succeeded(number, calls):
            self._outage_is_over(number)

    def _outage_is_over(self, number: int) -> None:
        """What waited through it has its full budget again, and is due."""
        self._world.report("outage_ends", partitions=[number])
        partition, began = self._assignment.ready[number], self.outage.began(number)
        for head in partition.ledger.waiting():
            if not head.suspect:
                head.start_over(began)
        partition.ledger.reschedule(self._world.clock())
        partition.ledger.touch()
        self._assignment.release(partition, "outage")


def told_by(failure: Failure) -> Optional[bool]:
    """What a failure tells of the handler: True that it works, False that it does not, None nothing.

    An order that it rejects is an answer. One that it never saw tells nothing, and one that it asked to be
    given later ("closed for the night") is neither done nor a sign that what it needs is down.
    """
    if failure.stage in ("decode", "validate") or failure.asked_for:
        return None
    return not failure.retryable
