"""Sends records in transactions, all or nothing, by one writer at a time.

Everyone who changes the state of a dead letter topic uses the same transactional id. Whoever opens last
aborts what others left open and fences them: they can no longer commit. So read states only after `open`.
"""

import time
from contextlib import suppress
from functools import partial
from typing import Any, Callable, Dict, Hashable, List, Mapping, Optional, Sequence, Set, Tuple

from confluent_kafka import KafkaError, KafkaException, Producer

from orderflow.exits import CommandError
from orderflow.kafka.client_properties import started
from orderflow.kafka.delivery import deliver
from orderflow.kafka.refusals import is_too_long, missing_right, on_topic, on_transactional_id
from orderflow.kafka.sizes import fitted
from orderflow.model.records import PARTITIONER, Outgoing

OPEN_TIMEOUT_S = 30.0
STEP_S = 5.0
DELIVERY_STEP_S = 0.1
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

FENCED = (KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH)
OUTAGE = (
    KafkaError._MSG_TIMED_OUT,
    KafkaError._TIMED_OUT,
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.INVALID_TXN_STATE,
)
REFUSED = (
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.INVALID_MSG_SIZE,
    KafkaError.RECORD_LIST_TOO_LARGE,
    KafkaError.INVALID_TIMESTAMP,
    KafkaError.INVALID_RECORD,
    KafkaError.INVALID_MSG,
    KafkaError.POLICY_VIOLATION,
)
"""What Kafka has against a record, and not against whoever sends it, or against all."""
MOST_OUT_OF_STEP = 3
SERVED_EVERY = 500
"""Records between two looks at what was delivered: until then the client keeps all of a record."""
Delivered = Callable[[Optional[KafkaError], Any], None]
"""The client's delivery callback."""
INNOCENT = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT, KafkaError._INVALID_DIFFERENT_RECORD)
"""What becomes of the other records when one fails."""


class Fenced(CommandError):
    """Another writer has taken over; nothing of the open transaction was committed."""


class RecordsRefused(CommandError):
    """Kafka has something against records as they are; nothing of the open transaction was committed.

    Some of them may be innocent: it may refuse a whole batch for one, and blame all.
    """

    def __init__(self, reasons: Mapping[Hashable, str]) -> None:
        """`reasons` by the tags of the records."""
        self.reasons = reasons
        self.reason = next(iter(reasons.values()))
        super().__init__(f"Kafka refuses records: {self.reason}")


