"""How wide a text is on a screen, in the cells of a terminal's grid; cut and padded to fit its columns.

East Asian characters and emoji take two cells each, combining marks none. A line that is counted in
characters would wrap, and the columns behind such a text would not stand below each other.
"""

import unicodedata
from functools import lru_cache
from typing import Optional

_FIRST_UNEVEN = "\u0300"
"""All characters before it, once escaped, take one cell."""
_JOINED_JAMO = range(0x1160, 0x1200)
"""Vowels and endings of Korean syllables, which are drawn into the character before them."""


def cells(text: str) -> int:
    """The width of a text that was escaped."""
    if text.isascii() or max(text) < _FIRST_UNEVEN:
        return len(text)
    return sum(map(_cells_of, text))


def fit(line: str, width: Optional[int]) -> str:
    """The line cut to the width of a terminal, if there is one."""
    if width is None or (len(line) <= width and cells(line) <= width):
        return line
    if line.isascii():
        return line[: max(0, width - 1)] + "…"
    taken = fitting = 0
    for at, char in enumerate(line, 1):
        taken += _cells_of(char)
        if taken < width:
            fitting = at
        elif taken > width:
            return line[:fitting] + "…"
    return line


def padded(text: str, width: int, to_the_right: bool = False) -> str:
    """The text with spaces to the width of its column, behind it or, for numbers, before it."""
    spaces = " " * (width - cells(text))
    return spaces + text if to_the_right else text + spaces


@lru_cache(10_000)
def _cells_of(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me") or ord(char) in _JOINED_JAMO:
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1
