"""What an order is, and the rules that it must meet.

Owns: the six fields, the types that the rules can judge, and `validate`.
Does not know: bytes, schemas, Kafka, what becomes of an order that breaks a rule.
Used by: codec, schemas, order_source, dlq_handler.
"""

from typing import Any, Dict, FrozenSet, Mapping

from orderflow.errors import InvalidOrder

Order = Dict[str, Any]

FIELDS: Mapping[str, FrozenSet[str]] = {
    "order_id": frozenset({"string"}),
    "customer_id": frozenset({"string"}),
    "product_id": frozenset({"string"}),
    "quantity": frozenset({"int", "long"}),
    "price": frozenset({"int", "long", "float", "double", "decimal"}),
    "timestamp": frozenset({"int", "long"}),
}
"""The fields that the rules speak of, each with the Avro types that they can judge."""

INFINITY = float("inf")


def validate(order: Order) -> None:
    """Raise `InvalidOrder` for the first rule that the order breaks; reasons are `validate.<field>`.

    Ids are not empty, quantity is at least 1, price is finite and not negative, timestamp is positive.
    A price of 0 is valid, free goods are sold too; -0.0 equals 0 and is valid as well.
    """
    for name in ("order_id", "customer_id", "product_id"):
        if not order[name]:
            raise broken(name, "must not be empty", order[name])
    if order["quantity"] < 1:
        raise broken("quantity", "must be at least 1", order["quantity"])
    if not 0 <= order["price"] < INFINITY:  # false for NaN too
        raise broken("price", "must be a finite number, not negative", order["price"])
    if order["timestamp"] < 1:
        raise broken("timestamp", "must be positive", order["timestamp"])


def broken(field: str, rule: str, value: Any) -> InvalidOrder:
    """The error for one broken rule; it names the value, which the user interface escapes."""
    return InvalidOrder(f"{field} {rule}: {value!r}", f"validate.{field}")
