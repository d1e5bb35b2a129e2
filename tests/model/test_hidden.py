"""Hidden values are found in a text in whatever way it writes them."""

import json
import re
from datetime import date, datetime, time, timezone
from decimal import Decimal
from typing import Any, FrozenSet
from urllib.parse import quote, quote_plus
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderflow.model.hidden import KEY, MASKED, TextKind, hidden_names, order_without, words_of
from orderflow.model.moments import TimestampNanos

NAMES = frozenset(["email", "price"])


def shown(value: Any, text: str, names: FrozenSet[str] = NAMES) -> str:
    """What is left of a text, where the value is hidden."""
    return words_of(names, {"email": value, "city": "Hilo"}, b"key").out_of_text(text)


@pytest.mark.parametrize(
    "told",
    [
        "no account for {0}",
        "KeyError: {0!r}",
        "price must be positive: {0!r}",
        "{{'email': {0!r}, 'n': 1}}",
        "{0}",
        "at {0}, again {0}.",
    ],
)
@pytest.mark.parametrize(
    "value", ["anna@shop.example", 'O\'Neil "the" 3rd', "Zoë\nBlüm", -4711.25, 815, 3, "Al"]
)
def test_a_value_is_hidden_however_it_is_quoted(value: Any, told: str) -> None:
    """Plain, as Python writes it, in the midst of other words, more than once."""
    text = told.format(value)

    found = shown(value, text)

    assert str(value) not in found and repr(value) not in found and MASKED in found


@pytest.mark.parametrize("told", ["12,345.50", "12345.5", "12345.50", "12,345.5"])
@pytest.mark.parametrize("value", [12345.5, Decimal("12345.50")])
def test_a_number_is_hidden_with_the_usual_digits(value: Any, told: str) -> None:
    """As money is written."""
    assert shown(value, f"too much: {told}") == f"too much: {MASKED}"


AT = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (date(1961, 3, 4), "1961-03-04"),
        (date(1961, 3, 4), "datetime.date(1961, 3, 4)"),
        (time(13, 14, 15), "13:14:15"),
        (time(13, 14, 15), repr(time(13, 14, 15))),
        (AT, "2026-01-02 03:04:05.678000+00:00"),
        (AT, "2026-01-02T03:04:05.678000+00:00"),
        (AT, "2026-01-02T03:04:05.678+00:00"),
        (AT, "2026-01-02T03:04:05.678Z"),
        (AT, "2026-01-02 03:04:05.678Z"),
        (AT, repr(AT)),
        (AT, "1767323045.678"),
        (AT, "1767323045"),
        (AT, "1767323045678"),
        (AT, "1767323045678000"),
        (AT.replace(tzinfo=None), "2026-01-02T03:04:05.678"),
        (AT.replace(tzinfo=None), "1767323045678"),
        (TimestampNanos(1767323045678901234), "2026-01-02T03:04:05.678901234Z"),
        (TimestampNanos(1767323045678901234), "1767323045678901234"),
        (UUID("deadbeef-1234-4321-8888-0123456789ab"), "deadbeef-1234-4321-8888-0123456789ab"),
        (UUID("deadbeef-1234-4321-8888-0123456789ab"), "deadbeef1234432188880123456789ab"),
        (UUID("deadbeef-1234-4321-8888-0123456789ab"), "DEADBEEF-1234-4321-8888-0123456789AB"),
        (b"secrets", "c2VjcmV0cw=="),
    ],
)
def test_a_value_of_a_logical_type_is_hidden_as_handlers_and_services_write_it(value: Any, told: str) -> None:
    """As text, as Python's own, in ISO 8601, as the number that Avro keeps."""
    assert shown(value, f"refused: {told}") == f"refused: {MASKED}"


@pytest.mark.parametrize("value", ['O\'Neil "the" 3rd', "O'Neil", 'the "3rd"', "Zoë Blüm", "Zoë's\nBlüm"])
def test_a_value_in_the_answer_of_a_service_is_hidden(value: str) -> None:
    """HTTP clients quote bodies as they came, in bytes too, or as a text within JSON."""
    for body in (json.dumps({"to": value}), json.dumps({"to": value}, ensure_ascii=False), value):
        quoted = (repr(body), ascii(body), repr(body.encode()), json.dumps({"detail": body}))
        for told in (*quoted, repr(f"\"'{body}")):
            found = shown(value, f"refused: {told}")
            assert MASKED in found and not re.search("O.{0,4}Neil|3rd|Zo|Bl", found)


