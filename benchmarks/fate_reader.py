"""Reads results and dead letters as they become visible, until every order that was sent has its fate.

A line has what it is (`result` or `dead`), the order's number, the microsecond at which it was meant to be
sent, and that at which it was read. Lines of a partition stand in its order.
"""

import json
import sys
import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Set

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from benchmarks.work import decoder

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


def number_of(order_id: str) -> int:
    """The number of an order of sender.py."""
    return int(order_id.rpartition("-")[2])


def _fates(reading: Reading) -> Iterator[str]:
    consumer = _consumer(reading)
    read = decoder().decode
    found: Set[int] = set()
    until_s = time.monotonic() + QUIET_S
    while time.monotonic() < until_s:
        messages, now_us = _available(consumer), time.time_ns() // 1000
        for message in messages:
            is_result = message.topic() == reading.results
            number, intended_us = (_of_result if is_result else _of_dead_letter(read))(message)
            found.add(number)
            yield f"{'result' if is_result else 'dead'},{number},{intended_us},{now_us}\n"
        if messages:
            until_s = time.monotonic() + (ONCE_MORE_S if len(found) == reading.orders else QUIET_S)
    consumer.close()


def _of_result(message: Message) -> List[int]:
    return [int(part) for part in (message.value() or b"").split(b",")]


def _of_dead_letter(read: Callable[[Optional[bytes]], Dict[str, Any]]) -> Callable[[Message], List[int]]:
    def parts(message: Message) -> List[int]:
        order = read(message.value())
        return [number_of(order["order_id"]), int(order["timestamp"])]

    return parts


def _consumer(reading: Reading) -> Consumer:
    consumer = Consumer(
        {
            "bootstrap.servers": reading.brokers,
            "group.id": "reader",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 10,
        }
    )
    places = [TopicPartition(reading.results, number, 0) for number in range(reading.partitions)]
    consumer.assign([*places, TopicPartition(reading.dead_letters, 0, 0)])
    return consumer


def _available(consumer: Consumer) -> List[Message]:
    """What is there, as soon as something is: a larger batch would be waited for."""
    found = [*consumer.consume(1, 0.1), *consumer.consume(1000, 0)]
    for message in found:
        error = message.error()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            raise SystemExit(f"cannot read {message.topic()}: {error}")
    return [message for message in found if message.error() is None]


if __name__ == "__main__":
    main(Reading(**json.loads(sys.argv[1])))
