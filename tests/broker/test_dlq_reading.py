"""The verbs of dlq_handler.py that look, as a person runs them, on a real broker."""

import json
import re
import subprocess
import uuid
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from orderflow.model.dead_letter import Shrink
from orderflow.model.records import Headers, Outgoing
from tests.support.dlq_tools import (
    FIXTURES,
    T0_MS,
    Handler,
    json_lines,
    make_topic,
    order,
    ours,
    outgoing,
    record_of,
    send,
)

pytestmark = pytest.mark.broker

HOSTILE = "\x1b[2J\x1b]0;owned\x07\u202egnp.exe\nsecond line\r\x9b"
PRINTABLE = re.compile(r"[^\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]*")
"""No control but tab and line break, and nothing that turns text around."""


@pytest.fixture(scope="module")
def letters(kafka: Any, tmp_path_factory: pytest.TempPathFactory) -> Handler:
    """Twelve dead letters: eight of one kind, three of another, and one that cannot be decoded."""
    topic = f"dlq-reading-{uuid.uuid4().hex[:8]}"
    make_topic(kafka.bootstrap_servers, topic)
    records = [ours(number) for number in range(8)]
    records += [ours(n, "validate.quantity", "quantity must be positive") for n in range(8, 11)]
    junk = b"junk\x00" * 5
    records += [ours(11, "decode.framing", "begins with 6a 75", value=junk, headers=[("tenant", b"a")])]
    send(kafka.bootstrap_servers, topic, records)
    return Handler(kafka.bootstrap_servers, topic, tmp_path_factory.mktemp("run"))


@pytest.fixture
def fresh(kafka: Any, topic: Callable[[str], str], tmp_path: Path) -> Callable[..., Handler]:
    """Make a topic with the given dead letters."""

    def make(records: List[Outgoing], partitions: int = 1, **conf: Any) -> Handler:
        name = topic("dlq")
        make_topic(kafka.bootstrap_servers, name, partitions)
        send(kafka.bootstrap_servers, name, records, **conf)
        return Handler(kafka.bootstrap_servers, name, tmp_path)

    return make


# --- list ---


def test_list_is_one_line_a_dead_letter(letters: Handler) -> None:
    """Position, time, group, reason, source, key and error, in columns, nothing else on stdout."""
    run = letters.run("list")

    assert (run.code, run.err, len(run.lines)) == (0, "", 12)
    assert re.fullmatch(
        r"0:3 +2026-11-25 00:03:00  [0-9a-f]{4} +process.failed +orders-0-3 +O-3 +"
        r"OutOfStock: no stock for order 3",
        run.lines[3],
    )


ENVELOPE = ["topic", "partition", "offset", "tstype", "ts", "key", "key_b64", "headers"]
PAYLOAD = ["payload", "payload_b64"]
OURS = [
    "dialect",
    "source",
    "consumer_group",
    "attempts",
    "error",
    "fingerprint",
    "state",
    "replays",
    "headers_left_out",
]


def test_json_keys_are_stable(letters: Handler) -> None:
    """Scripts rely on these keys: none may go, and null stands for what is not carried."""
    row = letters.run("list", "--json", "-c", "1").rows[0]

    assert list(row) == ENVELOPE + PAYLOAD + OURS
    assert list(row["source"]) == ["topic", "partition", "offset", "timestamp"]
    assert list(row["error"]) == ["reason", "stage", "class", "cause", "message", "frame"]
    assert row["payload"]["quantity"] == 0
    assert (row["key"], row["tstype"], row["state"], row["replays"]) == ("O-0", "create", "new", None)
    assert row["source"] == {"topic": "orders", "partition": 0, "offset": 0, "timestamp": T0_MS}


def test_json_is_lossless(fresh: Callable[..., Handler]) -> None:
    """Bytes that are no text, null and empty values, repeats and order of headers all survive."""
    headers: Headers = [("b", b"\xff"), ("a", None), ("b", b""), ("b", "grün".encode())]
    handler = fresh([Outgoing("", b"\xff\x00", b"\x00\xff", headers)])
    row = handler.run("list", "--json").rows[0]

    assert row["headers"] == [["b", {"b64": "/w=="}], ["a", None], ["b", ""], ["b", "grün"]]
    assert (row["key"], row["key_b64"], row["payload"], row["payload_b64"]) == (None, "/wA=", None, "AP8=")


