"""The words of a condition."""

import re
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Any, Callable, Dict, List, NamedTuple, Union

from orderflow.dlq.where.terms import WhereError

MOST_CHARACTERS = 100_000
MOST_DIGITS = 100


class Token(NamedTuple):
    """A piece of the condition, and where it begins."""

    kind: str
    text: str
    at: int


TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    | (?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    | (?P<name>[A-Za-z_][\w.-]*)
    | (?P<operator>==|!=|<>|<=|>=|!~|[=<>~(),+*/%-])
    )""",
    re.VERBOSE,
)
KEYWORDS = frozenset(("and", "or", "not", "in", "is", "null", "true", "false"))
CONSTANTS: Dict[str, Any] = {"null": None, "true": True, "false": False}


def tokens_of(text: str, is_known: Callable[[str], bool]) -> List[Token]:
    """The words of a condition. Raises `WhereError`."""
    if len(text) > MOST_CHARACTERS:
        raise WhereError(f"{len(text):,} characters are too many; the most are {MOST_CHARACTERS:,}")
    tokens, at, end = [], 0, len(text.rstrip())
    while at < end:
        match = TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise WhereError(f"cannot read {text[at : at + 10].strip()!r} at character {at + 1}")
        kind, word, start = match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)
        if kind == "name" and not is_known(word):
            word = word.split("-")[0]
        at = start + len(word)
        is_keyword = kind == "name" and word.lower() in KEYWORDS
        tokens.append(Token("keyword", word.lower(), start) if is_keyword else Token(kind, word, start))
    tokens.append(Token("end", "", end))
    return tokens


def constant_of(token: Token) -> Any:
    """The value of a literal. Raises `WhereError`."""
    if token.kind == "text":
        return re.sub(r"\\(.)", r"\1", token.text[1:-1])
    if token.kind == "keyword":
        return CONSTANTS[token.text]
    if len(token.text) > MOST_DIGITS:
        raise WhereError(f"the number at character {token.at + 1} has more than {MOST_DIGITS} digits")
    return int(token.text) if token.text.isdigit() else _fraction(token.text)


def _fraction(text: str) -> Union[float, Decimal]:
    """A double, unless a decimal of the order may be this number and no double prints as it."""
    number = float(text)
    try:
        exact = Decimal(text)
    except InvalidOperation:  # an exponent of twenty digits
        return number
    return number if not isfinite(number) or exact == Decimal(repr(number)) else exact
