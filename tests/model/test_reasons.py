"""Why orders wait: told in bounds, without what tells of a customer, and read whatever stands there."""

import json
from typing import Any, Dict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderflow.errors import Failure
from orderflow.model.command import command_key
from orderflow.model.ledger_page import page_key
from orderflow.model.reasons import (
    MOST_BYTES,
    MOST_KINDS,
    MOST_ORDERS,
    Kind,
    partition_of,
    read_reasons,
    reasons_key,
    write_reasons,
)

AT_MS = 1_764_000_000_000


def failure(message: str, frame: Any = "shop/pay.py:21 in charge", kind: str = "PaymentTimeout") -> Failure:
    """Of a handler."""
    return Failure("process.failed", "process", kind, message, True, frame=frame)


def test_what_is_written_is_read() -> None:
    """Orders of one kind share it, whatever order ids their messages name."""
    value = write_reasons(
        [
            (5, 1, failure("no answer for O-5")),
            (7, 2, failure("no answer for O-7")),
            (9, 1, failure("x", None)),
        ],
        AT_MS,
    )

    told = read_reasons(value)

    assert told is not None and told.at_ms == AT_MS
    pay = Kind("process.failed", "PaymentTimeout", "shop/pay.py:21 in charge", "no answer for #")
    assert told.of == {(5, 1): pay, (7, 2): pay, (9, 1): pay._replace(frame=None, text="x")}


def test_numbers_ids_and_quoted_words_stay_away() -> None:
    """The topic is compacted, so what is written may stay for long."""
    value = write_reasons([(5, 1, failure("'Ada' <ada@example.org> has order O-17 of 99.90"))], AT_MS)

    assert not any(word in value for word in (b"Ada", b"ada@", b"O-17", b"99"))


def test_it_has_bounds() -> None:
    """However many orders fail of however many kinds, in however long words."""
    long = "\u0416" * 10_000
    many = [
        (2**62 + place, 10**7, failure(long, f"{place} {long}", f"{place} {long}"))
        for place in range(2 * MOST_ORDERS)
    ]

    told = read_reasons(write_reasons(many, AT_MS))

    assert len(write_reasons(many, AT_MS)) < MOST_BYTES
    assert told is not None and len(told.of) == MOST_KINDS


TOLD: Dict[str, Any] = json.loads(write_reasons([(5, 1, failure("no"))], AT_MS))
FORGED: Dict[str, Any] = {
    "nothing": None,
    "no text": b"\xff",
    "no JSON": b"because",
    "too long": b" " * MOST_BYTES + json.dumps(TOLD).encode(),
    "nested": b"[" * 5_000 + b"]" * 5_000,
    "a kind of numbers": {"kinds": [[1, 2, 3, 4]]},
    "a kind that is too long": {"kinds": [["a" * 161, "b", None, "c"]]},
    "a kind with too few words": {"kinds": [["a", "b"]]},
    "a kind that is not there": {"orders": [[5, 1, 1]]},
    "a negative kind": {"orders": [[5, 1, -1]]},
    "true": {"orders": [[5, 1, True]]},
    "no orders": {"orders": 7},
    "no time": {"at": "now"},
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED.keys())
def test_anything_else_tells_nothing(forged: Any) -> None:
    """And raises nothing."""
    value = json.dumps({**TOLD, **forged}).encode() if isinstance(forged, dict) else forged

    assert read_reasons(value) is None


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists))
def test_no_json_raises(value: Any) -> None:
    """Wherever it stands."""
    for name in TOLD:
        read_reasons(json.dumps({**TOLD, name: value}).encode())


def test_keys_are_told_from_each_other() -> None:
    """Those of pages, of commands, and of other groups."""
    assert partition_of("g", "orders", reasons_key("g", "orders", 3)) == 3
    assert partition_of("g2", "orders", reasons_key("g", "orders", 3)) is None
    assert partition_of("g", "orders", page_key("g", "orders", 3)) is None
    assert partition_of("g", "orders", command_key("g", "orders", 3, 0)) is None
