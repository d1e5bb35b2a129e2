"""Replaying, discarding, exporting and importing, as a person does it, on a real broker."""

import csv
import io
import json
import os
import stat
import time
from pathlib import Path
from typing import Any, Callable, List

import pytest
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient

from orderflow.model.dead_letter import Shrink
from orderflow.model.records import Headers, Outgoing
from tests.support.account import read_topic
from tests.support.acls import allow_writing, deny_writing
from tests.support.dlq_tools import T0_MS, Run, make_topic, order, ours, send
from tests.support.pipeline import eventually
from tests.support.replay_tools import Desk

pytestmark = pytest.mark.broker
FAST = ("--yes", "--rate", "none")


@pytest.fixture
def make(kafka: Any, topic: Callable[[str], str], tmp_path: Path) -> Callable[..., Desk]:
    """Make a desk with the given dead letters; `o` in their topics stands for its orders topic."""

    def made(letters: Callable[[str], List[Outgoing]], partitions: int = 1) -> Desk:
        folder = tmp_path / "desk"
        folder.mkdir()
        desk = Desk(kafka.bootstrap_servers, topic("d")[-60:], folder, partitions)
        desk.fill(letters(desk.orders_topic))
        return desk

    return made


@pytest.fixture
def guarded(strict_kafka: Any, topic: Callable[[str], str], tmp_path: Path) -> Desk:
    """A desk with two dead letters, on a broker that knows rights."""
    desk = Desk(strict_kafka.bootstrap_servers, topic("d")[-60:], tmp_path)
    desk.fill(good(2)(desk.orders_topic))
    return desk


def good(number: int) -> Callable[[str], List[Outgoing]]:
    """So many dead letters that may all be sent."""
    return lambda orders: [ours(n + 1, topic=orders, partition=n % 3) for n in range(number)]


def mixed(orders: str) -> List[Outgoing]:
    """Two that may be sent, and one for each reason why not."""
    return [
        ours(1, topic=orders),
        ours(2, topic=orders, headers=[("tenant", b"a"), ("tenant", b"b")]),
        ours(3, "validate.quantity", "bad", topic=orders, value=order(0)),
        ours(4, "decode.framing", "junk", topic=orders, value=b"junk"),
        ours(5, topic="payments"),
        ours(6, topic="payments"),
        ours(7, topic=orders, shrink=Shrink.POINTER),
    ]


def assert_nothing_sent(desk: Desk, run: Run, code: int, told: str) -> None:
    assert run.code == code, run.out + run.err
    assert told in run.err + run.out
    assert desk.sent() == []


def test_who_else_gets_what_is_replayed_is_said(make: Callable[..., Desk]) -> None:
    """Before anything is sent, and only of groups that read the same topic."""
    desk = make(good(2))
    reader = Consumer({"bootstrap.servers": desk.bootstrap_servers, "group.id": f"{desk.topic}-billing"})
    reader.subscribe([desk.orders_topic])
    eventually(lambda: reader.poll(0.1) is None and bool(reader.assignment()))
    told = f"group {desk.topic}-billing reads {desk.orders_topic} too, and gets this once more"
    looked, sent = desk.run("replay", "--all", "--dry-run"), desk.run("replay", "--all", *FAST)
    reader.close()
    alone = desk.run("replay", "--all", "--again", "--dry-run")

    assert told in looked.out and told in sent.err
    assert "once more" not in alone.out


def test_two_dead_letter_topics_may_not_share_an_audit_topic(
    kafka: Any, topic: Callable[[str], str], tmp_path: Path
) -> None:
    """Each would make Kafka forget what was done in the other; one that is gone is in nobody's way."""
    shared = topic("audit")
    desks = [Desk(kafka.bootstrap_servers, topic(f"d{number}")[-60:], tmp_path) for number in range(2)]
    for desk in desks:
        desk.setting(DLQ_AUDIT_TOPIC=shared)
        desk.fill(good(1)(desk.orders_topic))
    first, second = desks
    assert first.run("replay", "--all", *FAST).code == 0
    discard = ("discard", "--all", "--reason", "test", f"--confirm={second.topic}")
    for verb in (("replay", "--all", *FAST), discard):
        assert_nothing_sent(second, second.run(*verb), 4, f"records what was done in {first.topic} too")

    admin = AdminClient(first.client)
    admin.delete_topics([first.topic])[first.topic].result(20)
    eventually(lambda: second.run("replay", "--all", *FAST).code == 0)


