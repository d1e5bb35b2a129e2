"""The engine's events: every event has a line, and no line can control a terminal."""

import ast
import inspect
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Set, Tuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orderflow.cli.log import TextLines
from orderflow.cli.script_events import COMMON
from orderflow.consume.event_log import ALL, entry_of
from orderflow.consume.events import MESSAGE_LENGTH
from orderflow.errors import Cause, InvalidOrder, RejectOrder, describe
from orderflow.model.records import Record
from tests.support.memory import Stored

PACKAGE = Path(__file__).resolve().parent.parent.parent / "orderflow"
RECORD = Record("orders", 2, 41, 1_764_000_000_000, "CreateTime", b"ann", b"order", [])
FAILED = describe(ConnectionError("bank is down"))
SAMPLES: Dict[str, Any] = {
    "partition": 2,
    "partitions": list(range(30)),
    "offset": 41,
    "until": 50,
    "waiting": 7,
    "suspects": [(0, offset) for offset in range(17, 40)],
    "first": 0,
    "last": 549,
    "careful": True,
    "more": True,
    "attempt": 2,
    "delay_s": 4.96,
    "retry_s": 2.0,
    "after_s": 90.0,
    "timeout_s": 300.0,
    "left_s": 24.0,
    "max_bytes": 750,
    "policy": "compact,delete",
    "detail": "Broker: not available",
    "step": "settling",
    "process": 2,
    "version": "1.0",
    "brokers": "localhost:9092",
    "topic": "orders",
    "group": "shop",
    "handler": "shop.billing:charge",
    "guarantee": "exactly-once",
    "workers": 4,
    "max_retries": 3,
    "backoff_s": 5.0,
    "backoff_max_s": 60.0,
    "dead_letter_topic": "orders-dlq",
    "results_topic": None,
    "settings": ["WORKERS=4 (.env)"],
    "key": "ann",
    "text": "processed 7",
    "processed": 7,
    "dead_lettered": 1,
    "in_flight": 2,
    "queued": 3,
    "unseen": 4,
    "retries": 5,
    "kinds": {"process.failed: ConnectionError": 5},
    "took_s": 61.0,
    "signal": 15,
    "reason": "full",
    "since_ms": 1_764_000_000_000,
    "committed": None,
    "limit": "bytes",
    "trace": "the dead letter of its offset 7",
    "for_s": 60.0,
    "where": "shop/bank.py:7 in pay",
    "do": "retry-now",
    "orders": 3,
    "asked": 4,
    "by": "ada@desk7",
    "metadata": "somebody's",
    "failure": FAILED,
    "traceback": ["Traceback (most recent call last):", "ConnectionError: bank is down"],
}
"""A value of each field that an event may carry."""


def fields_of(name: str) -> Dict[str, Any]:
    """A sample of everything that the line of this event needs."""
    samples = {**SAMPLES, "record": RECORD if name == "dead_lettered" else Stored(41, b"ann")}
    return {field: samples[field] for field in inspect.signature(ALL[name].line).parameters}


def lines_of(name: str, fields: Dict[str, Any]) -> List[str]:
    """What is logged of an event, without its time."""
    first, *others = TextLines(None).of(entry_of(name, fields), 0.0).split("\n")
    return [first.partition(" ")[2], *others]


def line_of(name: str, fields: Dict[str, Any]) -> str:
    """The first of these lines."""
    return lines_of(name, fields)[0]


def reported(*calls: str) -> Iterator[Tuple[str, Set[str], str]]:
    """Every such call in the package's source: the event's name, its fields, and where."""
    for file in [*sorted(PACKAGE.rglob("*.py")), PACKAGE.parent / "consumer.py"]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and _called(node) in calls and node.args:
                name = node.args[0]
                if isinstance(name, ast.Constant) and isinstance(name.value, str):
                    fields = {keyword.arg or "" for keyword in node.keywords}
                    yield name.value, fields, f"{file.name}:{node.lineno}"


def _called(call: ast.Call) -> str:
    return str(getattr(call.func, "attr", getattr(call.func, "id", "")))


REPORTED = list(reported("_report", "report"))


# --- the list is whole


@pytest.mark.parametrize(("name", "fields", "where"), REPORTED, ids=[where for _, _, where in REPORTED])
def test_what_is_reported_has_a_line_for_it(name: str, fields: Set[str], where: str) -> None:
    """A report with a field too many or too few would end the process when it is least wanted."""
    assert name in ALL
    assert fields == set(inspect.signature(ALL[name].line).parameters)


def test_the_list_holds_no_event_that_nothing_reports() -> None:
    """It is the manual of what to alert on."""
    assert set(ALL) - set(COMMON) == {name for name, _, _ in REPORTED}


@pytest.mark.parametrize("name", sorted(ALL))
def test_every_event_says_how_grave_it_is_and_what_it_means(name: str) -> None:
    """One line, its severity first, and a meaning for the manual."""
    line = line_of(name, fields_of(name))

    assert ALL[name].severity in ("debug", "retry", "dead", "info", "warn", "ERROR")
    assert line.startswith(ALL[name].severity + " ")
    assert ALL[name].meaning
    assert line.isprintable()


# --- the lines


