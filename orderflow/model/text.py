"""Text of unknown origin, made safe to show.

Owns: `escape`, the only road from the text of a record to a terminal or a log line.
Does not know: what the text means, or whether the stream is a terminal.
Used by: cli, render, and whoever quotes a record, a header or a file's line in a message.
"""

import difflib
import re
from typing import Sequence


def escape(text: str) -> str:
    r"""Printable characters as they are, every other one as `\uXXXX` (`\UXXXXXXXX` beyond U+FFFF).

    Controls (C0 and C1), line breaks, bidirectional and other format controls, unassigned characters and
    lone surrogates are not printable, so what comes back is one line that a terminal only displays.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _code(char) for char in text)


def without_passwords(text: str) -> str:
    """The text with `…` for the password of each `user:password@host` in it."""
    return re.sub(r"([^\s:/@'\"]+):[^\s/@'\"]+(?=@)", r"\1:…", text)


def _code(char: str) -> str:
    point = ord(char)
    return f"\\u{point:04x}" if point <= 0xFFFF else f"\\U{point:08x}"


def did_you_mean(text: str, choices: Sequence[str]) -> str:
    """The end of an error's text that names the nearest choice, if one is near."""
    near = difflib.get_close_matches(text, choices, 1)
    return f"; did you mean {near[0]}?" if near else ""
