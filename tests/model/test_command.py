"""Commands of operators: what is written is read again, and anything else is no command."""

import json
from typing import Any, Dict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderflow.model.command import (
    GIVE_UP,
    MOST_BYTES,
    MOST_ORDERS,
    RETRY_NOW,
    Command,
    command_key,
    partition_of,
    read_command,
    write_command,
)
from orderflow.model.ledger_page import page_key

COMMAND = Command(3, GIVE_UP, ((7, 1), (12, 4)), "ada@desk7", 1_764_000_000_000, "the shop is closed")
TOLD: Dict[str, Any] = json.loads(write_command(COMMAND))


@pytest.mark.parametrize("command", [COMMAND, COMMAND._replace(do=RETRY_NOW, why=None, orders=())])
def test_what_is_written_is_read(command: Command) -> None:
    """All of it."""
    assert read_command(3, write_command(command)) == command


def test_the_largest_command_can_be_read() -> None:
    """However long its numbers are."""
    last = 2**63 - 1
    orders = tuple((last - MOST_ORDERS + place, 16_000_000) for place in range(MOST_ORDERS))
    largest = COMMAND._replace(orders=orders, by="\u0416" * 200, why="\u0416" * 200)

    assert len(write_command(largest)) < MOST_BYTES
    assert read_command(3, write_command(largest)) == largest


FORGED: Dict[str, Any] = {
    "nothing": None,
    "no text": b"\xff\xfe",
    "no JSON": b"retry all",
    "a list": b"[1, 2]",
    "nested too deeply": b"[" * 2_000 + b"]" * 2_000,
    "too long": b" " * MOST_BYTES + write_command(COMMAND),
    "another verb": {"do": "drop"},
    "a verb that is no text": {"do": ["give-up"]},
    "all orders": {"orders": "all"},
    "too many orders": {"orders": [[place, 1] for place in range(MOST_ORDERS + 1)]},
    "an order twice": {"orders": [[7, 1], [7, 1]]},
    "orders in disorder": {"orders": [[7, 1], [6, 1]]},
    "a negative offset": {"orders": [[-7, 1]]},
    "an offset that cannot be": {"orders": [[2**63, 1]]},
    "a fraction": {"orders": [[7.0, 1]]},
    "true": {"orders": [[True, 1]]},
    "attempts without end": {"orders": [[7, 10**300]]},
    "three numbers": {"orders": [[7, 1, 1]]},
    "no numbers": {"orders": ["71"]},
    "nobody": {"by": None},
    "a long name": {"by": "a" * 201},
    "a long reason": {"why": "a" * 201},
    "a year that no calendar has": {"at": 10**16},
    "no time": {"at": "now"},
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED.keys())
def test_anything_else_is_no_command(forged: Any) -> None:
    """Whoever may write to the topic can write anything."""
    value = json.dumps({**TOLD, **forged}).encode() if isinstance(forged, dict) else forged

    assert read_command(3, value) is None


@pytest.mark.parametrize("name", TOLD)
def test_a_command_says_all_that_belongs_to_it(name: str) -> None:
    """One without a part of it is none."""
    left = {key: value for key, value in TOLD.items() if key != name}

    assert read_command(3, json.dumps(left).encode()) is None


@given(st.binary())
def test_no_bytes_raise(value: bytes) -> None:
    """They are a command, or they are none."""
    read_command(0, value)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists))
def test_no_json_raises(value: Any) -> None:
    """Wherever it stands."""
    for name in TOLD:
        read_command(0, json.dumps({**TOLD, name: value}).encode())


def test_a_key_is_told_from_those_of_others() -> None:
    """Of other groups, topics and kinds, and of groups whose names look like a key."""
    key = command_key("shop", "orders", 3, 17)

    assert partition_of("shop", "orders", key) == 3
    assert partition_of("shop2", "orders", key) is None
    assert partition_of("shop", "order", key) is None
    assert partition_of("shop", "orders", page_key("shop", "orders", 3)) is None
    assert partition_of("shop", "orders", key + b"]") is None
    assert partition_of("shop", "orders", None) is None
    odd = 'a", "b'
    assert partition_of(odd, "orders", command_key(odd, "orders", 3, 0)) == 3
    assert partition_of("a", "b", command_key(odd, "orders", 3, 0)) is None
