"""Text of unknown origin, made safe to show."""

import difflib
import re
from datetime import date, datetime, time
from typing import Any, Sequence


def escape(text: str) -> str:
    r"""Keep printable characters; write all others as `\uXXXX` (`\UXXXXXXXX` beyond U+FFFF).

    Controls (C0 and C1), line breaks, bidirectional and other format controls, unassigned characters and
    lone surrogates are not printable, so the result is one line that cannot control a terminal.
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
    """`; did you mean …?` to end an error message with, or nothing if no choice is close."""
    near = difflib.get_close_matches(text, choices, 1)
    return f"; did you mean {near[0]}?" if near else ""


def text_of_value(value: Any) -> str:
    """A value that JSON has no form for, as files spell it: times in ISO 8601, anything else as its text."""
    if isinstance(value, (date, datetime, time)):
        return re.sub(r"\+00:00$", "Z", value.isoformat())
    return str(value)
