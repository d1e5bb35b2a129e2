"""Sends replayed records and their audit entries: all of a transaction or nothing, one replayer at a time.

Owns: the transactional producer, its fixed id, fencing, and what is done when a commit does not succeed.
Does not know: which dead letters are sent and why, or how fast.
Used by: replayer.

The transactional id is the same for everyone who changes the state of one dead letter topic. Whoever opens
last ends what others left open, and they can commit nothing any more. So states are read after `open`.
"""

import logging
import time
from contextlib import suppress
from typing import Any, Callable, Dict, List, Mapping, Optional, Set, Tuple

from confluent_kafka import KafkaError, KafkaException, Producer

from orderflow.exits import CommandError
from orderflow.kafka.client_properties import started
from orderflow.kafka.refusals import missing_right
from orderflow.model.records import PARTITIONER, Outgoing

OPEN_TIMEOUT_S = 30.0
STEP_S = 5.0
PATIENCE_S = 60.0
"""How long one commit is tried: above the broker's time-out of a transaction, so that its fate is known."""
TRANSACTION_TIMEOUT_MS = 15_000
"""Short, because what a killed replayer left open hides newer orders from consumers for so long."""

DEFAULTS: Dict[str, Any] = {
    "linger.ms": 5,
    "batch.size": 1_000_000,
    # At the default of 100 ms the broker's "concurrent transactions" costs as much with every begin.
    "retry.backoff.ms": 2,
    "retry.backoff.max.ms": 1000,
    "queue.buffering.max.messages": 200_000,
    "partitioner": PARTITIONER,
}
SILENT = logging.getLogger(f"{__name__}.client")
"""What the client says to the terminal of a refusal, `FATAL` included, is said here in one sentence."""
SILENT.addHandler(logging.NullHandler())
SILENT.propagate = False

FENCED = (KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH)
OUTAGE = (
    KafkaError._MSG_TIMED_OUT,
    KafkaError._TIMED_OUT,
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.INVALID_TXN_STATE,
)
Delivered = Callable[[Optional[KafkaError], Any], None]
"""Called by the client with what became of a record."""
PURGED = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)


class Fenced(CommandError):
    """Someone else has taken over; nothing of the open transaction was sent."""


class Interrupted(CommandError):
    """Kafka was away for too long. What became of the open transaction is known after the next `open`."""


class Transactions:
    """One writer at a time under one transactional id."""

    def __init__(
        self,
        client: Mapping[str, Any],
        name: str,
        note: Callable[[str], None],
        timeout_ms: int = TRANSACTION_TIMEOUT_MS,
    ) -> None:
        """`name` is the transactional id, `timeout_ms` the time that one transaction may take."""
        self._name = name
        self._note = note
        self._errors: List[Tuple[KafkaError, str]] = []
        """What could not be delivered, and to which topic."""
        self._topics: Set[str] = set()
        """Where the open transaction writes."""
        self._is_open = False
        self._producer = started(
            Producer,
            {
                **DEFAULTS,
                **client,
                **({} if "debug" in client else {"logger": SILENT}),
                "transactional.id": name,
                "transaction.timeout.ms": timeout_ms,
                "enable.idempotence": True,
                "acks": "all",
                "delivery.report.only.error": True,
                "on_delivery": self._delivered,
            },
        )

    def open(self) -> None:
        """Fence every other replayer of this topic and settle what it left open."""
        deadline_s = time.monotonic() + OPEN_TIMEOUT_S
        while True:
            try:
                self._producer.init_transactions(STEP_S)
                return
            except KafkaException as error:
                reason: KafkaError = error.args[0]
                if not reason.retriable() or time.monotonic() > deadline_s:
                    missing = missing_right(reason, "WRITE", self._name)
                    raise CommandError(f"transactions cannot be used: {reason.str()}{missing}") from error

    def send(self, record: Outgoing) -> None:
        """Send a record in the open transaction; the first one opens it."""
        try:
            if not self._is_open:
                self._begin()
            self._topics.add(record.topic)
            produce(self._producer, record)
        except KafkaException as error:
            raise self._failure(error.args[0]) from error

    def commit(self) -> None:
        """Commit what was sent. Raises Fenced or CommandError: none of it was sent, or Interrupted."""
        deadline_s, waits = time.monotonic() + PATIENCE_S, False
        while True:
            try:
                self._producer.commit_transaction(STEP_S)
                break
            except KafkaException as error:
                reason: KafkaError = error.args[0]
                if not reason.retriable():
                    raise self._failure(reason) from error
                if time.monotonic() > deadline_s:
                    self._is_open = False
                    raise Interrupted(f"no answer to a commit: {reason.str()}") from error
                if not waits:
                    self._note(f"Kafka does not confirm the transaction yet: {reason.str()}")
                waits = True
        self._is_open = False
        if waits:
            self._note("Kafka has confirmed the transaction")

    def abort(self) -> None:
        """Take back what is not committed."""
        if self._is_open:
            self._is_open = False
            # If it fails: whoever opens next ends it, and until then nobody reads it.
            with suppress(KafkaException):
                self._producer.abort_transaction(STEP_S)

    def _begin(self) -> None:
        self._errors.clear()
        self._topics.clear()
        self._producer.begin_transaction()
        self._is_open = True

    def _delivered(self, error: Optional[KafkaError], message: Any) -> None:
        if error is not None:
            self._errors.append((error, message.topic()))

    def _failure(self, error: KafkaError) -> CommandError:
        """The error to raise, after the transaction was taken back."""
        if error.code() in FENCED or (error.fatal() and "fenced" in error.str().lower()):
            self._is_open = False
            return Fenced("another replayer has taken over")
        everywhere = " and ".join(sorted(self._topics))
        causes = (failed for failed in self._errors if failed[0].code() not in PURGED)
        cause, topic = next(causes, (error, everywhere))
        self.abort()
        if cause.code() in OUTAGE:
            return Interrupted(cause.str())
        missing = missing_right(cause, "WRITE", topic)
        return CommandError(f"Kafka refuses to take the records for {topic}: {cause.str()}{missing}")


def produce(producer: Producer, record: Outgoing, on_delivery: Optional[Delivered] = None) -> None:
    """Hand a record to the client; while its queue is full, wait until there is room."""
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


def transactional_id(dlq_topic: str) -> str:
    """The one id for all who change the state of a topic's dead letters."""
    return f"{dlq_topic}-replayer"
