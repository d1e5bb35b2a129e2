"""Sending records to one topic, counted, and none of them forgotten.

Owns: `Publisher`, the client profile that makes it fast and safe, and the file of undelivered orders.
Does not know: what an order is, where records come from, when to stop.
Used by: producer.py.

Every record that is handed over ends as published (all in-sync replicas have it) or as failed and kept by
`Undelivered`; until then it is on its way. Successes are counted by what is no longer on its way, so that
only failures cost a call into Python.
"""

import base64
import json
import os
import re
from typing import Any, Callable, Dict, Mapping, Optional, Set, TextIO

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from orderflow.cli import Outage
from orderflow.client_properties import started
from orderflow.records import PARTITIONER
from orderflow.topics import plain_reason

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

_DOUBTFUL = frozenset({KafkaError._MSG_TIMED_OUT, KafkaError._TIMED_OUT, KafkaError._PURGE_INFLIGHT})
"""Failures after which the record may stand in the topic: the answer is what is missing."""

_GIVEN_UP = {
    KafkaError._PURGE_QUEUE: "not sent before the end",
    KafkaError._PURGE_INFLIGHT: "sent, but not answered before the end",
}

Keep = Callable[[Optional[bytes], Optional[bytes]], None]


class Publisher:
    """Sends records to one topic with an idempotent producer.

    Not for several threads. `keep` is called with key and value of each record that was not delivered.
    """

    def __init__(self, conf: Mapping[str, Any], topic: str, outage: Outage, keep: Keep) -> None:
        callbacks = {"error_cb": self._on_error, "on_delivery": self._on_delivery}
        self._producer = started(Producer, {**conf, **callbacks})
        self._topic = topic
        self._outage = outage
        self._keep = keep
        self._accepted = 0
        self._undelivered = 0
        self._refused = 0
        self._published_before = 0
        self._trouble = "connection lost"
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
        """Records that were not delivered and are kept."""
        return self._undelivered + self._refused

    def send(self, key: Optional[bytes], value: Optional[bytes]) -> bool:
        """Hand one record over. False if the queue is full: `wait`, then try again."""
        try:
            self._producer.produce(self._topic, value, key)
        except BufferError:
            return False
        except KafkaException as error:
            self._refuse(key, value, error.args[0])
            return True
        self._accepted += 1
        return True

    def wait(self, seconds: float = 0.0) -> None:
        """Learn what became of records; call it now and then, and to wait for anything."""
        self._producer.poll(seconds)
        if self._outage.holds and self.published > self._published_before:
            self._outage.back()

    def flush(self, seconds: float) -> bool:
        """Send without lingering for up to `seconds`; True once nothing is on its way."""
        left = self._producer.flush(seconds)
        self.wait()
        return left == 0

    def give_up(self) -> None:
        """Take back what is still on its way: it fails and is kept, though some of it may have arrived."""
        self._producer.purge()
        self._producer.flush(5)

    def _refuse(self, key: Optional[bytes], value: Optional[bytes], error: KafkaError) -> None:
        self._refused += 1
        self._note(error)
        self._keep(key, value)

    def _on_delivery(self, error: Optional[KafkaError], message: Message) -> None:
        if error is not None:
            self._undelivered += 1
            self._note(error)
            self._keep(_bytes(message.key()), _bytes(message.value()))

    def _note(self, error: KafkaError) -> None:
        reason = _GIVEN_UP.get(error.code()) or _without_side(error)
        self.reasons.add(reason)
        self.doubtful = self.doubtful or error.code() in _DOUBTFUL
        if error.fatal() or error.code() in _NEVER:
            self.hopeless = reason

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self.hopeless = _without_side(error)
        elif error.code() != KafkaError._ALL_BROKERS_DOWN:
            self._trouble = plain_reason(error)
        elif not self._outage.holds:
            self._published_before = self.published
            self._outage.lost(self._trouble)


def _without_side(error: KafkaError) -> str:
    """The client's words, without telling on which side of the wire they were found."""
    return re.sub("^(Unable to produce message: )?(Local|Broker): ", "", str(error.str()))


def _bytes(part: Any) -> Optional[bytes]:
    return None if part is None else bytes(part)


# --- What could not be delivered ---


class Undelivered:
    """The file that keeps orders for another try: created with the first one, never an existing file.

    An order stands there as JSON if that gives the very same record again, else as its bytes in base64;
    order_source.py reads both.
    """

    def __init__(
        self,
        decode: Callable[[bytes], Dict[str, Any]],
        encode: Callable[[Dict[str, Any]], bytes],
        key_of: Callable[[Dict[str, Any]], bytes],
        name: str = "undelivered",
    ) -> None:
        self._decode = decode
        self._encode = encode
        self._key_of = key_of
        self._name = name
        self._file: Optional[TextIO] = None
        self.path: Optional[str] = None
        """Where the orders are; None while there are none."""
        self.lost: Optional[str] = None
        """Why orders could not be kept; None if all were."""

    def keep(self, key: Optional[bytes], value: Optional[bytes]) -> None:
        """Write one record. A full disk is told by `lost`: raising in the client's callback helps nobody."""
        try:
            if self._file is None:
                self._file = self._create()
            self._file.write(json.dumps(self._line(key, value)) + "\n")
        except OSError as error:
            self.lost = f"{self.path or self._name}: {error.strerror}"

    def close(self) -> None:
        """Write what is buffered to the disk."""
        if self._file is None:
            return
        try:
            self._file.close()
        except OSError as error:
            self.lost = f"{self.path}: {error.strerror}"

    def _create(self) -> TextIO:
        """A new file that only its owner can read: customers' data is in it."""
        number = 1
        while True:
            path = f"{self._name}.jsonl" if number == 1 else f"{self._name}-{number}.jsonl"
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                number += 1
                continue
            self.path = path
            return os.fdopen(descriptor, "w", encoding="ascii")

    def _line(self, key: Optional[bytes], value: Optional[bytes]) -> Dict[str, Any]:
        order = self._order(key, value)
        return {"key_b64": _base64(key), "payload_b64": _base64(value)} if order is None else order

    def _order(self, key: Optional[bytes], value: Optional[bytes]) -> Optional[Dict[str, Any]]:
        """The order from which exactly this record is made again; None if there is none."""
        if value is None:
            return None
        try:
            order = self._decode(value)
            same = self._encode(order) == value and self._key_of(order) == key
            json.dumps(order)
        except Exception:  # noqa: BLE001 - whatever is wrong with the bytes, they are kept as they are
            return None
        return order if same else None


def _base64(part: Optional[bytes]) -> Optional[str]:
    return None if part is None else base64.b64encode(part).decode()
