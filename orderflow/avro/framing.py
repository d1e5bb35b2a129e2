"""The prefix of a value: its framing, and the schema it was written with."""

from typing import NamedTuple, Optional, Tuple

from orderflow.avro.decode_reasons import undecodable
from orderflow.avro.schema import Schema
from orderflow.model.text import plural

SINGLE_OBJECT_MARK = b"\xc3\x01"
SINGLE_OBJECT_BYTES = 10
"""Avro specification, "Single-object encoding": the mark, then the schema's CRC-64-AVRO, little-endian."""

CONFLUENT_MARK = b"\x00"
CONFLUENT_BYTES = 5
"""Confluent wire format: magic byte 0, then the writer schema's registry id, 4 bytes, big-endian."""


class SchemaRef(NamedTuple):
    """How a value names its writer schema: by fingerprint or by registry id; the other is None."""

    fingerprint: Optional[bytes]
    schema_id: Optional[int]

    @property
    def framing(self) -> str:
        """The framing that refers to schemas in this way."""
        return "confluent" if self.fingerprint is None else "single-object"

    def __str__(self) -> str:
        return f"id {self.schema_id}" if self.fingerprint is None else f"fingerprint {self.fingerprint.hex()}"


def single_object_prefix(schema: Schema) -> bytes:
    """The prefix of every value written with this schema in single-object encoding."""
    return SINGLE_OBJECT_MARK + schema.fingerprint


def confluent_prefix(schema_id: int) -> bytes:
    """The prefix of every value written with the schema of this registry id."""
    return CONFLUENT_MARK + schema_id.to_bytes(4, "big")


def read_prefix(value: bytes) -> Tuple[SchemaRef, int]:
    """Which schema the value was written with, and where its body starts. Raises `decode.framing`."""
    if value[:2] == SINGLE_OBJECT_MARK and len(value) >= SINGLE_OBJECT_BYTES:
        return SchemaRef(value[2:SINGLE_OBJECT_BYTES], None), SINGLE_OBJECT_BYTES
    if value[:1] == CONFLUENT_MARK and len(value) >= CONFLUENT_BYTES:
        return SchemaRef(None, int.from_bytes(value[1:CONFLUENT_BYTES], "big")), CONFLUENT_BYTES
    raise undecodable("decode.framing", f"neither C3 01 nor 00 and a whole prefix: {_looks_like(value)}", 0)


def _looks_like(value: bytes) -> str:
    if value[:2] in (SINGLE_OBJECT_MARK, SINGLE_OBJECT_MARK[: len(value)]) or value[:1] == CONFLUENT_MARK:
        return f"the prefix is cut after {plural(len(value), 'byte')}"
    if value[:1] == b"\x01":
        return "looks like the schema GUID of the registry's header-id framing, which is not supported"
    if value[:4] == b"Obj\x01":
        return "looks like an Avro object container file"
    if value.lstrip()[:1] in (b"{", b"["):
        return "looks like JSON"
    return f"begins with {value[:8].hex(' ')}"
