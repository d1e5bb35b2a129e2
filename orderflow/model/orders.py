"""What an order is, and the rules it must meet."""

from typing import Any, Callable, Collection, Dict, FrozenSet, Mapping, NamedTuple, Optional, Sequence

from orderflow.errors import InvalidOrder, OrderError, RulesFailed, text_of

Order = Dict[str, Any]
ValueOf = Callable[[str], str]
"""Gives the source of a field's value, from the field's name."""

FIELDS: Mapping[str, FrozenSet[str]] = {
    "order_id": frozenset({"string"}),
    "customer_id": frozenset({"string"}),
    "product_id": frozenset({"string"}),
    "quantity": frozenset({"int", "long"}),
    "price": frozenset({"int", "long", "float", "double", "decimal"}),
    "timestamp": frozenset({"int", "long"}),
}
"""The fields that the shipped rules cover, each with the Avro types that they can check."""


class Rule(NamedTuple):
    """A condition on one field."""

    field: str
    condition: str
    """A Python expression with `{}` for the value; if it is false, the order breaks the rule."""
    says: str

    nullable: bool = False
    """The field may be null, which keeps the rule."""

    def of(self, value_of: ValueOf) -> str:
        """The condition's source."""
        value = value_of(self.field)
        holds = self.condition.format(value)
        return f"({value} is None or {holds})" if self.nullable else holds


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


class OrderRules(NamedTuple):
    """What an order must meet beyond its schema."""

    judge: Callable[[Order], None]
    """Raises `InvalidOrder` for an order that breaks a rule, `RulesFailed` if the rules themselves fail."""
    condition: Optional[Callable[[ValueOf], str]] = None
    """The source of one condition for all rules. None if only calling `judge` tells.

    The shipped rules are text so that the decoder compiled for a schema can check them inline: once per
    record, this is faster than any call.
    """
    rules: Sequence[Rule] = ()
    """The shipped ones that apply."""


def rules_for(types: Mapping[str, Collection[str]]) -> OrderRules:
    """The shipped rules for a schema, given by the types of each field (several for a union).

    A rule is left out if the schema has no such field, or has it with a type that the rule cannot check.
    """
    rules = [
        rule._replace(nullable="null" in types[rule.field])
        for rule in RULES
        if rule.field in types and _can_check(rule, types[rule.field])
    ]

    def condition(value_of: ValueOf) -> str:
        return " and ".join(rule.of(value_of) for rule in rules) or "True"

    all_hold = _compiled(condition(_of_order))
    conditions = [(rule, _compiled(rule.of(_of_order))) for rule in rules]

    def judge(order: Order) -> None:
        if all_hold(order):
            return
        broken = next(rule for rule, holds in conditions if not holds(order))
        # The value is untrusted: whoever shows the message escapes it.
        raise InvalidOrder(broken.field, f"{broken.says}: {order[broken.field]!r}")

    return OrderRules(judge, condition, rules)


def _can_check(rule: Rule, types: Collection[str]) -> bool:
    solid = {kind for kind in types if kind != "null"}
    return bool(solid) and solid <= FIELDS[rule.field]


def _of_order(field: str) -> str:
    return f"order[{field!r}]"


def _compiled(condition: str) -> Callable[[Order], bool]:
    holds: Callable[[Order], bool] = eval(f"lambda order: {condition}")  # nosec B307 - our own text
    return holds


validate = rules_for(FIELDS).judge
"""The shipped rules for the shipped schema: raises `InvalidOrder` for the first one that an order breaks."""


def own_rules(function: Callable[[Order], Any], name: str) -> OrderRules:
    """Rules of one's own: a function that raises `InvalidOrder(field, reason)` for an order that breaks one.

    It may also raise `RejectOrder` and `RetryLater`. Anything else it raises or returns is a fault of the
    rules, not of the order: the order is retried, because the next deployment may have corrected them.
    """

    def judge(order: Order) -> None:
        try:
            verdict = function(order)
        except OrderError:
            raise
        except Exception as error:
            raise RulesFailed(f"{name}: {text_of(error)}") from error
        if verdict is not None:
            raise RulesFailed(
                f"{name} returned a {type(verdict).__name__}: rules return None, and raise InvalidOrder"
            )

    return OrderRules(judge)
