"""Tells whether an object's text is its address in memory, which nobody who reads it could use."""

import gc
import re
import types
from typing import Iterator, List

DEEPEST = 4
"""Levels below an object: its attributes, the elements of a list among them, and theirs."""
MOST = 1_000
"""Objects looked at: where there are more, the text names the first ones as well."""

_NUMBER = re.compile(r"0x([0-9A-Fa-f]{5,16})")
_SHARED = (type, types.ModuleType, types.FrameType)
"""What an object refers to without holding it."""


def names_address(value: object, text: str) -> bool:
    """Whether the object's text names where it lies in memory, or where something lies that it holds.

    A number is compared with real addresses, since a text may hold others that are written alike.
    """
    told = {int(number, 16) for number in _NUMBER.findall(text)}
    return bool(told) and any(id(one) in told for one in _held(value))


def _held(value: object) -> Iterator[object]:
    """The object itself and what it holds. An error holds nothing: its text is a message for people."""
    yield value
    level: List[object] = [] if isinstance(value, BaseException) else [value]
    for _ in range(DEEPEST):
        level = [one for one in gc.get_referents(*level) if not isinstance(one, _SHARED)][:MOST]
        yield from level
