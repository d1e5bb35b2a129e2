"""One member of a consumer group: what it is given, what it commits, and what is taken away from it."""

import contextlib
import time
from typing import Any, Callable, FrozenSet, Iterator, List, Mapping, Optional, Sequence, Set

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from orderflow.consume.client_config import Clients
from orderflow.consume.settlement import DROPPED, SETTLED, Offsets, Settlement, outcome_of
from orderflow.consume.source import Reports, Source
from orderflow.consume.transaction import Transaction, places_of
from orderflow.consume.workers import Workers
from orderflow.kafka.refusals import missing_right
from orderflow.model.records import Outgoing

WAIT_S = 0.1


class Session(Source):
    """A topic that is consumed in a group, and the transaction that commits for it."""

    def __init__(
        self,
        topic: str,
        clients: Clients,
        on_revoke: Callable[[Set[int]], None],
        on_lost: Callable[[], None],
        while_waiting: Callable[[float], None],
    ) -> None:
        """`on_revoke` may still settle; `on_lost` must wait until nothing is being settled any more.

        `while_waiting` is called about ten times a second with how long Kafka has not answered a settlement.
        """
        reports = Reports()
        consumer = Consumer({**clients.consumer, "error_cb": reports.of_consumer})
        super().__init__(topic, consumer, reports)
        self.exactly_once = clients.exactly_once
        self._group = clients.group
        self.while_waiting = while_waiting
        self.assigned: Set[int] = set()
        self.lost: Set[int] = set()
        """Partitions that were taken away since the caller last looked."""
        self._on_revoke = on_revoke
        self._on_lost = on_lost
        self._joined_as: Optional[str] = None
        self._in_callback = False
        self._committer = Workers(1, self._commit)
        self._transaction = Transaction(topic, clients, self.committed, reports.of_producer)
        consumer.subscribe([topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._expired)

    # --- the group -------------------------------------------------------------------------------

    def member_id(self) -> Optional[str]:
        """The name by which the group knows us, if it does."""
        return self._consumer.memberid()

    def member(self) -> Any:
        """Who we are in the group. Offsets are committed in the name of the member that earned them.

        None where the group has not let us in yet, or has dropped us, which `poll` has yet to say: the client
        has forgotten its member id by then. A transaction that names no member is committed by Kafka whoever
        sends it (measured).
        """
        try:
            member = self._consumer.consumer_group_metadata()
            # Asked for second: a member that was dropped never gets its id back.
            id_now = self._consumer.memberid()
        except RuntimeError:
            return None  # The client is closed, or has closed its side of the group ("not available").
        return member if id_now is not None and id_now == self._joined_as else None

    def _words_of(self, error: KafkaError) -> str:
        if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
            return error.str() + missing_right(error, "READ", self._group)
        return super()._words_of(error)

    def take_lost(self) -> Set[int]:
        """The partitions that were taken away since the last call."""
        lost, self.lost = self.lost, set()
        return lost

    def close(self) -> None:
        """Leave the group, so that the partitions are given to others at once."""
        self._consumer.close()

    def _assigned(self, consumer: Consumer, partitions: List[TopicPartition]) -> None:
        self._joined_as = consumer.memberid()
        self.assigned.update(place.partition for place in partitions)

    def _revoked(self, _: Consumer, partitions: List[TopicPartition]) -> None:
        gone = {place.partition for place in partitions}
        with self._callback():
            self._on_revoke(gone)
        self._part_with(gone)

    def _expired(self, _: Consumer, partitions: List[TopicPartition]) -> None:
        """Others have them already. A plain commit must not be sent by the member that we become next."""
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
        self._forget_ends(gone)

    # --- settling --------------------------------------------------------------------------------

    def commit(self, offsets: Offsets) -> Settlement:
        """Commit offsets that nothing has to be sent with. For the thread that polls.

        The client has no time-out for this, so a thread of its own makes the call, and `while_waiting` hears
        how long that takes. Not so in a rebalance callback: there the client lets no other thread commit
        until the callback has returned (measured with confluent-kafka 2.16.1).
        """
        if self.member() is None:
            return DROPPED
        places = places_of(self.topic, offsets)
        if self._in_callback:
            return self._commit(places)
        self._committer.submit(places)
        began_s = time.monotonic()
        while True:
            for _, settlement, error in self._committer.collect(WAIT_S):
                if error is not None:
                    raise error
                return settlement  # type: ignore[no-any-return]
            self.while_waiting(time.monotonic() - began_s)

    def _commit(self, places: List[TopicPartition]) -> Settlement:
        try:
            results = self._consumer.commit(offsets=places, asynchronous=False)
        except KafkaException as error:
            return _not_committed(error.args[0])
        failed = (place.error for place in results or [] if place.error is not None)
        return next((_not_committed(error) for error in failed), SETTLED)

    def send(self, outgoing: Sequence[Outgoing], offsets: Offsets, member: Any) -> Settlement:
        """Send the records, and with exactly-once the offsets: see `Transaction.send`."""
        return self._transaction.send(outgoing, offsets, member)

    def find_out(self, offsets: Offsets) -> Settlement:
        """What became of a settlement whose outcome is unknown: see `Transaction.find_out`."""
        return self._transaction.find_out(offsets)

    def expect(self, max_dead_letter_bytes: int, max_result_bytes: Optional[int] = None) -> None:
        """What the topics take from now on: no record, and no batch for them, is larger."""
        self._transaction.expect(max_dead_letter_bytes, max_result_bytes)


def _not_committed(error: KafkaError) -> Settlement:
    return Settlement(outcome_of(error), f"commit: {error.str()}")


LATEST = ("latest", "end", "largest")
MOVING = (KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS)
BEGIN_TIMEOUT_S = 20.0


def partitions_from_end(config: Mapping[str, Any], topic: str) -> FrozenSet[int]:
    """Which partitions begin at their end although nothing is committed: none, unless it is set up so.

    That is a choice about what was there before the group began. A partition that was added later holds
    nothing but orders that the group has yet to see, and a group commits for each partition as soon as it has
    it. So it is asked before the group is joined, and where the group has committed anything, every other
    partition begins at its beginning. Raises KafkaException.
    """
    if config.get("auto.offset.reset") not in LATEST:
        return frozenset()
    of_members = ("group.instance.id", "group.protocol")
    consumer = Consumer({name: value for name, value in config.items() if name not in of_members})
    try:
        numbers = consumer.list_topics(topic, timeout=BEGIN_TIMEOUT_S).topics[topic].partitions
        committed = _committed(consumer, [TopicPartition(topic, number) for number in numbers])
    finally:
        consumer.close()
    return frozenset() if any(place.offset >= 0 for place in committed) else frozenset(numbers)


def _committed(consumer: Consumer, asked: List[TopicPartition]) -> List[TopicPartition]:
    """What is committed; asked again while the group's coordinator is moving."""
    until_s = time.monotonic() + BEGIN_TIMEOUT_S
    while True:
        try:
            return consumer.committed(asked, timeout=BEGIN_TIMEOUT_S)
        except KafkaException as error:
            if error.args[0].code() not in MOVING or time.monotonic() > until_s:
                raise
            time.sleep(0.2)
