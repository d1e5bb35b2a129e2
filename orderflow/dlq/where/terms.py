"""What all parts of a condition speak of: functions of a lookup, and the error of what cannot be read."""

from decimal import Decimal
from typing import Any, Callable, Optional, Union

Lookup = Callable[[str], Any]
Condition = Callable[[Lookup], bool]
Value = Callable[[Lookup], Any]
Number = Union[int, float]
Expression = Callable[[Lookup], Optional[Decimal]]


class WhereError(ValueError):
    """A condition that cannot be read; says what is wrong and where."""
