"""Sends the records of a settlement and determines the outcome.

With exactly-once, the offsets are committed in the same transaction as the records. With at-least-once, all
records are confirmed first, and then the caller commits the offsets.

An uncertain outcome is never guessed: Kafka is asked what it has committed, and until it answers the outcome
is unknown, and nothing else may be settled.
"""

import contextlib
import logging
import threading
import time
from typing import AbstractSet, Any, Callable, List, Mapping, Optional, Sequence, Set, Tuple

from confluent_kafka import KafkaError, Producer, TopicPartition

from orderflow.consume.client_config import Clients
from orderflow.consume.client_errors import RAISED, error_of
from orderflow.consume.producers import TIMEOUT_S, Deliveries, OnError, Producers
from orderflow.consume.settlement import DROPPED, SETTLED, Offsets, Outcome, Settlement, outcome_of
from orderflow.kafka.delivery import deliver
from orderflow.kafka.transactions import produce
from orderflow.model.records import Outgoing

log = logging.getLogger(__name__)

RIGHTS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "the right WRITE on {topics}",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: (
        "the right IDEMPOTENT_WRITE on the cluster, or WRITE on {topics}"
    ),
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "the right WRITE on transactional id {id}",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "the right READ on group {group}",
}
"""Which right is missing when Kafka only says that one is."""
OFFSETS = "send_offsets_to_transaction"
COMMIT = "commit_transaction"
ABOUT_A_RECORD = (Outcome.REFUSED, Outcome.TOO_LARGE, Outcome.TIME_REFUSED)
"""Outcomes that Kafka's answer to one record decided: its topic is what somebody has to look at."""

Committed = Callable[[Sequence[int], float], Mapping[int, Tuple[Optional[int], str]]]
"""Looks up the committed offsets of these partitions, with a time-out in seconds. Raises KafkaException."""


def places_of(topic: str, offsets: Offsets) -> List[TopicPartition]:
    """Convert offsets to the client's form."""
    return [
        TopicPartition(topic, partition, offset, metadata=metadata)
        for partition, (offset, metadata) in offsets.items()
    ]


