"""The values of a JSON text as they are written: no number loses digits, and no name is given twice."""

import json
import sys
from decimal import Decimal, InvalidOperation
from typing import Any, Dict, Optional

from orderflow.model.json_text import fault_of, require_shallow, whole_number


class LongNumber:
    """A number in a JSON text that a double cannot hold as written."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text


def json_value(text: str) -> Any:
    """The value of a JSON text, with no duplicate name and no rounded number. Raises ValueError."""
    require_shallow(text)
    try:
        return _decode(text) if len(text) < _LONG_TEXT else _decode_long(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {fault_of(error)}") from None


def _object(pairs: Any) -> Dict[str, Any]:
    """Refuse duplicate names: JSON's last-one-wins would silently change an order."""
    order = dict(pairs)
    if len(order) != len(pairs):
        raise ValueError("has a name twice")
    return order


def _float(text: str) -> Any:
    number = float(text)
    return number if reads_back(text, number) else LongNumber(text)


_decode = json.JSONDecoder(object_pairs_hook=_object, parse_float=_float).decode
"""Created once: json.loads would create one for each line."""
_decode_long = json.JSONDecoder(object_pairs_hook=_object, parse_float=_float, parse_int=whole_number).decode
_LONG_TEXT = 4_000
"""Only a text of this size can hold a number that takes long to read."""
_SAFE_DIGITS = 15
"""A decimal of at most this many digits survives a round trip through a double that is not subnormal."""
_LEAST_NORMAL = sys.float_info.min


def reads_back(text: str, number: float) -> bool:
    """Whether the double read from a text prints as the same number."""
    if len(text) <= _SAFE_DIGITS and number - number == 0 and abs(number) >= _LEAST_NORMAL:
        return True
    return number - number == 0 and as_decimal(text) == Decimal(repr(number))


def as_decimal(text: str) -> Optional[Decimal]:
    """The number that a text says, exactly; None if its exponent is beyond all use."""
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent of twenty digits
        return None
