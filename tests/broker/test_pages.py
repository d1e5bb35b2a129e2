"""Retries without a ceiling, on a real Kafka: thousands wait, and none is lost with their list."""

from typing import Any, Dict

import pytest
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AclOperation, AdminClient, ConfigEntry, ConfigResource, NewTopic
from confluent_kafka.admin import AlterConfigOpType as Alter

from orderflow.kafka import topics
from orderflow.kafka.ledger_pages import Group, LedgerPages, Wanted, read_commits
from orderflow.model.commit_metadata import Commit, Entry, PageName, Stand, second_form
from orderflow.model.ledger_page import Heading, entry_bytes, page_key, write_page
from tests.conftest import Kafka, NewShop
from tests.support.acls import allow, allow_writing, deny, deny_writing
from tests.support.engine_tools import INSTANCE, Shop, rows
from tests.support.pipeline import Running, eventually

pytestmark = pytest.mark.broker

ORDERS = 3_000
"""Three of five fail at first: more than commit metadata lists."""
LONG = pytest.mark.chaos
"""Left to `make chaos`, so that `make test` stays short."""
PATIENT = {"RETRY_BACKOFF": "2", "RETRY_BACKOFF_MAX": "2", "MAX_RETRIES": "unlimited"}


def begun(made: Shop, orders: int = ORDERS) -> Running:
    """A consumer that has called every order once; three of five failed, and are listed on a page."""
    made.create()
    made.begin_trouble()
    made.put(rows(orders))
    running = made.consume("most_fail", *INSTANCE)
    eventually(lambda: _is_listed(made, orders), why=running.describe)
    return running


def _is_listed(made: Shop, orders: int) -> bool:
    told = made.told().get(0)
    commit = None if told is None else told.commit
    return commit is not None and commit.next == orders and commit.page is not None


def _has_called(made: Shop, orders: int) -> bool:
    told = made.told().get(0)
    return told is not None and told.commit is not None and told.commit.next == orders


def ledger_topic(made: Shop) -> str:
    """The topic of the pages."""
    return f"{made.orders_topic}-waiting"


def recreate(made: Shop, **config: str) -> None:
    """Delete the ledger topic, and make it again with these settings."""
    admin, name = AdminClient(made.client), ledger_topic(made)
    if name in admin.list_topics(timeout=10).topics:
        admin.delete_topics([name])[name].result(20)
    wanted = NewTopic(name, 1, -1, config={key.replace("_", "."): value for key, value in config.items()})
    # Kafka 2.8 deletes a topic some time after it has said so.
    eventually(lambda: admin.create_topics([wanted])[name].exception(20) is None)


@pytest.mark.parametrize("guarantee", ["exactly-once", pytest.param("at-least-once", marks=LONG)])
def test_over_a_thousand_wait_through_a_kill(shop: NewShop, guarantee: str) -> None:
    """Nothing is called again that was committed, attempts go on counting, and each order is done once."""
    made = shop(GUARANTEE=guarantee, **PATIENT)
    running = begun(made)
    listed = made.told()[0]
    running.kill()
    before = len(made.calls())
    made.end_trouble()

    made.until_drained("most_fail", *INSTANCE)

    waited = sum(call.outcome != "done" for call in made.calls()[:before])
    assert waited > 1_000
    assert listed.commit is not None and listed.commit.page is not None
    assert min(call.attempt for call in made.calls()[before:]) >= 2
    made.assert_account_closes()
    told = made.told()[0].commit
    assert told is not None and told.page is None


def test_a_list_that_is_gone_loses_no_order(shop: NewShop) -> None:
    """The ledger topic was deleted: all from the committed offset on is called again, which is said."""
    made = shop(**PATIENT)
    begun(made).kill()
    recreate(made, cleanup_policy="compact")
    made.end_trouble()

    lived = made.until_drained("most_fail", *INSTANCE)

    assert "that lists the waiting orders is gone or damaged" in lived[0].err
    made.assert_account_closes(repeats_allowed=True)


ANEW = "(LEDGER_TOPIC) was deleted, and is there again"