class Transaction:
    """Sends settlements one at a time, in a transaction or with each record confirmed."""

    def __init__(self, topic: str, clients: Clients, committed: Committed, on_error: OnError) -> None:
        """`topic` is the one the offsets belong to; `committed` asks Kafka for them."""
        self._topic = topic
        self._clients = clients
        self._committed = committed
        self._deliveries = Deliveries()
        self._producers = Producers(clients, self._deliveries, on_error)
        self._step = ""
        """The client call in progress, named when it fails."""
        self._now: Optional[str] = None
        """The topic of the record that is being handed to the client."""
        self._sending: Sequence[Outgoing] = ()
        self._pages: Sequence[Outgoing] = ()

    def end_left_over(self) -> None:
        """Have Kafka abort the transaction that a predecessor of our transactional id may have left open.

        Until that, or its time-out, Kafka tells no new owner what is committed. Returns at once; the next
        settlement waits for it. If it fails, that settlement tries again, and says why it cannot.
        """
        if self._clients.exactly_once and self._clients.has_predecessor:
            threading.Thread(target=self._begin, name="ending", daemon=True).start()

    def _begin(self) -> None:
        with contextlib.suppress(*RAISED):
            self.end_ours()

    def end_ours(self) -> None:
        """Have Kafka abort the transaction that a producer left open which we have dropped since.

        Any thread may call this. Raises KafkaException.
        """
        self._producers.ready()

    def expect(
        self,
        max_dead_letter_bytes: int,
        max_result_bytes: Optional[int] = None,
        max_page_bytes: Optional[int] = None,
    ) -> None:
        """Set the largest record, and batch, that the topics accept from now on."""
        self._producers.expect(max_dead_letter_bytes, max_result_bytes, max_page_bytes)

    def send(
        self, outgoing: Sequence[Outgoing], offsets: Offsets, member: Any, pages: Sequence[Outgoing] = ()
    ) -> Settlement:
        """Send the records and pages. With exactly-once, the offsets are committed with them, all or nothing.

        With at-least-once, the outcome is SENT once every record is confirmed, and the caller commits the
        offsets. Pages are sent after the records are confirmed, because a page says what is finished.
        Another thread may call this, one call at a time.
        """
        if member is None:
            return DROPPED
        self._sending, self._pages, self._now = outgoing, pages, None
        self._deliveries.begin()
        if self._clients.exactly_once:
            return self._transact([*outgoing, *pages], offsets, member)
        settlement = self._confirm(outgoing)
        if settlement.outcome is not Outcome.SENT or not pages:
            return settlement
        return self._confirm(pages)._replace(confirmed=settlement.confirmed)

    def find_out(self, offsets: Offsets) -> Settlement:
        """Find out whether the last transaction, with these offsets, was committed.

        A new producer with the same transactional id makes the broker complete or abort the old one's
        transaction. After that the committed offsets cannot change: they are ours or they are not. Call it
        from the sending thread.
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
        began_s = time.monotonic()
        try:
            producer = self._producers.ready()
            began_s = time.monotonic()
            producer.begin_transaction()
            # The offsets first: until the broker has finished the previous transaction, it rejects
            # additions to this one. The client retries offsets after 2 ms, but partitions after 20.
            self._step = OFFSETS
            producer.send_offsets_to_transaction(places_of(self._topic, offsets), member, TIMEOUT_S)
            self._step = "produce"
            for record in outgoing:
                self._now = record.topic
                produce(producer, record)
            self._now = None
            producer.poll(0)
            self._step = COMMIT
            producer.commit_transaction(self._producers.commit_s)
        except RAISED as raised:
            took_s, was_sending = time.monotonic() - began_s, self._step in ("produce", COMMIT)
            settlement = self._not_transacted(error_of(raised), offsets)
            if was_sending:
                self._producers.took(took_s, is_committed=False)
            return settlement
        self._producers.took(time.monotonic() - began_s, is_committed=True)
        return SETTLED

    def _not_transacted(self, error: KafkaError, offsets: Offsets) -> Settlement:
        """The outcome of a transaction that failed in `_step`.

        Before the commit request, nothing can be committed, and after a failed delivery the client does not
        send that request. Otherwise only a successful abort, or Kafka itself, can tell.
        """
        settlement = self._failed(*self._deliveries.first_cause(error))
        unasked = self._step != COMMIT or (self._deliveries and error.txn_requires_abort())
        if self._has_aborted(error) or unasked:
            return settlement
        found = self.find_out(offsets)
        return settlement if found.outcome is Outcome.NOT_COMMITTED else found

    def _has_aborted(self, error: KafkaError) -> bool:
        """Try to abort, and drop the producer unless it is known to be as good as new after that.

        It is where the group has moved on, which is no fault of the producer's. After others an abort may
        succeed and change nothing: with a transactional id that Kafka has forgotten (unused for
        `transactional.id.expiration.ms`) each following transaction fails alike (measured). A successor costs
        moments. Its `init_transactions` ends an open transaction too, but that may take seconds.
        """
        producer = self._producers.current
        has_aborted = producer is not None and error.txn_requires_abort() and _abort(producer)
        is_as_new = outcome_of(error) is Outcome.MOVED_ON and not self._deliveries
        if not (is_as_new and has_aborted):
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
        self._step = "produce"
        settlement = self._failed(*self._deliveries.first_cause(failure))
        return settlement._replace(confirmed=frozenset(confirmed))

    def _send_and_wait(self, outgoing: Sequence[Outgoing], confirmed: Set[int]) -> Optional[KafkaError]:
        """Send, collecting confirmations; returns why some are missing, or None."""
        try:
            producer = self._producers.ready()
            for place, record in enumerate(outgoing):
                self._now = record.topic
                produce(producer, record, self._confirmation(place, confirmed))
            self._now = None
            deliver(producer, TIMEOUT_S)
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

    # --- failures --------------------------------------------------------------------------------

    def _failed(self, error: KafkaError, topic: Optional[str]) -> Settlement:
        """`topic`: of the record that could not be delivered, None if that is not known."""
        missing = self._missing_right(error.code())
        outcome, topic = outcome_of(error), topic or self._now
        if outcome is Outcome.TOO_LARGE and topic is not None:
            self._producers.batch_less(self._largest_for(topic))
        if outcome is Outcome.TOO_LARGE and topic in {page.topic for page in self._pages}:
            # Smaller dead letters would not help: the topic of the pages accepts less than it did.
            outcome, missing = Outcome.REFUSED, f"; raise max.message.bytes of {topic}"
        elif topic is not None and not missing and outcome in ABOUT_A_RECORD:
            missing = f" ({self._what_for(topic)}{self._needs_key(topic, error.code())})"
        settlement = Settlement(outcome, f"{self._step}: {error.str()}{missing}")
        return settlement._replace(topic=topic) if outcome is Outcome.TOO_LARGE else settlement

    def _what_for(self, topic: str) -> str:
        if topic in {page.topic for page in self._pages}:
            return f"the list of waiting orders, for LEDGER_TOPIC {topic}"
        return f"a record for topic {topic}"

    def _missing_right(self, code: int) -> str:
        """Which right is missing when Kafka only says that one is: of what, the step in progress tells."""
        if code not in RIGHTS:
            return ""
        if self._step == OFFSETS and code == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            return f"; it takes the right READ on topic {self._topic}"
        topics = "topic " + " and ".join(sorted(self._deliveries.denied or self._topics()))
        id_, group = self._clients.transactional_id, self._clients.group
        return f"; it takes {RIGHTS[code].format(topics=topics, id=id_, group=group)}"

    def _needs_key(self, topic: str, code: int) -> str:
        """What Kafka leaves out where it calls a record invalid: a missing key may be all that is wrong."""
        is_keyless = any(record.key is None for record in self._sending if record.topic == topic)
        is_suspect = is_keyless and code == KafkaError.INVALID_RECORD
        return ", which takes none without a key if it is compacted" if is_suspect else ""

    def _largest_for(self, topic: Optional[str]) -> int:
        records = [*self._sending, *self._pages]
        return max((len(record.value or b"") for record in records if record.topic == topic), default=0)

    def _topics(self) -> AbstractSet[str]:
        return {record.topic for record in [*self._sending, *self._pages]}


def _abort(producer: Producer) -> bool:
    try:
        producer.abort_transaction(TIMEOUT_S)
        return True
    except RAISED as second:
        log.warning("abort failed, replacing the producer: %s", error_of(second).str())
        return False
