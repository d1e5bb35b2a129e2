"""Times of dead letters on topics of any kind: they are no order, and a record may have none."""

import json
import time
from pathlib import Path
from typing import Any, Callable, List, Optional

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from orderflow.model.records import NO_TIME_MS
from tests.support.dlq_tools import T0_MS, Handler, make_topic, ours, send

pytestmark = pytest.mark.broker
DAY_MS = 86_400_000
NewHandler = Callable[..., Handler]


@pytest.fixture
def fresh(kafka: Any, topic: Callable[[str], str], tmp_path: Path) -> NewHandler:
    """A handler on a new topic of somebody else's, with dead letters of these times."""

    def made(times: List[int], retention_ms: int = -1) -> Handler:
        name = topic("d")[-80:]
        if retention_ms < 0:
            make_topic(kafka.bootstrap_servers, name)
        else:
            admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
            config = {"retention.ms": str(retention_ms), "message.timestamp.type": "CreateTime"}
            admin.create_topics([NewTopic(name, 1, 1, config=config)])[name].result(10)
        letters = [ours(n)._replace(timestamp_ms=at_ms) for n, at_ms in enumerate(times)]
        send(kafka.bootstrap_servers, name, letters)
        return Handler(kafka.bootstrap_servers, name, tmp_path)

    return made


def times_of(handler: Handler, *args: str) -> List[Optional[int]]:
    return [row["ts"] for row in handler.run("list", "--json", *args).rows]


def test_older_ones_behind_newer_ones_are_found(fresh: NewHandler) -> None:
    """An import, or a producer's clock, puts an old dead letter behind a new one."""
    days = [0, 9, 1, 8, 2]
    handler = fresh([T0_MS + day * DAY_MS for day in days])
    until, since = str(T0_MS + 2 * DAY_MS), str(T0_MS + 2 * DAY_MS)

    for flags in (["--until", until], ["-o", f"e@{until}"]):
        assert times_of(handler, *flags) == [T0_MS, T0_MS + DAY_MS], flags
    for flags in (["--since", since], ["-o", f"s@{since}"]):
        assert times_of(handler, *flags) == [T0_MS + day * DAY_MS for day in (9, 8, 2)], flags


def test_a_dead_letter_without_a_time_has_none(fresh: NewHandler, tmp_path: Path) -> None:
    """It is not of 1969, it is of no time that is asked for, and it can be exported and imported again."""
    handler = fresh([NO_TIME_MS, T0_MS])
    copy = fresh([])

    assert times_of(handler) == [None, T0_MS]
    assert times_of(handler, "--until", str(T0_MS + 1)) == [T0_MS]
    shown = "".join(handler.run(*verb).out for verb in (["list"], ["show", "0:0"], ["stats"], ["groups"]))
    assert "1969" not in shown and "1 without a time" in shown
    assert handler.run("export", "some.jsonl").code == 0
    run = copy.run("import", "some.jsonl", "--yes")
    assert run.code == 0, run.err
    assert times_of(copy) == [None, T0_MS]


def test_a_dead_letter_of_1970_keeps_its_time(fresh: NewHandler, tmp_path: Path) -> None:
    """A clock that was never set begins there. This client cannot send a 0, so it is a millisecond later."""
    copy = fresh([])
    row = {"topic": "d", "partition": 0, "headers": [], "key_b64": None, "payload_b64": "eA=="}
    lines = [json.dumps({**row, "ts": at_ms}) for at_ms in (0, 5)]
    (tmp_path / "old.jsonl").write_text("\n".join(lines), "utf-8")

    run = copy.run("import", "old.jsonl", "--yes", "--json")

    assert (run.code, run.rows[0]["imported"], run.rows[0]["dated_anew"]) == (0, 2, 0), run.err
    assert times_of(copy) == [1, 5]


def test_an_import_outlives_the_retention(fresh: NewHandler, tmp_path: Path) -> None:
    """What a topic would delete at once, by its own time, is dated anew; the rest keeps its time."""
    now_ms = int(time.time() * 1000)
    old = fresh([now_ms - 10 * DAY_MS, now_ms - DAY_MS, NO_TIME_MS])
    copy = fresh([], 7 * DAY_MS)
    assert old.run("export", "old.jsonl").code == 0

    run = copy.run("import", "old.jsonl", "--yes", "--json")

    assert (run.code, run.rows[0]["imported"], run.rows[0]["dated_anew"]) == (0, 3, 2), run.err
    assert f"2 get the time of this import: with their own, {copy.topic} would refuse" in run.err
    first, second, third = (at_ms or 0 for at_ms in times_of(copy))
    assert second == now_ms - DAY_MS
    assert min(first, third) >= now_ms


def test_one_that_came_back_is_known_whatever_its_time(fresh: NewHandler) -> None:
    """It may be older than the replay, or of no time. One that names a made-up job did not come back."""
    handler = fresh([T0_MS, T0_MS + 1, T0_MS + 2])
    target = f"{handler.topic}-target"
    make_topic(handler.bootstrap_servers, target)
    assert handler.run("replay", "--all", "--to", target, "--unchecked", "--yes").code == 0
    job = handler.run("jobs", "--json").rows[0]["job"].encode()
    for offset, at_ms, by in ((0, 1_000_000_000_000, job), (1, NO_TIME_MS, job), (2, T0_MS, b"forged")):
        came_from = ("orders.replay.from", f"{handler.topic}-0-{offset}".encode())
        back = ours(50 + offset, headers=[came_from, ("orders.replay.job", by)])
        send(handler.bootstrap_servers, handler.topic, [back._replace(timestamp_ms=at_ms)])

    states = [row["state"] for row in handler.run("list", "--json").rows]

    assert states == ["failed-again", "failed-again", "replayed", "new", "new", "new"]
