"""A record that the broker refuses is named and gone past; what concerns all stops a replay as ever."""

from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest
from confluent_kafka.admin import (
    AclOperation,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
)

from orderflow.exits import CommandError
from orderflow.kafka.transactions import Transactions
from orderflow.model.records import Outgoing
from tests.support.acls import deny
from tests.support.dlq_tools import order, ours
from tests.support.replay_tools import Desk

pytestmark = pytest.mark.broker
FAST = ("--yes", "--rate", "none")
BIG = order(9, customer_id="C" * 5_000)


@pytest.fixture
def desk(strict_kafka: Any, topic: Callable[[str], str], tmp_path: Path) -> Desk:
    """A desk without a dead letter, on a broker that knows rights."""
    return Desk(strict_kafka.bootstrap_servers, topic("d")[-60:].lstrip("-_"), tmp_path)


def restrict(desk: Desk, **settings: str) -> None:
    """Give the orders' topic these settings, and let nobody read them: nothing can be known before."""
    alter(desk, **settings)
    deny(desk.client, desk.orders_topic, AclOperation.DESCRIBE_CONFIGS)


def alter(desk: Desk, **settings: str) -> None:
    """Give the orders' topic these settings."""
    put = AlterConfigOpType.SET
    entries = [
        ConfigEntry(name.replace("_", "."), value, incremental_operation=put)
        for name, value in settings.items()
    ]
    topic = ConfigResource(ConfigResource.Type.TOPIC, desk.orders_topic, incremental_configs=entries)
    admin = AdminClient(desk.client)
    admin.incremental_alter_configs([topic])[topic].result(20)


def letters(desk: Desk, odd: Dict[int, Any], number: int = 6) -> List[Outgoing]:
    """So many dead letters; those that the broker will refuse are changed as told."""
    made = [ours(n + 1, topic=desk.orders_topic) for n in range(number)]
    return [one._replace(**odd.get(n, {})) for n, one in enumerate(made)]


def test_a_replay_into_a_topic_without_a_limit_sends_all(desk: Desk) -> None:
    """2147483647 is how people write that there is none; the client itself takes less than half of it."""
    desk.fill(letters(desk, {}))
    alter(desk, max_message_bytes=str(2**31 - 1))

    run = desk.run("replay", "--all", *FAST)

    assert run.code == 0, run.err
    assert len(desk.sent()) == 6


@pytest.mark.parametrize(
    ("settings", "change", "reason"),
    [
        ({"max_message_bytes": "3000"}, {"value": BIG}, "Message size too large"),
        ({"cleanup_policy": "compact"}, {"key": None}, "failed to validate record"),
    ],
    ids=["too large", "no key on a compacted topic"],
)
def test_the_others_are_sent_and_it_is_named(
    desk: Desk, settings: Dict[str, str], change: Any, reason: str
) -> None:
    """In the output and in the job's record, with exit code 3; each of the others is sent once, in order."""
    desk.fill(letters(desk, {1: change, 4: change}))
    restrict(desk, **settings)

    run = desk.run("replay", "--all", *FAST)

    assert run.code == 3, run.err
    sent = [line.header("orders.replay.from") for line in desk.sent()]
    assert sent == [f"{desk.topic}-0-{offset}" for offset in (0, 2, 3, 5)]
    key = "null" if change.get("key", "") is None else "O-2"
    assert f"0:1 is not sent: Kafka refuses it for {desk.orders_topic}, key {key}: " in run.err
    assert reason in run.err
    assert f"4 of 6 sent into {desk.orders_topic}, 2 not" in run.out
    (job,) = desk.jobs()
    assert (job["status"], job["done"], job["total"]) == ("done", 4, 6)
    assert list(job["refused"].values()) == [["0:1", "0:4"]]
    assert "refused     0:1, 0:4: " in desk.run("jobs", "show", job["job"]).out
    assert [*desk.states().values()].count("new") == 2


def test_a_job_that_died_goes_past_what_was_refused(desk: Desk) -> None:
    """Its record names them, so that going on with it sends the rest and does not stumble again."""
    desk.fill(letters(desk, {1: {"value": BIG}}, number=20))
    restrict(desk, max_message_bytes="3000")
    assert desk.start_dying("after commit", 4, "replay", "--all", "--yes", "--rate", "20/s") < 0
    (job,) = desk.jobs()
    assert list(job["refused"].values()) == [["0:1"]]

    run = desk.run("replay", "--resume", job["job"], *FAST)

    assert run.code == 3, run.err
    assert "1 that Kafka refused is left out" in run.err
    assert dict(desk.sent_from()) == {f"0:{offset}": 1 for offset in range(20) if offset != 1}
    assert f"19 of 20 sent into {desk.orders_topic}, 1 not" in run.out


def test_where_every_record_is_refused_the_replay_stops(desk: Desk) -> None:
    """It is not the records then: after a hundred it ends with Kafka's reason, and nothing is gone past."""
    desk.fill(letters(desk, {}, number=120))
    restrict(desk, max_message_bytes="100")

    run = desk.run("replay", "--all", *FAST)

    assert run.code == 1, run.err
    assert "Kafka refused 100 records one after the other: " in run.err
    assert "0 of 120 were sent; next: python dlq_handler.py replay --resume" in run.err
    assert "Traceback" not in run.err
    assert desk.jobs()[0]["refused"] == {}


def test_an_import_names_the_line_that_kafka_refuses(desk: Desk) -> None:
    """All of it or nothing: the line, and why."""
    desk.fill(letters(desk, {1: {"value": BIG}}, number=3))
    assert desk.run("export", "three.jsonl").code == 0
    small = f"{desk.topic}-small"
    admin = AdminClient(desk.client)
    admin.create_topics([NewTopic(small, 1, 1, config={"max.message.bytes": "3000"})])[small].result(10)

    run = desk.run("import", "three.jsonl", "--yes", "--dlq-topic", small)

    assert run.code == 4, run.err
    assert "nothing was sent: Kafka refuses 1 line" in run.err
    assert "three.jsonl:2: " in run.err and "Message size too large" in run.err
    assert desk.run("list", "--dlq-topic", small).out == ""


def test_a_right_that_is_missing_is_named_whenever_the_refusal_comes(desk: Desk) -> None:
    """Also amid the records, when the client refuses the next one without saying why."""
    deny(desk.client, desk.orders_topic, AclOperation.WRITE)
    transactions = Transactions(desk.client, desk.topic, print)
    transactions.open()

    def send_on() -> None:
        while True:
            transactions.send(Outgoing(desk.orders_topic, b"key", b"value", []))

    with pytest.raises(CommandError, match=r"Topic authorization failed.*WRITE on topic"):
        send_on()