def test_json_is_ascii_and_valid_for_any_order(fresh: Callable[..., Handler]) -> None:
    """NaN and infinities become text, since JSON has no word for them; nothing beyond ASCII is written."""
    values = [order(1, price=float("nan"), customer_id="grün\u202e"), order(2, price=float("-inf"))]
    run = fresh([ours(n, value=value) for n, value in enumerate(values)]).run("list", "--json")

    assert run.out.isascii()
    assert [row["payload"]["price"] for row in run.rows] == ["NaN", "-Infinity"]


@pytest.mark.parametrize(
    ("args", "offsets"),
    [
        (["-o", "10"], [10, 11]),
        (["-o", "-3"], [9, 10, 11]),
        (["-o", "beginning", "-c", "1"], [0]),
        (["-o", "end"], []),
        (["-p", "0", "-o", "11"], [11]),
        (["-o", f"s@{T0_MS + 10 * 60_000}"], [10, 11]),
        (["-o", f"e@{T0_MS + 2 * 60_000}"], [0, 1]),
        (["--since", "2026-11-25T00:10:00Z"], [10, 11]),
        (["--until", "2026-11-25T00:01:00"], [0]),
        (["--since", "2026-11-25T00:03:00Z", "--until", "2026-11-25T00:05:00Z"], [3, 4]),
        (["--reason-code", "validate.*", "--reason-code", "decode.*"], [8, 9, 10, 11]),
        (["--error", "*positive*", "--key", "O-9"], [9]),
        (["--header", "tenant=a"], [11]),
        (["--state", "discarded"], []),
        (["--where", "quantity >= 7 and not order_id = 'O-9'"], [7, 8, 10]),
        (["--where", "error.stage = 'decode' or source.offset = 2"], [2, 11]),
    ],
)
def test_selection(letters: Handler, args: List[str], offsets: List[int]) -> None:
    """Every filter chooses what it says."""
    run = letters.run("list", "--json", *args)

    assert (run.code, run.err) == (0, "")
    assert [row["offset"] for row in run.rows] == offsets


def test_selection_by_group(letters: Handler) -> None:
    """A group is chosen by the digits that `groups` shows."""
    shown = letters.run("groups").lines[2].split()[0]

    assert [row["offset"] for row in letters.run("list", "--json", "-g", shown).rows] == list(range(8))


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["lst"], "no verb 'lst'; did you mean list?"),
        (["list", "--where", "quantty > 5"], "did you mean quantity?"),
        (["list", "-o", "somewhere"], "-o somewhere"),
        (["list", "-g", "xyz"], "-g xyz"),
        (["show"], "show what?"),
        (["show", "0:1", "-g", "7f"], "positions, or choose with -g, --key and the like, not both"),
        (["show", "first"], "'first' is not a position"),
        (["show", "other:0:1"], "--dlq-topic other"),
        (["list", "--lmit", "5"], "--lmit"),
    ],
)
def test_usage_errors(letters: Handler, args: List[str], told: str) -> None:
    """What cannot be understood is told in a sentence, with exit code 2, before anything is read."""
    run = letters.run(*args)

    assert (run.code, run.out) == (2, "")
    assert told in run.err
    assert "Traceback" not in run.err


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["show", "0:99"], "no dead letter at 0:99: {topic} holds 0:0 to 0:11"),
        (["show", "7:0"], "no dead letter at 7:0"),
        (["list", "-p", "7"], "topic {topic} has no partition 7"),
        (["show", "--key", "nobody"], "no dead letter is selected"),
    ],
)
def test_what_is_not_there(letters: Handler, args: List[str], told: str) -> None:
    """A place that does not exist is told, with what does, and exit code 1."""
    run = letters.run(*args)

    assert run.code == 1
    assert told.format(topic=letters.topic) in run.err


