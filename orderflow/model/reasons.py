"""Why orders wait: what the owner of a partition tells of it now and then, for whoever looks.

It is a record of the ledger topic, beside pages and commands, and nothing depends on it: an old one, a forged
one, or none changes only what is shown. Messages are told as kinds, with numbers, ids and quoted words
blanked, so that as little as possible of a customer stays in the topic. The value is JSON:

    {"at": 1764000000000, "orders": [[1234, 2, 0], …],
     "kinds": [["process.failed", "PaymentTimeout", "shop/pay.py:21 in charge", "no answer within # s"], …]}

An order is named by offset, attempts and the number of its kind.
"""

import json
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from orderflow.errors import Failure
from orderflow.model.commit_metadata import MAX_OFFSET
from orderflow.model.fingerprint import normalised
from orderflow.model.json_text import read_json
from orderflow.model.ledger_record import ledger_key, partition_in, whole

MOST_KINDS, MOST_ORDERS = 50, 2_000
MOST_BYTES = 256 * 1024
LONGEST = 160


class Kind(NamedTuple):
    """What orders failed of."""

    reason: str
    error_class: str
    frame: Optional[str]
    """Where in the handler's code."""
    text: str
    """The message of the first of them, blanked."""


class Reasons(NamedTuple):
    """By offset and attempts: what the orders of one partition failed of last."""

    at_ms: int
    of: Mapping[Tuple[int, int], Kind]


def reasons_key(group: str, topic: str, partition: int) -> bytes:
    """The record key of a partition's reasons."""
    return ledger_key(group, topic, partition, "reasons")


def write_reasons(failures: Sequence[Tuple[int, int, Failure]], at_ms: int) -> bytes:
    """The value for these orders: offset, attempts and last failure. Beyond the bounds they are left out."""
    kinds: Dict[Tuple[str, ...], int] = {}
    texts: List[Tuple[str, str, Optional[str], str]] = []
    orders: List[Tuple[int, int, int]] = []
    for offset, attempts, failure in failures[:MOST_ORDERS]:
        told = "" if failure.frame else normalised(failure.message)
        mark = (failure.reason, failure.error_class, failure.frame or "", told)
        number = kinds.get(mark)
        if number is None:
            if len(kinds) >= MOST_KINDS:
                continue
            number = kinds[mark] = len(texts)
            texts.append(_cut(failure, told or normalised(failure.message)))
        orders.append((offset, attempts, number))
    told_of = {"at": at_ms, "kinds": texts, "orders": orders}
    return json.dumps(told_of, separators=(",", ":")).encode()


def _cut(failure: Failure, text: str) -> Tuple[str, str, Optional[str], str]:
    frame = None if failure.frame is None else failure.frame[:LONGEST]
    return failure.reason[:LONGEST], failure.error_class[:LONGEST], frame, text[:LONGEST]


def read_reasons(value: Optional[bytes]) -> Optional[Reasons]:
    """What a record tells; None if it is none of ours."""
    try:
        return _read(value or b"")
    except (ValueError, TypeError, KeyError, IndexError):
        return None


def _read(value: bytes) -> Reasons:
    if len(value) > MOST_BYTES:
        raise ValueError("too long")
    told = read_json(value.decode())
    kinds = [Kind(*kind) for kind in told["kinds"]]
    if len(kinds) > MOST_KINDS or not all(map(_is_sound, kinds)):
        raise ValueError("not what we write")
    orders = told["orders"]
    of = {(_whole(offset), _whole(attempts)): kinds[_whole(number)] for offset, attempts, number in orders}
    return Reasons(_whole(told["at"]), of)


def _whole(value: Any) -> int:
    return whole(value, MAX_OFFSET)


def _is_sound(kind: Kind) -> bool:
    texts = (kind.reason, kind.error_class, kind.text, *(() if kind.frame is None else (kind.frame,)))
    return all(isinstance(text, str) and len(text) <= LONGEST for text in texts)


def partition_of(group: str, topic: str, key: Optional[bytes]) -> Optional[int]:
    """The partition that a record tells the reasons of; None for any other record."""
    return partition_in(group, topic, key, _REST_OF_KEY)


_REST_OF_KEY = re.compile(rb', ([0-9]{1,9}), "reasons"\]')
