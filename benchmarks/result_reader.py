"""Reads results as they become visible and records how long each took.

A line has the microseconds from the intended sending to the handler's call, and from there to here.
"""

import json
import sys
import time
from typing import List, NamedTuple

from confluent_kafka import Consumer, Message, TopicPartition


class Reading(NamedTuple):
    """What to read. It travels as JSON on the command line."""

    brokers: str
    topic: str
    partitions: int
    results: int
    path: str


def main(reading: Reading) -> None:
    """Read the results, then write all lines."""
    consumer = Consumer(
        {
            "bootstrap.servers": reading.brokers,
            "group.id": "reader",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 10,
        }
    )
    consumer.assign([TopicPartition(reading.topic, number, 0) for number in range(reading.partitions)])
    lines: List[str] = []
    while len(lines) < reading.results:
        for message in _available(consumer):
            now_us = time.time_ns() // 1000
            value = message.value() or b""
            intended_us, called_us = (int(part) for part in value.split(b","))
            lines.append(f"{intended_us},{called_us - intended_us},{now_us - called_us}\n")
    consumer.close()
    with open(reading.path, "w", encoding="utf-8") as stream:
        stream.writelines(lines)


def _available(consumer: Consumer) -> List[Message]:
    """What is there, as soon as something is: a larger batch would be waited for."""
    return [*consumer.consume(1, 0.1), *consumer.consume(1000, 0)]


if __name__ == "__main__":
    main(Reading(**json.loads(sys.argv[1])))