def test_a_reader_that_goes_away_ends_it_quietly(letters: Handler) -> None:
    """`| head -1` is no error."""
    topic = {"KAFKA_BOOTSTRAP_SERVERS": letters.bootstrap_servers, "DLQ_TOPIC": letters.topic}
    environ = {**topic, "PATH": "/usr/bin:/bin"}
    command = " ".join(letters.command("list", "--json")) + " | head -1; echo ${PIPESTATUS[0]}"
    done = subprocess.run(["bash", "-c", command], env=environ, capture_output=True, timeout=60, check=True)

    assert done.stdout.splitlines()[-1] == b"0"
    assert done.stderr == b""


def test_hostile_text_never_reaches_the_terminal(fresh: Callable[..., Handler]) -> None:
    """Escape sequences, controls, line breaks and text that turns around are shown as codes."""
    bad = HOSTILE.encode()
    text = HOSTILE.replace("{", "")
    handler = fresh(
        [
            ours(1, message=text, key=bad, topic="orders", headers=[(text, bad)], value=bad, stack=text),
            ours(2, message=text, value=order(2, customer_id=text)),
            Outgoing("", bad, bad, [("__dlq.errors.topic", bad), ("x", bad)]),
        ]
    )
    for args in (["list"], ["groups"], ["stats"], ["tail", "-e"], ["show", "0:0", "0:1", "0:2", "--stack"]):
        piped, shown = handler.run(*args), handler.run_in_terminal(*args, NO_COLOR="1")
        assert (piped.code, shown.code) == (0, 0), piped.err
        for run in (piped, shown):
            assert PRINTABLE.fullmatch(run.out), args
    assert len(handler.run("list").lines) == 3


def test_a_terminal_gets_a_heading_and_lines_that_fit(letters: Handler) -> None:
    """On a terminal there is a heading and nothing wraps; colour only where it is wanted."""
    shown, wide = letters.run_in_terminal("list", columns=60), letters.run_in_terminal("list")
    groups, plain = letters.run_in_terminal("groups"), letters.run_in_terminal("groups", NO_COLOR="1")

    assert shown.lines[0].startswith("TIME      POSITION")
    assert wide.lines[0].startswith("POSITION")
    assert max(len(line) for line in shown.lines) == 60
    assert "\x1b[" in groups.out
    assert "\x1b" not in plain.out + letters.run_in_terminal("groups", TERM="dumb").out


# --- groups and stats ---


def test_groups(letters: Handler) -> None:
    """The most frequent first, since when, with an example and the next commands to type."""
    run = letters.run_in_terminal("groups", "--since", "2026-11-25T00:00:00Z", columns=120, NO_COLOR="1")

    assert run.lines[0].startswith(f"{letters.topic}  1 partition  12 unresolved of 12  oldest ")
    assert run.lines[1].split()[:3] == ["GROUP", "COUNT", "FIRST"]
    assert [line.split()[1] for line in run.lines[2:5]] == ["8", "3", "1"]
    assert run.lines[2].endswith("process.failed     OutOfStock: no stock for order 0")
    assert run.lines[5] == "next: python dlq_handler.py show 0:0"
    assert run.lines[6].startswith("then: python dlq_handler.py replay -g ")


def test_the_next_command_repeats_the_settings_that_were_typed(letters: Handler) -> None:
    """Without them it would be about another topic."""
    topic = ("--dlq-topic", letters.topic)
    run = letters.run_in_terminal("groups", *topic, columns=120, NO_COLOR="1")

    assert run.lines[-2].endswith(f"show 0:0 --dlq-topic {letters.topic}")
    assert run.lines[-1].endswith(f"--dry-run --dlq-topic {letters.topic}")


def test_sums_and_whose_they_are(letters: Handler) -> None:
    """In decimal, with what could not be added, on every verb that shows many."""
    asked = ("--sum", "price * quantity", "--by", "customer_id")
    groups, listed = letters.run("groups", *asked), letters.run("list", *asked)
    stats = letters.run("stats", "--json", *asked).rows[0]
    export = letters.run("export", *asked)

    assert "12 unresolved of 12  sum 137.5  oldest" in groups.lines[0]
    assert groups.lines[1] == "not in the sum: 1 cannot be decoded"
    whose = ["CUSTOMER_ID    COUNT    SUM", "C-1               11  137.5", "(not carried)      1      0"]
    assert groups.lines[-3:] == whose
    assert listed.lines[-5] == "sum 137.5 of price * quantity over 11 orders"
    assert listed.lines[-3:] == whose
    assert stats["sum"]["total"] == "137.5"
    assert (len(export.lines), export.err.splitlines()[0]) == (12, listed.lines[-5])


