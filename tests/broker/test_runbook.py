"""The runbook leads through a bad night: its own commands, on a broker, held against what really happened."""

import re
import time
from decimal import Decimal
from pathlib import Path
from typing import Any, Dict, List, NamedTuple

import pytest
from confluent_kafka import TopicPartition

from orderflow.kafka.topics import ends_of_log
from tests.support.dlq_tools import ROOT, Handler, Json
from tests.support.mess import EXPIRED, KINDS, UNSEEN, WAITING, Truth, commit_as, make_mess

pytestmark = pytest.mark.broker

RUNBOOK = (ROOT / "docs" / "runbook.md").read_text("utf-8")
COMMANDS = re.findall(r"^\$ python dlq_handler\.py (.*)$", RUNBOOK, re.MULTILINE)


class Night(NamedTuple):
    """A broker in a mess, the truth about it, and a way to type a command of the runbook."""

    handler: Handler
    truth: Truth
    orders: str
    group: str

    def type(self, command: str, *more: str, code: int = 0, **stands_for: str) -> Any:
        """Run a command that the runbook has, with its examples replaced by what they stand for here."""
        assert command in COMMANDS, f"the runbook has no {command!r}"
        for example, real in stands_for.items():
            command = command.replace(EXAMPLES[example], real)
        words = [word.strip("'") for word in re.findall(r"'[^']*'|\S+", command)]
        run = self.handler.run(*words, *more, ORDERS_TOPIC=self.orders)
        assert run.code == code, run.err + run.out
        return run


EXAMPLES = {"group": "7f3a", "position": "0:1234", "job": "20261125-013000-ab12", "file": "incident.html"}
SUMS = "groups --sum 'price * quantity' --by customer_id"


@pytest.fixture(scope="module")
def night(kafka: Any, tmp_path_factory: pytest.TempPathFactory) -> Night:
    """One night for all of the tests, which follow each other as the runbook does."""
    mark = str(time.time_ns())
    handler = Handler(kafka.bootstrap_servers, f"dlq-night-{mark}", tmp_path_factory.mktemp("night"))
    handler.setting(DLQ_AUDIT_TOPIC=f"audit-night-{mark}")
    orders, group = f"orders-night-{mark}", f"dlq-night-{mark}-group"
    now_ms = int(time.time() * 1000)
    truth = make_mess(kafka.bootstrap_servers, orders, handler.topic, group, now_ms)
    return Night(handler, truth, orders, group)


def kind_of(row: Json) -> str:
    """Which of the night's troubles a group is."""
    (name,) = (name for name, kind in KINDS.items() if kind.reason == row["error"]["reason"])
    return name


def groups(night: Night) -> Dict[str, Json]:
    rows = night.type(SUMS, "--json").rows
    return {kind_of(row): row for row in rows if "fingerprint" in row}


def test_health_says_what_needs_a_person(night: Night) -> None:
    """Within three seconds: nobody consumes, the brake holds, and dead letters wait for a decision."""
    began_s = time.monotonic()
    run = night.type("health", "--json", code=5)
    took_s = time.monotonic() - began_s
    (row,) = run.rows
    number = sum(night.truth.counts.values())

    assert row["problems"] == [
        f"no consumer of group {night.group} runs, and about {WAITING + UNSEEN:,} orders are to be processed",
        "partition 1: the outage brake holds it: what the handler calls does not work",
        f"{number} dead letters to decide about" + row["problems"][2].partition("about")[2],
    ]
    assert row["unknown"] == []
    assert [one["unseen"] for one in row["partitions"]] == [0, UNSEEN, 0]
    assert row["dead_letters"]["expired_unresolved_at_most"] == EXPIRED
    assert took_s < 3.0


def test_groups_say_what_broke_since_when_how_many_how_much_and_whose(night: Night) -> None:
    """One row for each trouble, whatever its messages mention, and sums to the cent."""
    rows, truth = night.type(SUMS, "--json").rows, night.truth
    found = {kind_of(row): row for row in rows[:-1]}

    assert len(rows) - 1 == len(KINDS)
    assert {name: row["count"] for name, row in found.items()} == truth.counts
    assert {name: row["first_ts"] for name, row in found.items()} == truth.first_ms
    assert {
        name: Decimal(row["sum"]["total"]) for name, row in found.items() if name in truth.sums
    } == truth.sums
    assert found["bad deploy"]["error"]["frame"] == "shop/prices.py:21 in total"
    total = rows[-1]["total"]
    assert Decimal(total["sum"]["total"]) == truth.total
    assert total["sum"]["undecodable"] == truth.counts["foreign records"]
    whose = {row["value"]: Decimal(row["sum"]["total"]) for row in total["by"]["rows"]}
    assert {name: worth for name, worth in whose.items() if name is not None} == truth.by_customer