def test_a_job_does_not_go_on_with_an_audit_topic_that_is_shared_by_now(
    kafka: Any, topic: Callable[[str], str], tmp_path: Path
) -> None:
    """What it has sent so far is known by entries that the other dead letter topic may have replaced."""
    stopped, other = [Desk(kafka.bootstrap_servers, topic(f"d{n}")[-60:], tmp_path) for n in range(2)]
    stopped.fill(good(10)(stopped.orders_topic))
    assert stopped.start_dying("after commit", 4, "replay", "--all", "--yes", "--rate", "20/s") < 0
    before, (job,) = len(stopped.sent()), stopped.jobs()
    other.fill(good(1)(other.orders_topic))
    assert other.run("replay", "--all", *FAST).code == 0
    theirs = read_topic(other.client, other.audit_topic)
    send(kafka.bootstrap_servers, stopped.audit_topic, [Outgoing("", r.key, r.value, []) for r in theirs])

    resumed = stopped.run("replay", "--resume", str(job["job"]), *FAST)

    assert resumed.code == 4, resumed.err
    assert f"records what was done in {other.topic} too" in resumed.err
    assert len(stopped.sent()) == before


def test_a_dry_run_tells_and_sends_nothing(make: Callable[..., Desk]) -> None:
    """What would go, why the others would not, and an example of each reason."""
    desk = make(mixed)

    run = desk.run("replay", "--all", "--dry-run")

    assert_nothing_sent(desk, run, 0, "7 dead letters chosen, 2 to send")
    for told in (
        "still fails today's decoder or rules",
        "0:2 validate.quantity: quantity must be at least 1: 0",
        "0:3 decode.framing",
        "came from a topic that was not confirmed",
        "its value is not in the dead letter, and the source no longer has it",
        "--source-topic payments",
    ):
        assert told in run.out
    rows = desk.run("redrive", "--all", "--dry-run", "--json").rows
    assert [row["send"] for row in rows] == [True, True, False, False, False, False, False]
    assert set(rows[0]) == {
        *("position", "send", "target", "why", "detail", "stale", "headers_left_out"),
        *("fetched", "unchecked", "before", "after", "sha256"),
    }


@pytest.mark.parametrize("denied", ["orders_topic", "audit_topic"])
def test_a_denied_topic_is_named_and_nothing_is_sent(guarded: Desk, denied: str) -> None:
    """Neither the records nor their audit entries; and when the right is given, all of it."""
    assert guarded.run("replay", "--all", "--dry-run").code == 0
    name = str(getattr(guarded, denied))
    deny_writing(guarded.client, name)

    run = guarded.run("replay", "--all", *FAST)

    told = run.err.splitlines()[-1]
    assert_nothing_sent(guarded, run, 1, "Topic authorization failed")
    assert told.startswith("dlq_handler.py: Kafka rejects the records for ") and name in told
    assert "Traceback" not in run.err and "%" not in run.err
    assert set(guarded.states().values()) == {"new"}
    allow_writing(guarded.client, name)
    assert guarded.run("replay", "--all", *FAST).code == 0
    assert guarded.sent_from() == {"0:0": 1, "0:1": 1}


def test_what_can_be_sent_is_sent_and_the_rest_makes_exit_3(make: Callable[..., Desk]) -> None:
    """A part is done, and the exit code says that it is a part; the second time nothing is left to do."""
    desk = make(mixed)

    run = desk.run("replay", "--all", *FAST)

    assert run.code == 3, run.err
    assert dict(desk.sent_from()) == {"0:0": 1, "0:1": 1}
    line = desk.sent()[1]
    assert line.headers[:2] == (("tenant", b"a"), ("tenant", b"b"))
    assert [name for name, _ in line.headers[2:]] == [
        *("orders.replay.id", "orders.replay.count", "orders.replay.from", "orders.replay.job")
    ]
    assert (line.key, line.value) == (b"O-2", order(2))
    assert [*desk.states().values()] == ["replayed", "replayed", *["new"] * 5]
    assert_again_refused(desk, desk.run("replay", "--all", *FAST))


