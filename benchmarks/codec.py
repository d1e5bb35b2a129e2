"""Measures decoding speed: ours beside the bare decoder and Confluent's deserializer.

Rounds are interleaved, so that a slow moment of the machine affects all cases alike; medians are shown.
"""

import io
import json
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import fastavro
from fastavro import schemaless_reader

from orderflow.avro.codec import (
    OrderDecoder,
    OrderEncoder,
    Schema,
    confluent_prefix,
    load_schema,
    order_reader,
    single_object_prefix,
)
from orderflow.avro.schema_store import READER_PATH
from orderflow.model.orders import validate

ROUNDS = 15
CALLS = 20_000

ORDER: Dict[str, Any] = {
    "order_id": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "customer_id": "C-10042",
    "product_id": "P-1234",
    "quantity": 3,
    "price": 19.99,
    "timestamp": 1_732_492_800_123,
}
BARE = "fastavro.schemaless_reader, bare"


class Case(NamedTuple):
    """One way to get from a value to an order."""

    name: str
    decode: Callable[[bytes], Any]
    value: bytes


def main() -> int:
    """Measure and print the table."""
    shipped = load_schema(READER_PATH.read_text(encoding="utf-8"))
    cases = _cases(shipped)
    for case in cases:
        assert case.decode(case.value)["order_id"] == ORDER["order_id"]
    medians = _measure(cases)
    versions = f"Python {platform.python_version()}, fastavro {fastavro.__version__}"
    print(f"{versions}, {ROUNDS} rounds of {CALLS:,} calls\n")
    print("| | µs a record | of the bare call |\n|---|---|---|")
    for name, microseconds in medians.items():
        print(f"| {name} | {microseconds:.2f} | {microseconds / medians[BARE]:.2f} |")
    return 0


def _cases(shipped: Schema) -> List[Case]:
    value = OrderEncoder(shipped, single_object_prefix(shipped)).encode(ORDER)
    framed = OrderEncoder(shipped, confluent_prefix(1)).encode(ORDER)
    older, nullable = _with(shipped, "legacy", "string"), _with(shipped, "note", ["null", "string"])
    old_value = OrderEncoder(older, single_object_prefix(older)).encode({**ORDER, "legacy": "x"})
    rich_value = OrderEncoder(nullable, single_object_prefix(nullable)).encode({**ORDER, "note": "x"})
    confluent = _confluent(shipped)
    return [
        Case(BARE, lambda each: schemaless_reader(io.BytesIO(each[10:]), shipped.parsed, None), value),
        Case("`order_reader`: decoded, proven, validated", order_reader(_decoder(shipped)), value),
        Case("the same, Confluent wire format", order_reader(_decoder(shipped)), framed),
        Case("the same, schema with an optional field", order_reader(_decoder(nullable)), rich_value),
        Case("the same, written with another schema", order_reader(_decoder(shipped, older)), old_value),
        Case("Confluent's `AvroDeserializer`", confluent, framed),
        Case("Confluent's `AvroDeserializer`, then validated", _then_validated(confluent), framed),
    ]


def _with(shipped: Schema, name: str, kind: Any) -> Schema:
    definition = json.loads(shipped.text)
    definition["fields"].append({"name": name, "type": kind})
    return load_schema(json.dumps(definition))


def _decoder(reader: Schema, writer: Any = None) -> OrderDecoder:
    return OrderDecoder(reader, lambda ref: writer or reader, 1 << 20)


def _confluent(shipped: Schema) -> Callable[[bytes], Any]:
    """Their deserializer with a registry in memory: its cache answers, as it does in a long run."""
    from confluent_kafka.schema_registry import Schema as Registered
    from confluent_kafka.schema_registry import SchemaRegistryClient
    from confluent_kafka.schema_registry.avro import AvroDeserializer
    from confluent_kafka.serialization import MessageField, SerializationContext

    client = SchemaRegistryClient.new_client({"url": "mock://memory"})
    client.register_schema("orders-value", Registered(shipped.text, "AVRO"))
    context = SerializationContext("orders", MessageField.VALUE)
    deserializer = AvroDeserializer(client)
    return lambda value: deserializer(value, context)


def _then_validated(decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def decode_and_validate(value: bytes) -> Any:
        order = decode(value)
        validate(order)
        return order

    return decode_and_validate


def _measure(cases: List[Case]) -> Dict[str, float]:
    rounds: Dict[str, List[float]] = {case.name: [] for case in cases}
    for _ in range(ROUNDS):
        for case in cases:
            rounds[case.name].append(_microseconds(case))
    return {name: statistics.median(each) for name, each in rounds.items()}


def _microseconds(case: Case) -> float:
    decode, value = case.decode, case.value
    started = time.perf_counter()
    for _ in range(CALLS):
        decode(value)
    return (time.perf_counter() - started) / CALLS * 1e6


if __name__ == "__main__":
    sys.exit(main())
