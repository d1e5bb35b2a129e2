"""Kafka before the work starts: whether it answers, and whether the topics are there."""

import functools
import socket
import threading
import time
from typing import Any, Callable, Dict, Iterator

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from orderflow.dlq.replay.source_topics import SourceTopics
from orderflow.exits import KafkaUnreachable, TopicMissing, UsageError
from orderflow.kafka import topics
from orderflow.kafka.reachable import require_kafka
from orderflow.kafka.reader import Reader
from orderflow.kafka.topics import TopicSpec

Topic = Callable[..., str]


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port where connections are taken and nothing is ever said."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        yield deaf.getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


def conf_of(address: str) -> Dict[str, Any]:
    return {"bootstrap.servers": address, "log_level": 2}


# --- no Kafka


def test_a_refused_connection_names_address_reason_and_next_step(closed_port: int) -> None:
    with pytest.raises(KafkaUnreachable) as failure:
        require_kafka(conf_of(f"127.0.0.1:{closed_port}"), timeout_s=0.6)

    address = f"127.0.0.1:{closed_port}"
    assert str(failure.value) == (
        f"Kafka does not answer at {address}: tried for 0.6 s, {address}: Connection refused; "
        "start one with `make kafka` or `docker compose up -d`, or set KAFKA_BOOTSTRAP_SERVERS"
    )


def test_a_host_that_does_not_exist_is_told_as_such() -> None:
    with pytest.raises(KafkaUnreachable, match=r"Failed to resolve 'kafka\.invalid:9092'"):
        require_kafka(conf_of("kafka.invalid:9092"), timeout_s=0.6)


def test_a_server_that_says_nothing_is_given_up_in_time(deaf_port: int) -> None:
    started_s = time.monotonic()
    with pytest.raises(KafkaUnreachable, match="no answer"):
        require_kafka(conf_of(f"127.0.0.1:{deaf_port}"), timeout_s=1)

    assert time.monotonic() - started_s < 30, "the client's own time-out is 60 s"


def test_a_setting_that_the_client_cannot_start_with_is_a_usage_error() -> None:
    secure = {**conf_of("127.0.0.1:1"), "security.protocol": "SSL"}
    with pytest.raises(UsageError, match="the Kafka client cannot work with its settings"):
        require_kafka({**secure, "ssl.ca.location": "/nowhere"})


# --- with Kafka


@pytest.fixture
def conf(kafka: Any) -> Dict[str, Any]:
    return conf_of(kafka.bootstrap_servers)


@pytest.mark.broker
def test_a_kafka_that_is_there_is_found(conf: Dict[str, Any]) -> None:
    require_kafka(conf)


@pytest.mark.broker
def test_missing_topics_are_created_as_each_should_be(conf: Dict[str, Any], topic: Topic) -> None:
    orders, dlq, audit = topic("orders"), topic("dlq"), topic("audit")
    specs = [topics.orders(orders), topics.dead_letters(dlq), topics.audit(audit)]
    created = topics.ensure_topics(conf, specs)

    assert created == [orders, dlq, audit]
    assert [topics.partition_count(conf, name) for name in created] == [3, 1, 1]
    assert config_of(conf, audit)["cleanup.policy"] == "compact"


@pytest.mark.broker
def test_a_topic_that_exists_stays_as_it_is(conf: Dict[str, Any], topic: Topic) -> None:
    name = topic()
    topics.ensure_topics(conf, [TopicSpec(name, 5)])

    assert topics.ensure_topics(conf, [topics.orders(name)]) == []
    assert topics.partition_count(conf, name) == 5


@pytest.mark.broker
def test_two_that_create_the_same_topic_at_once_are_both_content(conf: Dict[str, Any], topic: Topic) -> None:
    name = topic()
    create = functools.partial(topics.ensure_topics, conf, [topics.orders(name)])
    both = [threading.Thread(target=create) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()

    assert topics.partition_count(conf, name) == 3


@pytest.mark.broker
def test_a_topic_that_may_not_be_created_comes_with_the_command_for_someone_who_may(
    conf: Dict[str, Any], topic: Topic
) -> None:
    """Kafka refuses a name that differs from another in dots and underscores only."""
    name = topic("audit.log")
    topics.ensure_topics(conf, [TopicSpec(name.replace("_", "."), 1)])
    clashing = name.replace(".", "_")
    with pytest.raises(TopicMissing) as failure:
        topics.ensure_topics(conf, [topics.audit(clashing)])

    lines = str(failure.value).split("\n")
    assert lines[0].startswith(f"topic {clashing} is missing and could not be created: ")
    assert lines[-1] == (
        f"  kafka-topics.sh --bootstrap-server {conf['bootstrap.servers']} --create --topic {clashing} "
        "--partitions 1 --config cleanup.policy=compact"
    )


@pytest.mark.broker
def test_the_settings_of_a_topic_are_known(conf: Dict[str, Any], topic: Topic) -> None:
    """How large a record may be, as a replay asks it for its target, and how long records are kept."""
    name = topic("small")
    topics.ensure_topics(conf, [TopicSpec(name, 1, {"max.message.bytes": "2000", "retention.ms": "-1"})])

    with SourceTopics(conf, lambda opened: Reader(conf, opened)) as sources:
        assert sources.room(name) == 2000
    assert topics.numbers_set(conf, name)["retention.ms"] == -1
    assert topics.numbers_set(conf, f"{name}-not-there") == {}


def config_of(conf: Dict[str, Any], name: str) -> Dict[str, str]:
    resource = ConfigResource(ResourceType.TOPIC, name)
    admin = AdminClient(conf)
    entries = admin.describe_configs([resource])[resource].result()
    return {key: entry.value for key, entry in entries.items()}


def test_a_port_that_answers_but_is_no_kafka_is_not_told_to_start_one() -> None:
    """It takes the connection and says nothing: another service, or a broker that hangs."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        place = f"127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(KafkaUnreachable) as refusal:
            require_kafka(conf_of(place), timeout_s=0.6)

    assert f"something answers at {place}, but not as a Kafka that we can use" in str(refusal.value)
    assert "make kafka" not in str(refusal.value)


def test_a_partition_without_a_leader_is_asked_again() -> None:
    """The broker of a topic that was just created first says that it does not lead it."""
    answers = [KafkaException(KafkaError(KafkaError.NOT_LEADER_FOR_PARTITION)) for _ in range(2)]

    def ask() -> int:
        if answers:
            raise answers.pop()
        return 7

    assert topics.while_leaderless(ask, 5.0) == 7


@pytest.mark.parametrize(
    ("code", "timeout_s"),
    [(KafkaError.NOT_LEADER_FOR_PARTITION, 0.0), (KafkaError.TOPIC_AUTHORIZATION_FAILED, 5.0)],
)
def test_any_other_fault_of_a_topic_is_raised(code: int, timeout_s: float) -> None:
    """And a leader that is missing for too long."""

    def ask() -> int:
        raise KafkaException(KafkaError(code))

    with pytest.raises(KafkaException):
        topics.while_leaderless(ask, timeout_s)