def assert_again_refused(desk: Desk, run: Run) -> None:
    assert run.code == 4
    assert "none of the 7 chosen may be replayed" in run.err
    assert sum(desk.sent_from().values()) == 2


@pytest.mark.parametrize(
    ("args", "code", "told"),
    [
        (("--all",), 4, "say --yes"),
        (("--yes",), 2, "say --all"),
        (("--all", "--yes", "--to", "no-such-topic"), 4, "topic no-such-topic, the target, does not exist"),
        (("--all", "--yes", "--set", "quantty=1"), 2, "with a field of an order"),
        (("--all", "--yes", "--set", "quantity=one"), 2, "is no JSON"),
        (("--all", "--yes", "--set", 'order_id=""'), 4, "none of the 3 chosen may be replayed"),
        (("--all", "--plan-out", "x"), 2, "belongs to --dry-run"),
        (("--plan", "none.plan", "--yes"), 2, "none.plan: no such file"),
        (("--plan", "none.plan", "--all"), 2, "--plan says what is sent: leave --all away"),
        (("--resume", "2020", "--yes"), 1, "there is no job 2020"),
        (("--resume", "2020", "--yes", "--dry-run"), 2, "leave --dry-run away"),
        (("--resume", "2020", "--yes", "-g", "7f", "--set", "price=1"), 2, "leave selection, --set away"),
        (("--resume", "2020", "--yes", "0:7", "--canary", "5"), 2, "leave --canary, positions away"),
        (("--plan", "none.plan", "--yes", "--dry-run"), 2, "leave --dry-run away"),
        (("--plan", "none.plan", "--yes", "--canary", "5"), 2, "leave --canary away"),
        (("-p", "7", "--yes"), 1, "has no partition 7"),
        (("0-7", "--yes"), 2, "is not a position"),
        (("other-0-7", "--yes"), 2, "--dlq-topic other"),
        (("0:77", "--yes"), 1, "no dead letter at 0:77"),
        (("--all", "--rate", "fast"), 2, "must be a rate"),
        (("--key", "nobody", "--yes"), 0, "0 dead letters chosen"),
    ],
)
def test_what_is_refused_sends_nothing(three: Desk, args: List[str], code: int, told: str) -> None:
    """A clear sentence, the right exit code, and nothing sent."""
    assert_nothing_sent(three, three.run("replay", *args), code, told)