def test_groups_as_json(letters: Handler) -> None:
    """One object a group, with stable keys."""
    rows = letters.run("groups", "--json").rows

    assert [row["count"] for row in rows] == [8, 3, 1]
    assert list(rows[0]) == [
        "fingerprint",
        "count",
        "first_ts",
        "last_ts",
        "window",
        "dialect",
        "error",
        "source_topic",
        "example",
    ]
    assert (rows[0]["first_ts"], rows[0]["last_ts"]) == (T0_MS, T0_MS + 7 * 60_000)
    assert rows[0]["error"]["reason"] == "process.failed"


def test_stats(letters: Handler) -> None:
    """Totals by everything that is told, and how long they are kept."""
    row = letters.run("stats", "--json").rows[0]
    run = letters.run("stats")

    assert (row["count"], row["oldest_ts"], row["newest_ts"]) == (12, T0_MS, T0_MS + 11 * 60_000)
    assert row["stages"] == {"process": 8, "validate": 3, "decode": 1}
    assert (row["states"], row["dialects"], row["partitions"]) == ({"new": 12}, {"orderflow": 12}, {"0": 12})
    assert (row["retention_ms"], row["first_expiry_ts"]) == (-1, None)
    assert "12 dead letters in 1 partition" in run.lines[0]
    assert "retention   for ever" in run.lines


def test_an_empty_topic(fresh: Callable[..., Handler]) -> None:
    """Nothing dead-lettered is no error, and is said."""
    handler = fresh([])

    assert handler.run("list")[:2] == (0, "")
    assert "0 unresolved of 0" in handler.run("groups").out
    assert handler.run("stats", "--json").rows[0]["count"] == 0


@pytest.mark.parametrize("verb", ["list", "groups", "tail", "export", "discard"])
def test_a_missing_topic_is_named_not_made(fresh: Callable[..., Handler], tmp_path: Path, verb: str) -> None:
    """A misspelt topic is not an empty one: the nearest name is shown, and nothing is created."""
    handler = fresh([])
    misspelt = Handler(handler.bootstrap_servers, f"{handler.topic}s", tmp_path)

    run = misspelt.run(verb, *(["--all", "--reason", "why", "--yes"] if verb == "discard" else []))

    assert (run.code, run.out) == (1, "")
    assert f"topic {misspelt.topic} does not exist; did you mean {handler.topic}?" in run.err
    known = AdminClient({"bootstrap.servers": handler.bootstrap_servers}).list_topics(timeout=10).topics
    assert misspelt.topic not in known


# --- every dialect ---


def test_all_real_dead_letters_in_one_topic(fresh: Callable[..., Handler]) -> None:
    """Dead letters of every system, mixed in one topic, are told apart and read without being told."""
    names = sorted(path.name for path in FIXTURES.glob("dumps/*.ndjson"))
    rows = [row for name in names for row in json_lines(FIXTURES / "dumps" / name)]
    expected = [row for name in names for row in json_lines(FIXTURES / "expected" / name)]
    handler = fresh([outgoing(record_of(row)) for row in rows])
    told = handler.run("list", "--json").rows

    assert len(told) == 81
    for row, facts in zip(told, expected):
        assert row["dialect"] == facts["dialect"]
        assert [row["source"][name] for name in ("topic", "partition", "offset")] == [
            facts["original"][name] for name in ("topic", "partition", "offset")
        ]
        assert (row["consumer_group"], row["attempts"]) == (facts["group"], facts["attempts"])
        error = row["error"]
        assert (error["stage"], error["class"]) == (facts["stage"], facts["error_class"])
        assert (error["cause"], error["message"]) == (facts["root_class"], facts["message"])
        assert row["key_b64"] == facts["key_b64"]
    assert handler.run("show", "0:0", "0:30", "0:60", "0:80").code == 0


# --- show ---