def test_lists_survive_that_their_topic_is_deleted_under_a_running_consumer(shop: NewShop) -> None:
    """It is created again as at the start, and what waits is listed there before anything else is needed."""
    made = shop(**PATIENT)
    running = begun(made)
    admin, name = AdminClient(made.client), ledger_topic(made)
    admin.delete_topics([name])[name].result(20)
    eventually(lambda: ANEW in running.err, 60, running.describe)
    made.put(rows(10, "B"))
    eventually(lambda: _is_listed(made, ORDERS + 10), 60, running.describe)
    running.kill()
    made.end_trouble()

    lived = made.until_drained("most_fail", *INSTANCE)

    assert topics.settings_of(made.client, name)["cleanup.policy"] == "compact"
    assert "is gone or damaged" not in lived[0].err
    made.assert_account_closes()


def test_a_ledger_topic_made_anew_that_deletes_is_told_while_it_is_used(shop: NewShop) -> None:
    """As one is that brokers create by themselves: the line says what to type, and the work goes on."""
    made = shop(**PATIENT)
    running = begun(made)
    recreate(made, cleanup_policy="delete")
    command = f"--entity-name {ledger_topic(made)} --add-config cleanup.policy=compact"
    eventually(lambda: command in running.err, 60, running.describe)
    made.put(rows(10, "B"))
    eventually(lambda: _is_listed(made, ORDERS + 10), 60, running.describe)
    running.kill()
    compact(made)
    made.end_trouble()

    lived = made.until_drained("most_fail", *INSTANCE)

    assert ANEW in running.err
    assert "is gone or damaged" not in lived[0].err
    made.assert_account_closes()


def compact(made: Shop) -> None:
    """What the line says to type."""
    resource = ConfigResource(ConfigResource.Type.TOPIC, ledger_topic(made))
    resource.add_incremental_config(ConfigEntry("cleanup.policy", "compact", incremental_operation=Alter.SET))
    admin = AdminClient(made.client)
    admin.incremental_alter_configs([resource])[resource].result(20)


def test_a_list_that_anothers_transaction_hides_is_waited_for(shop: NewShop) -> None:
    """A consumer of another group died amid a page of its own: what was done before is not called again."""
    made = shop(**PATIENT)
    running = begun(made)
    other = Producer(
        {**made.client, "transactional.id": ledger_topic(made), "transaction.timeout.ms": 600_000}
    )
    other.init_transactions(20)
    other.begin_transaction()
    other.produce(ledger_topic(made), b"another's", b"another", partition=0)
    other.flush(20)
    made.put(rows(1, "B"))
    eventually(lambda: _is_listed(made, ORDERS + 1), why=running.describe)
    running.kill()
    made.end_trouble()

    successor = made.consume("most_fail", *INSTANCE)
    eventually(lambda: "an open transaction hides" in successor.err, why=successor.describe)
    other.abort_transaction(20)
    eventually(lambda: made.lag() == 0, timeout_s=60, why=successor.describe)
    successor.stop()

    made.assert_account_closes()


@pytest.mark.parametrize("right", [AclOperation.READ, AclOperation.DESCRIBE])
def test_a_list_that_may_not_be_read_is_waited_for(strict_shop: NewShop, right: AclOperation) -> None:
    """The right that is missing is named, and what was done before is not called again."""
    made = strict_shop(**{**PATIENT, "MAX_RETRIES": "30"})
    begun(made).kill()
    name = ledger_topic(made)
    deny(made.client, name, right)
    made.end_trouble()

    denied = made.consume("most_fail", *INSTANCE)
    eventually(
        lambda: "restoring is delayed: " in denied.err and f"the right READ on topic {name}" in denied.err,
        why=denied.describe,
    )
    looked = made.run("dlq_handler.py", "waiting", "--summary")
    health = made.run("dlq_handler.py", "health")
    denied.stop()
    allow(made.client, name, right)
    made.until_drained("most_fail", *INSTANCE)

    assert f"the right READ on topic {name} is missing" in looked.err
    assert f"the right READ on topic {name} is missing" in health.out
    made.assert_account_closes()


