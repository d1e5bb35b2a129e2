"""Three nodes, one of which dies at the wrong moment: coordinators move, replicas fall out of sync."""

from pathlib import Path
from typing import Callable, Iterator

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from tests.conftest import start_kafka
from tests.support.engine_tools import Shop, rows
from tests.support.pipeline import eventually
from tools.local_kafka import LocalKafka

pytestmark = [pytest.mark.chaos, pytest.mark.broker]
NewShop = Callable[..., Shop]
ORDERS = 20_000


@pytest.fixture
def kafka() -> Iterator[LocalKafka]:
    """A cluster whose nodes may be killed."""
    with LocalKafka(nodes=3) as three:
        yield three


@pytest.mark.parametrize("guarantee", ["exactly-once", "at-least-once"])
def test_any_node_may_die_and_the_coordinators_move(kafka: LocalKafka, shop: NewShop, guarantee: str) -> None:
    """Each of the three is killed and started again while orders flow: delayed, and nothing else."""
    tested = shop(GUARANTEE=guarantee, CALL_S="0.002").create(partitions=3)
    running = tested.consume("works")
    for node in kafka.nodes:
        tested.put(rows(1000, prefix=f"N{node}-"))
        eventually(lambda node=node: len(tested.calls()) > 1000 * node - 800, 60, running.describe)  # type: ignore[misc]
        kafka.kill(node)
        eventually(
            lambda node=node: len({call.delivery for call in tested.calls()}) >= 1000 * node,  # type: ignore[misc]
            90,
            running.describe,
        )
        kafka.restart(node)
    assert running.stop().code == 143
    tested.drain("works")

    tested.assert_account_closes(repeats_allowed=guarantee == "at-least-once")


@pytest.mark.parametrize("guarantee", ["exactly-once", "at-least-once"])
def test_too_few_replicas_in_sync_keep_the_offset_until_they_are_back(
    kafka: LocalKafka, shop: NewShop, guarantee: str
) -> None:
    """The dead letter topic wants all three replicas, and one node is gone: nothing is committed past it."""
    tested = shop(GUARANTEE=guarantee).create()
    tested.put(rows(50))
    tested.drain("works")
    admin = AdminClient(tested.client)
    admin.delete_topics([tested.dlq_topic])[tested.dlq_topic].result(20)
    strict = NewTopic(f"{tested.dlq_topic}-3", 1, 3, config={"min.insync.replicas": "3"})
    admin.create_topics([strict])[strict.topic].result(20)
    tested.dlq_topic = tested.environ["DLQ_TOPIC"] = strict.topic
    kafka.kill(3)
    tested.publish_bytes([b"no order"] * 5)
    running = tested.consume("works", "--until-drained")
    said = ("cannot forward", "not settled")
    eventually(lambda: any(words in running.err for words in said), 90, running.describe)
    assert running.running and tested.told()[0].offset <= 50
    kafka.restart(3)

    assert running.wait(120).code == 0, running.describe()
    taken = tested.assert_account_closes(repeats_allowed=guarantee == "at-least-once")
    assert (taken.processed, taken.dead_lettered) == (50, 5)


@pytest.mark.parametrize("guarantee", ["exactly-once", "at-least-once"])
def test_a_normal_crash_costs_seconds_at_most_with_three_replicas(shop: NewShop, guarantee: str) -> None:
    """What the next life does with care costs at most 2 s: compared are its first orders and the next."""
    tested = shop(GUARANTEE=guarantee).create()
    tested.put(rows(70_000))
    first = tested.consume("works")
    eventually(lambda: len(tested.calls()) > 5_000, 60, first.describe)
    first.kill()
    crashed_after = len(tested.calls())
    tested.drain("works")

    at_s = [call.at_s for call in tested.calls()[crashed_after:]]
    careful_s = at_s[ORDERS] - at_s[0]
    usual_s = at_s[2 * ORDERS] - at_s[ORDERS]
    told = f"{careful_s:.1f} s for careful calls, {usual_s:.1f} s for as many others"
    assert careful_s - usual_s < 2.0, told
    tested.assert_account_closes(repeats_allowed=guarantee == "at-least-once")


def test_a_cluster_without_a_transaction_coordinator_calls_no_order_twice(
    topic: Callable[..., str], tmp_path: Path
) -> None:
    """It answers everything else: results are kept, the problem is reported, and Kafka is not "lost"."""
    with start_kafka(settings={"transaction.state.log.replication.factor": "3"}) as one_node:
        shop = Shop(one_node.bootstrap_servers, topic, tmp_path).create()
        shop.put(rows(20))
        running = shop.consume("works")
        eventually(lambda: "ERROR settling has failed for" in running.err, 120, running.describe)
        shop.kill_all()

    assert "init_transactions" in running.err
    assert f"Kafka at {one_node.bootstrap_servers} is lost" not in running.err
    called = [call.delivery for call in shop.calls()]
    assert len(called) == len(set(called)) > 0
