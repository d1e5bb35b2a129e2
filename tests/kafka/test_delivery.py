"""What is waited for after sending, and how a client that met a fatal error says so."""

from typing import Any, Callable

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from orderflow.kafka.delivery import deliver
from tests.conftest import Kafka
from tests.support import fault_proxy as wire
from tests.support.fault_proxy import FaultProxy

CLUSTER_DENIED = 31


class Scripted:
    """A producer that has so many records in flight, and delivers so many of them a poll."""

    def __init__(self, in_flight: int, a_poll: int) -> None:
        self._in_flight, self._a_poll = in_flight, a_poll
        self.polls = 0

    def __len__(self) -> int:
        return self._in_flight

    def poll(self, timeout_s: float) -> None:
        """Some of the reports."""
        assert timeout_s >= 0
        self.polls += 1
        self._in_flight = max(0, self._in_flight - self._a_poll)


def test_all_is_waited_for() -> None:
    """However many reports a poll serves."""
    assert deliver(Scripted(10, 3), 60.0) == 0


def test_what_is_left_is_told_once_the_time_is_over() -> None:
    """Reports that are there are served all the same."""
    producer = Scripted(10, 3)

    assert deliver(producer, 0.0) == 7
    assert producer.polls == 1


@pytest.mark.broker
def test_the_words_of_a_fatal_error_survive_the_reports_that_follow_it(
    strict_kafka: Kafka, topic: Callable[..., str]
) -> None:
    """Python code that runs while the error waits to be raised clears it, as this report does."""

    def clear(error: Any, message: Any) -> None:
        getattr(message, "no such attribute", None)

    with FaultProxy(strict_kafka.bootstrap_servers) as between:
        between.break_next(wire.INIT_PRODUCER_ID, CLUSTER_DENIED, times=1000)
        producer = Producer(
            {"bootstrap.servers": between.bootstrap_servers, "enable.idempotence": True, "log_level": 0}
        )
        producer.produce(topic(), b"", on_delivery=clear)

        with pytest.raises(KafkaException) as told:
            deliver(producer, 30.0)

    error = told.value.args[0]
    assert error.code() == KafkaError.CLUSTER_AUTHORIZATION_FAILED
    assert "Failed to acquire idempotence PID" in error.str()