def test_a_ledger_topic_that_deletes_is_refused(shop: NewShop) -> None:
    """Its retention would forget what waits: the consumer does not start, and says what to type."""
    made = shop().create()
    recreate(made, cleanup_policy="delete")

    finished = made.consume("works", "--until-drained").wait()

    assert finished.code == 1
    assert "cleanup.policy=delete" in finished.err
    assert f"kafka-configs.sh --alter --entity-type topics --entity-name {ledger_topic(made)}" in finished.err


@LONG
def test_without_the_right_to_write_pages_it_works_within_the_metadata(strict_shop: NewShop) -> None:
    """That is said once; what waits is limited, nothing is lost, and more than 30 retries are refused."""
    made = strict_shop(RETRY_BACKOFF="0.5", RETRY_BACKOFF_MAX="0.5").create()
    recreate(made, cleanup_policy="compact")
    deny_writing(made.client, ledger_topic(made))
    made.begin_trouble()
    made.put(rows(ORDERS))
    running = made.consume("most_fail", MAX_RETRIES="30")
    eventually(lambda: "admitting no more" in running.err, why=running.describe)
    made.end_trouble()
    running.stop()
    refused = made.consume("works", "--until-drained", MAX_RETRIES="31").wait()
    allow_writing(made.client, ledger_topic(made))

    made.until_drained("most_fail")

    assert running.err.count("the right WRITE on topic") == 1
    assert refused.code == 1 and "MAX_RETRIES above 30 needs the topic" in refused.err
    made.assert_account_closes()


def test_a_right_that_is_taken_away_stops_the_intake_and_loses_nothing(strict_shop: NewShop) -> None:
    """A page that Kafka refuses holds everything until it is allowed again; no call is repeated."""
    made = strict_shop(**{**PATIENT, "RETRY_BACKOFF": "1", "RETRY_BACKOFF_MAX": "1"})
    running = begun(made)
    deny_writing(made.client, ledger_topic(made))
    eventually(lambda: "cannot forward" in running.err, why=running.describe)
    allow_writing(made.client, ledger_topic(made))
    made.end_trouble()
    eventually(lambda: made.lag() == 0, timeout_s=60, why=running.describe)
    running.stop()

    assert f"WRITE on topic {ledger_topic(made)}" in running.err
    made.assert_account_closes()


def test_a_topic_that_takes_small_records_limits_what_waits(shop: NewShop) -> None:
    """The partition pauses at what a page can list, says so, and goes on when there is room."""
    made = shop(RETRY_BACKOFF="0.5", RETRY_BACKOFF_MAX="0.5", MAX_RETRIES="30").create()
    recreate(made, cleanup_policy="compact", max_message_bytes="30000")
    made.begin_trouble()
    made.put(rows(3_000))
    running = made.consume("most_fail")
    eventually(lambda: "admitting no more" in running.err, why=running.describe)
    made.end_trouble()
    eventually(lambda: made.lag() == 0, timeout_s=60, why=running.describe)
    running.stop()

    assert "1,207 orders are waiting" in running.err
    made.assert_account_closes()


def test_a_topic_with_less_room_than_the_metadata_stops_nothing(shop: NewShop) -> None:
    """A page of it lists 208 orders, and the metadata takes more, though it rounds their long delays up."""
    made = shop(RETRY_BACKOFF="600", RETRY_BACKOFF_MAX="600", MAX_RETRIES="30").create()
    recreate(made, cleanup_policy="compact", max_message_bytes="6000")
    made.begin_trouble()
    made.put(rows(1_000))
    running = made.consume("most_fail")
    eventually(lambda: _has_called(made, 1_000), why=running.describe)
    made.end_trouble()
    made.succeed("dlq_handler.py", "waiting", "--retry-now", "--all", "--yes")
    eventually(lambda: made.lag() == 0, timeout_s=60, why=running.describe)
    running.stop()

    assert "cannot forward" not in running.err
    made.assert_account_closes()


