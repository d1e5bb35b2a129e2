"""The catalogue of `decode.*` reason codes: what each means, and what an operator does about it."""

from typing import Mapping, NamedTuple, Optional

from orderflow.errors import Undecodable


class Reason(NamedTuple):
    """One reason code: its meaning, and the operator's next step."""

    meaning: str
    action: str


_PRODUCER = "The bytes are not what an Avro encoder writes. Find the producer by its key; discard or repair."
_DAMAGED = "The bytes were damaged or cut on the way in. Find the producer by its key; have it send again."

DECODE_REASONS: Mapping[str, Reason] = {
    "decode.empty": Reason(
        "There is no value (a tombstone) or it has no bytes.",
        "Orders are never deleted by tombstone: find out who sends them to this topic; discard.",
    ),
    "decode.too_large": Reason(
        "The value has more bytes than MAX_ORDER_BYTES; it was not looked at.",
        "If such orders are meant, raise MAX_ORDER_BYTES, restart, replay. Else discard.",
    ),
    "decode.framing": Reason(
        "The first bytes are neither C3 01 (Avro single-object) nor 00 (Confluent wire format).",
        "The message says what they look like. Have the producer add a framing.",
    ),
    "decode.unknown_schema": Reason(
        "The writer schema is not known: no such id in the registry, or no such fingerprint in schemas/.",
        "Get the schema from the producer's team into the registry or into schemas/, then replay.",
    ),
    "decode.schema_refused": Reason(
        "The writer schema was found, but is not Avro, not valid, or could turn a few bytes into gigabytes.",
        "Read the message: it names the part. Have the schema changed at its source; discard what it wrote.",
    ),
    "decode.unresolvable": Reason(
        "The order was read, but the schemas differ in a way that Avro cannot bridge.",
        "The message names the field. Upgrade order_schema.avsc (make check-schema), restart, replay.",
    ),
    "decode.truncated": Reason("The bytes end in the middle of a field.", _DAMAGED),
    "decode.trailing_bytes": Reason("Bytes are left over after the record.", _DAMAGED),
    "decode.not_canonical": Reason(
        "The bytes decode, but not to what would be written again: an over-long number, a block with a size, "
        "a repeated map key, a boolean other than 0 and 1.",
        _PRODUCER,
    ),
    "decode.varint": Reason("A number does not end within 64 bits.", _DAMAGED),
    "decode.int_range": Reason("An int has more than 32 bits.", _PRODUCER),
    "decode.length": Reason("The length of a string or of bytes is negative.", _DAMAGED),
    "decode.utf8": Reason("A string is not UTF-8.", _PRODUCER),
    "decode.choice": Reason("The index of an enum symbol or of a union branch does not exist.", _DAMAGED),
    "decode.decimal": Reason(
        "A decimal has more digits than its precision, or more bytes than that needs.", _PRODUCER
    ),
    "decode.logical_type": Reason(
        "The bytes are right, but their value does not exist: a date after 9999, a UUID that is none.",
        "Have the producer corrected; repair with replay --set, or discard.",
    ),
    "decode.failed": Reason(
        "The decoder gave up for a reason of its own; the message has it.",
        "Keep the dead letter and report it: this should have a reason of its own.",
    ),
}
"""Every reason that starts with `decode.`"""


def undecodable(reason: str, message: str, position: Optional[int] = None) -> Undecodable:
    """An `Undecodable` with this reason and, if known, the position of the fault."""
    error = Undecodable(message, reason)
    error.position = position
    return error
