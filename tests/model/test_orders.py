"""The rules that an order must meet."""

from typing import Any, Dict

import pytest

from orderflow.errors import InvalidOrder
from orderflow.model.orders import validate

GOOD: Dict[str, Any] = {
    "order_id": "o-1",
    "customer_id": "c-1",
    "product_id": "p-1",
    "quantity": 1,
    "price": 9.99,
    "timestamp": 1_732_492_800_000,
}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("quantity", 1),
        ("quantity", 2**31 - 1),
        ("price", 0.0),
        ("price", -0.0),
        ("price", 5e-324),
        ("price", 1.7976931348623157e308),
        ("timestamp", 1),
        ("timestamp", 253_402_300_799_999),
        ("order_id", " "),
    ],
)
def test_an_order_at_the_edge_of_a_rule_is_valid(field: str, value: Any) -> None:
    """What the rules do not forbid is allowed: free goods, minus zero, the last millisecond of 9999."""
    validate({**GOOD, field: value})


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("order_id", "", "order_id must not be empty: ''"),
        ("customer_id", "", "customer_id must not be empty: ''"),
        ("product_id", "", "product_id must not be empty: ''"),
        ("quantity", 0, "quantity must be at least 1: 0"),
        ("quantity", -(2**31), "quantity must be at least 1: -2147483648"),
        ("price", -0.01, "price must be a finite number, not negative: -0.01"),
        ("price", float("nan"), "price must be a finite number, not negative: nan"),
        ("price", float("inf"), "price must be a finite number, not negative: inf"),
        ("price", float("-inf"), "price must be a finite number, not negative: -inf"),
        ("timestamp", 0, "timestamp must be positive: 0"),
        ("timestamp", -1, "timestamp must be positive: -1"),
    ],
)
def test_a_broken_rule_names_its_field_and_the_value(field: str, value: Any, message: str) -> None:
    """The reason code is the field's, and the message says rule and value."""
    with pytest.raises(InvalidOrder) as caught:
        validate({**GOOD, field: value})

    assert (f"validate.{field}", message) == (caught.value.reason, str(caught.value))
    assert not caught.value.retryable
