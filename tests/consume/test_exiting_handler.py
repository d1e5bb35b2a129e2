"""A handler that calls sys.exit: unfinished work is not committed, and the order is found."""

import json
from pathlib import Path
from typing import Callable

import pytest

from tests.support.pipeline import Pipeline, reason

NewPipeline = Callable[..., Pipeline]

HANDLER = """
import sys
from orderflow import RejectOrder

def process(order):
    if order["order_id"].startswith("EXIT"):
        sys.exit(0)
    if order["order_id"].startswith("BAD"):
        raise RejectOrder("not sold any more")
    return {"order_id": order["order_id"]}
"""


def restart_until_drained(shop: Pipeline, handler: Path) -> int:
    """A plain restart loop, as any supervisor runs it; how often the consumer failed."""
    for failures in range(20):
        ended = shop.run("consumer.py", "--handler", f"{handler}:process", "--until-drained")
        if ended.code == 0:
            return failures
        assert "handler" in ended.err and "Traceback" not in ended.err, ended.err
    raise AssertionError("it never drained")


@pytest.mark.broker
@pytest.mark.parametrize("workers", ["1", "4"])
def test_a_handler_that_exits_the_process_is_a_killer_like_any_other(
    pipeline: NewPipeline, tmp_path: Path, workers: str
) -> None:
    """Its order is dead-lettered within its budget, those of the same batch have one fate, none is lost."""
    handler = tmp_path / "exiting.py"
    handler.write_text(HANDLER, encoding="utf-8")
    shop = pipeline(MAX_RETRIES="1", RETRY_BACKOFF="0.1", WORKERS=workers)
    rows = [(f"{'BAD' if number % 3 else 'A'}-{number:03}", "C") for number in range(60)]
    shop.publish([*rows, ("EXIT-1", "C"), ("A-999", "C")])

    failures = restart_until_drained(shop, handler)

    dead = [reason(letter) for letter in shop.dead_letters()]
    assert (40, 1) == (dead.count("process.rejected"), dead.count("process.killed_consumer"))
    assert 41 == len(dead)
    assert 21 == len(shop.results())
    assert 1 <= failures <= 5


FORKING = """
import os, sys

def process(order, delivery):
    child = os.fork()
    if child == 0:
        sys.exit(3)
    ended = os.waitpid(child, 0)[1] >> 8
    return {"order_id": order["order_id"], "delivery": delivery.id, "child": ended}
"""


@pytest.mark.broker
@pytest.mark.parametrize("workers", ["1", "4"])
def test_a_child_that_a_handler_forks_may_exit(pipeline: NewPipeline, tmp_path: Path, workers: str) -> None:
    """It ends with its own exit code, and neither waits for nor uses its parent's clients."""
    handler = tmp_path / "forking.py"
    handler.write_text(FORKING, encoding="utf-8")
    shop = pipeline(WORKERS=workers)
    shop.publish([(f"A-{number}", "C") for number in range(3)])

    ended = shop.run("consumer.py", "--handler", f"{handler}:process", "--until-drained", timeout_s=40)

    assert ended.code == 0 and "Traceback" not in ended.err, ended.err
    assert 3 == shop.assert_account_closes().processed
    assert all(b'"child":3' in (line.value or b"") for line in shop.results())


LEAVING = """
import os, time

def leave(order, delivery):
    with open(os.environ["JOURNAL"], "a") as journal:
        journal.write(f"{os.getpid()} {order['order_id']}\\n")
    if order["order_id"] in ("A-3", "A-5") and delivery.attempt == 1 and order["quantity"]:
        child = os.fork()
        if child == 0:
            if order["order_id"] == "A-3":
                raise ValueError("of the child")
            return {"delivery": delivery.id, "by": "the child"}
        ended = os.waitpid(child, 0)[1] >> 8
        return {"delivery": delivery.id, "child": ended}
    return {"delivery": delivery.id}

async def leave_later(order, delivery):
    return leave(order, delivery)
"""


@pytest.mark.broker
@pytest.mark.parametrize(("function", "workers"), [("leave", "1"), ("leave", "4"), ("leave_later", "4")])
def test_a_child_that_a_handler_forks_and_forgets_to_end_calls_no_order(
    pipeline: NewPipeline, tmp_path: Path, function: str, workers: str
) -> None:
    """Whether it returns or raises, it is ended where it leaves the handler; its error is shown."""
    handler = tmp_path / "leaving.py"
    handler.write_text(LEAVING, encoding="utf-8")
    shop = pipeline(WORKERS=workers)
    shop.publish([(f"A-{number}", f"C-{number}") for number in range(20)])

    ended = shop.run("consumer.py", "--handler", f"{handler}:{function}", "--until-drained", timeout_s=40)

    assert ended.code == 0 and "ValueError: of the child" in ended.err, ended.err
    assert (20, 0) == shop.assert_account_closes()[2:4]
    assert 20 == len(shop.journal_path.read_text().splitlines()), "each order is called once, by the parent"
    children = {json.loads(line.value or b"").get("child") for line in shop.results()}
    assert {None, 0, 1} == children
