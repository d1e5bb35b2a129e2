"""What is calculated, in floats or in decimal: null where it comes to no finite number."""

import ast
import math
import operator
from decimal import Context, Decimal
from functools import lru_cache
from typing import Any, Callable, Dict, Optional, Type, Union

from orderflow.dlq.where.comparing import kind_of
from orderflow.dlq.where.terms import Lookup, Number, Value


def _remainder(one: Number, other: Number) -> Number:
    """Of a division towards zero, as in SQL: it has the sign of what is divided."""
    if isinstance(one, int) and isinstance(other, int):
        return abs(one) % abs(other) if one >= 0 else -(abs(one) % abs(other))
    return math.fmod(one, other)


CALCULATIONS: Dict[Type[ast.operator], Callable[[Any, Any], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: _remainder,
}


def calculated(operation: Type[ast.operator], one: Value, other: Value) -> Value:
    """What is calculated of two values; null where that is no finite number. With a decimal it is exact."""
    in_floats, in_decimals = CALCULATIONS[operation], DECIMAL_CALCULATIONS[operation]

    def value(lookup: Lookup) -> Union[Number, Decimal, None]:
        left, right = one(lookup), other(lookup)
        if kind_of(left) != "number" or kind_of(right) != "number":
            return _exactly(in_decimals, _as_decimal(left), _as_decimal(right))
        try:
            result = in_floats(left, right)
            return result if math.isfinite(result) else None
        except (ArithmeticError, ValueError):  # by zero, too large; ValueError is the remainder of infinity
            return None

    return value


def _as_decimal(number: Any) -> Optional[Decimal]:
    """None for what is no finite number."""
    kind = type(number)
    if kind is float or kind is int:
        return _decimal(number)
    return number if kind is Decimal and number.is_finite() else None


@lru_cache(maxsize=10_000)
def _decimal(number: Union[int, float]) -> Optional[Decimal]:
    """The number as its shortest decimal form says. Cached, since prices are much alike."""
    return Decimal(repr(number)) if math.isfinite(number) else None


def in_decimal(value: Value) -> Value:
    """The value as a decimal number; None where it is no finite number."""
    return lambda lookup: _as_decimal(value(lookup))


def calculated_in_decimal(calculate: Callable[[Any, Any], Any], one: Value, other: Value) -> Value:
    """The same of two decimal numbers."""
    return lambda lookup: _exactly(calculate, one(lookup), other(lookup))


def _exactly(
    calculate: Callable[[Any, Any], Decimal], one: Optional[Decimal], other: Optional[Decimal]
) -> Optional[Decimal]:
    if one is None or other is None:
        return None
    try:
        return calculate(one, other)
    except ArithmeticError:
        return None


EXACT = Context(prec=2_000)
"""Sums and products keep all digits: the largest double and the smallest are 632 digits apart. With Python's
usual 28, cents of large amounts are lost."""

DECIMAL_CALCULATIONS: Dict[Type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: EXACT.add,
    ast.Sub: EXACT.subtract,
    ast.Mult: EXACT.multiply,
    ast.Div: operator.truediv,  # which seldom ends, so it has 28 digits
    ast.Mod: EXACT.remainder,
}
