"""Pages under fire: nodes die, members come and go, the cleaner compacts as fast as it can.

The brokers here take 400 bytes of commit metadata, so that the list of waiting orders moves to a page and
back again and again.
"""

import contextlib
from pathlib import Path
from typing import Callable, Iterator, Tuple

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from orderflow.kafka import topics
from tests.broker.test_engine_rebalance import assert_survives_storm
from tests.broker.test_pages import PATIENT, ledger_topic, recreate
from tests.chaos.test_engine_rebalance import PROTOCOLS
from tests.conftest import shops_on
from tests.support.engine_tools import INSTANCE, MORTAL, STRICT, Shop, rows
from tests.support.pipeline import eventually
from tools.local_kafka import LocalKafka

pytestmark = [pytest.mark.chaos, pytest.mark.broker]
NewShop = Callable[..., Shop]
LITTLE = {"offset.metadata.max.bytes": "400"}


@pytest.fixture
def kafka() -> Iterator[LocalKafka]:
    """A cluster whose nodes may be killed."""
    with LocalKafka(nodes=3, settings=LITTLE) as three:
        yield three


@pytest.fixture(scope="module")
def strict_kafka() -> Iterator[LocalKafka]:
    """One node that believes in a death after a second, and whose cleaner does not wait."""
    eager = {"log.cleaner.backoff.ms": "100", "log.cleaner.delete.retention.ms": "100"}
    with LocalKafka(settings={**STRICT, **LITTLE, **eager}) as one:
        yield one


@pytest.mark.parametrize("guarantee", ["exactly-once", "at-least-once"])
def test_any_node_may_die_while_pages_are_written(kafka: LocalKafka, shop: NewShop, guarantee: str) -> None:
    """Three of five orders wait, and each node is killed in turn."""
    tested = shop(GUARANTEE=guarantee, **{**PATIENT, "RETRY_BACKOFF": "1", "RETRY_BACKOFF_MAX": "1"})
    tested.create(partitions=3).begin_trouble()
    running = tested.consume("most_fail")
    for node in kafka.nodes:
        tested.put(rows(1000, prefix=f"N{node}-"))
        kafka.kill(node)
        eventually(lambda node=node: _seen(tested) >= 1000 * node, 90, running.describe)  # type: ignore[misc]
        kafka.restart(node)
    tested.end_trouble()
    assert running.stop().code == 143
    tested.until_drained("most_fail", timeout_s=120)

    assert "is listed in topic" in running.err
    tested.assert_account_closes(repeats_allowed=guarantee == "at-least-once")


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS.keys())
def test_a_storm_of_members_loses_and_doubles_no_page(
    strict_shop: NewShop, protocol: Tuple[str, ...]
) -> None:
    """Every second guest is killed, and whoever takes over reads the page of the last owner."""
    assert_survives_storm(strict_shop, protocol, guests=8, orders=4000, handler="most_fail")


@pytest.mark.parametrize("guarantee", ["exactly-once", "at-least-once"])
def test_compaction_at_its_fastest_takes_no_page_that_is_needed(strict_shop: NewShop, guarantee: str) -> None:
    """Segments of a tenth of a second, cleaned at once, and a kill -9 every few seconds."""
    tested = strict_shop(GUARANTEE=guarantee, **{**PATIENT, "RETRY_BACKOFF": "1", "RETRY_BACKOFF_MAX": "1"})
    tested.create().begin_trouble()
    recreate(
        tested,
        cleanup_policy="compact",
        segment_ms="100",
        min_cleanable_dirty_ratio="0.001",
        max_compaction_lag_ms="200",
        min_compaction_lag_ms="0",
    )
    tested.put(rows(2_000))
    for life in range(1, 6):
        running = tested.consume("most_fail", *MORTAL, *INSTANCE)
        eventually(lambda told=running: told.err.count("Z retry ") > 3_000, 60, running.describe)  # type: ignore[misc]
        running.kill()
        assert "page of" not in running.err, (life, running.describe())
    tested.end_trouble()
    lived = tested.until_drained("most_fail", *MORTAL, *INSTANCE)

    assert "page of" not in lived[0].err
    tested.assert_account_closes(repeats_allowed=guarantee == "at-least-once")


@pytest.fixture
def generous_kafka() -> Iterator[LocalKafka]:
    """One node that creates a missing topic for whoever asks for it, with one partition that deletes."""
    with LocalKafka(settings={**STRICT, **LITTLE, "auto.create.topics.enable": "true"}) as one:
        yield one


@pytest.fixture
def generous_shop(generous_kafka: LocalKafka, topic: Callable[..., str], tmp_path: Path) -> Iterator[NewShop]:
    yield from shops_on(generous_kafka, topic, tmp_path)


def test_brokers_that_create_topics_by_themselves_leave_the_ledger_topic_to_the_consumer(
    generous_shop: NewShop,
) -> None:
    """Deleted under a running consumer, it comes back compacted, with a partition for each of the orders."""
    tested = generous_shop(**{**PATIENT, "RETRY_BACKOFF": "1", "RETRY_BACKOFF_MAX": "1"})
    tested.create(partitions=3).begin_trouble()
    tested.put(rows(1000))
    running = tested.consume("most_fail")
    eventually(lambda: running.err.count("is listed in topic") == 3, 60, running.describe)
    admin, name = AdminClient(tested.client), ledger_topic(tested)
    admin.delete_topics([name])[name].result(20)
    eventually(lambda: "was deleted, and is there again" in running.err, 60, running.describe)
    tested.put(rows(100, prefix="B"))
    tested.end_trouble()
    eventually(lambda: tested.lag() == 0, 90, running.describe)

    assert topics.settings_of(tested.client, name)["cleanup.policy"] == "compact"
    assert topics.partition_count(tested.client, name) == 3
    assert running.stop().code == 143
    tested.assert_account_closes()


def _seen(tested: Shop) -> int:
    """How many orders the group has taken in, by what it has committed; 0 while a coordinator moves."""
    with contextlib.suppress(KafkaException):
        return sum(told.commit.next for told in tested.told().values() if told.commit is not None)
    return 0