def test_the_worst_is_the_first_row_at_80_columns(night: Night) -> None:
    """How many and how much in the head line, the bad deploy below it, and all of it fits."""
    run = night.handler.run_in_terminal(
        "groups", "--sum", "price * quantity", columns=80, ORDERS_TOPIC=night.orders, NO_COLOR="1"
    )
    rows = [line for line in run.lines if re.match(r"[0-9a-f]{4} ", line)]

    assert f"sum {night.truth.total:,}" in run.lines[0]
    assert len(rows) == len(KINDS)
    assert "300" in rows[0] and "shop/prices.py:21" in rows[0]
    assert all(len(line) <= 80 for line in run.lines)
    assert run.lines[-2].startswith("next: python dlq_handler.py show 0:")


def test_waiting_orders_are_summed_up(night: Night) -> None:
    """How many wait, and when they are due."""
    (row,) = night.type("waiting --summary", "--json").rows

    assert (row["waiting"], row["due"]["in 10m"]) == (WAITING, WAITING)


def test_why_exactly(night: Night) -> None:
    """A group's dead letters, one in full with the error first, and what it is worth."""
    row = groups(night)["bad deploy"]
    mark = row["fingerprint"][:6]
    listed = night.type("list -g 7f3a -c 10", group=mark)
    shown = night.type("show 0:1234 --stack", position=row["example"])
    (stats,) = night.type(
        "stats -g 7f3a --sum 'price * quantity' --by customer_id", "--json", group=mark
    ).rows

    assert len(listed.lines) == 10
    assert shown.lines[1].startswith("error        process.failed")
    assert shown.lines[2] == "at           shop/prices.py:21 in total"
    assert Decimal(stats["sum"]["total"]) == night.truth.sums["bad deploy"]


def test_replayed_and_processed(night: Night, kafka: Any) -> None:
    """What was sent is told, and then what became of it, by where the group is."""
    mark = groups(night)["bad deploy"]["fingerprint"][:6]
    dry = night.type("replay -g 7f3a --dry-run", group=mark)
    sent = night.handler.run(
        "replay", "-g", mark, "--yes", "--rate", "none", "--stale", "warn", ORDERS_TOPIC=night.orders
    )
    assert sent.code == 0, sent.err
    job = re.findall(r"job (\S+)", sent.out)[-1]
    before = night.type("jobs show 20261125-013000-ab12", "--json", job=job).rows[0]["became"][0]
    ends = ends_of_log({"bootstrap.servers": kafka.bootstrap_servers}, night.orders)
    places = [TopicPartition(night.orders, number, end) for number, end in ends.items()]
    commit_as(kafka.bootstrap_servers, night.group, places)
    after = night.type("jobs show 20261125-013000-ab12", job=job)

    assert "300" in dry.out
    assert (before["sent"], before["processed"], before["unseen"]) == (300, 0, 300)
    assert f"became      300 processed, of 300 found in {night.orders}" in after.lines
    assert after.lines[-1] == f"told by     what group {night.group} has committed on {night.orders}"


def test_done(night: Night) -> None:
    """The rest is discarded, nothing is left to decide about, and the page tells the whole story."""
    marks = [row["fingerprint"] for row in groups(night).values()]
    for mark in marks:
        run = night.handler.run("discard", "-g", mark, "--reason", "test", "--yes", ORDERS_TOPIC=night.orders)
        assert run.code == 0, run.err
    (row,) = night.type("health", "--json", code=5).rows
    report = "report incident.html --sum 'price * quantity' --by customer_id"
    night.type(report)
    page = (Path(night.handler.folder) / "incident.html").read_text("utf-8")

    assert row["dead_letters"]["unresolved"] == 0
    assert not any("decide" in problem for problem in row["problems"])
    assert f"{night.truth.total:,}" in page
    assert "shop/prices.py:21 in total" in page
    assert "300 processed, of 300 found" in page


def unread() -> List[str]:
    """Commands that nothing above types: they ask, follow, or need a consumer."""
    return [command for command in COMMANDS if command.split()[0] not in VERBS_TYPED]


VERBS_TYPED = ("health", "groups", "waiting", "list", "show", "stats", "replay", "jobs", "report")


def test_what_is_left_of_the_runbook_is_known() -> None:
    """A command that is added is either typed here, or named."""
    assert {command.split()[0] for command in unread()} == {"export", "import", "discard", "tail"}
