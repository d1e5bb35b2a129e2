"""What a transaction that somebody left open hides of the dead letters, on a real broker."""

import json
from pathlib import Path
from typing import Any, Callable, List

import pytest

from orderflow.model.records import Outgoing
from tests.broker.test_consumer_figures import asked, free_port
from tests.support.dlq_tools import Handler, handler_of_one, left_open, ours, send
from tests.support.pipeline import eventually

pytestmark = pytest.mark.broker

HIDDEN = "holds from 0:1 on, about 2 records: a transaction has been open there"
OF_A_KILLED_ONE = [ours(2)]
"""Its time is a year ago: it is not taken for one that is being committed."""


@pytest.fixture
def handler(kafka: Any, topic: Callable[[str], str], tmp_path: Path) -> Handler:
    """A topic with one dead letter."""
    return handler_of_one(kafka.bootstrap_servers, topic("dlq"), tmp_path)


def of_now(number: int) -> Outgoing:
    return ours(number)._replace(timestamp_ms=None)


def health_that_finds_some(handler: Handler) -> Any:
    """The verdict, if there was time enough: on a slow machine it answers in time, and knows less."""
    (row,) = handler.run("health", "--json").rows
    return row if row["dead_letters"]["hidden"] else None


def test_health_does_not_say_that_there_are_none(handler: Handler) -> None:
    """It counted one dead letter, and said that these were all."""
    with left_open(handler.bootstrap_servers, handler.topic, OF_A_KILLED_ONE):
        send(handler.bootstrap_servers, handler.topic, [ours(3)])
        row = eventually(lambda: health_that_finds_some(handler), timeout_s=60)

    assert row["dead_letters"]["hidden"] == [{"partition": 0, "begin": 1, "end": 3, "since_ts": None}]
    assert row["dead_letters"]["complete"] is False
    assert any(HIDDEN in line for line in row["unknown"])


def test_a_transaction_that_is_being_committed_is_no_finding(handler: Handler) -> None:
    """A busy consumer has one open at most times."""
    with left_open(handler.bootstrap_servers, handler.topic, [of_now(2)]):
        (row,) = handler.run("health", "--json").rows
        listed = handler.run("list", "--json")

    assert row["dead_letters"]["hidden"] == []
    assert (len(listed.rows), listed.err) == (1, "")


@pytest.mark.parametrize(
    "words",
    [
        ["list"],
        ["groups"],
        ["stats"],
        ["show", "0:1"],
        ["tail", "--exit"],
        ["report", "page.html"],
        ["export", "-"],
        ["replay", "--dry-run", "--state", "new"],
        ["discard", "--state", "new", "--reason", "test", "--yes"],
    ],
    ids=lambda words: str(words[0]),
)
def test_each_verb_says_what_it_leaves_out(handler: Handler, words: List[str]) -> None:
    with left_open(handler.bootstrap_servers, handler.topic, OF_A_KILLED_ONE):
        send(handler.bootstrap_servers, handler.topic, [ours(3)])
        run = handler.run(*words)

    assert f"left out what {handler.topic} {HIDDEN}" in run.err


def test_serve_is_not_ready_while_its_figures_are_not_whole(handler: Handler) -> None:
    port = free_port()
    hidden = left_open(handler.bootstrap_servers, handler.topic, OF_A_KILLED_ONE)
    with hidden, handler.start("serve", "--listen", f"127.0.0.1:{port}") as serving:
        serving.wait_for(lambda run: "left out what" in run.err)
        eventually(lambda: "hides what there is from 0:1 on" in asked(port, "/readyz")[1], timeout_s=20)
        assert asked(port, "/readyz")[0] == 503
        serving.stop()


def test_tail_says_so_when_it_happens_while_it_follows(handler: Handler) -> None:
    with handler.start("tail", "--json") as run:
        run.wait_for(lambda run: run.out.count("\n") == 1)
        with left_open(handler.bootstrap_servers, handler.topic, OF_A_KILLED_ONE):
            run.wait_for(lambda run: "left out what" in run.err, timeout_s=60)
        send(handler.bootstrap_servers, handler.topic, [ours(3)])
        run.wait_for(lambda run: run.out.count("\n") == 2)
        run.stop()

    assert [json.loads(line)["offset"] for line in run.out.splitlines()] == [0, 3]


def test_nothing_is_discarded_while_what_was_done_before_is_hidden(handler: Handler) -> None:
    """It may have been sent already. As before a replay, and once that is over it is done."""
    send(handler.bootstrap_servers, handler.topic, [ours(2)])
    assert handler.run("discard", "0:0", "--reason", "old", "--yes").code == 0
    audit_topic = f"{handler.topic}-audit"
    discard = ("discard", "0:1", "--reason", "old", "--yes")

    with left_open(handler.bootstrap_servers, audit_topic, OF_A_KILLED_ONE):
        refused = handler.run(*discard)

    assert refused.code == 1
    assert f"nobody can tell what was done before; hidden is what {audit_topic} holds" in refused.err
    assert handler.run(*discard).code == 0
