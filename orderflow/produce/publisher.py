"""Sending records to one topic, counted, and none of them forgotten.

Owns: `Publisher`, and the client profile that makes it fast and safe.
Does not know: what an order is, where records come from, when to stop.
Used by: publication, producer.py.

Every record that is handed over ends as published (all in-sync replicas have it) or as failed and kept by
`Undelivered`; until then it is on its way. Successes are counted by what is no longer on its way, so that
only failures cost a call into Python.
"""

import logging
import re
import time
from typing import Any, Callable, Mapping, Optional, Set

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from orderflow.cli.status import Outage
from orderflow.kafka.client_properties import started
from orderflow.kafka.refusals import plain_reason
from orderflow.model.records import PARTITIONER

CLIENT_PROFILE: Mapping[str, Any] = {
    "acks": "all",
    "enable.idempotence": True,
    "delivery.report.only.error": True,
    "partitioner": PARTITIONER,
    "linger.ms": 5,
    "batch.num.messages": 10_000,
    "reconnect.backoff.max.ms": 2_000,
    "queue.buffering.max.messages": 100_000,
    "queue.buffering.max.kbytes": 131_072,
    "compression.type": "lz4",
}
"""What the client is told. All but the first three may be overridden."""

_NEVER = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError._AUTHENTICATION,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError._FATAL,
    }
)
"""Refusals that every further record would meet too."""

_MISSING_RIGHT = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "the right WRITE on topic {topic} is missing",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: (
        "Kafka gives us no producer id: the right WRITE on topic {topic} is missing, or, where brokers ask "
        "for it (before Kafka 2.8), IDEMPOTENT_WRITE on the cluster"
    ),
}
"""What to ask the cluster's administrator for."""

_SILENT = logging.getLogger(f"{__name__}.client")
"""What the client writes of a fatal error is told here in one sentence."""
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False

_DOUBTFUL = frozenset({KafkaError._MSG_TIMED_OUT, KafkaError._TIMED_OUT, KafkaError._PURGE_INFLIGHT})
"""Failures after which the record may stand in the topic: the answer is what is missing."""

_GIVEN_UP = {
    KafkaError._PURGE_QUEUE: "not sent before the end",
    KafkaError._PURGE_INFLIGHT: "sent, but not answered before the end",
}

_GIVE_UP_S = 5.0
"""How long the client may take to hand back what it has not delivered; it takes milliseconds."""

Keep = Callable[[Optional[bytes], Optional[bytes]], bool]
"""Keeps a record that was not delivered; False if that is not possible either."""


