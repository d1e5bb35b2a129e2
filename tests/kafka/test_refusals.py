"""What the Kafka client says of a failed connection, and what we make of it, without a broker."""

import socket
from typing import Any, Dict

import pytest
from confluent_kafka import Consumer, KafkaError, Producer

from orderflow.consume.client_config import consumer_config, producer_config
from orderflow.exits import UsageError
from orderflow.kafka.client_properties import require_consistent
from orderflow.kafka.refusals import (
    answers,
    missing_right,
    on_group,
    on_topic,
    on_transactional_id,
    plain_reason,
    refusal,
)

PLACE = "sasl_ssl://kafka:9093/bootstrap: "
DENIED = "SASL authentication error: Authentication failed: Invalid username or password"


def error(said: str, code: int = KafkaError._AUTHENTICATION) -> KafkaError:
    """What the client reports."""
    return KafkaError(code, said)


def test_internals_of_the_client_are_left_out() -> None:
    """An operator needs the place and the fault."""
    failed = "Connect to ipv4#127.0.0.1:9092 failed: Connection refused (after 0ms in state CONNECT)"
    said = f"localhost:9092/bootstrap: {failed}"

    assert plain_reason(error(said, KafkaError._TRANSPORT)) == "localhost:9092: Connection refused"


def test_a_refused_log_in_names_the_place_and_the_settings() -> None:
    """As a running script tells it, too."""
    told = plain_reason(error(f"{PLACE}{DENIED} (after 300ms in state AUTH_REQ)"))

    assert told.startswith("kafka:9093: it refuses the log-in (Authentication failed")
    assert "KAFKA_SASL_PASSWORD" in told


def test_a_broker_that_goes_away_during_the_log_in_has_refused_nothing() -> None:
    """It may be back in a moment: no reason to give up."""
    said = (
        f"{PLACE}SASL authentication error: SaslAuthenticateRequest failed: Local: Broker transport failure"
    )

    assert refusal({"bootstrap.servers": "127.0.0.1:1"}, [error(said)], []) is None


@pytest.mark.parametrize("said", ["", "1/1 brokers are down", "anything {else} at all", "a: b: c"])
def test_what_is_not_known_is_told_as_it_is(said: str) -> None:
    """Another version of the client may say what it likes."""
    assert plain_reason(error(said, KafkaError._FAIL)) == (said or str(error("", KafkaError._FAIL).str()))


def test_a_port_where_nothing_listens_does_not_answer() -> None:
    """There, and only there, is it good advice to start a Kafka."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{listener.getsockname()[1]}"
        assert not answers({"bootstrap.servers": place})
        listener.listen()
        assert answers({"bootstrap.servers": f"nowhere.invalid:1, PLAINTEXT://{place}"})


def test_a_missing_right_names_the_resource() -> None:
    """Kafka says only that something was refused."""
    denied = error("x", KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED)

    needed = on_transactional_id("WRITE", "a")
    assert missing_right(denied, needed) == "; the right WRITE on transactional id a is missing"
    assert missing_right(error("x"), needed) == ""


def test_a_missing_right_is_never_said_of_another_kind_of_resource() -> None:
    """Whoever reads a topic can be refused for its group: the topic's name names no group."""
    denied = error("x", KafkaError.GROUP_AUTHORIZATION_FAILED)
    of_topic, of_group = on_topic("READ", "orders"), on_group("DESCRIBE", "g")

    assert missing_right(denied, of_topic, of_group) == "; the right DESCRIBE on group g is missing"
    assert missing_right(denied, of_topic) == ""


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"max.poll.interval.ms": "1000"}, "max.poll.interval.ms"),
        ({"group.protocol": "consumer", "session.timeout.ms": "9000"}, "session.timeout.ms"),
    ],
)
def test_a_consumers_properties_that_contradict_each_other_are_a_wrong_usage(
    given: Dict[str, str], words: str
) -> None:
    """Known before anything is connected to, and told in one line."""
    assert_refused(Consumer, consumer_config(given, "g", 600), words)


@pytest.mark.parametrize(
    ("given", "words"),
    [({"message.timeout.ms": "60000"}, "message.timeout.ms"), ({"retries": "0"}, "retries")],
)
def test_a_producers_properties_that_contradict_each_other_are_a_wrong_usage(
    given: Dict[str, str], words: str
) -> None:
    """The same for the producer of the settlements."""
    assert_refused(Producer, producer_config(given, "id"), words)


def test_properties_that_agree_are_no_fault() -> None:
    """Nothing is connected to, and nothing said."""
    require_consistent(Consumer, consumer_config({}, "g", 600))
    require_consistent(Producer, producer_config({"message.timeout.ms": "9000"}, "id"))


def assert_refused(kind: Any, conf: Dict[str, Any], words: str) -> None:
    """Exit code 2, one line, the property named."""
    with pytest.raises(UsageError) as fault:
        require_consistent(kind, conf)

    assert words in str(fault.value)
    assert "\n" not in str(fault.value)
