"""`dlq_handler.py` with one of three brokers away: what the others hold is told, and the rest is named."""

import json
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from tests.conftest import start_kafka
from tests.support.dlq_tools import ours, send
from tests.support.pipeline import QUICK, Finished, Pipeline, eventually
from tools.local_kafka import LocalKafka

pytestmark = [pytest.mark.chaos, pytest.mark.broker]

HANDLER = "dlq_handler.py"
WITHIN_S = 3.0
LONG = {"RETRY_BACKOFF": "3000", "RETRY_BACKOFF_MAX": "3000", "MAX_RETRIES": "3"}
AWAY = 3
"""The node that is hurt."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalKafka]:
    """Three brokers. Each test brings back the one that it has hurt."""
    with start_kafka(nodes=3) as kafka:
        yield kafka


@pytest.fixture
def shop(cluster: LocalKafka, topic: Callable[..., str], tmp_path: Path) -> Iterator[Pipeline]:
    """Topics with a replica on each broker, as the scripts create them there."""
    made = Pipeline(cluster.bootstrap_servers, topic, tmp_path, **{**QUICK, **LONG})
    yield made
    made.kill_all()


@pytest.fixture
def lonely(cluster: LocalKafka, shop: Pipeline) -> Pipeline:
    """Topics of three partitions, each on a broker of its own only; a dead letter in each partition."""
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap_servers})
    names = (shop.orders_topic, shop.dlq_topic)
    alone: Dict[str, Any] = {"replica_assignment": [[1], [2], [3]], "config": {"min.insync.replicas": "1"}}
    for created in admin.create_topics([NewTopic(name, 3, **alone) for name in names]).values():
        created.result(30)
    letters = [ours(number, topic=shop.orders_topic)._replace(partition=number) for number in range(3)]
    send(cluster.bootstrap_servers, shop.dlq_topic, letters)
    return shop


def health(shop: Pipeline, *flags: str) -> Finished:
    """One verdict, in time: not counting what Python takes to start while other tests run."""
    starting_s = shop.run(HANDLER, "--version").took_s
    ended = shop.run(HANDLER, "health", *flags)
    assert "Traceback" not in ended.err
    assert ended.took_s < WITHIN_S + starting_s, f"{ended.took_s:.1f} s: {ended.out}{ended.err}"
    return ended


def verdict(shop: Pipeline) -> Dict[str, Any]:
    """The same as an object."""
    row: Dict[str, Any] = json.loads(health(shop, "--json").out)
    return row


def test_where_every_partition_has_replicas_all_of_it_works(cluster: LocalKafka, shop: Pipeline) -> None:
    """A broker is away: told, and no reason to call a person. What waits, groups and the report are whole."""
    shop.publish([("POISON-1", "C-1"), ("O-2", "C-2"), ("O-3", "C-3")])
    running = shop.consume("poison_fails")
    eventually(lambda: verdict(shop)["verdict"] == "all well", why=lambda: health(shop).out)
    cluster.kill(AWAY)
    try:
        found = eventually(lambda: _lacking(shop), 40, lambda: health(shop).out + running.describe())
        shop.publish_bytes([b"no order"])
        eventually(shop.dead_letters, 60, running.describe)
        waiting = shop.succeed(HANDLER, "waiting", "--json")
        groups = shop.succeed(HANDLER, "groups", "--json")
        shop.succeed(HANDLER, "report", "night.html")
        after = health(shop)
    finally:
        cluster.restart(AWAY)

    assert (found["exit_code"], found["problems"], found["unknown"]) == (0, [], [])
    assert (
        f"topic {shop.orders_topic}: partitions 0, 1, 2 under-replicated (2 of 3 replicas in sync)"
        in (found["notes"])
    )
    assert [json.loads(line)["key"] for line in waiting.out.splitlines()] == ["POISON-1"]
    assert "decode.framing" in groups.out
    assert "decode.framing" in (shop.folder / "night.html").read_text("utf-8")
    assert after.code == 5 and "1 dead letter to decide about" in after.out


def _lacking(shop: Pipeline) -> Dict[str, Any]:
    """The verdict, once brokers have noticed that one is away and the consumer is at work; else nothing."""
    found = verdict(shop)
    return found if len(found["copies"]) >= 4 and found["exit_code"] == 0 else {}


def test_a_partition_without_a_leader_is_named_and_the_others_are_told(
    cluster: LocalKafka, lonely: Pipeline
) -> None:
    """By health, in time. What needs the partition ends with one line; what does not, works."""
    cluster.kill(AWAY)
    try:
        found = eventually(lambda: _leaderless(lonely), 40, lambda: health(lonely).out)
        lost = {row["topic"]: row["partition"] for row in found["copies"] if row["leader"] is None}
        others = [
            flag for number in range(3) if number != lost[lonely.dlq_topic] for flag in ("-p", f"{number}")
        ]
        said = health(lonely)
        refused = {
            verb: lonely.run(HANDLER, *verb.split()) for verb in ("groups", "waiting", "report lost.html")
        }
        some = lonely.succeed(HANDLER, "groups", "--json", *others)
    finally:
        cluster.restart(AWAY)

    assert said.code == found["exit_code"] == 5
    for name in (lonely.orders_topic, lonely.dlq_topic):
        assert f"topic {name}: partition {lost[name]} without a leader" in said.out
    told = {row["partition"] for row in found["partitions"]}
    assert told == {0, 1, 2} - {lost[lonely.orders_topic]}
    for verb, ended in refused.items():
        assert (ended.code, len(ended.err.splitlines())) == (1, 1), f"{verb}: {ended.err}"
        assert "no broker leads" in ended.err and ended.took_s < 20, f"{verb}: {ended.took_s:.1f} s"
    assert sum(json.loads(line)["count"] for line in some.out.splitlines()) == 2


def _leaderless(shop: Pipeline) -> Dict[str, Any]:
    found = verdict(shop)
    lost: List[str] = [row["topic"] for row in found["copies"] if row["leader"] is None]
    return found if len(set(lost)) == 2 else {}


def test_the_first_question_to_a_new_cluster_is_answered(topic: Callable[..., str], tmp_path: Path) -> None:
    """No group has a coordinator yet, as after a broker was lost. The client's admin crashed there."""
    with start_kafka() as kafka:
        shop = Pipeline(kafka.bootstrap_servers, topic, tmp_path)
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
        for created in admin.create_topics([NewTopic(shop.orders_topic, 3, 1)]).values():
            created.result(30)
        ended = shop.run(HANDLER, "health")

    assert ended.code in (1, 5), ended
    assert shop.group in ended.out


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_before_anybody_has_noticed_health_answers_in_time_too(
    cluster: LocalKafka, lonely: Pipeline, how: str
) -> None:
    """The brokers take ten seconds to notice. Until then, what the lost one leads cannot be told."""
    (cluster.kill if how == "killed" else cluster.pause)(AWAY)
    began_s = time.monotonic()
    try:
        while time.monotonic() - began_s < 8:
            ended = health(lonely)
            said = ended.out + ended.err
            assert ended.code in (1, 5), said
            assert "cannot tell" in said or "without a leader" in said, said
            assert "created again" not in said
    finally:
        (cluster.restart if how == "killed" else cluster.resume)(AWAY)
