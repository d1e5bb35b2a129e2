"""The key of a record: any single value of its order."""

import json
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any, Optional
from uuid import UUID

import pytest

from orderflow.avro.schema import Schema, load_schema
from orderflow.exits import UsageError
from orderflow.model.moments import LocalTimestampNanos, TimestampNanos
from orderflow.produce.record_key import key_bytes, key_reader

ADDRESS = {"type": "record", "name": "Address", "fields": [{"name": "city", "type": "string"}]}


def schema(**types: Any) -> Schema:
    fields = [{"name": name, "type": part} for name, part in types.items()]
    return load_schema(json.dumps({"type": "record", "name": "Shipment", "fields": fields}))


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("S-1", b"S-1"),
        ("", b""),
        ("hé", "hé".encode()),
        (7, b"7"),
        (b"\xff\x00", b"\xff\x00"),
        (Decimal("1.50"), b"1.50"),
        (UUID(int=1), b"00000000-0000-0000-0000-000000000001"),
        (date(2026, 1, 2), b"2026-01-02"),
        (datetime(2026, 1, 2, 3, tzinfo=timezone.utc), b"2026-01-02T03:00:00+00:00"),
        (TimestampNanos(1_764_000_000_123_456_789), b"2025-11-24T16:00:00.123456789Z"),
        (LocalTimestampNanos(1_764_000_000_000_000_000), b"2025-11-24T16:00:00"),
        (None, None),
    ],
)
def test_a_key_is_the_text_of_its_value(value: Any, key: Optional[bytes]) -> None:
    """Bytes stay as they are, and an order whose field is null has no key."""
    assert key_bytes(value) == key


def test_the_key_must_be_a_field_of_the_schema() -> None:
    """Which orders stay in order is never guessed: the message names what there is."""
    with pytest.raises(UsageError, match=r"no field of Shipment; .*: shipment_id, city"):
        key_reader(schema(shipment_id="string", city="string"), "order_id")
    with pytest.raises(UsageError, match="did you mean shipment_id"):
        key_reader(schema(shipment_id="string"), "shipment")


@pytest.mark.parametrize(
    "part", [ADDRESS, ["null", ADDRESS], {"type": "array", "items": "int"}, {"type": "map", "values": "int"}]
)
def test_a_nested_value_is_no_key(part: Any) -> None:
    """Its text would depend on how Python prints it."""
    with pytest.raises(UsageError, match="a key is a single value"):
        key_reader(schema(to=part), "to")


def test_a_named_type_is_looked_up() -> None:
    """A record may be defined at one field and used at the next."""
    with pytest.raises(UsageError, match="a key is a single value"):
        key_reader(schema(sender=ADDRESS, to="Address"), "to")
