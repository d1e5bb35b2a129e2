"""LOG_FORMAT=json: whatever a script says on stderr is an object, with an event that has a name."""

import ast
import contextlib
import inspect
import io
import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Dict, Iterator, List, Set, Tuple

import pytest

from orderflow.cli.json_notes import JsonNotes
from orderflow.cli.outage import Outage
from orderflow.cli.output import Notes
from orderflow.cli.script_events import SCRIPT_EVENTS, line_of
from orderflow.cli.status import StatusLine
from tests.support.pipeline import ROOT, bare_environment

SCRIPTS = ("producer.py", "consumer.py", "dlq_handler.py")
HOSTILE = "\x1b[2J\r\nERROR forged \u202e"
SAMPLES: Dict[str, Any] = {
    "brokers": "shop:hush@kafka:9092",
    "for_s": 75.0,
    "signal": 15,
    "timeout_s": 25.0,
    "traceback": ["ValueError: no"],
    "done": 7,
    "path": "undelivered.jsonl",
    "orders": 2,
    "published": 7,
    "failed": 1,
    "broken": 0,
    "bad_lines": 0,
    "took_s": 1.5,
    "partition": 0,
    "offset": 41,
}
"""A value of each field that is no text."""


def objects(text: str) -> List[Dict[str, Any]]:
    """Each line as what it must be."""
    found = [json.loads(line) for line in text.splitlines()]
    assert all({"time", "level", "event", "message"} <= set(each) for each in found), text
    return found


def notes() -> Tuple[JsonNotes, io.StringIO]:
    """Those of a script, and what they become."""
    stream = io.StringIO()
    return JsonNotes(stream), stream


def fields_of(event: str) -> Dict[str, Any]:
    """A sample of each of its fields; texts are hostile."""
    names = inspect.signature(SCRIPT_EVENTS[event].line).parameters
    return {name: SAMPLES.get(name, HOSTILE) for name in names}


# --- the catalogue


@pytest.mark.parametrize("event", sorted(SCRIPT_EVENTS))
def test_every_event_is_one_object_with_its_fields(event: str) -> None:
    """Hostile text is shown and not obeyed, and no password is repeated."""
    said, stream = notes()
    said.tell(event, **fields_of(event))

    (found,) = objects(stream.getvalue())

    assert (found["event"], set(found) - {"time", "level", "event", "message"}) == (
        event,
        set(fields_of(event)),
    )
    assert stream.getvalue().rstrip("\n").isprintable()
    assert "hush" not in stream.getvalue()


@pytest.mark.parametrize("event", sorted(SCRIPT_EVENTS))
def test_every_event_is_one_line_for_people(event: str) -> None:
    """Without a time, as of any other command; what is of the script itself starts with its name."""
    stream = io.StringIO()
    Notes(stream).tell(event, **fields_of(event))

    assert len(stream.getvalue().splitlines()) == 1
    assert stream.getvalue().rstrip("\n").isprintable()
    assert SCRIPT_EVENTS[event].meaning
    assert line_of(event, **fields_of(event))


TELLING = ("tell", "_tell", "interject")


def told() -> Iterator[Tuple[str, Set[str]]]:
    """Every event that the source tells, with its fields."""
    files = [*(ROOT / "orderflow").rglob("*.py"), *(ROOT / script for script in SCRIPTS)]
    calls = (node for file in files for node in ast.walk(ast.parse(file.read_text("utf-8"))))
    for node in calls:
        if not isinstance(node, ast.Call) or getattr(node.func, "attr", "") not in TELLING:
            continue
        name = node.args[0] if node.args else None
        if isinstance(name, ast.Constant) and isinstance(name.value, str) and name.value.isidentifier():
            yield name.value, {keyword.arg or "**" for keyword in node.keywords}


def test_what_is_told_is_in_the_catalogue_and_nothing_else_is() -> None:
    """It is the manual of what to alert on."""
    found = list(told())

    for event, fields in found:
        assert fields in ({"**"}, set(fields_of(event))), event
    assert {event for event, _ in found} == set(SCRIPT_EVENTS)


# --- whatever is said


