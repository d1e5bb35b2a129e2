"""Records that no Python client writes, put on a topic byte for byte by a Produce request of our own.

C, Go and Rust clients take bytes for a header's name; Python's takes text, and so cannot write one that is
not UTF-8. The form is that of https://kafka.apache.org/documentation/#recordbatch, version 2.
"""

import socket
import struct
from typing import List, NamedTuple, Optional, Sequence, Tuple

RawHeader = Tuple[bytes, Optional[bytes]]
PRODUCE, VERSION = 0, 3
CASTAGNOLI = 0x82F63B78
NEVER_MIND = -1


class Raw(NamedTuple):
    """One record, its header names as bytes."""

    key: Optional[bytes]
    value: Optional[bytes]
    headers: Sequence[RawHeader] = ()


def produce(bootstrap_servers: str, topic: str, records: Sequence[Raw], partition: int = 0) -> None:
    """Write the records as one batch; the one broker there is leads the partition."""
    batch = _batch(records)
    request = (
        struct.pack(">hhih", PRODUCE, VERSION, 1, NEVER_MIND)  # API, version, correlation id, no client id
        + struct.pack(">hhi", NEVER_MIND, -1, 10_000)  # no transaction, all in-sync replicas, time-out in ms
        + struct.pack(">ih", 1, len(topic))
        + topic.encode()
        + struct.pack(">iii", 1, partition, len(batch))
        + batch
    )
    answer = _ask(bootstrap_servers, request)
    error = struct.unpack_from(">h", answer, 4 + 4 + 2 + len(topic) + 4 + 4)[0]
    assert error == 0, f"the broker answers error {error}"


def _ask(bootstrap_servers: str, request: bytes) -> bytes:
    host, _, port = bootstrap_servers.split(",")[0].rpartition(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        with connection.makefile("rb") as stream:
            (length,) = struct.unpack(">i", stream.read(4))
            return stream.read(length)


def _batch(records: Sequence[Raw]) -> bytes:
    no_producer = struct.pack(">qhi", -1, -1, -1)
    times = struct.pack(">qq", 1_764_000_000_000, 1_764_000_000_000)
    body = struct.pack(">hi", 0, len(records) - 1) + times + no_producer + struct.pack(">i", len(records))
    body += b"".join(_record(place, record) for place, record in enumerate(records))
    checked = struct.pack(">ibI", -1, 2, _crc32c(body)) + body
    return struct.pack(">qi", 0, len(checked)) + checked


def _record(place: int, record: Raw) -> bytes:
    parts: List[bytes] = [b"\0", _varint(0), _varint(place), _sized(record.key), _sized(record.value)]
    parts.append(_varint(len(record.headers)))
    for name, value in record.headers:
        parts += [_sized(name), _sized(value)]
    whole = b"".join(parts)
    return _varint(len(whole)) + whole


def _sized(data: Optional[bytes]) -> bytes:
    return _varint(-1) if data is None else _varint(len(data)) + data


def _varint(number: int) -> bytes:
    """Zigzag, then seven bits a byte, low first."""
    left, digits = (number << 1) ^ (number >> 63), bytearray()
    while left > 0x7F:
        digits.append(0x80 | (left & 0x7F))
        left >>= 7
    return bytes([*digits, left])


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (CASTAGNOLI if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
