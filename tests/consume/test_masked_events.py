"""No event of the consumer shows what MASKED_FIELDS hides: not its line, its JSON, or a metric's label."""

import json
from typing import Any, Dict, List, Optional

import pytest

from orderflow.cli.log import JsonLines, TextLines
from orderflow.consume.event_counts import EventCounts
from orderflow.consume.event_log import ALL, entry_of
from orderflow.consume.masked_events import NOTHING_HIDDEN, EventMask
from orderflow.consume.outcomes import KILLED
from orderflow.consume.tracebacks import traceback_of
from orderflow.errors import Undecodable, describe
from orderflow.model.hidden import KEY, MASKED
from orderflow.model.records import Record
from tests.consume.test_events import fields_of
from tests.support.memory import Stored

SECRET, PRICE = "anna@shop.example", -3.5
ORDER: Dict[str, Any] = {"order_id": "O-7", "email": SECRET, "price": PRICE, "to": {"email": SECRET}}
NAMES = frozenset(["email", "price", KEY])
CARRIES_AN_ORDER = {"record", "failure", "traceback", "key"}


def decode(value: Optional[bytes]) -> Dict[str, Any]:
    """The order of every value but one."""
    if value == b"broken":
        raise Undecodable("not an order", "decode.framing")
    return ORDER


def raised() -> Exception:
    """What a handler raised, which quotes all it knows."""
    try:
        try:
            raise KeyError(SECRET)
        except KeyError as error:
            raise ValueError(f"{SECRET} of key-of-anna cannot pay {PRICE}") from error
    except ValueError as error:
        return error


def planted(name: str, record: Any) -> Dict[str, Any]:
    """The fields of an event, with secrets wherever an order's can be."""
    fields = fields_of(name)
    own = {"record": record, "failure": describe(raised())._replace(reason=f"process.of {SECRET}")}
    own["traceback"] = traceback_of(raised())
    return {field: own.get(field, value) for field, value in fields.items()}


def output_of(mask: EventMask, name: str, fields: Dict[str, Any]) -> str:
    """All that comes out of an event."""
    shown, counts = dict(mask.fields(fields)), EventCounts()
    counts.note(name, shown)
    entry = entry_of(name, shown)
    lines = [TextLines(None).of(entry, 0.0), JsonLines().of(entry, 0.0)]
    return "\n".join([*lines, *counts.retries, *counts.dead_lettered])


RECORD = Record("orders", 2, 41, 0, "CreateTime", b"key-of-anna", b"order", [("who", SECRET.encode())])
RECORDS: List[Any] = [
    RECORD,
    Stored(41, b"key-of-anna"),
    Record("orders", 2, 41, 0, "CreateTime", b"key-of-anna", b"broken", []),
]


@pytest.mark.parametrize("record", RECORDS, ids=["record", "message", "undecodable"])
@pytest.mark.parametrize("name", sorted(ALL))
def test_no_event_shows_what_is_hidden(name: str, record: Any) -> None:
    """Planted in the key, in every field of the order, and in all that the handler's error says."""
    if name == "dead_lettered" and isinstance(record, Stored):
        return  # that is always told of a plain record
    fields = planted(name, record)

    shown = output_of(EventMask(NAMES, decode), name, fields)

    for secret in (SECRET, "anna", "-3.5"):
        assert secret not in shown
    if CARRIES_AN_ORDER & set(fields):
        assert "anna" in output_of(NOTHING_HIDDEN, name, fields), "the secret was really there"
        assert MASKED in shown


def test_events_that_carry_an_order_are_known() -> None:
    """A new event that carries one in another field has to be masked, and named here."""
    known = {"retry", "dead_lettered", "first_of_its_kind", "order_done"}
    of_loading = {"failed", "not_closed"}
    """With the traceback of a handler that could not be opened or closed: it had no order."""

    assert {name for name in ALL if CARRIES_AN_ORDER & set(fields_of(name))} == known | of_loading


def test_what_is_not_hidden_is_still_told() -> None:
    """Position, attempt, class, frame and the words around what is hidden."""
    mask = EventMask(frozenset(["email"]), decode)

    shown = output_of(mask, "retry", planted("retry", RECORD))

    assert "orders-2-41 key key-of-anna" in shown
    assert f"ValueError: {MASKED} of key-of-anna cannot pay -3.5" in shown


def test_a_key_that_holds_a_hidden_value_is_hidden() -> None:
    """Whoever made the key of a field may have added something to it."""
    mask = EventMask(frozenset(["email"]), decode)
    record = RECORD._replace(key=f"{SECRET}/7".encode())

    assert SECRET not in output_of(mask, "retry", planted("retry", record))


@pytest.mark.parametrize("failure", [KILLED, describe(Undecodable("at byte 3: 'x' twice", "decode.choice"))])
def test_an_order_that_cannot_or_must_not_be_decoded_is_not_decoded(failure: Any) -> None:
    """It may be what killed the process; and a registry is not asked once more for a line of the log."""

    def decodes(value: Optional[bytes]) -> Dict[str, Any]:
        raise AssertionError("decoded")

    fields = {**planted("dead_lettered", RECORD), "failure": failure}
    shown = output_of(EventMask(NAMES, decodes), "dead_lettered", fields)

    assert "anna" not in shown and failure.reason in shown
    assert "the process died each time" in shown or f"at byte 3: {MASKED} twice" in shown


def test_json_lines_are_masked_in_every_field() -> None:
    """`key`, `error` and `reason` are fields of their own there."""
    fields = EventMask(NAMES, decode).fields(planted("dead_lettered", RECORD))

    row: Dict[str, Any] = json.loads(JsonLines().of(entry_of("dead_lettered", fields), 0.0))

    hidden: List[str] = [row["key"], row["error"], row["reason"]]
    assert row["key"] == MASKED and all(MASKED in text for text in hidden)