def test_a_retry_names_order_cause_and_next_try() -> None:
    """All that an operator needs to decide whether to look closer."""
    assert line_of("retry", fields_of("retry")) == (
        "retry orders-0-41 key ann: process.failed: ConnectionError: bank is down; "
        "attempt 2 failed, next try in 5.0 s"
    )


@pytest.mark.parametrize(
    ("error", "attempt", "line"),
    [
        (InvalidOrder("quantity", "is 0"), 1, ": validate.quantity: quantity is 0"),
        (RejectOrder("no"), 1, " after 1 attempt: process.rejected: orderflow.errors.RejectOrder: no"),
        (ValueError("x"), 4, " after 4 attempts: process.failed: ValueError: x"),
    ],
)
def test_a_dead_letter_names_order_attempts_and_cause(error: Exception, attempt: int, line: str) -> None:
    """Attempts only where there were any: what cannot be decoded is not called."""
    fields = {"record": RECORD, "failure": describe(error), "attempt": attempt}

    assert f"dead orders-2-41 key ann: dead-lettered{line}" == line_of("dead_lettered", fields)


def test_lost_orders_are_named_by_offset() -> None:
    """Both kinds: never seen, and seen and waiting."""
    alone, more = ({"partition": 0, "offset": 5, "more": more} for more in (False, True))

    assert "offsets 5 to 8" in line_of("lost_by_retention", {"partition": 0, "offset": 5, "until": 9})
    assert "the order at offset 5 was waiting" in line_of("waiting_order_lost", alone)
    assert "of its key" in line_of("waiting_order_lost", more)
    assert "of its key" not in line_of("waiting_order_lost", alone)


def test_cause_and_frame_are_named() -> None:
    """Where to look, and what it began with."""
    failure = FAILED._replace(causes=(Cause("OSError", "no route"),), frame="shop/bank.py:7 in pay")
    line = line_of("retry", {**fields_of("retry"), "failure": failure})

    assert "ConnectionError: bank is down, caused by OSError: no route (shop/bank.py:7 in pay); at" in line


def test_a_traceback_follows_its_line() -> None:
    """The only event of several lines; those after the first are indented."""
    first, *others = lines_of("first_of_its_kind", fields_of("first_of_its_kind"))

    assert "warn first ConnectionError, its traceback is shown this once:" == first
    assert ["  Traceback (most recent call last):", "  ConnectionError: bank is down"] == others


# --- text of unknown origin

HOSTILE = ["\x1b[2J\x1b[31m", "a\r\nERROR forged line", "\u202eevil", "\x9b31m", "\ud800", "\u2028", "\0"]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("name", sorted(ALL))
def test_hostile_text_is_shown_and_not_obeyed(name: str, text: str) -> None:
    """Wherever it appears: in a key, a message, a reason chosen by a handler, or Kafka's answer."""
    fields = fields_of(name)
    failure = FAILED._replace(message=text, reason=text, error_class=text)
    key = text.encode("utf-8", "surrogatepass")
    changes = {"failure": failure, "detail": text, "metadata": text, "traceback": [text]}
    changes["record"] = RECORD._replace(key=key) if name == "dead_lettered" else Stored(41, key)  # type: ignore[assignment]

    lines = lines_of(name, {field: changes.get(field, value) for field, value in fields.items()})

    assert all(line.isprintable() for line in lines)
    assert ("traceback" in fields) + 1 == len(lines)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=300), st.text(max_size=300))
@example(b"k" * 1_000_000, "m" * 1_000_000)
def test_lines_stay_short_whatever_they_quote(key: bytes, message: str) -> None:
    """A key or message of a megabyte is cut; the dead letter has all of it."""
    fields = {"record": RECORD._replace(key=key), "failure": FAILED._replace(message=message), "attempt": 1}

    line = line_of("dead_lettered", fields)

    assert line.isprintable()
    assert len(line) <= 100 + 2 * 10 * (MESSAGE_LENGTH + 1)


def test_no_key_and_an_empty_key_look_different() -> None:
    """The first is no key at all."""
    lines: List[str] = [
        line_of("dead_lettered", {"record": RECORD._replace(key=key), "failure": FAILED, "attempt": 1})
        for key in (None, b"")
    ]

    assert "key none:" in lines[0] and "key :" in lines[1]


@pytest.mark.parametrize(("key", "shown"), [(None, "none"), (b"", ""), (b"k" * 1000, "k" * 200 + "…")])
def test_a_processed_order_shows_its_key_as_all_others_do(key: Optional[bytes], shown: str) -> None:
    """With -v. The object has all of it."""
    assert line_of("order_done", {"record": RECORD._replace(key=key)}).endswith(f" key {shown}")


def test_orders_that_may_have_ended_the_process_are_named() -> None:
    """One, or the first of several."""
    many = [(1, offset) for offset in range(10)]

    assert line_of("called_alone", {"suspects": [(1, 17)]}) == (
        "warn order 1-17 is called alone: it may be what ended the process"
    )
    assert line_of("called_in_company", {"suspects": many}) == (
        "debug orders 1-0, 1-1, 1-2, 1-3, 1-4, 1-5, 1-6, 1-7 and 2 more are called with nothing beside them"
    )
