"""One member of a consumer group, and the transaction that settles what it did.

Owns: both Kafka clients, the rebalance callbacks, and the outcome of every commit.
Does not know: what an order is, why a record is sent, how an offset's metadata is written.
Used by: processor, which owns the only thread that may call this.

The rule for every settlement: an outcome that is not certain is never guessed. Kafka is asked what it has
committed, and until it answers the outcome is unknown, and nothing else may be settled.
"""

import contextlib
import logging
import time
from typing import (
    Any,
    Callable,
    Dict,
    FrozenSet,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Set,
    Tuple,
)

from confluent_kafka import (
    OFFSET_INVALID,
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka import Message as Fetched

from orderflow.consume.settlement import (
    DROPPED,
    NEW_GENERATION,
    NO_MEMBERS,
    REFUSALS,
    SETTLED,
    TOO_LARGE,
    Outcome,
    SessionLost,
    Settlement,
)
from orderflow.consume.workers import Workers
from orderflow.model.records import Message, Outgoing

log = logging.getLogger(__name__)

COMMIT_TIMEOUT_S = 10.0
WAIT_S = 0.1
FRAME_BYTES = 4096

EXPULSIONS = (KafkaError.UNKNOWN_MEMBER_ID, KafkaError.FENCED_INSTANCE_ID, KafkaError.FENCED_MEMBER_EPOCH)
"""The group has dropped this member, and may have given its partitions to others."""
Offsets = Mapping[int, Tuple[int, str]]
"""By partition: the offset to commit, and its metadata."""


FATAL = (KafkaError._FATAL, KafkaError._FENCED, KafkaError.FENCED_INSTANCE_ID)
"""What ends a client whatever `fatal()` says: of a message's error it says False (measured)."""


def is_fatal(error: KafkaError) -> bool:
    """Whether a client that reported this is of no use any more."""
    return bool(error.fatal()) or error.code() in FATAL


RAISED = (KafkaException, SystemError)
"""What a call of the client raises.

A fatal error is raised amid the error callback, which Python takes for an error of its own (measured).
"""


def error_of(raised: BaseException) -> KafkaError:
    """What the client says in what it raised."""
    cause: Optional[BaseException] = raised
    while cause is not None:
        if isinstance(cause, KafkaException):
            error: KafkaError = cause.args[0]
            return error
        cause = cause.__cause__ or cause.__context__
    raise raised


OUTCOMES: Dict[Outcome, Tuple[int, ...]] = {
    Outcome.TOO_LARGE: TOO_LARGE,
    Outcome.MOVED_ON: NEW_GENERATION,
    Outcome.EXPELLED: EXPULSIONS,
    Outcome.METADATA_TOO_LARGE: (KafkaError.OFFSET_METADATA_TOO_LARGE,),
    # Where the time of several records in a batch is refused, Kafka only says "invalid record" (measured).
    Outcome.TIME_REFUSED: (KafkaError.INVALID_TIMESTAMP, KafkaError.INVALID_RECORD),
    Outcome.REFUSED: REFUSALS,
}
"""What Kafka's answers mean; every other one is "not committed", so no answer has to be known to us."""
RIGHTS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "the right WRITE on {topics}",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: (
        "the right IDEMPOTENT_WRITE on the cluster, or WRITE on {topics}"
    ),
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "the right WRITE on transactional id {id}",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "the right READ on group {group}",
}
"""What is missing where Kafka only says that something is."""
COMMIT = "commit_transaction"


