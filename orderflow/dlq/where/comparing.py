"""What is compared, and how: with null, between kinds, of times and texts."""

import ast
import operator
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any, Callable, Dict, Optional, Tuple, Type

from orderflow.model.moments import ticks, ticks_of, written


def are_equal(one: Any, other: Any) -> bool:
    """Whether two values are the same; false where one is null."""
    if one is None or other is None:
        return False
    if kind_of(one) == kind_of(other):
        return bool(one == other)
    pair = _alike(one, other)
    return pair is not None and bool(pair[0] == pair[1])


def _unequal(one: Any, other: Any) -> bool:
    return one is not None and other is not None and not are_equal(one, other)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def test(one: Any, other: Any) -> bool:
        kind = kind_of(one)
        if kind in ("number", "text") and kind == kind_of(other):
            return compare(one, other)
        pair = _alike(one, other)
        return pair is not None and compare(*pair)

    return test


def _alike(one: Any, other: Any) -> Optional[Tuple[Any, Any]]:
    """Values of two kinds, made alike where one spells the other; None where they cannot be compared."""
    if isinstance(one, Decimal) or isinstance(other, Decimal):
        decimals = _as_decimal(one), _as_decimal(other)
        return None if None in decimals else decimals
    if isinstance(one, str):
        found = _alike(other, one)
        return found and (found[1], found[0])
    at = ticks(one)
    if at is None:
        text = _text(one)
        return None if text is None or not isinstance(other, str) else (text, other)
    other_at = ticks_of(other, one) if isinstance(other, str) else ticks(other)
    return None if other_at is None else (at, other_at)


def _as_decimal(value: Any) -> Optional[Decimal]:
    """A float counts as the shortest number that it prints as: 19.99 is 19.99. NaN cannot be compared."""
    if isinstance(value, Decimal):
        return value
    return Decimal(repr(value)) if kind_of(value) == "number" and value == value else None


def _text(value: Any) -> Optional[str]:
    """The text of a value that has one: times, and of other types UUIDs."""
    if isinstance(value, str):
        return value
    return written(value) or (None if isinstance(value, _WITHOUT_TEXT) else str(value))


_WITHOUT_TEXT = (type(None), bool, int, float, Decimal, bytes, list, tuple, dict)


def _matches(one: Any, other: Any) -> bool:
    text = _text(one)
    return text is not None and isinstance(other, str) and fnmatchcase(text, other)


def _differs(one: Any, other: Any) -> bool:
    text = _text(one)
    return text is not None and isinstance(other, str) and not fnmatchcase(text, other)


def kind_of(value: Any) -> str:
    """The kind of a value: those of one kind can be compared."""
    if isinstance(value, bool):
        return "truth"
    if isinstance(value, (int, float)):
        return "number"
    return "text" if isinstance(value, str) else "other"


TESTS: Dict[Type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: are_equal,
    ast.NotEq: _unequal,
    ast.Lt: _ordered(operator.lt),
    ast.LtE: _ordered(operator.le),
    ast.Gt: _ordered(operator.gt),
    ast.GtE: _ordered(operator.ge),
    ast.In: _matches,
    ast.NotIn: _differs,
}
