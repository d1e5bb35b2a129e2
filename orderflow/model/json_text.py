"""Reads JSON of unknown origin: nothing in it can end the process, or become another value than it says."""

import json
import math
import re
from typing import Any

DEEPEST = 200
"""Objects and lists within each other. Python's own reader ends in RecursionError at about a thousand."""
MOST_DIGITS = 400
"""Of a whole number. The time to read one grows with the square of its digits."""

_MARK = re.compile(r'["\\\[\]{}]')
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_MAY_BE_LONE = re.compile(r"\\u[dD][89a-fA-F]")


def read_json(text: str) -> Any:
    """The value of a JSON text. Raises ValueError, which says what is wrong with it."""
    require_shallow(text)
    try:
        value = _decode(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"is no JSON: {fault_of(error)}") from None
    if _MAY_BE_LONE.search(text) and _LONE_SURROGATE.search(json.dumps(value, ensure_ascii=False)):
        raise ValueError("is no valid Unicode: half a surrogate pair")
    return value


def fault_of(error: json.JSONDecodeError) -> str:
    """What is wrong, and where in the line. Some of the library's messages end in `at` or a colon."""
    return f"{re.sub('( starting)?( at|: )$', '', error.msg)} at column {error.colno}"


def require_shallow(text: str) -> None:
    """Raise ValueError for a JSON text that is nested too deeply. A text that is no JSON may pass."""
    if text.count("[") + text.count("{") <= DEEPEST:
        return
    depth, in_string, escaped = 0, False, -1
    for mark in _MARK.finditer(text):
        char, at = mark[0], mark.start()
        if in_string:
            if at != escaped and char == "\\":
                escaped = at + 1
            elif at != escaped and char == '"':
                in_string = False
        elif char == '"':
            in_string = True
        else:
            depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(char, 0)
            if depth > DEEPEST:
                raise ValueError("is nested too deeply")


def whole_number(text: str) -> int:
    """For a JSON decoder: a whole number of a length that can be read in no time."""
    if len(text) > MOST_DIGITS:
        raise ValueError(f"has a number with more than {MOST_DIGITS} digits")
    return int(text)


def _number(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"has a number that is too large: {text[:40]}")
    return number


def _no_number(name: str) -> float:
    raise ValueError(f"is no JSON: {name}")


_decode = json.JSONDecoder(parse_int=whole_number, parse_float=_number, parse_constant=_no_number).decode
