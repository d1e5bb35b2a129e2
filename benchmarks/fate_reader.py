"""Reads results and dead letters as they become visible, until every order that was sent has its fate.

A line has what it is (`result` or `dead`), the order's number, the microsecond at which it was meant to be
sent, and that at which it was read. Lines of a partition stand in its order.
"""

import json
import sys
import time
from typing import Any, Dict, Iterator, List, NamedTuple, Set

from confluent_kafka import Message, TopicPartition

from benchmarks.committed import available, consumer
from benchmarks.work import decoder, number_of

QUIET_S = 60.0
"""With nothing new for so long, the rest is lost."""
ONCE_MORE_S = 2.0
"""How long to look for what is there twice, after all are there once."""


class Reading(NamedTuple):
    """What to read. It travels as JSON on the command line."""

    brokers: str
    results: str
    dead_letters: str
    partitions: int
    """Of the results' topic; the other has one."""
    orders: int
    path: str


def main(reading: Reading) -> None:
    """Read until the end, then write all lines."""
    lines = list(_fates(reading))
    with open(reading.path, "w", encoding="utf-8") as stream:
        stream.writelines(lines)


def _fates(reading: Reading) -> Iterator[str]:
    places = [TopicPartition(reading.results, number, 0) for number in range(reading.partitions)]
    reader = consumer(reading.brokers, [*places, TopicPartition(reading.dead_letters, 0, 0)])
    read = decoder().decode
    found: Set[int] = set()
    until_s = time.monotonic() + QUIET_S
    while time.monotonic() < until_s:
        messages, now_us = available(reader), time.time_ns() // 1000
        for message in messages:
            is_result = message.topic() == reading.results
            told = _of_result(message) if is_result else _of_dead_letter(read(message.value()))
            number, intended_us = told
            found.add(number)
            yield f"{'result' if is_result else 'dead'},{number},{intended_us},{now_us}\n"
        if messages:
            until_s = time.monotonic() + (ONCE_MORE_S if len(found) == reading.orders else QUIET_S)
    reader.close()


def _of_result(message: Message) -> List[int]:
    return [int(part) for part in (message.value() or b"").split(b",")]


def _of_dead_letter(order: Dict[str, Any]) -> List[int]:
    return [number_of(order["order_id"]), int(order["timestamp"])]


if __name__ == "__main__":
    main(Reading(**json.loads(sys.argv[1])))
