"""Sends what a settlement sends, and says what became of it.

With exactly-once the offsets are committed in one transaction with the records. With at-least-once each
record is confirmed first, and the caller commits the offsets.

The rule for every outcome: what is not certain is never guessed. Kafka is asked what it has committed, and
until it answers the outcome is unknown, and nothing else may be settled.
"""

import logging
from typing import AbstractSet, Any, Callable, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from confluent_kafka import KafkaError, Producer, TopicPartition

from orderflow.consume.client_config import Clients
from orderflow.consume.client_errors import RAISED, error_of
from orderflow.consume.settlement import (
    DROPPED,
    SETTLED,
    TOO_LARGE,
    Offsets,
    Outcome,
    Settlement,
    outcome_of,
)
from orderflow.kafka.transactions import produce
from orderflow.model.records import Outgoing

log = logging.getLogger(__name__)

TIMEOUT_S = 10.0
FRAME_BYTES = 4096
PURGED = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)
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

Committed = Callable[[Sequence[int], float], Mapping[int, Tuple[Optional[int], str]]]
"""What is committed for these partitions, within so many seconds. Raises KafkaException."""
OnError = Callable[[KafkaError], None]


def places_of(topic: str, offsets: Offsets) -> List[TopicPartition]:
    """Offsets in the form in which the client commits them."""
    return [
        TopicPartition(topic, partition, offset, metadata=metadata)
        for partition, (offset, metadata) in offsets.items()
    ]


class Sizes(NamedTuple):
    """The largest record that each topic takes."""

    dead_letter_bytes: int = 1_000_000
    result_bytes: int = 1_000_000


class Deliveries:
    """Which of the records that were sent last could not be delivered, and why."""

    def __init__(self) -> None:
        self._errors: List[KafkaError] = []
        self.denied: Set[str] = set()
        """Topics on which we may not write."""

    def __bool__(self) -> bool:
        """Whether any record could not be delivered."""
        return bool(self._errors)

    def begin(self) -> None:
        """From now on other records are sent."""
        self._errors.clear()
        self.denied.clear()

    def note(self, error: Optional[KafkaError], record: Any) -> None:
        """The client's report on one record."""
        if error is None:
            return
        self._errors.append(error)
        if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            self.denied.add(record.topic())

    def first_cause(self, error: KafkaError) -> KafkaError:
        """A failed delivery says why the commit failed; the commit itself only says that it did."""
        return next((cause for cause in self._errors if cause.code() not in PURGED), error)


class Producers:
    """One producer at a time, replaced when it is broken, with its successor made ahead."""

    def __init__(self, clients: Clients, deliveries: Deliveries, on_error: OnError) -> None:
        self._clients = clients
        self._deliveries = deliveries
        self._on_error = on_error
        self._sizes = Sizes()
        self._current: Optional[Producer] = None
        self._next: Optional[Producer] = None
        """Made ahead: a producer that is used at once waits half a second for a connection (measured)."""

    @property
    def current(self) -> Optional[Producer]:
        """The producer in use, if there is one."""
        return self._current

    def ready(self) -> Producer:
        """A producer that can send. Raises KafkaException where a transactional one cannot begin."""
        if self._current is not None:
            return self._current
        producer, self._next = self._next or self._new(), None
        if self._clients.exactly_once:
            producer.init_transactions(TIMEOUT_S)
        self._current = producer
        return producer

    def drop(self) -> None:
        """Use another one from now on."""
        self._current = None

    def expect(self, max_dead_letter_bytes: int, max_result_bytes: Optional[int]) -> None:
        """No record, and no batch, will be larger from now on; None leaves a size as it is."""
        self._sizes = self._sizes._replace(dead_letter_bytes=max_dead_letter_bytes)
        if max_result_bytes is not None:
            self._sizes = self._sizes._replace(result_bytes=max_result_bytes)
        self._current, self._next = None, self._new()

    def _new(self) -> Producer:
        config = dict(self._clients.producer)
        if not self._clients.exactly_once:
            for name in ("transactional.id", "transaction.timeout.ms", "delivery.report.only.error"):
                config.pop(name, None)
            # Unconfirmed must mean undelivered when the flush ends, or a retry could double it.
            config["delivery.timeout.ms"] = int(TIMEOUT_S * 1000) - 1000
        own = {"on_delivery": self._deliveries.note, "error_cb": self._on_error}
        # Kafka holds a batch, not a record, against a topic's `max.message.bytes`.
        sizes = {
            "batch.size": min(1_000_000, *self._sizes),
            "message.max.bytes": max(1_000_000, *self._sizes) + FRAME_BYTES,
        }
        return Producer({**config, **own, **sizes})