@pytest.fixture(scope="module")
def three(kafka: Any, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """Three dead letters that nobody manages to replay."""
    desk = Desk(kafka.bootstrap_servers, f"three-{os.getpid()}", tmp_path_factory.mktemp("three"))
    desk.fill(good(3)(desk.orders_topic))
    return desk


def test_a_terminal_is_asked(make: Callable[..., Desk]) -> None:
    """`y` sends, anything else does not."""
    desk = make(good(3))

    refused = desk.run_and_type("", "replay", "--all")
    assert_nothing_sent(desk, refused, 4, f"replay 3 records into {desk.orders_topic} at 50/s? [y/N]")
    assert "not confirmed" in refused.out
    confirmed = desk.run_and_type("y", "retry", "0:0", "0:2")

    assert confirmed.code == 0, confirmed.out
    assert dict(desk.sent_from()) == {"0:0": 1, "0:2": 1}


def test_repairs_are_shown_and_sent(make: Callable[..., Desk]) -> None:
    """--set changes the field, shows before and after, and keeps key and headers."""
    desk = make(mixed)

    shown = desk.run("replay", "--reason-code", "validate.*", "--set", "quantity=2", "--dry-run")
    run = desk.run("replay", "--reason-code", "validate.*", "--set", "quantity=2", *FAST)

    assert "quantity: 0 -> 2" in shown.out
    assert run.code == 0, run.err
    (line,) = desk.sent()
    assert (line.key, line.value) == (b"O-3", order(0, quantity=2))


def test_another_target(make: Callable[..., Desk]) -> None:
    """--to sends all of them to one topic, where no rule of ours applies."""
    desk = make(mixed)
    other = f"{desk.topic}-other"
    make_topic(desk.bootstrap_servers, other)

    run = desk.run("replay", "--all", "--to", other, *FAST)

    assert run.code == 3, run.err
    assert [line.key for line in desk.sent(other)] == [b"O-%d" % number for number in range(1, 7)]
    assert desk.sent() == []


def test_a_pointer_is_fetched_from_its_source(make: Callable[..., Desk]) -> None:
    """The source record goes again, with all of its headers."""
    headers: Headers = [("big", b"x" * 5000)]
    desk = make(lambda orders: [ours(0, topic=orders, partition=1, headers=headers, shrink=Shrink.POINTER)])
    desk.publish([Outgoing("", b"O-0", order(9), headers, 1, T0_MS)])

    run = desk.run("replay", "--all", *FAST)

    assert run.code == 0, run.err
    assert f"1  of them fetched from {desk.orders_topic}" in run.err
    (line,) = desk.sent()
    assert (line.key, line.value, line.headers[0]) == (b"O-0", order(9), ("big", b"x" * 5000))


def test_superseded_by_a_newer_order_of_the_key(make: Callable[..., Desk]) -> None:
    """A newer living order of the key holds it back; a newer one that died too does not."""
    desk = make(
        lambda orders: [
            ours(0, topic=orders, key=b"A", value=order(9)),
            ours(1, topic=orders, key=b"B", value=order(9)),
            ours(2, topic=orders, key=b"B", value=order(9)),
        ]
    )
    desk.publish(Outgoing("", key, order(9), [], 0, T0_MS) for key in (b"A", b"B", b"B", b"A"))

    run = desk.run("replay", "--all", *FAST)

    assert run.code == 3
    assert "superseded: its key has a newer order" in run.err
    assert dict(desk.sent_from()) == {"0:1": 1, "0:2": 1}
    assert desk.run("replay", "0:0", "--stale", "warn", *FAST).code == 0
    assert desk.sent_from()["0:0"] == 1


def test_a_plan_is_carried_out_as_it_was_reviewed(make: Callable[..., Desk]) -> None:
    """Exactly its records are sent; the file is private and is not overwritten."""
    desk = make(good(5))
    plan = desk.folder / "p.plan"

    written = desk.run("replay", "-c", "3", "--dry-run", "--plan-out", "p.plan")
    again = desk.run("replay", "-c", "2", "--dry-run", "--plan-out", "p.plan")
    run = desk.run("replay", "--plan", "p.plan", *FAST)

    assert written.code == 0, written.err
    assert stat.S_IMODE(plan.stat().st_mode) == 0o600
    assert (again.code, "already exists" in again.err) == (2, True)
    assert run.code == 0, run.err
    assert dict(desk.sent_from()) == {"0:0": 1, "0:1": 1, "0:2": 1}
    drifted = desk.run("replay", "--plan", "p.plan", *FAST)
    assert drifted.code == 4
    assert "0:0  already replayed" in drifted.err
    assert sum(desk.sent_from().values()) == 3


@pytest.mark.parametrize("edit", ["line", "target", "cut"])
def test_an_edited_plan_is_refused(three: Desk, edit: str) -> None:
    """Any change after it was written is noticed before anything is sent."""
    plan = three.folder / f"{edit}.plan"
    assert three.run("replay", "--all", "--dry-run", "--plan-out", plan.name).code == 0
    lines = plan.read_text().splitlines(keepends=True)
    changed = {"line": [*lines[:1], *lines[2:]], "cut": lines[:-1]}
    changed["target"] = [line.replace(three.orders_topic, "elsewhere") for line in lines]
    plan.write_text("".join(changed[edit]))

    run = three.run("replay", "--plan", plan.name, *FAST)

    assert_nothing_sent(three, run, 4, "nothing was sent")


def test_one_that_comes_back_has_failed_again(make: Callable[..., Desk]) -> None:
    """The state follows the order across its returns, and its last death can be replayed."""
    desk = make(good(2))
    assert desk.run("replay", "0:0", *FAST).code == 0
    replayed = desk.sent()[0]
    back = ours(50, topic=desk.orders_topic, headers=list(replayed.headers), died_ms=int(time.time() * 1000))
    desk.fill([back])

    assert desk.states() == {"0:0": "failed-again", "0:1": "new", "0:2": "new"}
    assert desk.run("replay", "--all", *FAST).code == 0
    assert dict(desk.sent_from()) == {"0:0": 1, "0:1": 1, "0:2": 1}
    assert desk.sent()[-1].header("orders.replay.count") in ("1", "2")
    story = desk.run("show", "0:2", "--history").out
    assert story.count(f"replayed into {desk.orders_topic} by ") == 2
    first = desk.run("jobs", "--json").rows[-1]
    assert "came back   1" in desk.run("jobs", "show", first["job"]).out


def test_discarding_and_taking_it_back(make: Callable[..., Desk]) -> None:
    """It needs a reason; for all of them the topic's name; and it can be undone."""
    desk = make(good(4))

    assert desk.run("discard", "0:0", "--yes").code == 2
    assert desk.run("discard", "0:0", "0:1", "--yes", "--reason", "test orders").code == 0
    assert [*desk.states().values()] == ["discarded", "discarded", "new", "new"]
    assert desk.audit()["0:0"]["reason"] == "test orders"
    assert desk.run("discard", "0:0", "--restore", "--yes").code == 0
    unnamed = desk.run("discard", "--all", "--yes", "--reason", "gone")
    assert (unnamed.code, f"--confirm={desk.topic}" in unnamed.err) == (4, True)
    typed = desk.run_and_type(desk.topic, "discard", "--all", "--reason", "gone", prompt="name:")
    assert typed.code == 0, typed.out
    assert set(desk.states().values()) == {"discarded"}
    run = desk.run("replay", "--all", *FAST)
    assert_nothing_sent(desk, run, 0, "discarded")


def test_jobs_have_stable_keys(make: Callable[..., Desk]) -> None:
    """A job tells who, when, what, how much and why."""
    desk = make(good(2))
    desk.run("replay", "--all", "--reason", "fixed in 4.2", *FAST)

    (row,) = desk.jobs()

    assert [*row] == [
        *("job", "action", "status", "by", "started", "changed", "total", "done", "target", "reason"),
        *("refused", "gone"),
    ]
    assert (row["total"], row["done"], row["status"], row["reason"]) == (2, 2, "done", "fixed in 4.2")
    assert row["job"] in desk.run("jobs").out


# --- Files ---


def test_an_export_imports_byte_for_byte(make: Callable[..., Desk]) -> None:
    """What goes out comes in again, headers that are no text and nulls included; the file is private."""
    odd = [("n", None), ("e", b""), ("x", b"\xff\x00"), ("tenant", "ü".encode())]
    letters = [
        Outgoing("", None, None, odd, 0, 1_700_000_000_000),
        Outgoing("", b"\xff", b"", [], 1, 1_700_000_000_001),
    ]
    desk = make(lambda orders: [*letters, *good(2)(orders)], partitions=2)
    copy = f"{desk.topic}-copy"
    make_topic(desk.bootstrap_servers, copy, 2)

    assert desk.run("export", "all.jsonl").code == 0
    assert desk.run("export", "all.jsonl").code == 2
    run = desk.run("import", "all.jsonl", "--yes", "--dlq-topic", copy)

    assert run.code == 0, run.err
    assert stat.S_IMODE((desk.folder / "all.jsonl").stat().st_mode) == 0o600
    before, after = read_topic(desk.client, desk.topic), read_topic(desk.client, copy)
    assert [(line.key, line.value, line.headers) for line in before] == [
        (line.key, line.value, line.headers) for line in after
    ]


@pytest.mark.parametrize(
    "bad",
    [
        "no json",
        "[]",
        '{"key":"O-1"}',
        '{"key_b64":"***","payload_b64":null,"headers":[],"partition":0,"ts":1}',
        '{"key_b64":null,"payload_b64":null,"headers":["a","b"],"partition":0,"ts":1}',
        '{"key_b64":null,"payload_b64":null,"headers":[["a",1]],"partition":0,"ts":1}',
        '{"key_b64":null,"payload_b64":null,"headers":[],"partition":-1,"ts":1}',
    ],
)
def test_an_import_checks_every_line_first(three: Desk, bad: str) -> None:
    """One bad line, and none is sent."""
    good_line = '{"key_b64":null,"payload_b64":null,"headers":[],"partition":0,"ts":1}'
    (three.folder / "bad.jsonl").write_text(f"{good_line}\n{bad}\n{good_line}\n")

    run = three.run("import", "bad.jsonl", "--yes")

    assert run.code == 4
    assert "bad.jsonl:2:" in run.err
    assert len(read_topic(three.client, three.topic)) == 3


def test_an_import_sends_no_other_lines_than_it_checked(make: Callable[..., Desk]) -> None:
    """A file that is changed while the question stands is not what was confirmed."""
    desk = make(good(3))
    file = desk.folder / "dead.jsonl"
    assert desk.run("export", str(file)).code == 0
    lines = file.read_text("utf-8").splitlines(keepends=True)

    def add_a_line() -> None:
        with file.open("a", encoding="utf-8") as out:
            out.write(lines[0])

    run = desk.run_and_type("y", "import", str(file), meanwhile=add_a_line)

    assert run.code == 4, run.out
    assert f"nothing was sent: {file} was changed" in run.out
    assert len(desk.states()) == 3


def test_csv_never_holds_a_formula(make: Callable[..., Desk]) -> None:
    """A cell that a spreadsheet would evaluate is shown as text, and nothing breaks out of its row."""
    evil = '=HYPERLINK("http://evil","x")'
    desk = make(
        lambda orders: [
            ours(1, message=evil, key=b"+1", topic=orders),
            ours(2, message='a,b\n"c"\x1b[2J', key=b"@SUM(1)", topic=orders),
            ours(3, message="\t-1", key=b"plain", topic=orders),
        ]
    )

    run = desk.run("export", "--format", "csv")

    rows = list(csv.DictReader(io.StringIO(run.out)))
    assert [row["message"] for row in rows] == [f"'{evil}", 'a,b\\u000a"c"\\u001b[2J', "\\u0009-1"]
    assert [row["key"] for row in rows] == ["'+1", "'@SUM(1)", "plain"]
    assert json.loads(rows[0]["order"])["order_id"] == "O-1"


def test_hostile_text_does_not_reach_a_terminal(make: Callable[..., Desk]) -> None:
    """Neither topics nor details nor repairs are shown raw."""
    desk = make(
        lambda orders: [
            ours(1, topic="\x1b[2Jevil\u202e"),
            ours(2, topic=orders, value=order(2, order_id="", customer_id="\x1b]0;x\x07")),
        ]
    )

    run = desk.run("replay", "--all", "--set", 'product_id="\\u001b[2J"', "--dry-run")

    assert run.code == 0, run.err
    assert "\x1b" not in run.out + run.err
    assert "\u202e" not in run.out + run.err


def test_orders_of_many_partitions(make: Callable[..., Desk], kafka: Any) -> None:
    """Dead letters of several partitions are all found, and each goes back to where it came from."""
    desk = make(lambda orders: [], partitions=3)
    letters = [
        ours(n, topic=desk.orders_topic, partition=n % 3)._replace(partition=n % 3) for n in range(3, 12)
    ]
    send(kafka.bootstrap_servers, desk.topic, letters)

    assert desk.run("replay", "-p", "0", "-p", "2", *FAST).code == 0
    assert {line.position.partition for line in desk.sent()} == {0, 2}
    assert sum(desk.sent_from().values()) == 6


def test_what_was_done_is_read_once(make: Callable[..., Desk]) -> None:
    """By the report and by `jobs show`, which tell jobs, states and what came back. The client logs it."""
    desk = make(good(3))
    desk.run("replay", "--all", *FAST)
    (job,) = desk.run("jobs", "--json").rows
    begun = f"Start fetch for {desk.audit_topic} ["
    for command in (("report", "night.html"), ("jobs", "show", job["job"])):
        run = desk.run(*command, "-X", "debug=topic")

        assert run.code == 0, run.err[-2000:]
        assert run.err.count(begun) == 1
    page = (desk.folder / "night.html").read_text("utf-8")
    assert job["job"] in page and "replayed" in page