class Session:
    """A consumer, and a producer that commits for it."""

    def __init__(
        self,
        topic: str,
        consumer_config: Mapping[str, Any],
        producer_config: Mapping[str, Any],
        exactly_once: bool,
        on_revoke: Callable[[Set[int]], None],
        on_lost: Callable[[], None],
        on_crash: Callable[[BaseException], None],
    ) -> None:
        """`on_revoke` may still settle; `on_lost` must wait until nothing is being settled any more."""
        self.topic = topic
        self.exactly_once = exactly_once
        self.lost: Set[int] = set()
        """Partitions that were taken away since the caller last looked."""
        self.assigned: Set[int] = set()
        self._max_dead_letter_bytes = self._max_result_bytes = 1_000_000
        self.while_waiting: Callable[[float], None] = lambda waited_s: None
        """Told about ten times a second how long Kafka has not answered a settlement."""
        self._committer = Workers(1, self._commit, on_crash)
        self._in_callback = False
        self._ends: Dict[int, int] = {}
        self._joined_as: Optional[str] = None
        self._on_revoke = on_revoke
        self._on_lost = on_lost
        self._producer_config = producer_config
        self._transaction: Optional[Producer] = None
        self._next: Optional[Producer] = None
        """Made ahead: a producer that is used at once waits half a second for a connection (measured)."""
        self._step = ""
        """What the thread that sends is at, for the words in which a failure is told."""
        self._denied: Set[str] = set()
        self._sending: Sequence[Outgoing] = ()
        """The records that were sent last."""
        self._group = str(consumer_config["group.id"])
        self._delivery_errors: List[KafkaError] = []
        self._errors: List[KafkaError] = []
        self._faults: List[KafkaError] = []
        self._fatal: Optional[KafkaError] = None
        self.last_word = ""
        """What the consumer reported last, other than that it finds no broker."""
        self._consumer = Consumer({**consumer_config, "error_cb": self._heard})
        self._consumer.subscribe(
            [topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._expired
        )

    # --- consuming -------------------------------------------------------------------------------

    def poll(self, max_records: int, timeout_s: float) -> List[Message]:
        """The next records, in order of each partition. Rebalances take effect in here only."""
        messages = self._consume(max_records, timeout_s)
        if self._fatal is not None:
            raise SessionLost(self._fatal.str())
        if not any(map(Fetched.error, messages)):
            return messages
        for fault in messages:
            if fault.error() is not None:
                self._note(fault)
        return [message for message in messages if message.error() is None]

    def _consume(self, max_records: int, timeout_s: float) -> List[Any]:
        try:
            messages: List[Any] = self._consumer.consume(1, timeout_s)
            if messages and max_records > 1:
                # What is there already, without waiting for more: the batch is as large as the load.
                messages += self._consumer.consume(max_records - 1, 0)
            return messages
        except RAISED as raised:
            self._heard(error_of(raised))
            return []

    def _heard(self, error: KafkaError) -> None:
        """The consumer reports something; of what its producers report none is the end."""
        self._errors.append(error)
        if is_fatal(error):
            self._fatal = error
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            self.last_word = error.str()

    def partitions(self, timeout_s: float) -> List[int]:
        """Every partition of the topic, whoever owns it. Raises KafkaException."""
        found = self._consumer.list_topics(self.topic, timeout=timeout_s).topics[self.topic]
        if found.error is not None:
            raise KafkaException(found.error)
        return sorted(found.partitions)

    def answers(self, timeout_s: float) -> bool:
        """Whether a broker answers now."""
        try:
            self._consumer.list_topics(self.topic, timeout=timeout_s)
            return True
        except KafkaException:
            return False

    def take_errors(self) -> List[KafkaError]:
        """What the client reported since the last call, for instance that no broker answers."""
        errors, self._errors[:] = list(self._errors), []
        return errors

    def take_faults(self) -> List[KafkaError]:
        """Why records could not be read, since the last call."""
        faults, self._faults = self._faults, []
        return faults

    def member_id(self) -> Optional[str]:
        """By which name the group knows us, if it does."""
        return self._consumer.memberid()

    def _note(self, fault: Any) -> None:
        error: Any = fault.error()
        if error.code() == KafkaError._PARTITION_EOF:
            self._ends[fault.partition()] = fault.offset()
            return
        if is_fatal(error) or error.code() in (*REFUSALS, *NO_MEMBERS):
            raise SessionLost(error.str())
        self.last_word = error.str()
        self._faults.append(error)

    def positions(self, partitions: Sequence[int]) -> Dict[int, int]:
        """The next offset of each partition that something was read from, past markers and holes."""
        asked = [TopicPartition(self.topic, partition) for partition in partitions]
        found = self._consumer.position(asked)
        places = {place.partition: place.offset for place in found if place.offset >= 0}
        # After a seek to where only markers are left, nothing but the end itself tells the position.
        for partition in partitions:
            if self._ends.get(partition, -1) > places.get(partition, -1):
                places[partition] = self._ends[partition]
        return places

    def committed(self, partitions: Sequence[int], timeout_s: float) -> Dict[int, Tuple[Optional[int], str]]:
        """What is committed: offset (None where nothing is) and metadata. Raises KafkaException."""
        asked = [TopicPartition(self.topic, partition) for partition in partitions]
        found = self._consumer.committed(asked, timeout=timeout_s)
        for place in found:
            if place.error is not None:
                raise KafkaException(place.error)
        return {
            place.partition: (place.offset if place.offset != OFFSET_INVALID else None, place.metadata or "")
            for place in found
        }

    def bounds(self, partition: int, timeout_s: float) -> Tuple[int, int]:
        """The first offset of the log and the one after its last stable. Raises KafkaException."""
        place = TopicPartition(self.topic, partition)
        low, high = self._consumer.get_watermark_offsets(place, timeout=timeout_s)
        return low, high

    def known_end(self, partition: int) -> Optional[int]:
        """The end of the log as the last fetch saw it; costs nothing."""
        place = TopicPartition(self.topic, partition)
        _, high = self._consumer.get_watermark_offsets(place, cached=True)
        return high if high >= 0 else None

    def seek(self, partition: int, offset: int) -> None:
        """Go on at `offset`. Raises KafkaException while the assignment is still settling."""
        self._ends.pop(partition, None)
        self._consumer.seek(TopicPartition(self.topic, partition, offset))

    def pause(self, partitions: Sequence[int]) -> None:
        """Fetch nothing of these partitions for now."""
        self._consumer.pause([TopicPartition(self.topic, partition) for partition in partitions])

    def resume_at(self, partition: int, offset: int) -> None:
        """Fetch this partition again, from `offset` on. Raises KafkaException as `seek` does.

        The thread that fetches sleeps for up to a second when all is paused, and a resume leaves it asleep;
        the seek after it wakes it (measured). And it says where to go on: left to itself the client has
        been seen to go on at a stale place.
        """
        self._consumer.resume([TopicPartition(self.topic, partition)])
        self.seek(partition, offset)

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
        for partition in gone:
            self._ends.pop(partition, None)

    def take_lost(self) -> Set[int]:
        """The partitions that were taken away since the last call."""
        lost, self.lost = self.lost, set()
        return lost

    # --- settling --------------------------------------------------------------------------------

    def member(self) -> Any:
        """Who we are in the group. Offsets are committed in the name of the member that earned them.

        None where the group has dropped us, which `poll` has yet to tell: the client has forgotten its
        member id by then. Of one that names no member Kafka commits a transaction for anybody (measured).
        """
        member = self._consumer.consumer_group_metadata()
        # Asked for second: a member that was dropped never gets its id back.
        return member if self._consumer.memberid() == self._joined_as else None

    def commit(self, offsets: Offsets) -> Settlement:
        """Commit offsets that nothing has to be sent with. For the thread that polls.

        The client has no time-out for this, so a thread of its own makes the call, and `while_waiting`
        is told how long that takes. Not so in a rebalance callback: there the client lets no other
        thread commit until the callback has returned (measured with confluent-kafka 2.16.1).
        """
        if self.member() is None:
            return DROPPED
        places = self._places(offsets)
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
            return self._settlement(error.args[0], "commit")
        for place in results or []:
            if place.error is not None:
                return self._settlement(place.error, "commit")
        return SETTLED

    def send(self, outgoing: Sequence[Outgoing], offsets: Offsets, member: Any) -> Settlement:
        """Send the records. In exactly-once mode the offsets are committed with them: both or neither.

        In at-least-once mode the outcome is SENT when every record is confirmed, and the offsets are
        the caller's to commit. A thread of its own may call this, one call at a time.
        """
        if member is None:
            return DROPPED
        self._sending = outgoing
        if self.exactly_once:
            return self._transact(outgoing, offsets, member)
        return self._confirm(outgoing)

    def _places(self, offsets: Offsets) -> List[TopicPartition]:
        return [
            TopicPartition(self.topic, partition, offset, metadata=metadata)
            for partition, (offset, metadata) in offsets.items()
        ]

    def _transact(self, outgoing: Sequence[Outgoing], offsets: Offsets, member: Any) -> Settlement:
        self._delivery_errors.clear()
        self._denied.clear()
        self._step = "init_transactions"
        try:
            producer = self._transactional_producer()
            producer.begin_transaction()
            # The offsets first: until the broker has finished the transaction before, it turns away what
            # is added to this one. The client adds offsets again after 2 ms, but partitions after 20.
            self._step = "send_offsets_to_transaction"
            producer.send_offsets_to_transaction(self._places(offsets), member, COMMIT_TIMEOUT_S)
            self._step = "produce"
            self._send(producer, outgoing)
            self._step = COMMIT
            producer.commit_transaction(COMMIT_TIMEOUT_S)
        except RAISED as raised:
            return self._not_transacted(error_of(raised), offsets)
        return SETTLED

    def _not_transacted(self, error: KafkaError, offsets: Offsets) -> Settlement:
        """What became of a transaction that failed in `_step`.

        Before the commit was asked for, nothing can be committed. Of a record that was not delivered the
        client does not ask for it either. Else only an abort that succeeds, or Kafka itself, can tell.
        """
        settlement = self._settlement(self._first_cause(error), self._step)
        unasked = self._step != COMMIT or (self._delivery_errors and error.txn_requires_abort())
        if self._has_aborted(error) or unasked:
            return settlement
        found = self.find_out(offsets)
        return settlement if found.outcome is Outcome.NOT_COMMITTED else found

    def _has_aborted(self, error: KafkaError) -> bool:
        """Abort, so that the broker is done with it; drop a producer that is broken, or cannot.

        The successor's `init_transactions` ends what a producer left open, but may take seconds for it.
        """
        producer, is_broken = self._transaction, error.code() in TOO_LARGE or self._delivery_errors
        has_aborted = producer is not None and error.txn_requires_abort() and self._abort(producer)
        if is_broken or not has_aborted:
            self._transaction = None
        return has_aborted

    @staticmethod
    def _abort(producer: Producer) -> bool:
        try:
            producer.abort_transaction(COMMIT_TIMEOUT_S)
            return True
        except RAISED as second:
            log.warning("abort failed, replacing the producer: %s", error_of(second).str())
            return False

    def find_out(self, offsets: Offsets) -> Settlement:
        """Whether the transaction with these offsets, the last one, was committed although nobody said so.

        A new producer of the same transactional id makes the broker complete or abort what the old one
        left. From then on what is committed cannot change any more, and names our transaction or not.
        For the thread that sends.
        """
        self._step = "init_transactions"
        try:
            self._transaction = None
            self._transactional_producer()
            self._step = "committed"
            found = self.committed(sorted(offsets), COMMIT_TIMEOUT_S)
        except RAISED as raised:
            return Settlement(Outcome.UNKNOWN, f"{self._step}: {error_of(raised).str()}")
        if found == dict(offsets):
            return SETTLED
        return Settlement(Outcome.NOT_COMMITTED, "a transaction was aborted")

    def _confirm(self, outgoing: Sequence[Outgoing]) -> Settlement:
        self._delivery_errors.clear()
        self._denied.clear()
        confirmed: Set[int] = set()
        failure = self._send_and_wait(outgoing, confirmed)
        if failure is None:
            return Settlement(Outcome.SENT, confirmed=frozenset(confirmed))
        self._drop_plain_producer()
        settlement = self._settlement(self._first_cause(failure), "produce")
        return settlement._replace(confirmed=frozenset(confirmed))

    def _send_and_wait(self, outgoing: Sequence[Outgoing], confirmed: Set[int]) -> Optional[KafkaError]:
        """Send and collect what is confirmed; why not all of it is, or None."""
        try:
            producer = self._plain_producer()
            for place, record in enumerate(outgoing):
                self._send_one(producer, record, self._confirmation(place, confirmed))
            producer.flush(COMMIT_TIMEOUT_S)
        except RAISED as raised:
            return error_of(raised)
        return None if len(confirmed) == len(outgoing) else KafkaError(KafkaError._TIMED_OUT)

    def _confirmation(self, place: int, confirmed: Set[int]) -> Callable[[Optional[KafkaError], Any], None]:
        def delivered(error: Optional[KafkaError], record: Any) -> None:
            if error is None:
                confirmed.add(place)
            else:
                self._delivered(error, record)

        return delivered

    def _send(self, producer: Producer, outgoing: Sequence[Outgoing]) -> None:
        for record in outgoing:
            self._send_one(producer, record)
        producer.poll(0)

    @staticmethod
    def _send_one(producer: Producer, record: Outgoing, on_delivery: Any = None) -> None:
        options: Dict[str, Any] = {"headers": record.headers}
        if on_delivery is not None:
            options["on_delivery"] = on_delivery
        if record.partition is not None:
            options["partition"] = record.partition
        if record.timestamp_ms is not None:
            options["timestamp"] = record.timestamp_ms
        while True:
            try:
                return producer.produce(record.topic, record.value, record.key, **options)
            except BufferError:
                producer.poll(0.1)

    def _delivered(self, error: Optional[KafkaError], record: Any) -> None:
        if error is None:
            return
        self._delivery_errors.append(error)
        if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            self._denied.add(record.topic())

    def _first_cause(self, error: KafkaError) -> KafkaError:
        """A failed delivery says why the commit failed; the commit itself only says that it did."""
        causes = [cause for cause in self._delivery_errors if cause.code() not in PURGED]
        return causes[0] if causes else error

    def _transactional_producer(self) -> Producer:
        if self._transaction is None:
            producer = self._take_next()
            producer.init_transactions(COMMIT_TIMEOUT_S)
            self._transaction = producer
        return self._transaction

    def _plain_producer(self) -> Producer:
        if self._transaction is None:
            self._transaction = self._take_next()
        return self._transaction

    def _take_next(self) -> Producer:
        producer, self._next = self._next or self._new_producer(), None
        return producer

    def _drop_plain_producer(self) -> None:
        if self._transaction is not None:
            self._transaction.purge()
            self._transaction = None

    def _new_producer(self) -> Producer:
        config = dict(self._producer_config)
        if not self.exactly_once:
            for name in ("transactional.id", "transaction.timeout.ms", "delivery.report.only.error"):
                config.pop(name, None)
            # Unconfirmed must mean undelivered when the flush ends, or a retry could double it.
            config["delivery.timeout.ms"] = int(COMMIT_TIMEOUT_S * 1000) - 1000
        own = {"on_delivery": self._delivered, "error_cb": self._errors.append}
        # Kafka holds a batch, not a record, against a topic's `max.message.bytes`.
        limits = self._max_dead_letter_bytes, self._max_result_bytes
        sizes = {
            "batch.size": min(1_000_000, *limits),
            "message.max.bytes": max(1_000_000, *limits) + FRAME_BYTES,
        }
        return Producer({**config, **own, **sizes})

    def _settlement(self, error: KafkaError, step: str) -> Settlement:
        code, detail = error.code(), f"{step}: {error.str()}{self._missing_right(error.code())}"
        for outcome, codes in OUTCOMES.items():
            if code in codes:
                return Settlement(outcome, detail)
        return Settlement(Outcome.NOT_COMMITTED, detail)

    def _missing_right(self, code: int) -> str:
        if code not in RIGHTS:
            return ""
        topics = "topic " + " and ".join(sorted(self._denied or {record.topic for record in self._sending}))
        transactional_id = self._producer_config["transactional.id"]
        return "; it takes " + RIGHTS[code].format(topics=topics, id=transactional_id, group=self._group)

    def expect(self, max_dead_letter_bytes: int, max_result_bytes: Optional[int] = None) -> None:
        """What the topics take from now on: no record, and no batch for them, is larger."""
        self._max_dead_letter_bytes = max_dead_letter_bytes
        if max_result_bytes is not None:
            self._max_result_bytes = max_result_bytes
        self._transaction, self._next = None, self._new_producer()

    def close(self) -> None:
        """Leave the group, so that the partitions are given to others at once."""
        self._consumer.close()


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


PURGED = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)