def test_show_an_order(letters: Handler) -> None:
    """Where from, which group, attempts, error, first and last failure, and the order."""
    out = letters.run("show", "0:3").out

    for told in (
        f"{letters.topic}:0:3  new",
        "topic orders  partition 0  offset 3",
        "order-processing-group  client host-1",
        "attempts     4",
        "process.failed  stage process  retryable",
        "2026-11-25 00:02:51.000Z",
        "no stock for order 3",
        "com.orders.Order",
        "quantity     3",
    ):
        assert told in out


def test_show_what_cannot_be_decoded(letters: Handler) -> None:
    """The reason, and the bytes."""
    out = letters.run("show", f"{letters.topic}:0:11").out

    assert "not an order: decode.framing" in out
    assert "6a 75 6e 6b 00" in out
    assert "tenant = a" in out


def test_show_by_selection_and_as_json(letters: Handler) -> None:
    """Without a position, what is selected; as JSON the same object as `list` prints."""
    assert letters.run("show", "--key", "O-4", "-J").rows == letters.run("list", "--key", "O-4", "-J").rows


def test_show_stack_if_it_is_carried(fresh: Callable[..., Handler]) -> None:
    """`--stack` prints the trace, or that there is none."""
    handler = fresh([ours(1, stack='File "app.py", line 3\nKeyError: sku'), ours(2)])

    assert "KeyError: sku" in handler.run("show", "0:0", "--stack").out
    assert re.search(r"stack +\(not carried\)", handler.run("show", "0:1", "--stack").out)


