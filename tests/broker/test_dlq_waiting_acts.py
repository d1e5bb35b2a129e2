"""`waiting --retry-now` and `waiting --give-up`: consumers are told, do it, and that is seen from outside."""

import json
import re
from typing import Any, Callable, Dict, List

import pytest
from confluent_kafka.admin import AdminClient

from orderflow.exits import INCOMPLETE, REFUSED, USAGE
from tests.support.pipeline import Pipeline, eventually, reason

pytestmark = pytest.mark.broker

LONG = {"RETRY_BACKOFF": "3000", "RETRY_BACKOFF_MAX": "3000", "MAX_RETRIES": "3"}
ACT = ("dlq_handler.py", "waiting")


def rows(line: Pipeline) -> List[Dict[str, Any]]:
    """What waits now."""
    return [json.loads(row) for row in line.succeed(*ACT, "--json").out.splitlines()]


def await_waiting(line: Pipeline, number: int) -> List[Dict[str, Any]]:
    """What waits, once it is so many."""
    found: List[Dict[str, Any]] = eventually(lambda: len(found := rows(line)) == number and found)
    return found


@pytest.mark.parametrize(
    "guarantee", ["exactly-once", pytest.param("at-least-once", marks=pytest.mark.chaos)]
)
def test_what_waits_is_tried_now_and_given_up(pipeline: Callable[..., Pipeline], guarantee: str) -> None:
    """Within seconds instead of an hour; each by its own choice, and what queues behind goes on."""
    line = pipeline(**LONG, GUARANTEE=guarantee)
    line.begin_trouble()
    line.publish([("POISON-1", "C-1"), ("TROUBLE-2", "C-2"), ("O-3", "C-3")])
    running = line.consume("trouble_and_poison_fail")
    await_waiting(line, 2)
    eventually(lambda: all(row["error"] for row in rows(line)))
    found = {row["key"]: row for row in rows(line)}
    place = f"{found['POISON-1']['partition']}:{found['POISON-1']['offset']}"
    line.end_trouble()

    looked = line.run(*ACT, "--retry-now", "--all", "--dry-run")
    unasked = line.run(*ACT, "--retry-now", "--all")
    all_of_them = line.run(*ACT, "--give-up", "--yes")
    tried = line.succeed(*ACT, "--retry-now", "--error", "not now", "--yes")
    left = await_waiting(line, 1)
    given_up = line.succeed(*ACT, "--give-up", place, "--yes", "--json", "--reason", "no such product")
    nothing = line.succeed(*ACT, "--give-up", place, "--yes")
    running.stop()

    assert found["TROUBLE-2"]["error"]["message"] == "not now"
    assert "handlers.py" in found["TROUBLE-2"]["error"]["frame"]
    assert "poison #" in looked.out
    assert looked.code == 0 and "2 orders would be tried now" in looked.err
    assert unasked.code == REFUSED and "--yes" in unasked.err
    assert all_of_them.code == USAGE and "--all" in all_of_them.err
    assert "1 of 1 waiting order tried now" in tried.out
    assert [row["key"] for row in left] == ["POISON-1"]
    assert {"do": "give-up", "asked": 1, "done": 1, "called": 0, "left": 0}.items() <= json.loads(
        given_up.out
    ).items()
    assert "none of the chosen orders waits" in nothing.err
    (letter,) = line.dead_letters()
    assert reason(letter) == "process.given_up"
    message = letter.header("__dlq.errors.message") or ""
    assert "poison POISON-1 (given up by " in message and "no such product" in message
    line.assert_account_closes()


def test_without_a_consumer_it_says_so_and_one_that_starts_does_it(pipeline: Callable[..., Pipeline]) -> None:
    """Nothing is done behind the back of a consumer, or without one."""
    line = pipeline(**LONG)
    line.publish([("POISON-1", "C-1")])
    running = line.consume("poison_fails")
    await_waiting(line, 1)
    running.stop()

    asked = line.run(*ACT, "--give-up", "--all", "--yes", "--wait", "1")
    drained = line.drain("poison_fails")

    assert asked.code == INCOMPLETE
    assert "0 of 1 waiting order given up" in asked.out and "1 not taken up yet" in asked.out
    assert f"no consumer of group {line.group} is running" in asked.err
    assert "1 waiting order is given up" in drained.err
    assert [reason(letter) for letter in line.dead_letters()] == ["process.given_up"]


def test_a_long_wait_for_the_consumers_opens_no_more_clients_than_a_short_one(
    pipeline: Callable[..., Pipeline],
) -> None:
    """It looks twice a second, and whoever runs it may wait for an hour."""
    line = pipeline(**LONG)
    line.publish([("POISON-1", "C-1")])
    running = line.consume("poison_fails")
    await_waiting(line, 1)
    running.stop()

    asked = [line.run(*ACT, "--retry-now", "--all", "--yes", "--wait", s, "-X", "debug=broker") for s in "04"]
    clients = [len(set(re.findall(r"rdkafka#[a-z]+-[0-9]+", one.err))) for one in asked]

    assert [one.code for one in asked] == [INCOMPLETE, INCOMPLETE]
    assert clients[0] == clients[1] > 0


def test_commands_of_another_ledger_topic_than_the_consumers_say_so(
    pipeline: Callable[..., Pipeline], topic: Callable[..., str]
) -> None:
    """Nobody reads them there. The topic is made as a consumer makes it, whichever partition they are for."""
    line, own, other = pipeline(**LONG), topic("own"), topic("other")
    line.publish([("POISON-1", "C-1")])
    running = line.consume("poison_fails", LEDGER_TOPIC=own)
    (row,) = await_waiting(line, 1)

    chosen = ("--retry-now", "-p", str(row["partition"]), "--yes", "--wait", "1")
    asked = line.run(*ACT, *chosen, LEDGER_TOPIC=other)
    running.stop()

    assert asked.code == INCOMPLETE
    assert f"the list is in {own}, and this was written into {other}: name {own} with" in asked.err
    made = AdminClient(line.client).list_topics(timeout=20).topics
    assert len(made[other].partitions) == len(made[line.orders_topic].partitions) > 1
