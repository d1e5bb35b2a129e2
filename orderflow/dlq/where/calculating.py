"""What is calculated, as a float or in decimal: null where it comes to no finite number."""

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


def calculated(calculate: Callable[[Any, Any], Number], one: Value, other: Value) -> Value:
    """What is calculated of two values; null where that is no finite number."""

    def value(lookup: Lookup) -> Optional[Number]:
        left, right = one(lookup), other(lookup)
        if kind_of(left) != "number" or kind_of(right) != "number":
            left, right = _float(left), _float(right)
            if left is None or right is None:
                return None
        try:
            result = calculate(left, right)
            return result if math.isfinite(result) else None
        except (ArithmeticError, ValueError):  # by zero, too large; ValueError is the remainder of infinity
            return None

    return value


def _float(value: Any) -> Optional[Number]:
    """A number to calculate with."""
    return float(value) if type(value) is Decimal else value if kind_of(value) == "number" else None


@lru_cache(maxsize=10_000)
def _decimal(number: Union[int, float]) -> Optional[Decimal]:
    """The number as its shortest decimal form says. Cached, since prices are much alike."""
    return Decimal(repr(number)) if math.isfinite(number) else None


def in_decimal(value: Value) -> Value:
    """The value as a decimal number; None where it is no finite number."""

    def read(lookup: Lookup) -> Optional[Decimal]:
        found = value(lookup)
        kind = type(found)
        if kind is float or kind is int:
            return _decimal(found)
        return found if kind is Decimal and found.is_finite() else None

    return read


def calculated_in_decimal(calculate: Callable[[Any, Any], Any], one: Value, other: Value) -> Value:
    """The same of two decimal numbers."""

    def value(lookup: Lookup) -> Optional[Decimal]:
        left, right = one(lookup), other(lookup)
        if left is None or right is None:
            return None
        try:
            result: Decimal = calculate(left, right)
        except ArithmeticError:
            return None
        return result

    return value


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
