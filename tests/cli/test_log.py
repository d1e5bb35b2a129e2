"""The log: each line has a time and a level, is whole, and cannot control a terminal or break a parser."""

import io
import json
import logging
import re
import threading
import warnings
from typing import Any, Dict, List, Optional, Tuple

import pytest

from orderflow.cli.log import JSON, TEXT, JsonLines, Log, TextLines
from orderflow.cli.output import Notes
from orderflow.cli.status import StatusLine
from orderflow.model.log_entry import LEVELS, WORD_LEVELS, LogEntry

ISO = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
NOON_S = 1_795_564_800.25
"""2026-11-25T00:00:00.250Z"""
RETRY = LogEntry("retry", "retry", "orders-0-41 key ann: no", {"partition": 0, "delay_s": 2.5})
HOSTILE = "\x1b[2J\r\nERROR forged \u202e"


def logged(form: str, level: str = "info", is_terminal: bool = False) -> Tuple[Log, List[str]]:
    """A log, and the lines that it writes."""
    lines: List[str] = []
    log = Log(lines.append, form, level, is_terminal)
    log.begin()
    return log, lines


def objects(lines: List[str]) -> List[Dict[str, Any]]:
    """What a machine reads, which refuses what is not JSON."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    return [json.loads(line, parse_constant=refuse) for line in lines]


# --- the toolkit's own entries


def test_a_line_has_a_time_and_a_level() -> None:
    """In UTC to the millisecond; on a terminal the local time to the second, so that a line stays short."""
    assert TextLines(None).of(RETRY, NOON_S) == "2026-11-25T00:00:00.250Z retry orders-0-41 key ann: no"
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d retry orders-0-41 key ann: no", TextLines("%H:%M:%S").of(RETRY, NOON_S)
    )


def test_an_object_has_them_too_with_the_events_name_and_fields() -> None:
    """Stable names, and the line for people as `message`."""
    assert json.loads(JsonLines().of(RETRY, NOON_S)) == {
        "time": "2026-11-25T00:00:00.250Z",
        "level": "info",
        "event": "retry",
        "message": "orders-0-41 key ann: no",
        "partition": 0,
        "delay_s": 2.5,
    }


@pytest.mark.parametrize("level", LEVELS)
def test_what_is_below_the_level_is_not_logged(level: str) -> None:
    """A retry is information, a dead letter a warning."""
    log, lines = logged(TEXT, level)
    for word in WORD_LEVELS:
        log.add(LogEntry("event", word, word))

    told = [line.split()[1] for line in lines]

    assert told == [word for word, of in WORD_LEVELS.items() if LEVELS.index(of) >= LEVELS.index(level)]


@pytest.mark.parametrize("form", [TEXT, JSON])
def test_hostile_text_is_shown_and_not_obeyed(form: str) -> None:
    """In an entry, in a user's message, in the name of a logger: one line each, and printable."""
    log, lines = logged(form)
    log.add(LogEntry("event", "info", HOSTILE, {"key": HOSTILE}))
    logging.getLogger(HOSTILE).error("%s", HOSTILE)

    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)


# --- what others log


@pytest.mark.parametrize(
    ("level", "word"),
    [(logging.DEBUG, None), (logging.INFO, "info"), (25, "info"), (logging.WARNING, "warn"), (50, "ERROR")],
)
def test_a_handlers_own_records_come_out_the_same_way(level: int, word: Optional[str]) -> None:
    """With the name of their logger, from the level that is set."""
    _, lines = logged(TEXT)
    logging.getLogger("shop.billing").log(level, "charged %d", 7)

    assert [re.fullmatch(f"{ISO} {word} shop.billing: charged 7", line) is not None for line in lines] == (
        [] if word is None else [True]
    )


def test_records_are_objects_with_what_the_caller_added() -> None:
    """`extra` becomes fields; the names that every object has are taken."""
    _, lines = logged(JSON)
    logging.getLogger("shop").warning("slow", extra={"order_id": "A1", "level": "mine", "took_s": 1.5})

    (found,) = objects(lines)

    assert found.pop("time")
    assert found == {
        "level": "warning",
        "event": "log",
        "message": "slow",
        "logger": "shop",
        "order_id": "A1",
        "took_s": 1.5,
    }


@pytest.mark.parametrize("value", [float("nan"), {1: {2: object()}}, {(1, 2): 3}, b"\xff", "\ud800"])
def test_every_line_is_an_object_whatever_was_added(value: object) -> None:
    """What JSON cannot say is written as text."""
    _, lines = logged(JSON)
    loop: List[object] = [value]
    loop.append(loop)
    logging.getLogger("shop").warning("odd", extra={"value": value})
    logging.getLogger("shop").warning("odd", extra={"value": loop})

    assert [found["message"] for found in objects(lines)] == ["odd", "odd"]


@pytest.mark.parametrize("form", [TEXT, JSON])
def test_an_exception_keeps_its_traceback(form: str) -> None:
    """As lines of text, or in one field."""
    _, lines = logged(form)
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        logging.getLogger("shop").exception("no")

    text = "\n".join(lines)
    assert len(lines) > 3 if form == TEXT else len(lines) == 1
    assert "in test_an_exception_keeps_its_traceback" in text
    assert "\x1b" not in text
    assert form == TEXT or "ValueError" in json.loads(text)["traceback"]


@pytest.mark.parametrize("form", [TEXT, JSON])
def test_a_record_that_cannot_be_shown_stops_nothing(form: str) -> None:
    """Arguments that do not fit, and a text that raises; the place is named."""

    class Unshowable:
        def __str__(self) -> str:
            raise RuntimeError

    _, lines = logged(form)
    logging.getLogger("shop").error("%d orders", "many")
    logging.getLogger("shop").error(Unshowable())

    assert len(lines) == 2
    assert all("test_log.py" in line and "cannot be shown" in line for line in lines)


def test_warnings_are_logged_too() -> None:
    """Of Python, which would go to stderr by themselves."""
    _, lines = logged(JSON)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("old", DeprecationWarning, stacklevel=1)

    assert "DeprecationWarning" in objects(lines)[0]["message"]


def test_the_handlers_that_were_there_do_not_write_twice() -> None:
    """A handler's module may have called basicConfig when it was imported."""
    other = io.StringIO()
    logging.getLogger().addHandler(logging.StreamHandler(other))
    _, lines = logged(TEXT)
    logging.getLogger("shop").error("once")

    assert (len(lines), other.getvalue()) == (1, "")


# --- above the status line


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        """It is one."""
        return True


def test_lines_of_many_threads_are_never_torn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Into each other, or into the status line."""
    monkeypatch.setenv("TERM", "xterm")
    screen = Screen()
    status = StatusLine(Notes(screen))
    Log(status.note, TEXT, "info", True).begin()

    def talk(number: int) -> None:
        for _ in range(200):
            logging.getLogger(f"worker-{number}").info("done")

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(200):
        status.show("processed 7")
    for thread in threads:
        thread.join()

    written = re.sub(r"\r\x1b\[K(processed 7)?", "", screen.getvalue())
    assert len(written.splitlines()) == 800
    assert all(re.fullmatch(r"\d\d:\d\d:\d\d info worker-\d: done", line) for line in written.splitlines())
