"""The producers that settlements are sent with: one in use, and its successor made in advance."""

import threading
from typing import Any, Callable, List, NamedTuple, Optional, Set, Tuple

from confluent_kafka import KafkaError, KafkaException, Producer

from orderflow.consume.client_config import Clients
from orderflow.kafka.refusals import is_too_long
from orderflow.kafka.sizes import CLIENT_BYTES, sizes_for

TIMEOUT_S = 10.0
MOST_TIMES = 16
"""How many times as long a transaction may get as it is given at first."""
PURGED = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)
OnError = Callable[[KafkaError], None]


class Sizes(NamedTuple):
    """The largest record each topic accepts."""

    dead_letter_bytes: int = 1_000_000
    result_bytes: int = 1_000_000
    page_bytes: int = 1_000_000


class Deliveries:
    """Failed deliveries among the records sent last."""

    def __init__(self) -> None:
        self._errors: List[Tuple[KafkaError, str]] = []
        """What went wrong, and with a record for which topic."""
        self.denied: Set[str] = set()
        """Topics we may not write to."""

    def __bool__(self) -> bool:
        """Whether any record could not be delivered."""
        return bool(self._errors)

    def begin(self) -> None:
        """Forget the previous records."""
        self._errors.clear()
        self.denied.clear()

    def note(self, error: Optional[KafkaError], record: Any) -> None:
        """The client's report on one record."""
        if error is None:
            return
        self._errors.append((error, record.topic()))
        if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            self.denied.add(record.topic())

    def first_cause(self, error: KafkaError) -> Tuple[KafkaError, Optional[str]]:
        """Why a commit failed: the failed delivery if there is one, since the commit's own error is vague.

        With the topic of that delivery.
        """
        failed = ((cause, topic) for cause, topic in self._errors if cause.code() not in PURGED)
        return next(failed, (error, None))


class Producers:
    """Keeps one working producer and, made in advance, its successor."""

    def __init__(self, clients: Clients, deliveries: Deliveries, on_error: OnError) -> None:
        self._clients = clients
        self._deliveries = deliveries
        self._on_error = on_error
        self._sizes = Sizes()
        self._lock = threading.Lock()
        self._current: Optional[Producer] = None
        self._next: Optional[Producer] = None
        """Made in advance: a brand-new producer waits half a second for a connection (measured)."""
        self._shipped_ms = int(clients.producer.get("transaction.timeout.ms", TIMEOUT_S * 1000))
        self._times, self._most_times = 1, MOST_TIMES
        self._batch_bytes = CLIENT_BYTES

    @property
    def commit_s(self) -> float:
        """How long a commit may take, the delivery of its records included."""
        return TIMEOUT_S * self._times

    @property
    def transaction_s(self) -> float:
        """How long the broker leaves a transaction open."""
        return self._shipped_ms * self._times / 1000

    @property
    def current(self) -> Optional[Producer]:
        """The producer in use, if any."""
        return self._current

    def ready(self) -> Producer:
        """A producer ready to send. Raises KafkaException if transactions cannot be initialised.

        Two threads get the same: a second one would fence the first.
        """
        with self._lock:
            if self._current is not None:
                return self._current
            producer, self._next = self._next or self._new(), None
            while self._clients.exactly_once and not self._begin(producer):
                producer = self._new()
            self._current = producer
            return producer

    def _begin(self, producer: Producer) -> bool:
        """Initialise its transactions. False where the broker leaves none open for so long.

        That is its `transaction.max.timeout.ms`; from now on, half of the time is asked for.
        """
        try:
            producer.init_transactions(TIMEOUT_S)
            return True
        except KafkaException as error:
            if not is_too_long(error.args[0], self.transaction_s * 1000):
                raise
        if self._times > 1:
            self._times = self._most_times = self._times // 2
        else:
            self._shipped_ms, self._most_times = self._shipped_ms // 2, 1
        return False

    def drop(self) -> None:
        """Use another producer from now on."""
        self._current = None

    def took(self, seconds: float, is_committed: bool) -> None:
        """Give transactions twice the time if one failed after all it had: a narrow link, a quota.

        What is settled is all that was done since the last time, so to give up at the same point each time
        would be for ever. Half the time again once one takes a fraction of it, because what a killed process
        leaves open stays open for so long.
        """
        if not is_committed and seconds >= min(self.commit_s, self.transaction_s):
            self._take(2 * self._times)
        elif is_committed and seconds < min(self.commit_s, self.transaction_s) / 4:
            self._take(self._times // 2)

    def batch_less(self, largest: int) -> None:
        """A topic has refused a batch whose largest value had so many bytes: make them smaller.

        Kafka applies `max.message.bytes` to a batch, and it may have been lowered since we asked.
        """
        self._batch_bytes = min(self._batch_bytes, max(largest, self._batch_bytes // 16))
        self._next = None

    def _take(self, times: int) -> None:
        times = max(1, min(times, self._most_times))
        if times != self._times:
            self._times = times
            self._current = self._next = None

    def expect(
        self, max_dead_letter_bytes: int, max_result_bytes: Optional[int], max_page_bytes: Optional[int]
    ) -> None:
        """Set the largest record, and batch, from now on; None leaves a size unchanged."""
        self._sizes = self._sizes._replace(dead_letter_bytes=max_dead_letter_bytes)
        if max_result_bytes is not None:
            self._sizes = self._sizes._replace(result_bytes=max_result_bytes)
        if max_page_bytes is not None:
            self._sizes = self._sizes._replace(page_bytes=max_page_bytes)
        self._current, self._next = None, self._new()

    def _new(self) -> Producer:
        config = dict(self._clients.producer)
        if not self._clients.exactly_once:
            for name in ("transactional.id", "transaction.timeout.ms", "delivery.report.only.error"):
                config.pop(name, None)
            # Once we stop waiting, unconfirmed must mean undelivered, or a retry could duplicate a record.
            config["delivery.timeout.ms"] = int(TIMEOUT_S * 1000) - 1000
        else:
            config["transaction.timeout.ms"] = int(self.transaction_s * 1000)
        own = {"on_delivery": self._deliveries.note, "error_cb": self._on_error}
        return Producer({**config, **own, **sizes_for(self._sizes, self._batch_bytes)})