def test_nothing_is_rewritten_and_nothing_rings() -> None:
    """Not even at a terminal: progress is an event."""
    said, stream = notes()
    status = StatusLine(said, clock=lambda: 0.0)
    status.show("1 of 7 read", 1)
    status.clear()
    said.bell()
    status.note("a note")
    Outage(status.tell, "kafka:9092").lost("refused")

    assert [found["event"] for found in objects(stream.getvalue())] == ["progress", "note", "kafka_lost"]
    assert not said.can_rewrite


def test_the_end_of_a_script_is_one_object_whatever_it_was() -> None:
    """An expected failure of several lines, a wrong flag, a bug of ours."""
    said, stream = notes()
    said.complain("first", "second", traceback=["ValueError: no"])
    said.complain_of_usage("no such flag", ["usage: ...", "consumer.py: error: no such flag"])
    said.complain_of_bug(["Traceback (most recent call last):", "KeyError: 7"])

    found = objects(stream.getvalue())

    assert [each["event"] for each in found] == ["failed"] * 3
    assert [each["detail"] for each in found] == [
        "first\nsecond",
        "no such flag",
        "this is a bug of the toolkit: KeyError: 7",
    ]
    assert [len(each["traceback"]) for each in found] == [1, 0, 2]


@contextlib.contextmanager
def process_wide() -> Iterator[None]:
    """What the process logs with is as before afterwards."""
    root, hooks = logging.getLogger(), (threading.excepthook, sys.unraisablehook)
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.handlers[:], root.level = handlers, level
        threading.excepthook, sys.unraisablehook = hooks


def test_what_a_thread_dies_of_is_an_object() -> None:
    """And what a finalizer raises, and what a library logs."""

    class Unruly:
        def __del__(self) -> None:
            raise ValueError("in a finalizer")

    def die() -> None:
        raise KeyError("in a thread")

    said, stream = notes()
    with process_wide():
        said.begin()
        thread = threading.Thread(target=die)
        thread.start()
        thread.join()
        Unruly()
        logging.getLogger("library").warning("hm")

    found = objects(stream.getvalue())
    assert [each["event"] for each in found] == ["log"] * 3
    assert ["in a thread" in found[0]["traceback"], "in a finalizer" in found[1]["traceback"]] == [True, True]


# --- the real scripts


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--bogus",), "unrecognized arguments: --bogus"),
        (("--orders-topic", "no topic", "-b", "nowhere:x"), "2 wrong settings:"),
        (("--order-schema", "nowhere.avsc"), "nowhere.avsc"),
        (("-X", "security.protocol=nonsense"), "nonsense"),
    ],
    ids=["flag", "settings", "schema", "property"],
)
def test_every_line_of_a_script_that_cannot_begin_is_an_object(
    script: str, arguments: Tuple[str, ...], words: str, tmp_path: Path
) -> None:
    """Of whatever is wrong with what it was given."""
    environ = {**bare_environment(), "LOG_FORMAT": "json"}
    command = [sys.executable, str(ROOT / script), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environ, timeout=60)

    (failed,) = objects(ended.stdout + ended.stderr)

    assert (failed["event"], failed["level"]) == ("failed", "error")
    assert words in failed["detail"]
    assert ended.returncode in (1, 2)


@pytest.mark.parametrize("processes", [(), ("--processes", "2")], ids=["one", "several"])
def test_every_line_of_a_handler_that_cannot_be_loaded_is_in_one_object(
    processes: Tuple[str, ...], tmp_path: Path
) -> None:
    """With the traceback, since it is somebody's own code."""
    (tmp_path / "broken.py").write_text("def handle(order):\n    pass\nraise ValueError('no database')\n")
    environ = {**bare_environment(), "LOG_FORMAT": "json"}
    command = [sys.executable, str(ROOT / "consumer.py"), "--handler", "broken.py:handle", *processes]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environ, timeout=60)

    (failed,) = objects(ended.stdout + ended.stderr)

    assert "no database" in failed["detail"]
    assert any("broken.py" in line for line in failed["traceback"])


def test_help_is_for_people_whatever_the_log_is() -> None:
    """It was asked for, and goes to stdout."""
    environ = {**os.environ, "LOG_FORMAT": "json"}
    command = [sys.executable, str(ROOT / "consumer.py"), "--help"]
    ended = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=60)

    assert ended.stdout.startswith("usage: consumer.py")
    assert ended.stderr == ""
