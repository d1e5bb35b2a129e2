"""The verb `waiting`: what a consumer has committed tells which orders wait, from any machine."""

import json
import time
from typing import Any, Callable, Dict, List

import pytest

from tests.support.pipeline import Pipeline, eventually

pytestmark = pytest.mark.broker


def waiting(pipeline: Pipeline, *args: str) -> List[Dict[str, Any]]:
    finished = pipeline.succeed("dlq_handler.py", "waiting", "--json", *args)
    return [json.loads(line) for line in finished.out.splitlines()]


def test_orders_that_wait_are_told_while_the_consumer_runs(pipeline: Callable[..., Pipeline]) -> None:
    """Which, their attempts, when they are due, and the order itself; keys are stable."""
    line = pipeline(RETRY_BACKOFF="600", RETRY_BACKOFF_MAX="600", MAX_RETRIES="3")
    line.publish([("POISON-1", "C-1"), ("O-2", "C-2"), ("POISON-3", "C-3"), ("O-4", "C-4")])
    consumer = line.consume("poison_fails")
    rows: List[Dict[str, Any]] = eventually(lambda: len(found := waiting(line)) == 2 and found)
    text = line.succeed("dlq_handler.py", "waiting").out
    chosen = waiting(line, "--key", "POISON-3")
    consumer.kill()

    assert list(rows[0]) == [
        "topic",
        "partition",
        "offset",
        "consumer_group",
        "attempts",
        "due_ts",
        "has_followers",
        "ts",
        "key",
        "key_b64",
        "payload",
        "error",
    ]
    assert sorted(row["key"] for row in rows) == ["POISON-1", "POISON-3"]
    assert {row["attempts"] for row in rows} == {1}
    now_ms = time.time() * 1000
    assert all(now_ms + 200_000 < row["due_ts"] < now_ms + 700_000 for row in rows)
    assert {row["payload"]["customer_id"] for row in rows} == {"C-1", "C-3"}
    assert "2 waiting" in text and "POISON-1" in text and "in " in text
    assert [row["key"] for row in chosen] == ["POISON-3"]


def test_orders_of_unknown_reason_are_not_passed_over_in_silence(pipeline: Callable[..., Pipeline]) -> None:
    """A choice by what orders failed of says how many it cannot judge; here, nobody finds what was told."""
    line = pipeline(RETRY_BACKOFF="600", RETRY_BACKOFF_MAX="600", MAX_RETRIES="3")
    line.publish([("POISON-1", "C-1"), ("POISON-2", "C-2"), ("O-3", "C-3")])
    consumer = line.consume("poison_fails")
    eventually(lambda: len(waiting(line)) == 2)
    chosen = line.succeed("dlq_handler.py", "waiting", "--error", "*", "--ledger-topic", "elsewhere")
    acting = ("--give-up", "--yes", "--reason-code", "process.*", "--ledger-topic", "elsewhere")
    given_up = line.succeed("dlq_handler.py", "waiting", *acting)
    consumer.kill()

    for finished in (chosen, given_up):
        assert "2 orders that wait are not chosen by --error and --reason-code" in finished.err


def test_a_group_that_never_was(pipeline: Callable[..., Pipeline]) -> None:
    """A group without commits has nothing waiting, and that is said."""
    line = pipeline()
    line.publish([("O-1", "C-1")])
    text = line.succeed("dlq_handler.py", "waiting").out

    assert "0 waiting  about 1 not yet seen" in text
    assert "the group has committed nothing" in text


def test_a_partition_that_does_not_exist_is_refused(pipeline: Callable[..., Pipeline]) -> None:
    """As by every verb: `0 waiting` would be no answer to a slip of the finger."""
    line = pipeline()
    line.publish([("O-1", "C-1")])
    refused = line.run("dlq_handler.py", "waiting", "-p", "99")

    assert (1, "") == (refused.code, refused.out)
    assert f"topic {line.orders_topic} has no partition 99" in refused.err
