"""What decoding an order costs, alone and beside others."""

import time
from io import BytesIO
from typing import Any, Callable, Dict, List, Tuple

from fastavro import schemaless_reader

from benchmarks.plan import Plan, Say
from benchmarks.report import Bar, Section, median
from benchmarks.rig import Rig
from benchmarks.sender import made_up
from benchmarks.work import ROOT, decoder
from orderflow.avro.codec import (
    OrderEncoder,
    confluent_prefix,
    load_schema,
    order_reader,
    single_object_prefix,
)

OURS, BARE = "decode and check, ours", "fastavro alone, nothing checked"
CONFLUENT = "Confluent's AvroDeserializer"
WANTED_US = 2.6
ORDERS = 20_000

Read = Callable[[bytes], Any]


def run(rig: Rig, plan: Plan, say: Say) -> Section:
    """Each reader over the same orders, round by round."""
    readers = _readers()
    times_us: Dict[str, List[float]] = {name: [] for name in readers}
    for _ in range(max(5, plan.rounds)):
        for name, (read, values) in readers.items():
            times_us[name].append(_time_us(read, values))
    best = {name: min(found) for name, found in times_us.items()}
    say(", ".join(f"{name}: {us:.2f} µs" for name, us in best.items()))
    return Section(
        title="Codec",
        method=f"{ORDERS:,} different orders of the shipped schema, in memory, on one thread; CPU time.",
        head=("", "µs an order, best", "median", "times ours"),
        rows=[
            (name, f"{best[name]:.2f}", f"{median(times_us[name]):.2f}", f"{best[name] / best[OURS]:.2f}")
            for name in readers
        ],
        bars=[
            Bar(f"Decode and check in {WANTED_US} µs", f"{best[OURS]:.2f} µs", best[OURS] <= WANTED_US),
            Bar(
                "Faster than Confluent's deserializer",
                f"{best[CONFLUENT] / best[OURS]:.1f} times",
                best[CONFLUENT] > best[OURS],
            ),
        ],
        remarks=[
            "fastavro alone accepts bytes that are no order (a double that is NaN, trailing bytes, a "
            "length that points beyond the end of a string): the difference to ours is what being sure costs."
        ],
    )


def _readers() -> Dict[str, Tuple[Read, List[bytes]]]:
    text = (ROOT / "order_schema.avsc").read_text(encoding="utf-8")
    schema = load_schema(text)
    single, framed = (
        OrderEncoder(schema, prefix) for prefix in (single_object_prefix(schema), confluent_prefix(1))
    )
    orders = [made_up(f"O-{number:08d}", number, 1_767_225_600_000 + number) for number in range(ORDERS)]
    values = [single.encode(order) for order in orders]
    bare = [value[10:] for value in values]
    parsed = schema.parsed
    return {
        OURS: (order_reader(decoder()), values),
        BARE: (lambda value: schemaless_reader(BytesIO(value), parsed, None), bare),
        CONFLUENT: (_confluent(text), [framed.encode(order) for order in orders]),
    }


def _confluent(text: str) -> Read:
    from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
    from confluent_kafka.schema_registry.avro import AvroDeserializer
    from confluent_kafka.serialization import MessageField, SerializationContext

    client = SchemaRegistryClient.new_client({"url": "mock://bench"})
    client.register_schema("orders-value", Schema(text, "AVRO"))
    deserialize: Any = AvroDeserializer(client)
    context = SerializationContext("orders", MessageField.VALUE)
    return lambda value: deserialize(value, context)


def _time_us(read: Read, values: List[bytes]) -> float:
    began_s = time.thread_time()
    for value in values:
        read(value)
    return (time.thread_time() - began_s) / len(values) * 1e6
