"""Reads results as they become visible and records how long each took.

A line has the microseconds from the intended sending to the handler's call, and from there to here.
"""

import json
import sys
import time
from typing import List, NamedTuple

from confluent_kafka import TopicPartition

from benchmarks.committed import available, consumer


class Reading(NamedTuple):
    """What to read. It travels as JSON on the command line."""

    brokers: str
    topic: str
    partitions: int
    results: int
    path: str


def main(reading: Reading) -> None:
    """Read the results, then write all lines."""
    places = [TopicPartition(reading.topic, number, 0) for number in range(reading.partitions)]
    reader = consumer(reading.brokers, places)
    lines: List[str] = []
    while len(lines) < reading.results:
        for message in available(reader):
            now_us = time.time_ns() // 1000
            value = message.value() or b""
            intended_us, called_us = (int(part) for part in value.split(b","))
            lines.append(f"{intended_us},{called_us - intended_us},{now_us - called_us}\n")
    reader.close()
    with open(reading.path, "w", encoding="utf-8") as stream:
        stream.writelines(lines)


if __name__ == "__main__":
    main(Reading(**json.loads(sys.argv[1])))