def test_json_spelling_is_hidden() -> None:
    """A library quotes the payload that it was sent."""
    value = 'Zoë "Z"'
    for text in (json.dumps({"to": value}), json.dumps({"to": value}, ensure_ascii=False)):
        assert "Zo" not in shown(value, f"refused: {text}")


@pytest.mark.parametrize(
    "told",
    [
        "404 for url: https://crm.example/c/{path}?deep=1",
        "404 for url: https://crm.example/c?who={whole}",
        "POST /c?who={form} failed",
        "404 for url: https://crm.example/c/{lenient}",
    ],
)
@pytest.mark.parametrize("value", ["anna+x@shop.example", "C 47/11", "Zoë Blüm", "A&B's (new)", "50%-off!"])
def test_a_value_in_an_address_is_hidden(value: str, told: str) -> None:
    """HTTP clients name the address that they asked for in their errors."""
    spelt = {
        "path": quote(value, safe="/@:+&'()!"),
        "whole": quote(value, safe=""),
        "form": quote_plus(value),
        "lenient": quote(value, safe="!#$%&'()*+,/:;=?@[]~"),
    }

    assert shown(value, told.format(**spelt)) == told.format(**dict.fromkeys(spelt, MASKED))


def test_a_short_value_is_hidden_where_it_stands_by_itself() -> None:
    """And not as a part of a number, a word or a name."""
    text = "quantity must be positive: -3 (app-3.py:3 in f3, 1-3, 13, -3.5)"

    assert shown(-3, text) == f"quantity must be positive: {MASKED} (app-3.py:3 in f3, 1-3, 13, -3.5)"
    words = words_of(NAMES, {"price": 3}, None)
    assert words.out_of_text("3", TextKind.ANY) == "3", "no sentence: a partition, say"


@pytest.mark.parametrize("size", range(4, 17))
def test_the_beginning_of_a_value_that_was_cut_off_is_hidden(size: int) -> None:
    """A long message ends with an ellipsis wherever it happened to be cut."""
    text = "no account for " + "anna@shop.example"[:size] + "…"

    assert shown("anna@shop.example", text) == f"no account for {MASKED}…"


def test_of_an_order_that_cannot_be_decoded_any_sentence_is_hidden() -> None:
    """Nobody knows its values; a code is no sentence."""
    words = words_of(NAMES, None, b"key")

    assert words.out_of_text("cannot parse anna@shop.example") == MASKED
    assert words.out_of_text("'anna'") == MASKED
    assert words.out_of_text('{"email":"anna"}', TextKind.ANY) == MASKED
    for code in ("decode.truncated", "java.lang.Error$1", "2026-11-29T04:00:00Z", "\x00\x00\x00\x07"):
        assert words.out_of_text(code, TextKind.ANY) == code
    assert (
        words.out_of_text("at byte 7: key 'anna' and 'bob' twice", TextKind.OURS)
        == f"at byte 7: key {MASKED} twice"
    )


def test_where_only_the_key_is_hidden_it_is_known_in_any_case() -> None:
    """What stands in a value that cannot be decoded may be shown then."""
    words = words_of(frozenset([KEY]), None, b"C-anna")

    assert words.out_of_text("no account C-anna in list") == f"no account {MASKED} in list"


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(), st.lists)
)
def test_any_value_can_be_hidden(value: Any) -> None:
    """NaN, infinity, lone surrogates, bytes: nothing raises."""
    words = words_of(NAMES, {"email": value, "price": {"a": value}}, None)

    words.out_of_text("a text with \ud800 and … something…")
    assert order_without(NAMES, {"email": value, "to": [{"price": value}]}) == {
        "email": MASKED,
        "to": [{"price": MASKED}],
    }


def test_what_an_order_does_not_have_is_refused() -> None:
    """To hide nothing by mistake would show everything."""
    assert hidden_names(["email"], ["email", "id"], "id") == {"email"}
    assert hidden_names(["id"], ["email", "id"], "id") == {"id", KEY}, "the key is made of it"
    with pytest.raises(ValueError, match="no field emial; did you mean email"):
        hidden_names(["emial"], ["email"], "id")
