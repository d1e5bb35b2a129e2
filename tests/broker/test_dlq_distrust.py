"""What stands in topics is data: however wrong, dlq_handler.py reads it, names it, and does no harm by it."""

import json
from pathlib import Path
from typing import Any, Callable, List, Tuple

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from orderflow.model.dead_letter import Shrink
from orderflow.model.records import Outgoing
from tests.support.dlq_tools import T0_MS, make_topic, order, ours, send
from tests.support.pipeline import eventually
from tests.support.replay_tools import Desk

pytestmark = pytest.mark.broker
FAST = ("--yes", "--rate", "none")


@pytest.fixture
def desk(kafka: Any, topic: Callable[[str], str], tmp_path: Path) -> Desk:
    """A desk without a dead letter."""
    return Desk(kafka.bootstrap_servers, topic("d")[-60:].lstrip("-_"), tmp_path)


def letters(desk: Desk, number: int) -> List[Outgoing]:
    """So many dead letters that may all be sent."""
    return [ours(n + 1, topic=desk.orders_topic, partition=n % 3) for n in range(number)]


def test_a_canary_that_nobody_read_does_not_pass(desk: Desk) -> None:
    """Its records lie behind an open transaction, where a reader of committed records sees no end move."""
    desk.fill(letters(desk, 4))
    other = Producer({"bootstrap.servers": desk.bootstrap_servers, "transactional.id": desk.topic})
    other.init_transactions(20)
    other.begin_transaction()
    for partition in range(3):
        other.produce(desk.orders_topic, b"not committed", partition=partition)
    assert other.flush(20) == 0

    run = desk.run("replay", "--all", "--canary", "2", "--canary-timeout", "1", *FAST)

    other.abort_transaction(20)
    assert run.code == 5, run.err
    assert "canary passed" not in run.err
    assert "2 of 4 were sent" in run.err


def test_a_canary_that_went_elsewhere_does_not_pass(desk: Desk) -> None:
    """Where nothing of it went to the topic that the group reads, there is nothing to judge by."""
    other = f"{desk.topic}-more"
    desk.fill([ours(n + 1, topic=other) for n in range(3)])
    make_topic(desk.bootstrap_servers, other)

    run = desk.run("replay", "--source-topic", other, "--canary", "2", "--stale", "allow", *FAST)

    assert run.code == 5, run.err
    assert "none of it went to" in run.err


def test_a_pointer_leads_only_to_the_record_that_it_came_from(desk: Desk) -> None:
    """Not to another customer's order, a transaction's marker, an offset past the end or another topic."""
    victim = Outgoing("", b"O-0", order(9), [], 0, T0_MS)
    send(desk.bootstrap_servers, desk.orders_topic, [victim], **{"transactional.id": desk.topic})
    places = [(desk.orders_topic, 0), (desk.orders_topic, 0), (desk.orders_topic, 1), (desk.orders_topic, 9)]
    places += [("payments", 0)]
    pointers = [ours(offset, topic=topic, key=b"O-0", shrink=Shrink.POINTER) for topic, offset in places]
    desk.fill([pointers[0], pointers[1]._replace(key=b"EVIL"), *pointers[2:]])

    run = desk.run("replay", "--all", *FAST)

    assert run.code == 3, run.err
    assert dict(desk.sent_from()) == {"0:0": 1}
    assert f"1  of them fetched from {desk.orders_topic}, where the dead letters point to" in run.err
    assert "1  not: points to a record that is not the one it came from" in run.err
    assert f"0:1 {desk.orders_topic}-0-0: another record is there: key differs" in run.err
    assert "2  not: its value is not in the dead letter, and the source no longer has it" in run.err
    assert "1  not: came from a topic that was not confirmed" in run.err
    assert "another record is there: key differs" in desk.run("show", "0:1").out


