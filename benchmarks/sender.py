"""Sends orders at a steady rate, whatever becomes of them: an open loop.

An order's timestamp is the microsecond at which it was meant to be sent, so that a sender that falls behind
makes the measured latency larger, not smaller.
"""

import json
import sys
import time
from typing import Any, Dict, NamedTuple, Optional

from confluent_kafka import Producer

from benchmarks.work import ROOT
from orderflow.avro.codec import OrderEncoder, load_schema, single_object_prefix
from orderflow.produce.publisher import CLIENT_PROFILE


class Schedule(NamedTuple):
    """What to send. It travels as JSON on the command line."""

    brokers: str
    topic: str
    per_s: float
    orders: int
    prefix: str
    keys: Optional[int] = None
    """How many keys come in turn; None: every order has one of its own."""


def main(schedule: Schedule) -> None:
    """Send all of it, each order at its time."""
    schema = load_schema((ROOT / "order_schema.avsc").read_text(encoding="utf-8"))
    encoder = OrderEncoder(schema, single_object_prefix(schema))
    producer = Producer({"bootstrap.servers": schedule.brokers, **CLIENT_PROFILE})
    producer.list_topics(schedule.topic, 10)
    began_s = time.time() + 0.05
    for number in range(schedule.orders):
        due_s = began_s + number / schedule.per_s
        wait(producer, due_s)
        order = made_up(f"{schedule.prefix}-{number:08d}", number, int(due_s * 1_000_000))
        key = order["order_id"] if schedule.keys is None else f"K-{number % schedule.keys:07d}"
        producer.produce(schedule.topic, encoder.encode(order), key.encode())
    if producer.flush(30):
        raise SystemExit("not all orders were delivered")


def wait(producer: Producer, until_s: float) -> None:
    """Serve the client until it is time."""
    producer.poll(0)
    early_s = until_s - time.time()
    if early_s > 0:
        time.sleep(early_s)


def made_up(order_id: str, number: int, timestamp: int) -> Dict[str, Any]:
    """An order like any other."""
    return {
        "order_id": order_id,
        "customer_id": f"C-{number % 5000:07d}",
        "product_id": f"ABC-{number % 1000:04d}",
        "quantity": 1,
        "price": 9.95,
        "timestamp": timestamp,
    }


if __name__ == "__main__":
    main(Schedule(**json.loads(sys.argv[1])))
