"""Sends records in transactions, all or nothing, by one writer at a time.

Everyone who changes the state of a dead letter topic uses the same transactional id. Whoever opens last
aborts what others left open and fences them: they can no longer commit. So read states only after `open`.
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
"""How long to retry a commit: longer than the broker's transaction time-out, so that its outcome is known."""
TRANSACTION_TIMEOUT_MS = 15_000
"""Short, since a transaction that a killed replayer left open hides newer orders from consumers this long."""

DEFAULTS: Dict[str, Any] = {
    "linger.ms": 5,
    "batch.size": 1_000_000,
    # At the default of 100 ms, each begin waits that long on the broker's "concurrent transactions".
    "retry.backoff.ms": 2,
    "retry.backoff.max.ms": 1000,
    "queue.buffering.max.messages": 200_000,
    "partitioner": PARTITIONER,
}
SILENT = logging.getLogger(f"{__name__}.client")
"""Silences what the client prints about a rejection, `FATAL` included: our error says it in one sentence."""
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
"""The client's delivery callback."""
PURGED = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)


class Fenced(CommandError):
    """Another writer has taken over; nothing of the open transaction was committed."""


class Interrupted(CommandError):
    """Kafka was away for too long. The open transaction's outcome is known after the next `open`."""


class Transactions:
    """One writer at a time under one transactional id."""

    def __init__(
        self,
        client: Mapping[str, Any],
        name: str,
        note: Callable[[str], None],
        timeout_ms: int = TRANSACTION_TIMEOUT_MS,
    ) -> None:
        """`name` is the transactional id, `timeout_ms` the transaction time-out."""
        self._name = name
        self._note = note
        self._errors: List[Tuple[KafkaError, str]] = []
        """Delivery errors, each with its topic."""
        self._topics: Set[str] = set()
        """The topics that the open transaction writes to."""
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
        """Fence every other writer under this id and abort what it left open."""
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
        """Send a record in the open transaction, beginning one if there is none."""
        try:
            if not self._is_open:
                self._begin()
            self._topics.add(record.topic)
            produce(self._producer, record)
        except KafkaException as error:
            raise self._failure(error.args[0]) from error

    def commit(self) -> None:
        """Commit what was sent. Raises Fenced or CommandError if none of it was committed, or Interrupted."""
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
        """Abort the open transaction, if there is one."""
        if self._is_open:
            self._is_open = False
            # If this fails, whoever opens next aborts it, and until then nobody reads it.
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
        """Abort the transaction and return the error to raise."""
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
        return CommandError(f"Kafka rejects the records for {topic}: {cause.str()}{missing}")


def produce(producer: Producer, record: Outgoing, on_delivery: Optional[Delivered] = None) -> None:
    """Pass a record to the client; while its queue is full, wait for room."""
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
    """The one transactional id for everyone who changes the state of a topic's dead letters."""
    return f"{dlq_topic}-replayer"
