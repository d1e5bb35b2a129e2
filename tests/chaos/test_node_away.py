"""A node dies, and what begins in the seconds in which the others have not noticed it yet."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, Iterator, Mapping

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from orderflow.kafka import topics
from orderflow.kafka.group_view import GroupView
from orderflow.kafka.topic_identity import Identity
from orderflow.kafka.topics import TopicSpec
from tests.broker.test_pages import PATIENT, ledger_topic
from tests.chaos.test_pages import LITTLE
from tests.support.engine_tools import Shop, rows
from tests.support.pipeline import eventually
from tools.local_kafka import LocalKafka

pytestmark = [pytest.mark.chaos, pytest.mark.broker]
NewShop = Callable[..., Shop]
CLIENTS = 12
"""Each is told the dead node by a chance of one in three."""
STARTS_S = 30.0
"""Until others lead, 9 s, and what it takes to read, to process and to settle."""
SOON_S = 9.0 + 16.0
"""What only the dead node led has another leader after 9 s."""
LONG_AWAY_S = 60.0
"""Longer than a topic is looked for that is not there."""


@pytest.fixture
def kafka() -> Iterator[LocalKafka]:
    """Three nodes, each of which may be killed; little room for lists in commit metadata."""
    with LocalKafka(nodes=3, settings=LITTLE) as three:
        yield three


def conf_of(kafka: LocalKafka) -> Dict[str, Any]:
    return {"bootstrap.servers": kafka.bootstrap_servers, "log_level": "0"}


def _asks(conf: Mapping[str, Any], name: str, number: int) -> float:
    began_s = time.monotonic()
    assert topics.exists(conf, name, timeout_s=60)
    assert topics.numbers_set(conf, name, timeout_s=60)["max.message.bytes"] > 0
    assert topics.ensure_topics(conf, [TopicSpec(f"{name}-{number}", 1)], timeout_s=60)
    view = GroupView(conf, "group", name, 60).topics
    assert view.id_of(name) and view.settings_of(name)[name]
    return time.monotonic() - began_s


def test_who_begins_just_after_the_death_of_a_node_is_answered_soon(
    kafka: LocalKafka, topic: Callable[..., str]
) -> None:
    """Whatever a consumer, a producer or a verb asks first; it used to be stuck for minutes."""
    conf, name = conf_of(kafka), topic()
    topics.ensure_topics(conf, [TopicSpec(name, 1)])
    kafka.kill(2)
    with ThreadPoolExecutor(CLIENTS) as clients:
        took_s = list(clients.map(lambda number: _asks(conf, name, number), range(CLIENTS)))

    assert max(took_s) < SOON_S, took_s


def test_who_has_watched_a_topic_for_long_sees_it_recreated_after_the_death_of_a_node(
    kafka: LocalKafka, topic: Callable[..., str]
) -> None:
    """Each knew another node as the controller."""
    conf, name = conf_of(kafka), topic()
    topics.ensure_topics(conf, [TopicSpec(name, 1)])
    watching = [Identity(conf, name, every_s=1.0) for _ in range(CLIENTS)]
    for identity in watching:
        identity.learn()
    kafka.kill(2)
    admin = AdminClient(conf)
    eventually(lambda: len(admin.list_topics(timeout=20).brokers) == 2)
    admin.delete_topics([name])[name].result(30)
    eventually(lambda: name not in admin.list_topics(timeout=10).topics)
    topics.ensure_topics(conf, [TopicSpec(name, 1)])

    for identity in watching:
        eventually(identity.has_changed, 20)


def leader_of(kafka: LocalKafka, topic: str) -> int:
    """The node that leads the first partition of a topic."""
    found = AdminClient(conf_of(kafka)).list_topics(topic, timeout=10)
    return int(found.topics[topic].partitions[0].leader)


@pytest.mark.parametrize("leads", ["pages", "orders", "dead letters"])
def test_a_consumer_that_begins_just_after_the_death_of_a_leader_goes_on_soon(
    kafka: LocalKafka, shop: NewShop, leads: str
) -> None:
    """Its predecessor left a page, and the dead node leads the partition of that, or of the orders."""
    tested = shop(**{**PATIENT, "RETRY_BACKOFF": "1", "RETRY_BACKOFF_MAX": "1"})
    tested.create(partitions=1).begin_trouble()
    tested.put(rows(1000))
    first = tested.consume("most_fail")
    eventually(lambda: "is listed in topic" in first.err, 60, first.describe)
    assert first.stop().code == 143  # and so out of the group at once
    names = {"pages": ledger_topic(tested), "orders": tested.orders_topic, "dead letters": tested.dlq_topic}
    kafka.kill(leader_of(kafka, names[leads]))
    tested.end_trouble()
    second = tested.consume("most_fail", "--until-drained")

    finished = second.wait(100)
    assert finished.code == 0, second.describe()
    assert finished.took_s < STARTS_S, second.describe()
    tested.assert_account_closes()


def test_a_list_whose_partition_no_broker_leads_is_waited_for(kafka: LocalKafka, shop: NewShop) -> None:
    """It is not gone: nothing that was done before is called again, however long its only node is away."""
    tested = shop(**{**PATIENT, "RETRY_BACKOFF": "1", "RETRY_BACKOFF_MAX": "1"})
    tested.create(partitions=1).begin_trouble()
    admin, name = AdminClient(conf_of(kafka)), ledger_topic(tested)
    alone = NewTopic(name, 1, replica_assignment=[[3]], config={"cleanup.policy": "compact"})
    admin.create_topics([alone])[name].result(30)
    tested.put(rows(1000))
    first = tested.consume("most_fail")
    eventually(lambda: "is listed in topic" in first.err, 60, first.describe)
    assert first.stop().code == 143
    kafka.kill(3)
    tested.end_trouble()

    second = tested.consume("most_fail", "--until-drained")
    eventually(lambda: f"no broker leads partition 0 of {name}" in second.err, 60, second.describe)
    time.sleep(LONG_AWAY_S)
    kafka.restart(3)
    finished = second.wait(100)

    assert finished.code == 0, second.describe()
    assert "is gone or damaged" not in finished.err
    tested.assert_account_closes()


def test_a_drain_works_on_all_partitions_but_one_that_no_broker_leads(
    kafka: LocalKafka, shop: NewShop
) -> None:
    """It says what it waits for, and ends once that partition has a leader again and is drained, too."""
    tested = shop()
    admin, name = AdminClient(conf_of(kafka)), tested.orders_topic
    admin.create_topics([NewTopic(name, 2, replica_assignment=[[1], [3]])])[name].result(30)
    eventually(lambda: _all_are_led(admin, name), 30)
    for partition in (0, 1):
        tested.put(rows(20, prefix=f"P{partition}-"), partition=partition)
    kafka.kill(3)
    running = tested.consume("works", "--until-drained")
    eventually(lambda: len(tested.calls()) == 20, 60, running.describe)
    eventually(lambda: "--until-drained waits for partition 1: no broker tells" in running.err, 60)
    assert running.running
    kafka.restart(3)

    finished = running.wait(100)
    assert finished.code == 0, running.describe()
    tested.assert_account_closes()


def _all_are_led(admin: AdminClient, topic: str) -> bool:
    partitions = admin.list_topics(topic, timeout=10).topics[topic].partitions.values()
    return bool(partitions) and all(each.leader > 0 for each in partitions)


def test_a_verb_that_waits_for_a_leader_says_so(kafka: LocalKafka, shop: NewShop) -> None:
    """After two or three seconds; then it shows all that there is."""
    tested = shop(UNKNOWN_SCHEMA_BACKOFF="0").create(partitions=1)
    assert tested.run("producer.py", "--count", "20", "--invalid", "100%").code == 0
    assert tested.consume("works", "--until-drained").wait(60).code == 0
    kafka.kill(leader_of(kafka, tested.dlq_topic))
    listed = tested.run("dlq_handler.py", "list", "--json")

    assert listed.code == 0, listed.err
    assert len(listed.out.splitlines()) == 20
    assert "waiting for partition 0 of " in listed.err
