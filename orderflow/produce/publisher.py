"""Sends records to one topic and accounts for every one of them.

Every record ends as published (all in-sync replicas have it), or as failed and kept by `Undelivered`; until
then it is in flight. Successes are counted as what is no longer in flight, so that only failures cost a call
into Python.
"""

import re
import time
from functools import partial
from typing import Any, Callable, List, Mapping, Optional, Set

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from orderflow.cli.outage import Outage
from orderflow.kafka.client_properties import started
from orderflow.kafka.delivery import deliver
from orderflow.kafka.refusals import NO_SUCH_TOPIC, plain_reason
from orderflow.kafka.trace_context import find_tracer
from orderflow.model.records import PARTITIONER
from orderflow.produce.batches import Batches, Record
from orderflow.produce.tracing import Produce, traced

CLIENT_PROFILE: Mapping[str, Any] = {
    "acks": "all",
    "enable.idempotence": True,
    "enable.gapless.guarantee": True,
    "delivery.report.only.error": True,
    "max.in.flight": 1,
    "partitioner": PARTITIONER,
    "linger.ms": 5,
    "batch.num.messages": 10_000,
    "reconnect.backoff.max.ms": 2_000,
    "queue.buffering.max.messages": 100_000,
    "queue.buffering.max.kbytes": 131_072,
    "compression.type": "lz4",
}
"""Client properties. All but the first four may be overridden.

A refused batch ends the client ("gapless"), which would send what is behind it at once: a key's orders would
change places. One request at a time, so that nothing behind it is on its way by then.
"""

_NEVER = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        *NO_SUCH_TOPIC,
        KafkaError._MSG_TIMED_OUT,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError._AUTHENTICATION,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError._FATAL,
        KafkaError._GAPLESS_GUARANTEE,
    }
)
"""Failures after which no further record is sent: rejections that it would get too, and a time-out.

After a time-out the client numbers its batches anew. Kafka would not recognise one that it has already, and
whatever was in flight to another partition could be there twice (librdkafka's issue 4953; measured).
"""

_TO_DO = {
    KafkaError._MSG_TIMED_OUT: (
        "an order has waited for Kafka for as long as message.timeout.ms allows (5 minutes, or what -X says)"
    ),
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "the right WRITE on topic {topic} is missing",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: (
        "Kafka gives us no producer id: the right WRITE on topic {topic} is missing, or, where brokers ask "
        "for it (before Kafka 2.8), IDEMPOTENT_WRITE on the cluster"
    ),
    KafkaError.MSG_SIZE_TOO_LARGE: (
        "too large: raise max.message.bytes of topic {topic}, or message.max.bytes (-X) where that is less"
    ),
    KafkaError._GAPLESS_GUARANTEE: (
        "Kafka refused a batch after a connection was lost, and what had been sent on that cannot be known"
    ),
}
"""What somebody has to change first."""

_DOUBTFUL = frozenset(
    {
        *(KafkaError._MSG_TIMED_OUT, KafkaError._TIMED_OUT, KafkaError._PURGE_INFLIGHT),
        KafkaError._GAPLESS_GUARANTEE,
    }
)
"""Failures after which the record may still be in the topic: only the answer is missing."""
_NO_REFUSALS = _DOUBTFUL | {KafkaError._PURGE_QUEUE}
"""Failures that say nothing of the record."""

_GIVEN_UP = {
    KafkaError._PURGE_QUEUE: "not sent before the end",
    KafkaError._PURGE_INFLIGHT: "sent, but not answered before the end",
}

_ANY_PARTITION = -1
"""The partitioner chooses."""
_NOT_AGAIN = "not sent again before the end, after a batch that was too large"

_AGAIN_AT_ONCE = 2_000
"""How many of the records that are sent again to have in flight: the next refusal may give them all back."""
_CAUSE_LOOKS, _CAUSE_LOOK_S = 20, 0.1
"""How long to wait for the cause of a fatal error; it takes a moment on a busy machine."""
_GIVE_UP_S = 5.0
"""How long the client may take to return undelivered records; it takes milliseconds."""

