"""A command: what an operator asks the owner of a partition to do with orders that wait there.

It is a record of the ledger topic, beside the pages, whose readers take it for none of theirs. Its key names
group, topic and partition, and a number, since many orders take more than one record; so compaction keeps few
of them. The value is JSON:

    {"do": "retry-now", "orders": [[1234, 2], …], "by": "ada@desk7", "at": 1764000000000, "why": null}

An order is named by its offset and the attempts that were made of it. Once it has been called again, the
command no longer fits. So a command that is read twice, late, or by the next owner does nothing twice.

Whoever may write to the topic can forge a command. What is read is bounded, and everything else is none.
"""

import json
import re
from typing import Any, NamedTuple, Optional, Tuple

from orderflow.model.commit_metadata import MAX_OFFSET, rise
from orderflow.model.json_text import read_json
from orderflow.model.ledger_record import ledger_key, partition_in, whole

RETRY_NOW, GIVE_UP = "retry-now", "give-up"
DOES = (RETRY_NOW, GIVE_UP)

VALID_S = 60.0
"""For so long a command waits to be taken up: a consumer that starts later leaves the orders alone."""

MOST_ORDERS = 5_000
"""Orders that one record names."""
MOST_BYTES = 256 * 1024
MOST_RECORDS = 1_000
"""Records of one partition that one command takes at most: five million orders, more than can wait."""
LONGEST_TEXT = 200
MOST_ATTEMPTS = (1 << 24) - 1
MOST_MS = 253_402_300_799_000
"""The last second of the year 9999, which is as far as the calendar goes."""

Named = Tuple[int, int]
"""One order: its offset, and the attempts made of it so far."""


class Command(NamedTuple):
    """What is asked of the owner of one partition."""

    partition: int
    do: str
    orders: Tuple[Named, ...]
    """By offset."""
    by: str
    """Who asks, as `user@host`."""
    at_ms: int
    """When, by the clock of whoever asks. It is only told, never compared."""
    why: Optional[str] = None


def command_key(group: str, topic: str, partition: int, number: int) -> bytes:
    """The record key of the `number`-th record for a partition."""
    return ledger_key(group, topic, partition, "command", number)


def partition_of(group: str, topic: str, key: Optional[bytes]) -> Optional[int]:
    """The partition that a record has a command for; None if it is a page, or for another group or topic."""
    return partition_in(group, topic, key, _REST_OF_KEY)


_REST_OF_KEY = re.compile(rb', ([0-9]{1,9}), "command", [0-9]{1,4}\]')


def write_command(command: Command) -> bytes:
    """The value of its record."""
    told = {
        "do": command.do,
        "orders": sorted(command.orders),
        "by": command.by[:LONGEST_TEXT],
        "at": command.at_ms,
        "why": command.why and command.why[:LONGEST_TEXT],
    }
    return json.dumps(told, separators=(",", ":")).encode()


def read_command(partition: int, value: Optional[bytes]) -> Optional[Command]:
    """The command in a record for this partition; None if it is none that we write."""
    try:
        return _read(partition, value or b"")
    except (ValueError, TypeError, KeyError):
        return None


def _read(partition: int, value: bytes) -> Command:
    if len(value) > MOST_BYTES:
        raise ValueError("too long")
    told = read_json(value.decode())
    do, orders, why = told["do"], told["orders"], told["why"]
    if do not in DOES or not isinstance(orders, list) or len(orders) > MOST_ORDERS:
        raise ValueError("asks for nothing that can be done")
    named = tuple((whole(offset, MAX_OFFSET), whole(attempts, MOST_ATTEMPTS)) for offset, attempts in orders)
    if not rise([offset for offset, _ in named], MAX_OFFSET + 1):
        raise ValueError("offsets that do not rise")
    at_ms = whole(told["at"], MOST_MS)
    return Command(partition, do, named, _text(told["by"]), at_ms, None if why is None else _text(why))


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        raise ValueError("not a text that we write")
    return value
