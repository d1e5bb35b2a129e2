"""The codec's promise as one function, for any bytes: used by the tests, and by the fuzzer for minutes.

The first byte of an input chooses schema and framing, the rest follows the prefix; so a fuzzer need not guess
eight bytes of a fingerprint.
"""

from typing import Any, Dict, List, NamedTuple

from orderflow.avro.codec import (
    OrderDecoder,
    OrderEncoder,
    Schema,
    confluent_prefix,
    read,
    single_object_prefix,
)
from orderflow.avro.decode_reasons import DECODE_REASONS
from orderflow.avro.first_fault import first_fault
from orderflow.errors import Undecodable
from tests.support.schemas_for_tests import ORDER, SHIPPED, decoder, encode, field, order_schema

MAX_BYTES = 4096

RICH = order_schema(
    field("status", {"type": "enum", "name": "Status", "symbols": ["NEW", "PAID"]}),
    field("note", ["null", "string", "int"]),
    field(
        "lines",
        {
            "type": "array",
            "items": {
                "type": "record",
                "name": "Line",
                "fields": [
                    field("sku", "string"),
                    field("count", "int"),
                    field("gift", "boolean"),
                ],
            },
        },
    ),
    field("extra", {"type": "map", "values": ["null", "long"]}),
    field("digest", {"type": "fixed", "name": "Digest", "size": 2}),
    field("raw", "bytes"),
    field("weight", "float"),
)
RICH_ORDER: Dict[str, Any] = {
    **ORDER,
    "status": "PAID",
    "note": "é",
    "lines": [{"sku": "a", "count": 2, "gift": True}] * 2,
    "extra": {"x": 1, "y": None},
    "digest": b"ab",
    "raw": b"\x00\xff",
    "weight": 0.5,
}
NULLABLE = order_schema(field("note", ["null", "string"], default=None))
NESTED = order_schema(
    field(
        "groups",
        {
            "type": "array",
            "items": {
                "type": "map",
                "values": {
                    "type": "array",
                    "items": ["null", {"type": "fixed", "name": "F", "size": 3}, "boolean"],
                },
            },
        },
    )
)
LOGICAL = order_schema(
    field("day", {"type": "int", "logicalType": "date"}),
    field("at", {"type": "long", "logicalType": "timestamp-micros"}),
    field("ref", {"type": "string", "logicalType": "uuid"}),
    field("total", {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}),
)
AMBIGUOUS = order_schema(field("amount", ["int", "long", "float", "double"]))


class Target(NamedTuple):
    """A decoder, and the schema that its inputs are written with."""

    known: OrderDecoder
    writer: Schema
    reencodes: bool
    """Whether fastavro would write what was read the same way (not so where two branches fit one value)."""


TARGETS: List[Target] = [
    Target(decoder(SHIPPED, limit=MAX_BYTES), SHIPPED, True),
    Target(decoder(RICH, limit=MAX_BYTES), RICH, True),
    Target(decoder(NULLABLE, limit=MAX_BYTES), NULLABLE, True),
    Target(decoder(NESTED, limit=MAX_BYTES), NESTED, True),
    Target(decoder(LOGICAL, limit=MAX_BYTES), LOGICAL, False),
    Target(decoder(AMBIGUOUS, limit=MAX_BYTES), AMBIGUOUS, False),
    Target(decoder(SHIPPED, [RICH], limit=MAX_BYTES), RICH, False),
    Target(decoder(RICH, [SHIPPED], limit=MAX_BYTES), SHIPPED, False),
    Target(decoder(LOGICAL, [RICH], limit=MAX_BYTES), RICH, False),
]


def seeds() -> List[bytes]:
    """Inputs to begin with: one good order for each of the plain targets."""
    values = [encode(ORDER), encode(RICH_ORDER, RICH), encode({**ORDER, "note": "x"}, NULLABLE)]
    return [bytes([number]) + value[10:] for number, value in enumerate(values)]


def check_input(data: bytes) -> None:
    """The promise for one input of the fuzzer."""
    if not data:
        return
    target = TARGETS[data[0] % len(TARGETS)]
    if data[0] >= 250:
        check(data[1:], target)
    elif data[0] >= 128 and target.writer is target.known.reader:
        check(confluent_prefix(1) + data[1:], target)
    else:
        check(single_object_prefix(target.writer) + data[1:], target)


def check(value: bytes, target: Target) -> None:
    """The order that the bytes encode and nothing else, or a reason from the table."""
    seen = target.known.inspect(value)
    if seen.order is None:
        assert isinstance(seen.error, Undecodable), repr(seen.error)
        assert seen.error.reason in DECODE_REASONS
        assert "decode.failed" != seen.error.reason, str(seen.error)
        return
    assert seen.writer is not None
    start = 10 if value[0] else 5
    assert first_fault(seen.writer, value, start) is None
    if target.reencodes:
        assert OrderEncoder(seen.writer, value[:start]).encode(seen.order) == value
    if seen.writer is target.known.reader:
        # As text: NaN is no equal of itself.
        assert repr(read(value, start, seen.writer.parsed)) == repr(seen.order)
