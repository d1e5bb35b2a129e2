"""Text of unknown origin, made safe to show."""

import difflib
import re
import unicodedata
from contextlib import suppress
from typing import FrozenSet, Mapping, Optional, Sequence, Set, Tuple

MOST_MARKS = 4
"""Accents and the like that one character may carry; more of them are drawn over the lines around it."""

_is_invisible = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U0001d159\U000e0100-\U000e01ef]"
).match
"""What draws nothing although it counts as printable: fillers, blanks, selectors of a variant."""

_SUSPECT = re.compile(
    "[\u0300-\u036f\u0483-\u0489\u0591-\u1fff\u20d0-\u20ff\u2800\u2c00-\u2dff\u302a-\u302f\u3099\u309a\u3164"
    "\ua000-\uabff\ufb1e\ufe00-\ufe2f\uffa0\U00010000-\U0001efff\U000e0000-\U000e0fff]"
)
"""Blocks that hold combining marks or invisible characters. Text without them is judged at once."""


def escape(text: str) -> str:
    r"""Keep what shows as itself; write all other characters as `\uXXXX` (`\UXXXXXXXX` beyond U+FFFF).

    Controls (C0 and C1), line breaks, bidirectional and other format controls, blanks but the space, fillers,
    unassigned characters and lone surrogates are written so, and combining marks without a character to
    stand on. The result is one line that cannot control a terminal. To escape it again changes nothing.
    """
    if text.isprintable() and (text.isascii() or not _SUSPECT.search(text)):
        return text
    shown, marks, has_base = [], 0, False
    for char in text:
        category = unicodedata.category(char)
        if category in ("Mn", "Me", "Mc"):
            marks += 1
            is_shown = has_base and marks <= MOST_MARKS
        else:
            marks, has_base, is_shown = 0, category[0] in "LNS", True
        is_shown = is_shown and char.isprintable() and not _is_invisible(char)
        shown.append(char if is_shown else _code(char))
    return "".join(shown)


def typed_bytes(text: str) -> bytes:
    """The bytes that were typed, which need not be UTF-8."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # not typed, but from a file or topic: equal to no bytes of a record
        return text.encode("utf-8", "surrogatepass")


def keys_shown_as(text: str) -> FrozenSet[Optional[bytes]]:
    """The keys that `shown_bytes` shows like this, and the one that is this text."""
    keys: Set[Optional[bytes]] = {typed_bytes(text)}
    if text == "null":
        keys.add(None)
    if re.fullmatch("0x(?:[0-9a-f]{2})+", text):
        keys.add(bytes.fromhex(text[2:]))
    if "\\" in text:
        with suppress(ValueError, OverflowError):  # no character, or half of one
            keys.add(_CODE.sub(lambda code: chr(int(code[0][2:], 16)), text).encode())
    return frozenset(keys)


_CODE = re.compile(r"\\u[0-9a-f]{4}|\\U[0-9a-f]{8}")


class Heading(str):
    """A line to be shown bold."""


def _code(char: str) -> str:
    point = ord(char)
    return f"\\u{point:04x}" if point <= 0xFFFF else f"\\U{point:08x}"


STAND_INS: Mapping[str, str] = dict(zip("…─·▁▂▃▄▅▆▇█", "~--_.:-=+*#"))
"""What we draw with, and the character of ASCII that takes its place where an encoding lacks it.

Each takes one cell, as what it stands for does, so that no line wraps and no column moves.
"""


def unencodable(error: UnicodeError) -> Tuple[str, int]:
    """For `codecs.register_error`: characters that an encoding lacks, as `escape` writes them.

    Those that we draw with have a stand-in, also where a record has one of them: nobody can tell them apart.
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(STAND_INS.get(char) or _code(char) for char in lacking), error.end


def without_passwords(text: str) -> str:
    """The text with `…` for the password of each `user:password@host` in it."""
    return re.sub(r"([^\s:/@'\"]+):[^\s/@'\"]+(?=@)", r"\1:…", text)


def shown_bytes(value: Optional[bytes]) -> str:
    """A key or header value for people: its text if it is UTF-8, else hex; None is `null`."""
    if value is None:
        return "null"
    try:
        return escape(value.decode("utf-8"))
    except UnicodeDecodeError:
        return f"0x{value.hex()}"


MOST_QUOTED = 100


def quoted(text: str) -> str:
    """A text as an error repeats it: in quotes, and cut where it is long."""
    return repr(text) if len(text) <= MOST_QUOTED else f"{text[:MOST_QUOTED]!r}…"


def plural(number: int, one: str, many: str = "") -> str:
    """`1 partition`, `1,284 dead letters`; `many` where an s does not do: `2 bytes are left`."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def listed(words: Sequence[str], most: int) -> str:
    """`a, b and 3 more`: the first words, and how many follow."""
    more = f" and {len(words) - most:,} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more


def named(noun: str, names: Sequence[str], most: int) -> str:
    """`partition 2`, `partitions 0, 1 and 3 more`."""
    return f"{noun}{'' if len(names) == 1 else 's'} {listed(names, most)}"


def did_you_mean(text: str, choices: Sequence[str]) -> str:
    """`; did you mean …?` to end an error message with, or nothing if no choice is close."""
    near = difflib.get_close_matches(text, choices, 1)
    return f"; did you mean {near[0]}?" if near else ""