def test_show_raw(letters: Handler, tmp_path: Path) -> None:
    """`--raw` writes the bytes as they are, but never to a terminal."""
    done = subprocess.run(
        letters.command("show", "0:11", "--raw"),
        env={"KAFKA_BOOTSTRAP_SERVERS": letters.bootstrap_servers, "DLQ_TOPIC": letters.topic},
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    refused = letters.run_in_terminal("show", "0:11", "--raw")

    assert done.stdout == b"junk\x00" * 5
    assert refused.code == 1 and "not to a terminal" in refused.out


def test_show_fetches_what_the_dead_letter_does_not_carry(
    kafka: Any, topic: Callable[[str], str], fresh: Callable[..., Handler]
) -> None:
    """The value of a pointer comes from the source topic, while that holds it."""
    source = topic("orders")
    make_topic(kafka.bootstrap_servers, source)
    from_source = Outgoing("", b"O-0", order(0, customer_id="C-from-source"), [], 0, T0_MS)
    send(kafka.bootstrap_servers, source, [from_source])
    handler = fresh([ours(n, topic=source, shrink=Shrink.POINTER) for n in (0, 5)])

    assert f"fetched from {source}-0-0" in handler.run("show", "0:0").out
    assert "C-from-source" in handler.run("show", "0:0").out
    assert "no longer in the source topic" in handler.run("show", "0:1").out


def test_show_history(fresh: Callable[..., Handler]) -> None:
    """Earlier deaths of the order, the first one first."""
    handler = fresh([ours(1)])
    story: Headers = [
        ("orders.replay.job", b"j-1"),
        ("orders.replay.count", b"1"),
        ("orders.replay.from", f"{handler.topic}-0-0".encode()),
    ]
    send(handler.bootstrap_servers, handler.topic, [ours(2, headers=story, message="again")])
    run = handler.run("show", "0:1", "--history")

    assert re.search(r"replays +1  last from .*  by job j-1", run.out)
    assert "2 deaths" in run.out
    assert [row["offset"] for row in handler.run("show", "0:1", "--history", "--json").rows] == [0, 1]


# --- nobody reads on, as behind `| head` ---


def test_the_verdict_of_health_is_the_same_if_nobody_reads_it(letters: Handler) -> None:
    """A monitor that takes the first line only must not be told that all is well."""
    assert letters.run_unread("health") == letters.run("health").code != 0


def test_what_was_asked_for_is_done_if_nobody_reads_what_it_is_about(
    fresh: Callable[..., Handler], topic: Callable[[str], str]
) -> None:
    """A plan is written, and a key erased."""
    handler, orders = fresh([ours(1), ours(2), ours(3)]), topic("orders")
    make_topic(handler.bootstrap_servers, orders)
    handler.setting(ORDERS_TOPIC=orders)

    planned = handler.run_unread("replay", "--all", "--to", orders, "--dry-run", "--plan-out", "p.plan")
    erased = handler.run_unread("erase", "--key", "O-2", "--delete-up-to-it", "--yes")

    assert (planned, erased) == (0, 0)
    assert "p.plan" in {path.name for path in handler.folder.iterdir()}
    assert [json.loads(line)["offset"] for line in handler.run("list", "--json").lines] == [2]


# --- tail ---


def test_tail_shows_the_last_ten_and_follows(fresh: Callable[..., Handler]) -> None:
    """Bare, it is `tail`: ten first, then each new one as it comes; Ctrl-C ends it with 130."""
    handler = fresh([ours(number) for number in range(12)])
    with handler.start("--json") as run:
        run.wait_for(lambda run: run.out.count("\n") == 10)
        send(handler.bootstrap_servers, handler.topic, [ours(50)])
        run.wait_for(lambda run: run.out.count("\n") == 11)
        code = run.stop()

    offsets = [json.loads(line)["offset"] for line in run.out.splitlines()]
    assert (code, offsets) == (130, [*range(2, 12), 12])


def test_tail_ends_when_the_topic_was_created_again(fresh: Callable[..., Handler]) -> None:
    """At the old one's offsets it would miss what the next one begins with."""
    handler = fresh([ours(1), ours(2)])
    admin = AdminClient({"bootstrap.servers": handler.bootstrap_servers})
    with handler.start("tail") as run:
        run.wait_for(lambda run: run.out.count("\n") == 2)
        admin.delete_topics([handler.topic])[handler.topic].result(10)
        make_topic(handler.bootstrap_servers, handler.topic)
        run.wait_for(lambda run: "was deleted and created again" in run.err)
        code = run.wait()

    assert code == 1


def test_tail_to_the_end(letters: Handler) -> None:
    """With `-e` it ends where the topic ends, as kcat does."""
    assert len(letters.run("tail", "-e").lines) == 10
    assert len(letters.run("tail", "-e", "-o", "-2").lines) == 2


def test_tail_stops_at_the_limit(fresh: Callable[..., Handler]) -> None:
    """With `-c` it ends by itself."""
    run = fresh([ours(number) for number in range(5)]).run("tail", "-c", "3")

    assert (run.code, len(run.lines)) == (0, 3)


def test_new_groups_is_quiet_on_the_known_and_ends_at_the_unknown(fresh: Callable[..., Handler]) -> None:
    """The alarm: nothing for a flood that is known, exit code 5 at a kind never seen."""
    handler = fresh([ours(number) for number in range(3)])
    with handler.start("tail", "--new-groups", "--json") as run:
        run.wait_for(lambda run: "1 group known" in run.err)
        send(handler.bootstrap_servers, handler.topic, [ours(7), ours(8), ours(9, "decode.empty")])
        code = run.wait()
        run.wait_for(lambda run: run.out.endswith("\n"))

    assert code == 5
    assert [json.loads(line)["error"]["reason"] for line in run.out.splitlines()] == ["decode.empty"]


def test_exec_gets_each_new_kind_as_json(fresh: Callable[..., Handler], tmp_path: Path) -> None:
    """With `--exec` the alarm runs a command and goes on; nothing of the record becomes part of a command."""
    handler = fresh([ours(1)])
    kept = tmp_path / "alarms"
    with handler.start("tail", "--new-groups", "--exec", f"tee -a {kept}") as run:
        run.wait_for(lambda run: "1 group known" in run.err)
        hostile = ours(3, "decode.empty", "$(touch owned); `touch owned`")
        send(handler.bootstrap_servers, handler.topic, [ours(2), hostile])
        run.wait_for(lambda run: kept.exists() and kept.read_text().endswith("\n"))
        code = run.stop()

    alarms: List[Dict[str, Any]] = json_lines(kept)
    assert code == 130
    assert [alarm["error"]["reason"] for alarm in alarms] == ["decode.empty"]
    assert not (tmp_path / "owned").exists()


# --- what a log can look like ---


@pytest.mark.parametrize("flags", [["--new-groups"], ["--exec", "true"]], ids=str)
def test_what_comes_and_an_end_before_it_comes_do_not_go_together(letters: Handler, flags: List[str]) -> None:
    """It showed the last ten, known ones too, and ended with 0: no alarm, whatever had failed."""
    run = letters.run("tail", "--exit", *flags)

    assert (run.code, run.out) == (2, "")
    assert f"{flags[0]} is about what comes" in run.err


def test_exec_ends_after_as_many_new_kinds_as_were_asked_for(
    fresh: Callable[..., Handler], tmp_path: Path
) -> None:
    """`-c` was ignored."""
    handler, kept = fresh([ours(1)]), tmp_path / "alarms"
    with handler.start("tail", "--new-groups", "-c", "2", "--exec", f"tee -a {kept}") as run:
        run.wait_for(lambda run: "1 group known" in run.err)
        new = [ours(number, reason) for number, reason in enumerate(("decode.a", "decode.b", "decode.c"), 2)]
        send(handler.bootstrap_servers, handler.topic, [ours(1), *new])
        code = run.wait()

    assert (code, len(json_lines(kept))) == (0, 2)


def test_the_alarm_for_a_new_kind_goes_off_if_nobody_reads_it(fresh: Callable[..., Handler]) -> None:
    """It ended with 0, as if somebody had stopped it."""
    handler = fresh([ours(1)])
    with handler.start("tail", "--new-groups") as run:
        run.wait_for(lambda run: "1 group known" in run.err)
        run.leave()
        send(handler.bootstrap_servers, handler.topic, [ours(2, "decode.empty")])
        code = run.wait()

    assert code == 5


@pytest.mark.parametrize("flags", [[], ["--new-groups"]], ids=str)
def test_the_command_is_run_if_nobody_reads_for_what(
    fresh: Callable[..., Handler], tmp_path: Path, flags: List[str]
) -> None:
    """It ended with 0, and the command was never run."""
    handler, kept = fresh([ours(1)]), tmp_path / "alarms"
    with handler.start("tail", *flags, "--exec", f"tee -a {kept}") as run:
        run.wait_for(lambda run: "1 group known" in run.err or run.out.count("\n") == 1)
        run.leave()
        send(handler.bootstrap_servers, handler.topic, [ours(2, "decode.empty"), ours(3, "decode.schema")])
        run.wait_for(lambda run: kept.exists() and kept.read_text("ascii").count("\n") == 2)
        code = run.stop()

    assert code == 130


def test_aborted_dead_letters_are_not_shown_and_markers_do_not_stall(
    kafka: Any, fresh: Callable[..., Handler], topic: Callable[[str], str]
) -> None:
    """Only what was committed is read, and a log that ends in markers has an end."""
    handler = fresh([ours(1)], **{"transactional.id": topic("tx")})
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": topic("tx")})
    producer.init_transactions()
    producer.begin_transaction()
    producer.produce(handler.topic, b"aborted")
    producer.flush(10)
    producer.abort_transaction()
    run = handler.run("list", "--json")

    assert (run.code, [row["offset"] for row in run.rows]) == (0, [0])


def test_health_counts_what_is_new_as_every_other_verb_does(
    fresh: Callable[..., Handler], topic: Callable[[str], str], kafka: Any
) -> None:
    """The markers of the transactions that wrote dead letters are none of them, nor are old ones."""
    handler = fresh([ours(1), ours(2)])
    just_now = [ours(number)._replace(timestamp_ms=None) for number in range(3)]
    for one in just_now:
        send(kafka.bootstrap_servers, handler.topic, [one], **{"transactional.id": topic("tx")})
    (row,) = handler.run("health", "--json").rows
    (totals,) = handler.run("stats", "--json", "--since", "10m").rows

    assert (row["dead_letters"]["unresolved"], row["dead_letters"]["recent"]) == (5, 3)
    assert totals["count"] == 3


def test_partitions(fresh: Callable[..., Handler]) -> None:
    """Dead letters of all partitions are read, or of those that are asked for."""
    handler = fresh([ours(n)._replace(partition=n % 3) for n in range(9)], partitions=3)

    def places(*args: str) -> List[Tuple[int, int]]:
        return sorted((row["partition"], row["offset"]) for row in handler.run("list", "-J", *args).rows)

    assert places() == [(p, o) for p in range(3) for o in range(3)]
    assert places("-p", "1", "-p", "2", "-o", "-1") == [(1, 2), (2, 2)]
    assert "3 partitions" in handler.run("groups").out