class Publisher:
    """Sends records to one topic with an idempotent producer.

    Not for several threads. `keep` is called with key and value of each record that was not delivered.
    Nothing that becomes of a record or of the client is raised: it is counted, kept and told by `reasons`.
    """

    def __init__(self, conf: Mapping[str, Any], topic: str, outage: Outage, keep: Keep) -> None:
        callbacks = {"error_cb": self._on_error, "on_delivery": self._on_delivery}
        logger = {"logger": _SILENT} if conf.get("log_level") == 2 else {}
        self._producer = started(Producer, {**conf, **callbacks, **logger})
        self._topic = topic
        self._outage = outage
        self._keep = keep
        self._accepted = 0
        self._undelivered = 0
        self._refused = 0
        self._said_no = 0
        self._said_no_before = 0
        self._published_before = 0
        self._published_at_loss = 0
        self._trouble = "connection lost"
        self._ended = False
        """Whether the client has met a fatal error."""
        self.reasons: Set[str] = set()
        """Why records failed."""
        self.doubtful = False
        """Whether some of those that failed may have arrived all the same."""
        self.hopeless: Optional[str] = None
        """Why no further record can be published; None while there is hope."""

    @property
    def on_its_way(self) -> int:
        """Records handed over whose fate is not known yet."""
        return len(self._producer)

    @property
    def published(self) -> int:
        """Records that all in-sync replicas have."""
        return self._accepted - self._undelivered - len(self._producer)

    @property
    def failed(self) -> int:
        """Records that were not delivered."""
        return self._undelivered + self._refused

    @property
    def refused_in_a_row(self) -> int:
        """Records that were refused since the last that was published. No answer is no refusal."""
        return self._said_no - self._said_no_before

    def send(self, key: Optional[bytes], value: Optional[bytes]) -> bool:
        """Hand one record over. False if the queue is full: `wait`, then try again."""
        try:
            self._producer.produce(self._topic, value, key)
        except BufferError:
            return not len(self._producer) and self._send_alone(key, value)
        except KafkaException as error:
            self._refuse(key, value, error.args[0])
            return True
        self._accepted += 1
        return True

    def wait(self, seconds: float = 0.0) -> None:
        """Learn what became of records; call it now and then, and to wait for anything."""
        self._serve(self._producer.poll, seconds)
        published = self.published
        if published > self._published_before:
            self._published_before, self._said_no_before = published, self._said_no
        if self._outage.holds and published > self._published_at_loss:
            self._outage.back()

    def flush(self, seconds: float) -> bool:
        """Send without lingering for up to `seconds`; True once nothing is on its way."""
        self._serve(self._producer.flush, seconds)
        self.wait()
        return self.on_its_way == 0

    def give_up(self) -> None:
        """Take back what is still on its way: it fails and is kept, though some of it may have arrived."""
        deadline_s = time.monotonic() + _GIVE_UP_S
        self._serve(self._producer.purge)
        while not self.flush(_GIVE_UP_S / 50) and time.monotonic() < deadline_s:
            pass

    def _serve(self, call: Callable[..., object], *arguments: float) -> None:
        """Make a call in which the client tells its news. A fatal error comes as an exception out of it.

        No delivery report follows a fatal error by itself: what is on its way has to be taken back.
        """
        try:
            call(*arguments)
        except KafkaException as error:
            known, self.hopeless = self.hopeless, None
            self.hopeless = self._said(error.args[0])
            if known in self.reasons:
                self.reasons = (self.reasons - {known}) | {self.hopeless}
            if not self._ended:
                self._ended = True
                self._serve(self._producer.purge)

    def _send_alone(self, key: Optional[bytes], value: Optional[bytes]) -> bool:
        """Hand over a record for which there was no room although nothing else is left in the queue."""
        try:
            self._producer.produce(self._topic, value, key)
            self._accepted += 1
        except BufferError:
            self._fail(key, value, "larger than the whole queue: raise queue.buffering.max.kbytes")
        except KafkaException as error:
            self._refuse(key, value, error.args[0])
        return True

    def _refuse(self, key: Optional[bytes], value: Optional[bytes], error: KafkaError) -> None:
        """The client does not even take it."""
        if error.code() == KafkaError._FATAL:  # the reason why stands among the client's news
            self.wait()
        self._judge(error)
        self._fail(key, value, self._said(error))

    def _fail(self, key: Optional[bytes], value: Optional[bytes], reason: str) -> None:
        self._refused += 1
        self._said_no += 1
        self._put_away(key, value, reason)

    def _on_delivery(self, error: Optional[KafkaError], message: Message) -> None:
        if error is None:
            return
        self._undelivered += 1
        self._said_no += error.code() not in _DOUBTFUL
        self._judge(error)
        self._put_away(_bytes(message.key()), _bytes(message.value()), self._said(error))

    def _put_away(self, key: Optional[bytes], value: Optional[bytes], reason: str) -> None:
        self.reasons.add(reason)
        if not self._keep(key, value):
            self.hopeless = self.hopeless or "what is not published cannot be kept"

    def _judge(self, error: KafkaError) -> None:
        self.doubtful = self.doubtful or error.code() in _DOUBTFUL
        if self.hopeless is None and (error.fatal() or error.code() in _NEVER):
            self.hopeless = self._said(error)

    def _said(self, error: KafkaError) -> str:
        """What the client says, in words that tell what to do where we know it."""
        code = error.code()
        if self.hopeless is not None and (code in _GIVEN_UP or code == KafkaError._FATAL):
            return self.hopeless
        if code in _MISSING_RIGHT:
            return _MISSING_RIGHT[code].format(topic=self._topic)
        return _GIVEN_UP.get(code) or _without_side(error)

    def _on_error(self, error: KafkaError) -> None:
        """Trouble that may pass. The client raises a fatal error instead of telling it here."""
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            self._trouble = plain_reason(error)
        elif not self._outage.holds:
            self._published_at_loss = self.published
            self._outage.lost(self._trouble)


def _without_side(error: KafkaError) -> str:
    """The client's words, without telling on which side of the wire they were found."""
    return re.sub("^(Unable to produce message: )?(Local|Broker): ", "", str(error.str()))


def _bytes(part: Any) -> Optional[bytes]:
    return None if part is None else bytes(part)