class OutOfStep(CommandError):
    """The client has to number records anew after a refusal; nothing was committed. Send the same again."""


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
        rooms: Sequence[int] = (),
    ) -> None:
        """`name` is the transactional id, `timeout_ms` the transaction time-out, `rooms` what topics take."""
        self._name = name
        self._note = note
        self._errors: List[Tuple[KafkaError, str, Hashable]] = []
        """Delivery errors, each with its topic and the record's tag."""
        self._topics: Set[str] = set()
        """The topics that the open transaction writes to."""
        self._is_open = False
        self._unserved = 0
        """Records that were sent since the last look at what was delivered."""
        self._steps_left = 0
        """How often the client may have to number anew, after a refusal."""
        self._conf = {
            **fitted({**DEFAULTS, **client}, rooms),
            "transactional.id": name,
            "enable.idempotence": True,
            "acks": "all",
            "delivery.report.only.error": True,
        }
        self._timeout_ms = timeout_ms
        self._start()

    def _start(self) -> None:
        """Send with a new client from now on."""
        timeout = {"transaction.timeout.ms": self._timeout_ms}
        self._producer = started(Producer, {**self._conf, **timeout})

    def open(self) -> None:
        """Fence every other writer under this id and abort what it left open.

        A broker that leaves no transaction open for so long (`transaction.max.timeout.ms`) is asked for less.
        """
        deadline_s = time.monotonic() + OPEN_TIMEOUT_S
        while True:
            try:
                self._producer.init_transactions(STEP_S)
                return
            except KafkaException as error:
                reason: KafkaError = error.args[0]
                if is_too_long(reason, self._timeout_ms):
                    self._timeout_ms //= 2
                    self._start()
                elif not reason.retriable() or time.monotonic() > deadline_s:
                    missing = missing_right(reason, on_transactional_id("WRITE", self._name))
                    raise CommandError(f"transactions cannot be used: {reason.str()}{missing}") from error

    def send(self, record: Outgoing, tag: Hashable = None) -> None:
        """Send a record in the open transaction, beginning one if there is none.

        Raises RecordsRefused, here or in `commit`, only for records that have a tag, and OutOfStep after it.
        """
        try:
            if not self._is_open:
                self._begin()
            self._topics.add(record.topic)
            produce(self._producer, record, partial(self._delivered, tag))
            self._unserved += 1
            if self._unserved >= SERVED_EVERY:
                self._serve()
        except KafkaException as error:
            if error.args[0].code() in REFUSED:  # by the client itself
                self._errors.append((error.args[0], record.topic, tag))
            raise self._failure(error.args[0]) from error

    def commit(self) -> None:
        """Commit what was sent. Raises Interrupted, or another CommandError if none of it was committed."""
        self._await_delivery()
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
        self._is_open, self._steps_left = False, 0
        if waits:
            self._note("Kafka has confirmed the transaction")

    def _serve(self) -> None:
        """Let the client drop what was delivered, so that memory does not grow with the transaction."""
        self._unserved = 0
        # A fatal error comes out here too, at times as a SystemError; the commit tells it.
        with suppress(KafkaException, SystemError):
            self._producer.poll(0)

    def _await_delivery(self) -> None:
        """Let the records be delivered, or one be refused: amid a commit, the client waits long to say so."""
        before, left = -1, len(self._producer)
        # A fatal error comes out here too, at times as a SystemError; the commit tells it.
        with suppress(KafkaException, SystemError):
            while left and left != before and not self._errors:
                before, left = left, deliver(self._producer, DELIVERY_STEP_S)

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

    def _delivered(self, tag: Hashable, error: Optional[KafkaError], message: Any) -> None:
        if error is not None:
            self._errors.append((error, message.topic(), tag))

    def _failure(self, error: KafkaError) -> CommandError:
        """Abort the transaction and return the error to raise."""
        error = self._cause_of(error)
        if error.code() in FENCED or (error.fatal() and "fenced" in error.str().lower()):
            self._is_open = False
            return Fenced("another replayer has taken over")
        self.abort()  # it also hands out what became of the records
        causes = [failed for failed in self._errors if failed[0].code() not in INNOCENT]
        if not causes and error.code() == KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER and self._steps_left:
            self._steps_left -= 1
            return OutOfStep(error.str())
        if causes and all(each.code() in REFUSED and tag is not None for each, _, tag in causes):
            self._steps_left = MOST_OUT_OF_STEP
            return RecordsRefused({tag: each.str() for each, _, tag in causes})
        causes.sort(key=lambda failed: failed[0].code() in REFUSED)
        cause, topic, _ = causes[0] if causes else (error, " and ".join(sorted(self._topics)), None)
        if cause.code() in OUTAGE:
            return Interrupted(cause.str())
        missing = missing_right(cause, on_topic("WRITE", topic), on_transactional_id("WRITE", self._name))
        return CommandError(f"Kafka rejects the records for {topic}: {cause.str()}{missing}")

    def _cause_of(self, error: KafkaError) -> KafkaError:
        """What is wrong with the transaction: for a record the client says only that something is.

        Asked to commit it, the client refuses and says what.
        """
        if error.code() in (KafkaError._FATAL, KafkaError._STATE):
            try:
                self._producer.commit_transaction(STEP_S)
            except KafkaException as told:
                return told.args[0]  # type: ignore[no-any-return]
        return error


def produce(producer: Producer, record: Outgoing, on_delivery: Optional[Delivered] = None) -> None:
    """Pass a record to the client; while its queue is full, wait for room."""
    options: Dict[str, Any] = {"headers": record.headers}
    if on_delivery is not None:
        options["on_delivery"] = on_delivery
    if record.partition is not None:
        options["partition"] = record.partition
    if record.timestamp_ms is not None:
        options["timestamp"] = record.timestamp_ms or 1  # to the client, 0 means now, not 1970
    while True:
        try:
            return producer.produce(record.topic, record.value, record.key, **options)
        except BufferError:
            producer.poll(0.1)


def transactional_id(dlq_topic: str) -> str:
    """The one transactional id for everyone who changes the state of a topic's dead letters."""
    return f"{dlq_topic}-replayer"
