"""What is typed for `--set`: no digit of it is lost, and what a job's record cannot hold is refused."""

import json
from decimal import Decimal
from typing import Any, Dict, Mapping

import pytest

from orderflow.avro.codec import load_schema
from orderflow.avro.order_fields import fields_of
from orderflow.dlq.replay.flags import repair_of
from orderflow.exits import UsageError

MONEY = {"type": "bytes", "logicalType": "decimal", "precision": 30, "scale": 2}
FIELDS = {
    "amount": MONEY,
    "amounts": {"type": "map", "values": {"type": "array", "items": MONEY}},
    "price": "double",
    "either": ["string", MONEY],
}
SCHEMA = load_schema(
    json.dumps(
        {
            "type": "record",
            "name": "Order",
            "fields": [{"name": name, "type": kind} for name, kind in FIELDS.items()],
        }
    )
)
READERS = {field.name: field.spelling.from_json for field in fields_of(SCHEMA.parsed)}
MANY = "1234567890123456789012345678.91"


def field_values(fields: Mapping[str, Any]) -> Dict[str, Any]:
    """As the script reads them."""
    return {name: READERS[name](value) for name, value in fields.items()}


def repaired(name: str, text: str) -> Any:
    """The field's value, after the repair was kept in a job's record."""
    kept = json.loads(json.dumps(repair_of(field_values, name, text)))
    return field_values({name: kept})[name]


def test_a_decimal_keeps_every_digit_that_was_typed() -> None:
    """More than a double holds, in quotation marks or not, and within lists and maps."""
    assert repaired("amount", MANY) == repaired("amount", f'"{MANY}"') == Decimal(MANY)
    assert repaired("amounts", f'{{"a": [{MANY}, 1.5]}}') == {"a": [Decimal(MANY), Decimal("1.5")]}


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("price", "19.999999999999999999", "cannot be held exactly"),
        ("price", "NaN", "is no JSON"),
        ("either", MANY, "cannot be kept exactly"),
        ("amounts", '{"a": [1], "a": [2]}', "has a name twice"),
    ],
)
def test_what_would_become_another_value_is_refused(name: str, text: str, why: str) -> None:
    """Rounded, or another branch of a union, or one of two."""
    with pytest.raises(UsageError, match=why):
        repair_of(field_values, name, text)
