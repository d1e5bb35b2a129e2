"""A canary goes first: the rest follows only if a real consumer got past it and it did not come back."""

import json
import re
import shlex
from typing import Any, Callable, Dict, List, Optional

import pytest

from orderflow.dlq.replay.canary import SentCanary, is_past, sent_canary
from orderflow.model.commit_metadata import Commit, Entry, read_metadata
from tests.support.memory import write_metadata
from tests.support.pipeline import Finished, Pipeline

ORDERS = [(f"A{number:03}", "BAD") for number in range(12)]
CANARY = ("replay", "--all", "--canary", "4", "--yes", "--rate", "none")


def metadata(next_offset: int, entries: List[Entry], base: int) -> str:
    return write_metadata(Commit(next_offset, entries, True, False, None, 0), base)


@pytest.mark.parametrize(
    ("committed", "text", "past"),
    [
        (-1001, None, False),
        (9, None, False),
        (20, None, True),
        (25, "nonsense", True),
        (5, "nonsense", False),
        (5, metadata(20, [Entry(5, 1, 9)], 5), True),
        (5, metadata(19, [Entry(5, 1, 9)], 5), False),
        (5, metadata(30, [Entry(5, 1, 9), Entry(25, 1, 9)], 5), True),
        (5, metadata(30, [Entry(5, 1, 9), Entry(12, 1, 9)], 5), False),
        (5, metadata(20, [Entry(5, 1, 9, has_followers=True)], 5), False),
    ],
)
def test_when_a_group_is_past_it(committed: int, text: Optional[str], past: bool) -> None:
    """Offsets 10 to 20 are done if they lie below what is committed, or none of them is listed as waiting."""
    assert is_past(committed, read_metadata(text or "", committed), 10, 20) is past


SENT = SentCanary("job-1", 4, "orders", {0: 5, 1: 0}, {0: 9, 1: 0}, "orders-dlq", {0: 12})


def test_a_canary_is_read_as_it_was_written() -> None:
    assert sent_canary(json.loads(json.dumps(SENT.to_json())), "job-1") == SENT


@pytest.mark.parametrize(
    "changes",
    [
        {"size": -1},
        {"size": "4"},
        {"target": None},
        {"dlq_topic": 3},
        {"begins": [5]},
        {"ends": {"zero": 9}},
        {"dlq_ends": {"0": True}},
    ],
    ids=str,
)
def test_what_somebody_else_wrote_is_no_canary(changes: Dict[str, Any]) -> None:
    """The record stands in a topic that others may write to."""
    assert sent_canary({**SENT.to_json(), **changes}, "job-1") is None
    assert sent_canary({}, "job-1") is None


@pytest.fixture
def failed(pipeline: Callable[..., Pipeline]) -> Pipeline:
    """Twelve orders that were dead-lettered while their customer was blocked."""
    shop = pipeline(MAX_RETRIES="0", PROCESSED_TOPIC="")
    shop.begin_trouble()
    shop.publish(ORDERS)
    shop.drain("customer_fails")
    assert len(shop.dead_letters()) == len(ORDERS)
    return shop


def replay(shop: Pipeline, *args: str) -> Finished:
    return shop.run("dlq_handler.py", *args, PROCESSED_TOPIC="")


@pytest.mark.broker
def test_the_rest_follows_a_canary_that_lives(failed: Pipeline) -> None:
    """Once the cause is mended, the canary passes and everything is sent."""
    failed.end_trouble()
    consumer = failed.consume("customer_fails")

    run = replay(failed, *CANARY)

    assert run.code == 0, run.err
    assert "canary passed" in run.err
    assert "12 of 12 sent" in run.out
    assert consumer.stop().code == 143


@pytest.mark.broker
def test_the_rest_stays_behind_a_canary_that_comes_back(failed: Pipeline) -> None:
    """While the cause is there, the canary comes back, and nothing more is sent until someone goes on."""
    consumer = failed.consume("customer_fails")

    run = replay(failed, *CANARY)

    assert run.code == 5, run.err
    assert "the canary tripped" in run.err
    assert "4 of 12 were sent; next: python dlq_handler.py replay --resume" in run.err
    assert "u000a" not in run.err, "each line of the message stands in a line of its own"
    failed.end_trouble()
    job = run.err.rsplit("--resume ", 1)[1].strip()
    resumed = replay(failed, "replay", "--resume", job, "--yes", "--rate", "none")
    assert resumed.code == 0, resumed.err
    assert "canary passed" in resumed.err
    assert consumer.stop().code == 143
    back = [line for line in failed.dead_letters() if line.header("orders.replay.job")]
    assert {line.header("orders.replay.job") for line in back} == {job}


@pytest.mark.broker
def test_what_is_suggested_for_a_plan_is_typed_as_it_stands(failed: Pipeline) -> None:
    """Whatever its file is called, and although a job that carries out a plan needs that to go on."""
    plan = ("--dry-run", "--plan-out", "tonight's plan")
    written = replay(failed, *CANARY, "--canary-timeout", "1", *plan)

    tripped = replay(failed, *suggested(written, "to carry it out"), "--yes")
    resumed = replay(failed, *suggested(tripped, "next"), "--yes")

    assert (written.code, tripped.code, resumed.code) == (0, 5, 5), resumed.err
    assert "does a consumer run?" in resumed.err


def suggested(run: Finished, label: str) -> List[str]:
    """The words of the command behind this label, as a shell takes them apart."""
    (line,) = re.findall(rf"\b{label}: python dlq_handler.py (.*)", run.err)
    return shlex.split(line)


@pytest.mark.broker
def test_a_canary_that_nobody_consumes(failed: Pipeline) -> None:
    """Without a consumer nothing is proven, so the rest is not sent."""
    run = replay(failed, *CANARY, "--canary-timeout", "1")

    assert run.code == 5, run.err
    assert "does a consumer run?" in run.err


def sent_by(shop: Pipeline) -> int:
    return sum(line.header("orders.replay.job") is not None for line in shop.orders())


@pytest.mark.broker
def test_whoever_goes_on_asks_about_the_canary_that_is_out(failed: Pipeline) -> None:
    """He sent another one each time, although nobody knew what had become of the first."""
    run = replay(failed, *CANARY, "--canary-timeout", "1")
    job = run.err.rsplit("--resume ", 1)[1].strip()
    resume = ("replay", "--resume", job, "--yes", "--rate", "none")
    again = replay(failed, *resume)

    assert again.code == 5, again.err
    assert "canary: 4 were sent before; waiting" in again.err
    assert sent_by(failed) == 4
    failed.end_trouble()
    failed.drain("customer_fails")
    resumed = replay(failed, *resume)
    assert (resumed.code, sent_by(failed)) == (0, 12), resumed.err
    assert "canary passed" in resumed.err and "12 of 12 sent" in resumed.out


@pytest.mark.broker
def test_after_a_canary_that_came_back_another_one_is_sent(failed: Pipeline) -> None:
    """Also where it came back only after its time was up."""
    run = replay(failed, *CANARY, "--canary-timeout", "1")
    job = run.err.rsplit("--resume ", 1)[1].strip()
    resume = ("replay", "--resume", job, "--yes", "--rate", "none")
    failed.drain("customer_fails")
    back = replay(failed, *resume)

    assert (back.code, sent_by(failed)) == (5, 4), back.err
    assert "4 of 4 came back" in back.err
    more = replay(failed, *resume)
    assert (more.code, sent_by(failed)) == (5, 8), more.err
    assert "canary: 4 sent; waiting" in more.err
