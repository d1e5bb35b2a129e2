"""The rules that an order must meet."""

from typing import Any, Dict, List

import pytest

from orderflow.errors import InvalidOrder, OrderError, RetryLater, RulesFailed
from orderflow.model.orders import own_rules, rules_for, validate

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


@pytest.mark.parametrize(
    ("types", "judged"),
    [
        ({}, []),
        ({"sku": ["string"]}, []),
        ({"quantity": ["long"], "sku": ["string"]}, ["quantity"]),
        ({"price": ["decimal"]}, ["price"]),
        ({"price": ["null", "double"]}, ["price"]),
        ({"price": ["string"]}, []),
        ({"price": ["string", "double"]}, []),
        ({"timestamp": ["timestamp-millis"]}, []),
        ({"order_id": ["null"]}, []),
    ],
)
def test_a_rule_applies_where_its_field_is_there_with_a_type_that_it_can_check(
    types: Dict[str, Any], judged: List[str]
) -> None:
    """Another schema needs no rules of its own to be read."""
    assert judged == [rule.field for rule in rules_for(types).rules]


def test_null_keeps_the_rule_of_its_field() -> None:
    """A field that may be null says so in the schema; what is not null must keep the rule."""
    judge = rules_for({"price": ["null", "double"]}).judge
    judge({"price": None})

    with pytest.raises(InvalidOrder, match="price must be"):
        judge({"price": -1.0})


def raising(error: Exception) -> Any:
    def rules(order: Dict[str, Any]) -> None:
        raise error

    return rules


@pytest.mark.parametrize("error", [InvalidOrder("sku", "is unknown"), RetryLater("not yet")])
def test_what_rules_say_of_an_order_is_passed_on(error: OrderError) -> None:
    """InvalidOrder and its relatives are the language of rules."""
    with pytest.raises(type(error)) as caught:
        own_rules(raising(error), "shop:rules").judge({})

    assert caught.value is error


class Unspeakable(Exception):
    """Cannot even be shown."""

    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        (raising(KeyError("sku")), "shop:rules: KeyError: 'sku'"),
        (raising(Unspeakable()), "shop:rules: .*Unspeakable: .its text cannot be shown"),
        (lambda order: False, "shop:rules returned a bool"),
        (lambda order: order, "shop:rules returned a dict"),
    ],
)
def test_rules_that_fail_are_not_the_fault_of_the_order(rules: Any, says: str) -> None:
    """It is retried, as the next deployment may have corrected the rules; nothing is accepted unjudged."""
    with pytest.raises(RulesFailed, match=says) as caught:
        own_rules(rules, "shop:rules").judge({})

    assert caught.value.retryable
    assert "validate.failed" == caught.value.reason