def recreate(desk: Desk, topic: str) -> None:
    """Delete a topic and create it again under the same name."""
    admin = AdminClient({"bootstrap.servers": desk.bootstrap_servers})
    admin.delete_topics([topic])[topic].result(20)

    def made() -> bool:
        try:
            make_topic(desk.bootstrap_servers, topic)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                return False
            raise
        return True

    eventually(made)


def test_marks_of_a_deleted_topic_do_not_apply_to_its_successor(desk: Desk) -> None:
    """The new topic's dead letters are new and are replayed, though the audit has their positions."""
    desk.fill(letters(desk, 4))
    assert desk.run("replay", "-c", "2", *FAST).code == 0
    assert desk.run("discard", "-p", "0", "-o", "2", "--reason", "old", "--yes").code == 0
    recreate(desk, desk.topic)
    desk.fill(letters(desk, 4))

    assert set(desk.states().values()) == {"new"}
    run = desk.run("replay", "--all", "--stale", "allow", *FAST)

    assert run.code == 0, run.err
    assert "4 of 4 sent" in run.out


def test_a_job_of_a_deleted_topic_is_not_gone_on_with(desk: Desk) -> None:
    """Its positions mean other dead letters now."""
    desk.fill(letters(desk, 4))
    assert desk.start_dying("after commit", 3, "replay", "--all", "--yes", "--rate", "10/s") < 0
    job = desk.jobs()[0]
    recreate(desk, desk.topic)
    desk.fill(letters(desk, 4))
    before = len(desk.sent())

    run = desk.run("replay", "--resume", job["job"], *FAST)

    assert (run.code, len(desk.sent())) == (4, before), run.err
    assert "created again" in run.err


@pytest.mark.parametrize("verb", [("replay", "-c", "2"), ("discard", "0:1", "--reason", "tests")], ids=str)
def test_what_was_confirmed_of_a_deleted_topic_is_not_done_to_its_successor(
    desk: Desk, verb: Tuple[str, ...]
) -> None:
    """Nor where it is created again while the question stands."""
    desk.fill(letters(desk, 4))

    def make_another() -> None:
        recreate(desk, desk.topic)
        desk.fill(letters(desk, 4))

    run = desk.run_and_type("y", *verb, meanwhile=make_another)

    assert (run.code, desk.sent()) == (4, []), run.out
    assert "was deleted and created again since then" in run.out
    assert set(desk.states().values()) == {"new"}


def test_hostile_entries_stop_no_verb(desk: Desk) -> None:
    """Whatever stands in the audit topic, each verb does its work and says how much it left out."""
    desk.fill(letters(desk, 2))
    make_topic(desk.bootstrap_servers, desk.audit_topic)
    deep, huge = b"[" * 100_000, b'{"action":"replayed","job":"J","by":"b","at":1e999}'
    job = (
        b'{"action":"replayed","id":"J","by":"b","at_ms":1,"changed_ms":1,"status":"x","total":"9","done":{}}'
    )
    keys = [(b"0:0", deep), (b"0:1", huge), (b"job:A", deep), (b"job:J", job)]
    send(desk.bootstrap_servers, desk.audit_topic, [Outgoing("", key, value, []) for key, value in keys])

    for verb in (["list"], ["groups"], ["show", "0:0", "--history"], ["tail", "-e"], ["jobs"]):
        run = desk.run(*verb)
        assert (run.code, "Traceback" in run.err) == (0, False), run.err
        assert "cleanup.policy=delete" in run.err
        assert verb == ["jobs"] or "4 entries" in run.err
    run = desk.run("replay", "--all", *FAST)

    assert run.code == 0, run.err
    assert len(desk.sent()) == 2


def test_a_compacted_dead_letter_topic_is_named(desk: Desk) -> None:
    """Of the dead letters with one key it would keep only the newest."""
    compacted = f"{desk.topic}-compacted"
    admin = AdminClient({"bootstrap.servers": desk.bootstrap_servers})
    admin.create_topics([NewTopic(compacted, 1, 1, config={"cleanup.policy": "compact"})])[compacted].result(
        20
    )

    assert "cleanup.policy=compact" in desk.run("list", "--dlq-topic", compacted).err