class Transaction:
    """Sends one settlement after the other, each in a transaction or each record confirmed."""

    def __init__(self, topic: str, clients: Clients, committed: Committed, on_error: OnError) -> None:
        """`topic` is that of the offsets, `committed` asks Kafka for them."""
        self._topic = topic
        self._clients = clients
        self._committed = committed
        self._deliveries = Deliveries()
        self._producers = Producers(clients, self._deliveries, on_error)
        self._step = ""
        """The call that is being made, for the detail of a failure."""
        self._sending: Sequence[Outgoing] = ()

    def expect(self, max_dead_letter_bytes: int, max_result_bytes: Optional[int] = None) -> None:
        """What the topics take from now on: no record, and no batch for them, is larger."""
        self._producers.expect(max_dead_letter_bytes, max_result_bytes)

    def send(self, outgoing: Sequence[Outgoing], offsets: Offsets, member: Any) -> Settlement:
        """Send the records. With exactly-once the offsets are committed with them: both or neither.

        With at-least-once the outcome is SENT when every record is confirmed, and the caller commits the
        offsets. A thread of its own may call this, one call at a time.
        """
        if member is None:
            return DROPPED
        self._sending = outgoing
        self._deliveries.begin()
        if self._clients.exactly_once:
            return self._transact(outgoing, offsets, member)
        return self._confirm(outgoing)

    def find_out(self, offsets: Offsets) -> Settlement:
        """Whether the last transaction, with these offsets, was committed although no answer said so.

        A new producer of the same transactional id makes the broker complete or abort what the old one left.
        From then on what is committed cannot change any more: it is what we sent, or it is not. For the
        thread that sends.
        """
        self._step = "init_transactions"
        try:
            self._producers.drop()
            self._producers.ready()
            self._step = "committed"
            found = self._committed(sorted(offsets), TIMEOUT_S)
        except RAISED as raised:
            return Settlement(Outcome.UNKNOWN, f"{self._step}: {error_of(raised).str()}")
        if found == dict(offsets):
            return SETTLED
        return Settlement(Outcome.NOT_COMMITTED, "a transaction was aborted")

    # --- exactly-once ----------------------------------------------------------------------------

    def _transact(self, outgoing: Sequence[Outgoing], offsets: Offsets, member: Any) -> Settlement:
        self._step = "init_transactions"
        try:
            producer = self._producers.ready()
            producer.begin_transaction()
            # The offsets first: until the broker has finished the transaction before, it turns away what
            # is added to this one. The client adds offsets again after 2 ms, but partitions after 20.
            self._step = "send_offsets_to_transaction"
            producer.send_offsets_to_transaction(places_of(self._topic, offsets), member, TIMEOUT_S)
            self._step = "produce"
            for record in outgoing:
                produce(producer, record)
            producer.poll(0)
            self._step = COMMIT
            producer.commit_transaction(TIMEOUT_S)
        except RAISED as raised:
            return self._not_transacted(error_of(raised), offsets)
        return SETTLED

    def _not_transacted(self, error: KafkaError, offsets: Offsets) -> Settlement:
        """What became of a transaction that failed in `_step`.

        Before the commit was asked for, nothing can be committed. When a record was not delivered, the client
        does not ask for it either. Otherwise only an abort that succeeds, or Kafka itself, can say.
        """
        settlement = self._failed(self._deliveries.first_cause(error), self._step)
        unasked = self._step != COMMIT or (self._deliveries and error.txn_requires_abort())
        if self._has_aborted(error) or unasked:
            return settlement
        found = self.find_out(offsets)
        return settlement if found.outcome is Outcome.NOT_COMMITTED else found

    def _has_aborted(self, error: KafkaError) -> bool:
        """Abort, so that the broker is done with it; drop a producer that is broken, or cannot.

        The successor's `init_transactions` ends what a producer left open, but may take seconds for it.
        """
        producer, is_broken = self._producers.current, error.code() in TOO_LARGE or self._deliveries
        has_aborted = producer is not None and error.txn_requires_abort() and _abort(producer)
        if is_broken or not has_aborted:
            self._producers.drop()
        return has_aborted

    # --- at-least-once ---------------------------------------------------------------------------

    def _confirm(self, outgoing: Sequence[Outgoing]) -> Settlement:
        confirmed: Set[int] = set()
        failure = self._send_and_wait(outgoing, confirmed)
        if failure is None:
            return Settlement(Outcome.SENT, confirmed=frozenset(confirmed))
        if self._producers.current is not None:
            self._producers.current.purge()
        self._producers.drop()
        settlement = self._failed(self._deliveries.first_cause(failure), "produce")
        return settlement._replace(confirmed=frozenset(confirmed))

    def _send_and_wait(self, outgoing: Sequence[Outgoing], confirmed: Set[int]) -> Optional[KafkaError]:
        """Send and collect what is confirmed; why not all of it is, or None."""
        try:
            producer = self._producers.ready()
            for place, record in enumerate(outgoing):
                produce(producer, record, self._confirmation(place, confirmed))
            producer.flush(TIMEOUT_S)
        except RAISED as raised:
            return error_of(raised)
        return None if len(confirmed) == len(outgoing) else KafkaError(KafkaError._TIMED_OUT)

    def _confirmation(self, place: int, confirmed: Set[int]) -> Callable[[Optional[KafkaError], Any], None]:
        def delivered(error: Optional[KafkaError], record: Any) -> None:
            if error is None:
                confirmed.add(place)
            else:
                self._deliveries.note(error, record)

        return delivered

    # --- what failed -----------------------------------------------------------------------------

    def _failed(self, error: KafkaError, step: str) -> Settlement:
        missing = _missing_right(error.code(), self._clients, self._deliveries.denied or self._topics())
        return Settlement(outcome_of(error), f"{step}: {error.str()}{missing}")

    def _topics(self) -> AbstractSet[str]:
        return {record.topic for record in self._sending}


def _abort(producer: Producer) -> bool:
    try:
        producer.abort_transaction(TIMEOUT_S)
        return True
    except RAISED as second:
        log.warning("abort failed, replacing the producer: %s", error_of(second).str())
        return False


def _missing_right(code: int, clients: Clients, topics: AbstractSet[str]) -> str:
    if code not in RIGHTS:
        return ""
    named = "topic " + " and ".join(sorted(topics))
    right = RIGHTS[code].format(topics=named, id=clients.transactional_id, group=clients.group)
    return f"; it takes {right}"
