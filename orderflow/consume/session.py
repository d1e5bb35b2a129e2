"""One member of the consumer group: its assignment, its commits, and the partitions revoked from it."""

import contextlib
import time
from typing import Any, Callable, FrozenSet, Iterator, List, Mapping, Optional, Sequence, Set

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from orderflow.consume.client_config import Clients
from orderflow.consume.left_open import LeftOpen
from orderflow.consume.settlement import DROPPED, SETTLED, Offsets, Settlement, outcome_of
from orderflow.consume.source import Reports, Source
from orderflow.consume.transaction import Transaction, places_of
from orderflow.consume.workers import Workers
from orderflow.kafka.answers import committed_for, partitions_of
from orderflow.kafka.client_properties import without_membership
from orderflow.kafka.refusals import MOVING, ask_again, missing_right, on_group
from orderflow.model.records import Outgoing

WAIT_S = 0.1
GO_ON = {"auto.offset.reset": "earliest"}
"""Where retention has passed a consumer, it goes on with the first record that is left, and the loss is told.

Where a group without a commit begins is decided before (`partitions_from_end`). With `latest`, the client
itself would skip all that is left, and with `error` it stands still.
"""


class Session(Source):
    """A topic consumed in a group, and the transaction that commits its offsets."""

    def __init__(
        self,
        topic: str,
        clients: Clients,
        on_revoke: Callable[[Set[int]], None],
        on_lost: Callable[[], None],
        while_waiting: Callable[[float], None],
    ) -> None:
        """`on_revoke` may still settle; `on_lost` must wait until no settlement is in flight.

        `while_waiting` is called about ten times a second during a settlement, with the seconds waited.
        """
        reports = Reports()
        consumer = Consumer({**clients.consumer, **GO_ON, "error_cb": reports.of_consumer})
        super().__init__(topic, consumer, reports)
        self.exactly_once = clients.exactly_once
        self._group = clients.group
        self.while_waiting = while_waiting
        self.assigned: Set[int] = set()
        self.lost: Set[int] = set()
        """Partitions revoked or lost since the last `take_lost`."""
        self.rebalances = 0
        """How often the group has given or taken partitions."""
        self._on_revoke = on_revoke
        self._on_lost = on_lost
        self._joined_as: Optional[str] = None
        self._in_callback = False
        self._committer = Workers(1, self._commit)
        self._transaction = Transaction(topic, clients, self.committed, reports.of_producer)
        self._left_open = LeftOpen(topic, clients, self._transaction.end_ours)
        consumer.subscribe([topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._expired)

    # --- the group -------------------------------------------------------------------------------

    def member_id(self) -> Optional[str]:
        """Our member id in the group, if we have one."""
        return self._consumer.memberid()

    def member(self) -> Any:
        """Our group metadata. Offsets are committed in the name of the member that processed them.

        None if the group has not admitted us yet, or has dropped us and `poll` has yet to report it: the
        client has already forgotten its member id then. Kafka commits a transaction that names no member,
        whoever sends it (measured).
        """
        try:
            member = self._consumer.consumer_group_metadata()
            # Read after the metadata: a dropped member never gets its id back.
            id_now = self._consumer.memberid()
        except RuntimeError:
            return None  # the client is closed, or has left the group ("not available")
        return member if id_now is not None and id_now == self._joined_as else None

    def _words_of(self, error: KafkaError) -> str:
        if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
            return error.str() + missing_right(error, on_group("READ", self._group))
        return super()._words_of(error)

    def take_lost(self) -> Set[int]:
        """The partitions revoked or lost since the last call."""
        lost, self.lost = self.lost, set()
        return lost

    def close(self) -> None:
        """Leave the group, so that its partitions are reassigned at once."""
        self._consumer.close()

    def _assigned(self, consumer: Consumer, partitions: List[TopicPartition]) -> None:
        self._joined_as = consumer.memberid()
        self.assigned.update(place.partition for place in partitions)
        self.rebalances += 1
        _take_from_end(consumer, partitions)

    def _revoked(self, _: Consumer, partitions: List[TopicPartition]) -> None:
        gone = {place.partition for place in partitions}
        with self._callback():
            self._on_revoke(gone)
        self._part_with(gone)

    def _expired(self, _: Consumer, partitions: List[TopicPartition]) -> None:
        """Others already own them. The member we become next must not send a plain commit for them."""
        with self._callback():
            self._on_lost()
        self._part_with({place.partition for place in partitions})

    @contextlib.contextmanager
    def _callback(self) -> Iterator[None]:
        self._in_callback = True
        try:
            yield
        finally:
            self._in_callback = False

    def _part_with(self, gone: Set[int]) -> None:
        self.assigned -= gone
        self.lost |= gone
        self.rebalances += 1
        self._forget_ends(gone)

    # --- settling --------------------------------------------------------------------------------

    def commit(self, offsets: Offsets) -> Settlement:
        """Commit offsets without sending records. Call it from the polling thread.

        The client has no time-out for this, so the call is made in a separate thread while `while_waiting`
        is called. In a rebalance callback it is made directly: until the callback returns, the client lets
        no other thread commit (measured with confluent-kafka 2.16.1).
        """
        if self.member() is None:
            return DROPPED
        places = places_of(self.topic, offsets)
        if self._in_callback:
            return self._commit(places)
        self._committer.submit(places)
        began_s = time.monotonic()
        while True:
            for _, settlement, error, _ in self._committer.collect(WAIT_S):
                if error is not None:
                    raise error
                return settlement  # type: ignore[no-any-return]
            self.while_waiting(time.monotonic() - began_s)

    def _commit(self, places: List[TopicPartition]) -> Settlement:
        try:
            results = self._consumer.commit(offsets=places, asynchronous=False)
        except KafkaException as error:
            return self._not_committed(error.args[0])
        failed = (place.error for place in results or [] if place.error is not None)
        return next((self._not_committed(error) for error in failed), SETTLED)

    def _not_committed(self, error: KafkaError) -> Settlement:
        return Settlement(outcome_of(error), f"commit: {self._words_of(error)}")

    def send(
        self, outgoing: Sequence[Outgoing], offsets: Offsets, member: Any, pages: Sequence[Outgoing] = ()
    ) -> Settlement:
        """Send the records and, with exactly-once, the offsets: see `Transaction.send`."""
        return self._transaction.send(outgoing, offsets, member, pages)

    def end_left_over(self) -> None:
        """End the transaction that a predecessor may have left open: see `Transaction.end_left_over`."""
        self._transaction.end_left_over()

    def end_left_open(self, partitions: Sequence[int]) -> FrozenSet[int]:
        """End the transactions that hide what is committed for these, if any do: see `LeftOpen.end`."""
        return self._left_open.end(partitions)

    def find_out(self, offsets: Offsets) -> Settlement:
        """Find out the outcome of an uncertain settlement: see `Transaction.find_out`."""
        return self._transaction.find_out(offsets)

    def expect(
        self,
        max_dead_letter_bytes: int,
        max_result_bytes: Optional[int] = None,
        max_page_bytes: Optional[int] = None,
    ) -> None:
        """Set the largest record, and batch, that the topics accept from now on."""
        self._transaction.expect(max_dead_letter_bytes, max_result_bytes, max_page_bytes)


def _take_from_end(consumer: Consumer, partitions: List[TopicPartition]) -> None:
    """Take these without asking what is committed for them; whoever restores one seeks to where it goes on.

    Else the client asks by itself, for all of them together, and refuses a seek in any until it knows: one
    whose offset an open transaction hides kept back the others (seen with librdkafka 2.16).
    """
    if not partitions:
        return
    places = [TopicPartition(place.topic, place.partition, OFFSET_END) for place in partitions]
    try:
        consumer.incremental_assign(places)
    except KafkaException:  # the group's protocol is the eager one, and these are all that we have
        consumer.assign(places)


LATEST = ("latest", "end", "largest")
BEGIN_TIMEOUT_S = 20.0


def partitions_from_end(config: Mapping[str, Any], topic: str) -> FrozenSet[int]:
    """The partitions that start at their end when nothing is committed: none unless configured that way.

    That setting is about orders older than the group. A partition added later holds only orders the group has
    yet to see, and the group commits for every partition as soon as it has it. So this is checked before
    joining, and if the group has committed anything, every other partition starts at its beginning. Raises
    KafkaException.
    """
    if config.get("auto.offset.reset") not in LATEST:
        return frozenset()
    consumer = Consumer(without_membership(config))
    try:
        numbers = partitions_of(consumer, topic, BEGIN_TIMEOUT_S)
        committed = _committed(consumer, [TopicPartition(topic, number) for number in numbers])
    finally:
        consumer.close()
    return frozenset() if any(place.offset >= 0 for place in committed) else frozenset(numbers)


def _committed(consumer: Consumer, asked: List[TopicPartition]) -> List[TopicPartition]:
    """The committed offsets; retried while the group's coordinator is moving."""
    until_s = time.monotonic() + BEGIN_TIMEOUT_S
    return ask_again(lambda: committed_for(consumer, asked, BEGIN_TIMEOUT_S), MOVING, until_s)