def begun(desk: Desk, **terms: Any) -> str:
    """A job of ten dead letters that died half-way, with these terms in its record; its name."""
    desk.fill(letters(desk, 10))
    assert desk.start_dying("after commit", 4, "replay", "--all", "--yes", "--rate", "20/s") < 0
    name = str(desk.jobs()[0]["job"])
    record = desk.audit()[f"job:{name}"]
    record["request"]["terms"].update(terms)
    record["total"] = 99
    value = json.dumps(record).encode()
    send(desk.bootstrap_servers, desk.audit_topic, [Outgoing("", f"job:{name}".encode(), value, [])])
    return name


def test_a_resumed_job_goes_nowhere_that_was_not_typed(desk: Desk) -> None:
    """A record that somebody changed names another target: it is refused until that is typed."""
    other = f"{desk.topic}-other"
    make_topic(desk.bootstrap_servers, other)
    name = begun(desk, target=other, confirmed=[desk.orders_topic, other])
    before = len(desk.sent())

    refused = desk.run("replay", "--resume", name, *FAST)
    nothing = (len(desk.sent()), desk.sent(other))
    confirmed = desk.run("replay", "--resume", name, "--to", other, *FAST)

    assert (refused.code, nothing) == (4, (before, [])), refused.err
    assert f"--to {other}" in refused.err
    assert confirmed.code == 0, confirmed.err
    assert f"{10 - before}  into {other}" in confirmed.err
    assert f"10 of 10 sent into {other}" in confirmed.out


def test_a_resumed_job_shows_terms_and_number_anew(desk: Desk) -> None:
    """What its record says is counted again, and what it asks for beyond the usual is shown."""
    name = begun(desk, unchecked=True, max_replays=9)
    left = 10 - len(desk.sent())

    run = desk.run_and_type("n", "replay", "--resume", name)

    assert run.code == 4
    assert "with --unchecked --max-replays 9" in run.out
    assert f"{left} dead letters chosen, {left} to send" in run.out
    assert f"replay {left} records into {desk.orders_topic}" in run.out


def test_the_last_ten_are_ten_records(desk: Desk) -> None:
    """Each record was written in a transaction of its own, whose marker takes an offset too."""
    producer = Producer({"bootstrap.servers": desk.bootstrap_servers, "transactional.id": desk.topic})
    producer.init_transactions(20)
    for letter in letters(desk, 14):
        producer.begin_transaction()
        producer.produce(desk.topic, letter.value, letter.key, 0, headers=list(letter.headers))
        producer.commit_transaction(20)

    offsets = [row["offset"] for row in desk.run("tail", "-e", "--json").rows]
    asked = [row["offset"] for row in desk.run("list", "-o", "-3", "--json").rows]
    beyond = desk.run("list", "-o", "-100", "--json").rows

    assert offsets == list(range(8, 28, 2))
    assert asked == [22, 24, 26]
    assert len(beyond) == 14


@pytest.mark.parametrize("mode", [[], ["--new-groups", "--exec", "true"]], ids=["tail", "alarm"])
def test_partitions_that_are_added_are_followed(desk: Desk, mode: List[str]) -> None:
    """What dies into a partition that was added while tail runs is shown as soon as any other."""
    desk.fill([ours(1, "decode.framing", "first", topic=desk.orders_topic)])
    with desk.start("tail", "--json", *mode) as running:
        running.wait_for(lambda run: "waiting for one" in run.err if mode else bool(run.out))
        admin = AdminClient({"bootstrap.servers": desk.bootstrap_servers})
        admin.create_partitions([NewPartitions(desk.topic, 2)])[desk.topic].result(20)
        added = ours(2, topic=desk.orders_topic)._replace(partition=1)
        eventually(lambda: 1 in admin.list_topics(desk.topic, 10).topics[desk.topic].partitions)
        desk.fill([added])

        running.wait_for(lambda run: '"partition":1' in run.out.replace(" ", ""), 20)
        running.stop()
