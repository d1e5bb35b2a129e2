"""What an order is, and the rules it must meet."""

from typing import Any, Callable, Dict, FrozenSet, Mapping, NamedTuple

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
"""The fields that the rules cover, each with the Avro types that they can check."""


class Rule(NamedTuple):
    """A condition on one field."""

    field: str
    condition: str
    """A Python expression with `{}` for the value; if it is false, the order breaks the rule."""
    says: str

    def of(self, value_of: Callable[[str], str]) -> str:
        """The condition's source; `value_of` gives the source of a field's value."""
        return self.condition.format(value_of(self.field))


RULES = (
    Rule("order_id", "{}", "must not be empty"),
    Rule("customer_id", "{}", "must not be empty"),
    Rule("product_id", "{}", "must not be empty"),
    Rule("quantity", "{} >= 1", "must be at least 1"),
    Rule("price", "0 <= {} < 1e999", "must be a finite number, not negative"),
    Rule("timestamp", "{} >= 1", "must be positive"),
)
"""A price of 0 is valid, for free goods; -0.0 equals 0 and is valid too. 1e999 is infinity, and NaN compares
false with everything."""


def all_hold(value_of: Callable[[str], str]) -> str:
    """The source of one condition for all rules; `value_of` gives the source of a field's value.

    The rules are text so that the decoder compiled for a schema can check them inline: once per record,
    this is faster than any call.
    """
    return " and ".join(rule.of(value_of) for rule in RULES)


def _of_order(field: str) -> str:
    return f"order[{field!r}]"


_all_hold: Callable[[Order], bool] = eval(f"lambda order: {all_hold(_of_order)}")  # nosec B307
_conditions: Dict[str, Callable[[Order], bool]] = {
    rule.field: eval(f"lambda order: {rule.of(_of_order)}")
    for rule in RULES  # nosec B307
}


def validate(order: Order) -> None:
    """Raise `InvalidOrder` for the first rule that the order breaks; reasons are `validate.<field>`."""
    if _all_hold(order):
        return
    rule = next(rule for rule in RULES if not _conditions[rule.field](order))
    # The value is untrusted: whoever shows the message escapes it.
    raise InvalidOrder(f"{rule.field} {rule.says}: {order[rule.field]!r}", f"validate.{rule.field}")
