"""Hidden fields: nothing that is shown holds them, and what is done is done to the whole."""

import json
from typing import Any, List, Optional

import pytest

from orderflow.avro.codec import Inspection
from orderflow.dlq.grouping import Groups
from orderflow.dlq.letter import FailureKind, Letter
from orderflow.dlq.masking import MASKED, Mask
from orderflow.dlq.output import files
from orderflow.dlq.output.envelope import envelope, to_json
from orderflow.dlq.output.group_table import Look, group_lines
from orderflow.dlq.output.listing import LetterLines
from orderflow.dlq.output.narrow import NarrowLines
from orderflow.dlq.output.portrait import Shown, history_lines, show_lines
from orderflow.errors import Undecodable
from orderflow.model.dead_letter import FRAME
from orderflow.model.records import Record
from tests.support.dlq_tools import ROOT, T0_MS, ours

SECRET = "anna@shop.example"
ORDER = {
    "order_id": "O-7",
    "email": SECRET,
    "price": 4711.25,
    "to": {"email": SECRET, "city": "Hilo"},
    "items": [{"email": SECRET}],
}
MASK = Mask(frozenset(("email", "price", "key")))


def letter(order: Any = ORDER, **changes: Any) -> Letter:
    told = {"message": f"no account for {SECRET}, price 4711.25", "stack": f"KeyError: '{SECRET}'"}
    sent = ours(7, **{"key": b"key-of-anna", "value": SECRET.encode(), **told, **changes})

    def decode(value: Optional[bytes]) -> Any:
        if order is None:
            raise Undecodable("not an order", "decode.framing")
        return order

    headers = [("customer", SECRET.encode()), *sent.headers]
    return Letter(Record("dlq", 0, 7, T0_MS, "CreateTime", sent.key, sent.value, headers), decode)


def everything_shown(mask: Mask, one: Letter) -> str:
    """All that any screen, file or program gets of it."""
    masked, groups = mask.letter(one), Groups(mask)
    groups.add(one)
    order = None if one.order is None else mask.order(one.order)
    inspection = Inspection(None, None, None, order, ValueError("x"))
    lines: List[str] = [
        LetterLines().line(masked),
        *NarrowLines().lines([masked], 400),
        *show_lines(Shown(masked, inspection, None, False), T0_MS, True, True),
        *history_lines([masked], {}),
        to_json(envelope(masked)),
        files.csv_line(masked),
        *group_lines(groups.rows(), Look(None, None), T0_MS),
    ]
    return "\n".join(lines)


@pytest.mark.parametrize("secret", [SECRET, "key-of-anna", "4711.25"])
def test_what_is_hidden_is_nowhere(secret: str) -> None:
    """Neither as a field, nor in an object or a list, nor in a key, a header, a message or a stack trace."""
    assert secret in everything_shown(Mask(), letter())
    assert secret not in everything_shown(MASK, letter())
    assert MASKED in everything_shown(MASK, letter())
    assert "Hilo" in everything_shown(MASK, letter())


@pytest.mark.parametrize("name", ["topic", "frame", "reason", "stage", "class_name"])
def test_no_part_of_a_kind_of_failure_holds_what_is_hidden(name: str) -> None:
    """A topic, a file or a stage may be named after a customer, as groups and reports show them."""
    told = {
        "frame": FailureKind("d", "0" * 16, frame=f"app/{SECRET}.py:3 in f"),
        "topic": FailureKind("d", "0" * 16, topic=f"of.{SECRET}"),
        "reason": FailureKind("d", "0" * 16, reason=f"process.{SECRET}"),
        "stage": FailureKind("d", "0" * 16, stage=SECRET),
        "class_name": FailureKind("d", "0" * 16, error_class=SECRET),
    }
    one = letter()
    one._kind = told[name]

    assert SECRET in everything_shown(Mask(), one)
    assert SECRET not in everything_shown(MASK, one)


def test_a_name_of_a_header_is_hidden_with_its_value() -> None:
    """Producers make names of values too."""
    one = letter()
    one.record.headers.insert(0, (f"x-{SECRET}", b"1"))

    assert SECRET not in everything_shown(MASK, one)
    assert f"x-{MASKED}" in everything_shown(MASK, one)


def test_the_bytes_of_what_cannot_be_decoded_are_hidden_too() -> None:
    """They may hold anything: in hex, in base64 or raw."""
    shown = everything_shown(MASK, letter(None, message="x", stack=None))

    assert SECRET.encode().hex(" ")[:20] not in shown
    assert "YW5uYUBzaG9w" not in shown


def test_a_key_that_holds_a_hidden_value_is_hidden() -> None:
    """Even if the key itself is not named."""
    one = Mask(frozenset(("email",))).letter(letter(key=f"c/{SECRET}".encode()))

    assert one.record.key == MASKED.encode()


@pytest.mark.parametrize("value", ["17", "C-1", 7])
@pytest.mark.parametrize("key", ["{}", "order:{}:9", "K-{}", "{}/x", "a_{}"])
def test_a_key_is_hidden_with_a_short_value_that_is_a_part_of_it(value: Any, key: str) -> None:
    """And a header that is named by it. A number that only has its digits in it stays."""
    mask, name = Mask(frozenset(("email",))), key.format(value)
    one = letter({**ORDER, "email": value}, key=name.encode())
    one.record.headers.insert(0, (name, b"x"))
    other = letter({**ORDER, "email": value}, key=f"1{value}1".encode())

    assert mask.letter(one).record.key == MASKED.encode()
    assert name not in [shown for shown, _ in mask.letter(one).record.headers]
    assert mask.letter(other).record.key == f"1{value}1".encode()


def test_a_short_value_takes_nothing_out_of_places_and_topics() -> None:
    """A line number and a topic are no part of an order, whatever number the order holds."""
    one = letter({**ORDER, "email": 7}, topic="orders-7")
    one.record.headers.insert(-1, (FRAME, b"shop/prices.py:7 in total"))
    kind = Mask(frozenset(("email",))).letter(one).kind

    assert (kind.topic, kind.frame) == ("orders-7", "shop/prices.py:7 in total")


def test_the_page_says_that_the_key_of_what_cannot_be_decoded_is_shown() -> None:
    """Nobody knows which values it holds; `key` hides it by name."""
    one, page = letter(None), (ROOT / "docs" / "privacy.md").read_text("utf-8")

    assert Mask(frozenset(("email",))).letter(one).record.key == b"key-of-anna"
    assert MASK.letter(one).record.key == MASKED.encode()
    assert "The key of a dead letter that cannot be decoded is shown" in page


def test_a_masked_copy_is_of_the_same_kind_and_state() -> None:
    """The digits on the screen select the same group, masked or not."""
    one = letter()
    masked = MASK.letter(one)

    assert (masked.fingerprint, masked.told.fingerprint) == (one.fingerprint, one.fingerprint)
    assert (masked.state, masked.position) == (one.state, one.position)
    assert MASK.letter(masked) is masked


def test_a_masked_line_cannot_be_imported() -> None:
    """Nobody takes a copy without its value for the order."""
    with pytest.raises(files.NoDeadLetter, match="lacks key_b64, payload_b64"):
        files.read_line(files.json_line(MASK.letter(letter())), "dlq")
    assert "key_b64" in json.loads(files.json_line(Mask().letter(letter())))


def test_without_a_mask_nothing_is_copied() -> None:
    """It costs nothing where nothing is hidden."""
    one = letter()

    assert Mask().letter(one) is one
