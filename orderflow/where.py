"""Conditions on a dead letter's order, as an operator writes them: `quantity > 100 and price < 5`.

Owns: the grammar of `--where`, and its evaluation. Nothing is ever handed to Python's own evaluator.
Does not know: where the values come from; a name is asked for through a function.
Used by: selection.

    condition  = term { "or" term }            term    = factor { "and" factor }
    factor     = "not" factor | "(" condition ")" | test
    test       = value operator value | value [ "not" ] "in" "(" literal { "," literal } ")"
               | value "is" [ "not" ] "null" | value
    operator   = "=" | "==" | "!=" | "<>" | "<" | "<=" | ">" | ">=" | "~" (text matches a glob) | "!~"
    value      = name | literal                literal = number | 'text' | "text" | true | false | null

A comparison with null, or of a number with a text, is false, like in SQL; `is null` asks for it.
"""

import difflib
import operator
import re
from fnmatch import fnmatchcase
from typing import Any, Callable, Collection, Dict, List, NamedTuple, Optional, Tuple

Lookup = Callable[[str], Any]
Condition = Callable[[Lookup], bool]
Value = Callable[[Lookup], Any]


class WhereError(ValueError):
    """A condition that cannot be read; says what is wrong and where."""


class Token(NamedTuple):
    """A piece of the condition, and where it begins."""

    kind: str
    text: str
    at: int


TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    | (?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    | (?P<name>[A-Za-z_][\w.-]*)
    | (?P<operator>==|!=|<>|<=|>=|!~|[=<>~(),])
    )""",
    re.VERBOSE,
)
KEYWORDS = frozenset(("and", "or", "not", "in", "is", "null", "true", "false"))
CONSTANTS: Dict[str, Any] = {"null": None, "true": True, "false": False}
DEEPEST = 50
"""Parentheses and `not` within each other; deeper ones are not what a person writes."""


def condition(text: str, names: Collection[str]) -> Condition:
    """The condition as a function of a lookup from name to value. Raises `WhereError`.

    `names` are those that may be asked for; one that ends in `.` allows every name that begins with it.
    """
    parser = _Parser(_tokens(text), names)
    result = parser.any_of()
    parser.expect_end()
    return result


def _tokens(text: str) -> List[Token]:
    tokens, at, end = [], 0, len(text.rstrip())
    while at < end:
        match = TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise WhereError(f"cannot read {text[at : at + 10].strip()!r} at character {at + 1}")
        word = match[match.lastgroup]
        is_keyword = match.lastgroup == "name" and word.lower() in KEYWORDS
        kind, word = ("keyword", word.lower()) if is_keyword else (match.lastgroup, word)
        tokens.append(Token(kind, word, match.start(match.lastgroup)))
        at = match.end()
    tokens.append(Token("end", "", end))
    return tokens


def _equal(one: Any, other: Any) -> bool:
    return one is not None and _kind(one) == _kind(other) and bool(one == other)


def _unequal(one: Any, other: Any) -> bool:
    return one is not None and other is not None and not _equal(one, other)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def test(one: Any, other: Any) -> bool:
        return _kind(one) == _kind(other) and _kind(one) in ("number", "text") and compare(one, other)

    return test


def _matches(one: Any, other: Any) -> bool:
    return isinstance(one, str) and isinstance(other, str) and fnmatchcase(one, other)


def _differs(one: Any, other: Any) -> bool:
    return isinstance(one, str) and isinstance(other, str) and not fnmatchcase(one, other)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "truth"
    if isinstance(value, (int, float)):
        return "number"
    return "text" if isinstance(value, str) else "other"


OPERATORS: Dict[str, Callable[[Any, Any], bool]] = {
    "=": _equal,
    "==": _equal,
    "!=": _unequal,
    "<>": _unequal,
    "<": _ordered(operator.lt),
    "<=": _ordered(operator.le),
    ">": _ordered(operator.gt),
    ">=": _ordered(operator.ge),
    "~": _matches,
    "!~": _differs,
}


class _Parser:
    """One function a rule of the grammar."""

    def __init__(self, tokens: List[Token], names: Collection[str]) -> None:
        self._tokens = tokens
        self._at = 0
        self._names = names
        self._depth = 0

    def any_of(self) -> Condition:
        parts = [self._all_of()]
        while self._take("or"):
            parts.append(self._all_of())
        return parts[0] if len(parts) == 1 else lambda lookup: any(part(lookup) for part in parts)

    def expect_end(self) -> None:
        if self._next.kind != "end":
            raise self._unexpected("and, or, or the end")

    def _all_of(self) -> Condition:
        parts = [self._factor()]
        while self._take("and"):
            parts.append(self._factor())
        return parts[0] if len(parts) == 1 else lambda lookup: all(part(lookup) for part in parts)

    def _factor(self) -> Condition:
        self._depth += 1
        if self._depth > DEEPEST:
            raise WhereError("nested too deeply")
        result = self._nested()
        self._depth -= 1
        return result

    def _nested(self) -> Condition:
        if self._take("not"):
            inner = self._factor()
            return lambda lookup: not inner(lookup)
        if self._take("("):
            result = self.any_of()
            self._expect(")")
            return result
        return self._test()

    def _test(self) -> Condition:
        value = self._value()
        if self._take("is"):
            return self._is_null(value)
        negated = self._take("not")
        if negated or self._next.text == "in":
            self._expect("in")
            return self._one_of(value, negated)
        compare = OPERATORS.get(self._next.text) if self._next.kind == "operator" else None
        if compare is None:
            return lambda lookup: value(lookup) is True
        self._at += 1
        other = self._value()
        return lambda lookup: compare(value(lookup), other(lookup))

    def _is_null(self, value: Value) -> Condition:
        negated = self._take("not")
        self._expect("null")
        return lambda lookup: (value(lookup) is None) != negated

    def _one_of(self, value: Value, negated: bool) -> Condition:
        self._expect("(")
        choices = [self._literal()]
        while self._take(","):
            choices.append(self._literal())
        self._expect(")")

        def test(lookup: Lookup) -> bool:
            found = value(lookup)
            return found is not None and any(_equal(found, choice) for choice in choices) != negated

        return test

    def _value(self) -> Value:
        if self._next.kind == "name":
            name = self._known(self._next)
            self._at += 1
            return lambda lookup: lookup(name)
        constant = self._literal()
        return lambda lookup: constant

    def _literal(self) -> Any:
        token = self._next
        if token.kind not in ("number", "text") and token.text not in CONSTANTS:
            raise self._unexpected("a name, a number or a quoted text")
        self._at += 1
        return _constant(token)

    def _known(self, token: Token) -> str:
        if token.text in self._names or any(n[-1] == "." and token.text.startswith(n) for n in self._names):
            return token.text
        near = difflib.get_close_matches(token.text, self._names, 1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(self._names))}"
        raise WhereError(f"unknown name {token.text!r} at character {token.at + 1}; {hint}")

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self, text: str) -> bool:
        """Step over the token if it is this keyword or sign; a quoted text never is."""
        found = self._next.text == text and self._next.kind in ("keyword", "operator")
        self._at += found
        return found

    def _expect(self, text: str) -> None:
        if not self._take(text):
            raise self._unexpected(repr(text))

    def _unexpected(self, wanted: str) -> WhereError:
        token = self._next
        found = "the end" if token.kind == "end" else f"{token.text!r} at character {token.at + 1}"
        return WhereError(f"expected {wanted}, found {found}")


def _constant(token: Token) -> Any:
    if token.kind == "text":
        return re.sub(r"\\(.)", r"\1", token.text[1:-1])
    if token.kind == "number":
        return int(token.text) if re.fullmatch(r"-?\d+", token.text) else float(token.text)
    return CONSTANTS[token.text]


def path(value: Any, names: Tuple[str, ...]) -> Any:
    """The value at the end of a dotted path through objects; None where it leads nowhere."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def field(order: Optional[Dict[str, Any]], name: str) -> Any:
    """The field of a decoded order, `a.b` for one within another; None where there is none."""
    return None if order is None else order.get(name, path(order, tuple(name.split("."))))