Keep = Callable[[Optional[bytes], Optional[bytes]], bool]
"""Keeps an undelivered record; returns False if that fails too."""


class Publisher:
    """Sends records to one topic with an idempotent producer.

    Not thread-safe. `keep` is called with key and value of each undelivered record. Failures of records or
    of the client are never raised: they are counted, kept and explained by `reasons`.
    """

    def __init__(self, conf: Mapping[str, Any], topic: str, outage: Outage, keep: Keep) -> None:
        self._batches = Batches({**conf, "error_cb": self._on_error})
        self._new_client = partial(started, Producer)
        self._start()
        self._topic = topic
        self._outage = outage
        self._keep = keep
        self._accepted = 0
        self._undelivered = 0
        self._not_accepted = 0
        self._rejected = 0
        self._rejected_before = 0
        self._published_before = 0
        self._published_at_loss = 0
        self._trouble = "connection lost"
        self._has_waited_too_long = False
        self._is_purged = False
        """Whether everything in flight was taken back: after a fatal error, a time-out, or at the end."""
        self._has_gap = False
        """Whether the client has stopped since a batch was refused, and sends nothing that is behind."""
        self._is_in_doubt = False
        """Whether a connection was lost since nothing was in flight: what was sent on it may have arrived."""
        self._not_kept: List[Record] = []
        """What the client has reported as failed since nothing more can be published."""
        self._left: Optional[int] = None
        """What was in flight at the end; None while records are sent."""
        self.reasons: Set[str] = set()
        """Why records failed."""
        self.doubtful = False
        """Whether some failed records may have arrived after all."""
        self.first_lost: Optional[int] = None
        """The first line of the input whose record is neither published nor kept; None if there is none."""
        self.hopeless: Optional[str] = None
        """Why no further record can be published; None while some may."""

    def _start(self) -> None:
        """Send with a new client from now on."""
        self._producer = self._new_client(self._batches.conf)
        tracer = find_tracer()
        produce = self._producer.produce
        self._produce: Produce = produce if tracer is None else traced(produce, tracer)

    @property
    def in_flight(self) -> int:
        """Records sent, or to be sent again, whose outcome is not known yet.

        The client counts what it has to say of brokers, too, until it is served.
        """
        return len(self._producer) + len(self._batches) if self._left is None else self._left

    @property
    def published(self) -> int:
        """Records that all in-sync replicas have."""
        return self._accepted - self._undelivered - self.in_flight

    @property
    def failed(self) -> int:
        """Records that were not delivered."""
        return self._undelivered + self._not_accepted

    @property
    def refused_in_a_row(self) -> int:
        """Records rejected since the last one published. A missing answer is not a rejection."""
        return self._rejected - self._rejected_before

    def send(self, key: Optional[bytes], value: Optional[bytes], line: int = 0) -> bool:
        """Send one record. False if the queue is full, or others go first: `wait`, then try again.

        `line` is where the record stands in the input; 0 if it comes from none.
        """
        if self._batches or self._has_gap:
            return False
        self._left = None
        try:
            self._offer(key, value, line, self._accepted)
        except BufferError:
            return not len(self._producer) and self._send_alone(Record(key, value, line, self._accepted))
        except KafkaException as error:
            return self._refuse(Record(key, value, line, self._accepted), error.args[0])
        self._accepted += 1
        return True

    def wait(self, seconds: float = 0.0) -> None:
        """Serve delivery reports and errors. Call it regularly, and whenever there is nothing to send."""
        self._serve(self._producer.poll, seconds)
        self._is_in_doubt = self._is_in_doubt and len(self._producer) > 0
        if self.hopeless is not None:
            self._give_up_refused()
        elif self._batches or self._has_gap:
            self._go_on()
        published = self.published
        if published > self._published_before:
            self._published_before, self._rejected_before = published, self._rejected
        if self._outage.holds and published > self._published_at_loss:
            self._outage.back()

    def drain(self, seconds: float) -> bool:
        """Wait for up to `seconds`; True once nothing is in flight."""
        self._serve(partial(deliver, self._producer), seconds)
        self.wait()
        if self.in_flight:
            return False
        self._settle()
        return True

    def give_up(self) -> None:
        """Take back what is still in flight: it fails and is kept, though some may have arrived."""
        deadline_s = time.monotonic() + _GIVE_UP_S
        self._is_purged = True
        self._serve(self._producer.purge)
        while len(self._producer) and time.monotonic() < deadline_s:
            self._serve(partial(deliver, self._producer), _GIVE_UP_S / 50)
        self._give_up_refused()
        self._settle()

    def _settle(self) -> None:
        """Nothing is served any more: what the client says of brokers from now on is no record in flight."""
        self._left = self.in_flight
        self._keep_failed()

    def _go_on(self) -> None:
        """Send again what was refused with its batch, in smaller ones, and what was behind it.

        A client of its own does, once the one before has no record left: it has stopped for good, and batches
        of another size need one. What was refused or not sent is nowhere, so it cannot be there twice.
        """
        if self._has_gap and not len(self._producer):
            self._has_gap = False
            self._batches.shrink()
            self._start()
        if not self._has_gap:
            self._offer_again()

    def _offer_again(self) -> None:
        records = self._batches.take()
        done = 0
        while done < len(records) and len(self._producer) < _AGAIN_AT_ONCE and self._is_taken(records[done]):
            done += 1
        self._batches.put_behind(records[done:])

    def _is_taken(self, record: Record) -> bool:
        """Offer a record once more. False if there is no room, or the client has stopped again."""
        try:
            self._offer(*record)
        except BufferError:
            return False
        except KafkaException as raised:
            error = raised.args[0]
            if error.code() == KafkaError._FATAL:
                return False
            self._fail_taken(record, error)
        return True

    def _give_up_refused(self) -> None:
        for record in self._batches.take():
            self._undelivered += 1
            self._put_away(record, self.hopeless or _NOT_AGAIN)

    def _serve(self, call: Callable[..., object], *arguments: float) -> None:
        """Make a call in which the client runs its callbacks, and which raises a fatal error.

        After a fatal error no delivery reports follow by themselves: purge what is in flight.
        """
        try:
            call(*arguments)
        except (KafkaException, SystemError) as raised:
            self._stop_for(_fatal_error_of(raised))
        if self._has_waited_too_long:
            self._purge_once()
        if self._has_gap and not self._is_purged:
            self._take_back_unsent()

    def _take_back_unsent(self) -> None:
        """Have the client report what it has not sent, and wait for the answers to what it has."""
        if self._is_in_doubt:
            self._judge(KafkaError(KafkaError._GAPLESS_GUARANTEE))
            self._purge_once()
        else:
            self._producer.purge(in_flight=False)

    def _stop_for(self, error: KafkaError) -> None:
        """The client has stopped. After a gap, another one can go on."""
        if error.code() == KafkaError._GAPLESS_GUARANTEE:
            self._has_gap = True
            return
        known, self.hopeless = self.hopeless, None
        self.hopeless = self._said(error)
        if known in self.reasons:
            self.reasons = (self.reasons - {known}) | {self.hopeless}
        self._purge_once()

    def _purge_once(self) -> None:
        """Send nothing any more, and have the client report what is in flight as failed."""
        if not self._is_purged:
            self._is_purged = True
            self._serve(self._producer.purge)

    def _offer(self, key: Optional[bytes], value: Optional[bytes], line: int, number: int) -> None:
        """Hand a record to the client. Its parts one by one, since each record of a run comes here."""
        report = partial(self._on_delivery, line, number)
        self._produce(self._topic, value, key, _ANY_PARTITION, report)

    def _send_alone(self, record: Record) -> bool:
        """Send a record that found no room although the queue is empty."""
        try:
            self._offer(*record)
            self._accepted += 1
        except BufferError:
            self._fail(record, "larger than the whole queue: raise queue.buffering.max.kbytes")
        except KafkaException as error:
            return self._refuse(record, error.args[0])
        return True

    def _refuse(self, record: Record, error: KafkaError) -> bool:
        """Count and keep a record that the client rejected at once. False if another client may take it."""
        if error.code() == KafkaError._FATAL:
            self._learn_cause()
        if self._has_gap and self.hopeless is None:
            return False
        self._judge(error)
        self._fail(record, self._said(error))
        return True

    def _learn_cause(self) -> None:
        """Serve the client, which has stopped, until it says why: it takes no more records before it does."""
        for _ in range(_CAUSE_LOOKS):
            if self._has_gap or self.hopeless is not None:
                return
            self._serve(self._producer.poll, _CAUSE_LOOK_S)

    def _fail(self, record: Record, reason: str) -> None:
        self._not_accepted += 1
        self._rejected += 1
        self._put_away(record, reason)

    def _on_delivery(self, line: int, number: int, error: Optional[KafkaError], message: Message) -> None:
        if error is None:
            return
        record = Record(_bytes(message.key()), _bytes(message.value()), line, number)
        if not self._goes_again(record, error):
            self._fail_taken(record, error)

    def _goes_again(self, record: Record, error: KafkaError) -> bool:
        """Keep a record that a refused batch has kept from being published, to be sent again."""
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            return self._batches.put_back(record)
        if error.code() == KafkaError._PURGE_QUEUE and self._has_gap and not self._is_purged:
            self._batches.put_behind([record])
            return True
        return False

    def _fail_taken(self, record: Record, error: KafkaError) -> None:
        """Count and keep a record that the client had taken."""
        self._undelivered += 1
        self._rejected += error.code() not in _NO_REFUSALS
        self._judge(error)
        self._put_away(record, self._said(error))

    def _put_away(self, record: Record, reason: str) -> None:
        self.reasons.add(reason)
        self._not_kept.append(record)
        if self.hopeless is None and not self._is_purged:
            self._keep_failed()

    def _keep_failed(self) -> None:
        """Keep what has failed, as it was handed over, so that a key's orders are sent again in their order.

        The client reports what had yet to be sent before what was sent and has no answer.
        """
        failed, self._not_kept = sorted(self._not_kept, key=lambda record: record.number), []
        for record in failed:
            if self._keep(record.key, record.value):
                continue
            self.hopeless = self.hopeless or "what is not published cannot be kept"
            if record.line:
                self.first_lost = min(record.line, self.first_lost or record.line)

    def _judge(self, error: KafkaError) -> None:
        # What was sent over a connection that is lost waits to be sent again, and is told as never sent.
        given_up = error.code() == KafkaError._PURGE_QUEUE and self.hopeless is None
        self.doubtful = self.doubtful or error.code() in _DOUBTFUL or given_up
        self._has_waited_too_long = self._has_waited_too_long or error.code() == KafkaError._MSG_TIMED_OUT
        if self.hopeless is None and (error.fatal() or error.code() in _NEVER):
            self.hopeless = self._said(error)

    def _said(self, error: KafkaError) -> str:
        """The client's error, with what to do about it if we know."""
        code = error.code()
        if self.hopeless is not None and (code in _GIVEN_UP or code == KafkaError._FATAL):
            return self.hopeless
        if code in _TO_DO:
            return _TO_DO[code].format(topic=self._topic)
        return _GIVEN_UP.get(code) or _without_side(error)

    def _on_error(self, error: KafkaError) -> None:
        """Record a temporary error. Fatal errors are raised by the client instead."""
        self._is_in_doubt = self._is_in_doubt or len(self._producer) > 0
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            self._trouble = plain_reason(error)
        elif not self._outage.holds:
            self._published_at_loss = max(self.published, self._published_before)
            self._outage.lost(self._trouble)


def _without_side(error: KafkaError) -> str:
    """The client's message without its `Local:` or `Broker:`."""
    return re.sub("^(Unable to produce message: )?(Local|Broker): ", "", str(error.str()))


def _bytes(part: Any) -> Optional[bytes]:
    return None if part is None else bytes(part)


def _fatal_error_of(raised: BaseException) -> KafkaError:
    """The client's error; where Python reports one that was raised in a callback, only that it was fatal."""
    if isinstance(raised, KafkaException):
        error: KafkaError = raised.args[0]
        return error
    return KafkaError(KafkaError._FATAL, f"the client failed without saying why: {raised}")