def test_the_operators_tool_reads_the_page(shop: NewShop) -> None:
    """`waiting` lists all of them, and says where the list stands."""
    made = shop(**{**PATIENT, "RETRY_BACKOFF": "600", "RETRY_BACKOFF_MAX": "600"})
    running = begun(made)
    finished = made.succeed("dlq_handler.py", "waiting")
    running.kill()

    listed = [line for line in finished.out.splitlines() if line.startswith("0:")]
    assert len(listed) > 1_000
    assert f"{len(listed):,} waiting" in finished.out
    assert f"{len(listed):,} listed on a page of {ledger_topic(made)}" in finished.out


# --- the search


def _page(number: int, base: int) -> bytes:
    key = page_key("group", "orders", 0)
    return write_page(key, Heading(number, base, base + 9, 0), [entry_bytes(base, 0, 1, 0)], [])


def _found(client: Dict[str, Any], topic: str, number: int, base: int) -> Any:
    pages = LedgerPages(client, "group")
    commit = Commit(base + 9, [], True, False, None, 0, page=PageName(topic, 0, number))
    try:
        pages.start(0, Wanted(page_key("group", "orders", 0), base, commit))
        return eventually(lambda: pages.poll(0.1))[0][1]
    finally:
        pages.close()


@LONG
def test_a_page_is_found_wherever_it_stands(kafka: Kafka, topic: Any) -> None:
    """Behind thousands of others' pages, markers of transactions and aborted pages; a missing one is not."""
    name = topic("waiting")
    client: Dict[str, Any] = {"bootstrap.servers": kafka.bootstrap_servers}
    key = page_key("group", "orders", 0)
    admin = AdminClient(client)
    admin.create_topics([NewTopic(name, 1, -1)])[name].result(20)
    assert _found(client, name, 5, 100) is None

    producer = Producer({**client, "transactional.id": name})
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(name, _page(5, 100), key, partition=0)
    for _ in range(5_000):
        producer.produce(name, b"another's", b"another", partition=0)
    producer.commit_transaction(20)
    for _ in range(50):
        producer.begin_transaction()
        producer.produce(name, _page(6, 100), key, partition=0)
        producer.flush(20)
        producer.abort_transaction(20)

    found = _found(client, name, 5, 100)

    assert found.commit.entries == [Entry(100, 1, 0)]
    assert _found(client, name, 6, 100) is None, "it was aborted"
    later = _found(client, name, 4, 90)
    assert (later.commit.page.number, later.commit.next) == (5, 109)


def test_a_list_that_is_hidden_is_not_told_as_gone(kafka: Kafka, topic: Any) -> None:
    """Whoever looks is told why it cannot be read now, and finds it when the transaction has ended."""
    name = topic("waiting")
    client: Dict[str, Any] = {"bootstrap.servers": kafka.bootstrap_servers}
    admin = AdminClient(client)
    admin.create_topics([NewTopic(name, 1, -1)])[name].result(20)
    other, owner = Producer({**client, "transactional.id": name}), Producer(client)
    other.init_transactions(20)
    other.begin_transaction()
    other.produce(name, b"another's", b"another", partition=0)
    other.flush(20)
    owner.produce(name, _page(5, 100), page_key("group", "orders", 0), partition=0)
    owner.flush(20)
    committed = {0: (100, second_form(Stand(100, 109, True, False, None, None, 0), PageName(name, 0, 5)))}

    with pytest.raises(KafkaException, match="an open transaction in the ledger topic hides it"):
        read_commits(client, Group("group", "orders"), committed, timeout_s=3.0)
    other.abort_transaction(20)

    commit = read_commits(client, Group("group", "orders"), committed)[0]
    assert commit is not None and commit.entries == [Entry(100, 1, 0)]


def test_the_ledger_topic_is_compacted_and_partitioned_like_the_orders(shop: NewShop) -> None:
    """So a page is found near the end of its partition, and old ones go."""
    made = shop().create(partitions=4)
    made.put(rows(10))
    made.until_drained("works")

    consumer = Consumer({**made.client, "group.id": "look"})
    try:
        partitions = (
            consumer.list_topics(ledger_topic(made), timeout=10).topics[ledger_topic(made)].partitions
        )
    finally:
        consumer.close()
    assert len(partitions) == 4
