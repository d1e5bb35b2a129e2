"""Conditions on a dead letter's order, as an operator writes them: `price * quantity > 400 and not gift`.

    condition  = term { "or" term }            term    = factor { "and" factor }
    factor     = "not" factor | "(" condition ")" | test
    test       = sum operator sum | sum [ "not" ] "in" "(" literal { "," literal } ")"
               | sum "is" [ "not" ] "null" | value
    operator   = "=" | "==" | "!=" | "<>" | "<" | "<=" | ">" | ">=" | "~" (text matches a glob) | "!~"
    sum        = product { ("+" | "-") product }          product = signed { ("*" | "/" | "%") signed }
    signed     = { "-" | "+" } ( value | "(" sum ")" )    value   = name | literal
    literal    = number | 'text' | "text" | true | false | null

A comparison with null, or of a number with a text, is false, like in SQL; `is null` asks for it. A time is
compared with a text in ISO 8601. What cannot
be calculated (with null or a text, by zero, too large) is null. A name may hold a dash after a dot, as in
`to.zip-code`, so a minus after such a name needs a space.

The condition is translated word by word into Python's grammar, with `v0`, `v1` … in place of every name and
literal. Python's own parser then groups it, and its tree can hold no more than we put in.
"""

import ast
import difflib
import math
import operator
import re
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import (
    Any,
    Callable,
    Collection,
    Dict,
    FrozenSet,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Type,
    Union,
)

from orderflow.model.moments import Nanoseconds, ticks, ticks_of, written

Lookup = Callable[[str], Any]
Condition = Callable[[Lookup], bool]
Value = Callable[[Lookup], Any]
Number = Union[int, float]
Expression = Callable[[Lookup], Optional[Decimal]]

GRAMMAR = """\
  COND:  TEST, also with and, or, not and parentheses
  TEST:  EXPR = EXPR (also <> < <= > >=), EXPR ~ 'GLOB' or !~, EXPR [not] in (VALUE, ...), EXPR is [not] null
  EXPR:  a number, 'text', true, false, a field of the order as price or to.city, a name of the JSON output as
         error.reason, and what is calculated of them with + - * / % and parentheses
  A test with null, or of a number with a text, is false. --sum adds EXPR up in decimal: 19.99 is 19.99."""
"""For help texts."""
MOST_CHARACTERS = 100_000
MOST_DIGITS = 100
DEEPEST = 50
"""Parentheses, signs and `not` within each other; deeper ones are not what a person writes."""


class WhereError(ValueError):
    """A condition that cannot be read; says what is wrong and where."""


def condition(text: str, names: Collection[str]) -> Condition:
    """The condition as a function of a lookup from name to value. Raises `WhereError`.

    `names` are those that may be asked for; one that ends in `.` allows every name that begins with it.
    """
    translation = Translator(text, names).translate()
    return Builder(translation).condition(tree_of(translation))


def expression(text: str, names: Collection[str]) -> Expression:
    """The result of a calculation, as `price * quantity`; None where it is no number. Raises `WhereError`.

    It is calculated in decimal: a float counts as the shortest decimal number that it prints as, so that
    19.99 is 19.99, and sums of money come out as they would on paper.
    """
    translation = Translator(text, names).translate()
    value: Expression = DecimalBuilder(translation).value(tree_of(translation))
    return value


def names_used(text: str, names: Collection[str]) -> FrozenSet[str]:
    """The names in a condition or a calculation. Raises `WhereError`."""
    operands = Translator(text, names).translate().operands
    return frozenset(operand.name for operand in operands if isinstance(operand, Name))


def name(text: str, names: Collection[str]) -> Value:
    """The value of one name, as `customer_id`. Raises `WhereError`."""
    translation = Translator(text, names).translate()
    operand = translation.operands[0]
    if translation.python != "v0" or not isinstance(operand, Name):
        raise WhereError("expected one name and nothing else")
    return value_of(operand)


# --- Words ---


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
    return int(token.text) if token.text.isdigit() else float(token.text)


# --- Into Python's grammar ---


class Name(NamedTuple):
    """A name that a value is looked up by."""

    name: str


class Constant(NamedTuple):
    """A literal."""

    value: Any


class Choices(NamedTuple):
    """The literals of `in (…)` with their kinds."""

    values: FrozenSet[Tuple[str, Any]]


Operand = Union[Name, Constant, Choices]


class Translation(NamedTuple):
    """The condition in Python's grammar."""

    python: str
    operands: List[Operand]
    """What `v0`, `v1` … stand for."""
    places: Dict[int, int]
    """From the column of a word in `python` to its index in the text."""


COMPARISONS = {
    "=": "==",
    "==": "==",
    "!=": "!=",
    "<>": "!=",
    "<": "<",
    "<=": "<=",
    ">": ">",
    ">=": ">=",
    "~": "in",
    "!~": "not in",
}
"""The signs between two values in Python's words. A glob goes as `in`, which binds as tightly as they do."""
SIGNS = ("+", "-", "*", "/", "%")


class _Level(NamedTuple):
    """What the translator knows of a part between parentheses."""

    depth: int
    has_compared: bool = False
    """Whether a comparison stands before here that no `and` or `or` has ended."""


class Translator:
    """Goes from word to word and knows at each what may follow, so that errors are told in our words."""

    def __init__(self, text: str, names: Collection[str]) -> None:
        self._names = names
        self._tokens = tokens_of(text, self._is_known)
        self._at = 0
        self._words: List[str] = []
        self._column = 0
        self._operands: List[Operand] = []
        self._places: Dict[int, int] = {}
        self._outer: List[_Level] = []
        """A level for each open parenthesis, as it was before it."""
        self._level = _Level(0)

    def translate(self) -> Translation:
        """All of it."""
        self._operand(may_negate=True)
        while self._next.kind != "end":
            self._after_operand()
        if self._outer:
            raise self._unexpected("')'")
        return Translation(" ".join(self._words), self._operands, self._places)

    def _operand(self, may_negate: bool) -> None:
        """A name or a literal with all that stands before it: parentheses, signs, `not`."""
        while self._is_next("(", "-", "+") or (may_negate and self._is_next("not")):
            may_negate = self._next.text in ("(", "not")
            if self._next.text == "(":
                self._outer.append(self._level)
                self._level = _Level(self._level.depth)
            self._go_deeper()
            self._emit(self._next.text)
            self._at += 1
        at = self._next.at
        if self._next.kind == "name":
            self._stand_for(Name(self._known(self._next)), at)
            self._at += 1
        else:
            self._stand_for(Constant(self._literal("a name, a number or a quoted text")), at)

    def _after_operand(self) -> None:
        if self._is_next(*SIGNS):
            self._go_deeper()
            self._join(self._next.text, may_negate=False)
        elif self._is_next("and", "or"):
            self._level = self._inside(has_compared=False)
            self._join(self._next.text, may_negate=True)
        elif self._outer and self._is_next(")"):
            self._level = self._outer.pop()
            self._emit(")")
            self._at += 1
        elif self._level.has_compared:
            raise self._unexpected(self._what_may_follow())
        else:
            self._comparison()

    def _comparison(self) -> None:
        if self._is_next(*COMPARISONS):
            self._level = self._inside(has_compared=True)
            self._join(COMPARISONS[self._next.text], may_negate=False)
        elif self._is_next("is"):
            self._null()
        elif self._is_next("in", "not"):
            self._membership()
        else:
            raise self._unexpected(self._what_may_follow())

    def _null(self) -> None:
        self._emit("is")
        self._at += 1
        if self._is_next("not"):
            self._emit("not")
            self._at += 1
        at = self._next.at
        self._expect("null")
        self._stand_for(Constant(None), at)
        self._level = self._inside(has_compared=True)

    def _membership(self) -> None:
        if self._is_next("not"):
            self._emit("not")
            self._at += 1
        at = self._next.at
        self._expect("in")
        self._emit("in", at)
        self._stand_for(self._choices(), at)
        self._level = self._inside(has_compared=True)

    def _choices(self) -> Choices:
        self._expect("(")
        choices = [self._choice()]
        while self._is_next(","):
            self._at += 1
            choices.append(self._choice())
        self._expect(")")
        return Choices(frozenset((kind_of(choice), choice) for choice in choices if choice is not None))

    def _choice(self) -> Any:
        if not self._is_next("-"):
            return self._literal("a number or a quoted text")
        self._at += 1
        if self._next.kind != "number":
            raise self._unexpected("a number")
        return -self._literal("a number")

    def _literal(self, wanted: str) -> Any:
        token = self._next
        if token.kind not in ("number", "text") and not self._is_next(*CONSTANTS):
            raise self._unexpected(wanted)
        self._at += 1
        return constant_of(token)

    def _join(self, word: str, may_negate: bool) -> None:
        self._emit(word)
        self._at += 1
        self._operand(may_negate)

    def _inside(self, has_compared: bool) -> _Level:
        """The level as it is where nothing is nested in its part yet."""
        return _Level(self._outer[-1].depth + 1 if self._outer else 0, has_compared)

    def _go_deeper(self) -> None:
        self._level = self._level._replace(depth=self._level.depth + 1)
        if self._level.depth > DEEPEST:
            raise WhereError(f"nested too deeply at character {self._next.at + 1}")

    def _stand_for(self, operand: Operand, at: int) -> None:
        self._emit(f"v{len(self._operands)}", at)
        self._operands.append(operand)

    def _emit(self, word: str, at: Optional[int] = None) -> None:
        """Put the word into Python's text, for what stands at this index or is next."""
        self._places[self._column] = self._next.at if at is None else at
        self._words.append(word)
        self._column += len(word) + 1

    def _is_known(self, name: str) -> bool:
        return name in self._names or any(n[-1] == "." and name.startswith(n) for n in self._names)

    def _known(self, token: Token) -> str:
        if self._is_known(token.text):
            return token.text
        near = difflib.get_close_matches(token.text, self._names, 1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(self._names))}"
        raise WhereError(f"unknown name {token.text!r} at character {token.at + 1}; {hint}")

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _is_next(self, *texts: str) -> bool:
        """Whether the next token is one of these keywords and signs; a quoted text never is."""
        return self._next.text in texts and self._next.kind in ("keyword", "operator")

    def _expect(self, text: str) -> None:
        if not self._is_next(text):
            raise self._unexpected(repr(text))
        self._at += 1

    def _what_may_follow(self) -> str:
        return "')'" if self._outer else "and, or, or the end"

    def _unexpected(self, wanted: str) -> WhereError:
        token = self._next
        found = "the end" if token.kind == "end" else f"{token.text!r} at character {token.at + 1}"
        return WhereError(f"expected {wanted}, found {found}")


# --- What is tested ---


def are_equal(one: Any, other: Any) -> bool:
    """Whether two values are the same; false where one is null."""
    if one is None or other is None:
        return False
    if kind_of(one) == kind_of(other):
        return bool(one == other)
    pair = _alike(one, other)
    return pair is not None and bool(pair[0] == pair[1])


def _unequal(one: Any, other: Any) -> bool:
    return one is not None and other is not None and not are_equal(one, other)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def test(one: Any, other: Any) -> bool:
        kind = kind_of(one)
        if kind in ("number", "text") and kind == kind_of(other):
            return compare(one, other)
        pair = _alike(one, other)
        return pair is not None and compare(*pair)

    return test


def _alike(one: Any, other: Any) -> Optional[Tuple[Any, Any]]:
    """Values of two kinds, made alike where one spells the other; None where they cannot be compared."""
    if isinstance(one, Decimal) or isinstance(other, Decimal):
        decimals = _as_decimal(one), _as_decimal(other)
        return None if None in decimals else decimals
    if isinstance(one, str):
        found = _alike(other, one)
        return found and (found[1], found[0])
    at = ticks(one)
    if at is None:
        text = _text(one)
        return None if text is None or not isinstance(other, str) else (text, other)
    other_at = ticks_of(other, one) if isinstance(other, str) else ticks(other)
    return None if other_at is None else (at, other_at)


def _as_decimal(value: Any) -> Optional[Decimal]:
    """A float counts as the shortest number that it prints as: 19.99 is 19.99. NaN cannot be compared."""
    if isinstance(value, Decimal):
        return value
    return Decimal(repr(value)) if kind_of(value) == "number" and value == value else None


def _text(value: Any) -> Optional[str]:
    """The text of a value that has one: times, and of other types UUIDs."""
    if isinstance(value, str):
        return value
    return written(value) or (None if isinstance(value, _WITHOUT_TEXT) else str(value))


_WITHOUT_TEXT = (type(None), bool, int, float, Decimal, bytes, list, tuple, dict)


def _matches(one: Any, other: Any) -> bool:
    text = _text(one)
    return text is not None and isinstance(other, str) and fnmatchcase(text, other)


def _differs(one: Any, other: Any) -> bool:
    text = _text(one)
    return text is not None and isinstance(other, str) and not fnmatchcase(text, other)


def kind_of(value: Any) -> str:
    """The kind of a value: those of one kind can be compared."""
    if isinstance(value, bool):
        return "truth"
    if isinstance(value, (int, float)):
        return "number"
    return "text" if isinstance(value, str) else "other"


TESTS: Dict[Type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: are_equal,
    ast.NotEq: _unequal,
    ast.Lt: _ordered(operator.lt),
    ast.LtE: _ordered(operator.le),
    ast.Gt: _ordered(operator.gt),
    ast.GtE: _ordered(operator.ge),
    ast.In: _matches,
    ast.NotIn: _differs,
}


# --- What is calculated ---


def _remainder(one: Number, other: Number) -> Number:
    """Of a division towards zero, as in SQL: it has the sign of what is divided."""
    if isinstance(one, int) and isinstance(other, int):
        return abs(one) % abs(other) if one >= 0 else -(abs(one) % abs(other))
    return math.fmod(one, other)


CALCULATIONS: Dict[Type[ast.operator], Callable[[Any, Any], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: _remainder,
}


def calculated(calculate: Callable[[Any, Any], Number], one: Value, other: Value) -> Value:
    """What is calculated of two values; null where that is no finite number."""

    def value(lookup: Lookup) -> Optional[Number]:
        left, right = one(lookup), other(lookup)
        if kind_of(left) != "number" or kind_of(right) != "number":
            left, right = _float(left), _float(right)
            if left is None or right is None:
                return None
        try:
            result = calculate(left, right)
            return result if math.isfinite(result) else None
        except (ArithmeticError, ValueError):  # by zero, too large; ValueError is the remainder of infinity
            return None

    return value


def _float(value: Any) -> Optional[Number]:
    """A number to calculate with."""
    return float(value) if type(value) is Decimal else value if kind_of(value) == "number" else None


# --- What is calculated in decimal: None is the one value there that is no finite number ---


@lru_cache(maxsize=10_000)
def _decimal(number: Union[int, float]) -> Optional[Decimal]:
    """The number as its shortest decimal form says. Cached, since prices are much alike."""
    return Decimal(repr(number)) if math.isfinite(number) else None


def in_decimal(value: Value) -> Value:
    """The value as a decimal number; None where it is no finite number."""

    def read(lookup: Lookup) -> Optional[Decimal]:
        found = value(lookup)
        kind = type(found)
        if kind is float or kind is int:
            return _decimal(found)
        return found if kind is Decimal and found.is_finite() else None

    return read


def calculated_in_decimal(calculate: Callable[[Any, Any], Any], one: Value, other: Value) -> Value:
    """The same of two decimal numbers."""

    def value(lookup: Lookup) -> Optional[Decimal]:
        left, right = one(lookup), other(lookup)
        if left is None or right is None:
            return None
        try:
            result: Decimal = calculate(left, right)
        except ArithmeticError:
            return None
        return result

    return value


DECIMAL_CALCULATIONS: Dict[Type[ast.operator], Callable[[Any, Any], Any]] = {
    **CALCULATIONS,
    ast.Mod: operator.mod,  # a decimal remainder has the sign of what is divided anyway
}


# --- From Python's tree ---


def tree_of(translation: Translation) -> ast.expr:
    """How Python's parser groups it."""
    return ast.parse(translation.python, mode="eval").body


class Builder:
    """Makes functions of the tree. What is not named here is refused."""

    def __init__(self, translation: Translation) -> None:
        self._operands = translation.operands
        self._places = translation.places

    def condition(self, node: ast.expr) -> Condition:
        """Something that holds or does not."""
        if isinstance(node, ast.BoolOp):
            parts = [self.condition(part) for part in node.values]
            return _all_of(parts) if isinstance(node.op, ast.And) else _any_of(parts)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            inner = self.condition(node.operand)
            return lambda lookup: not inner(lookup)
        if isinstance(node, ast.Compare):
            return self._comparison(node)
        if isinstance(node, ast.Name):
            value = self.value(node)
            return lambda lookup: value(lookup) is True
        raise WhereError(f"expected a condition, found a number at character {self._place(node)}")

    def value(self, node: ast.expr) -> Value:
        """Something that is compared or calculated with."""
        if isinstance(node, ast.Name):
            return self._leaf(self._operands[int(node.id[1:])])
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            return self._signed(node.operand, -1 if isinstance(node.op, ast.USub) else 1)
        if isinstance(node, ast.BinOp) and type(node.op) in CALCULATIONS:
            return self._calculation(node)
        raise WhereError(f"expected a value, found a condition at character {self._place(node)}")

    def _leaf(self, operand: Operand) -> Value:
        return value_of(operand)

    def _calculation(self, node: ast.BinOp) -> Value:
        return calculated(CALCULATIONS[type(node.op)], self.value(node.left), self.value(node.right))

    def _signed(self, node: ast.expr, sign: int) -> Value:
        value = self.value(node)
        return calculated(operator.mul, lambda lookup: sign, value)

    def _comparison(self, node: ast.Compare) -> Condition:
        (operation,), (right,) = node.ops, node.comparators
        value = self.value(node.left)
        if isinstance(operation, ast.Is):
            return lambda lookup: value(lookup) is None
        if isinstance(operation, ast.IsNot):
            return lambda lookup: value(lookup) is not None
        operand = self._operands[int(right.id[1:])] if isinstance(right, ast.Name) else None
        if isinstance(operand, Choices):
            return _membership(value, operand, isinstance(operation, ast.NotIn))
        compare = TESTS[type(operation)]
        if isinstance(operand, Constant):
            constant = operand.value
            return lambda lookup: compare(value(lookup), constant)
        other = self.value(right)
        return lambda lookup: compare(value(lookup), other(lookup))

    def _place(self, node: ast.expr) -> int:
        return self._places[node.col_offset] + 1


class DecimalBuilder(Builder):
    """The same for calculations in decimal."""

    def _leaf(self, operand: Operand) -> Value:
        return in_decimal(value_of(operand))

    def _calculation(self, node: ast.BinOp) -> Value:
        calculate = DECIMAL_CALCULATIONS[type(node.op)]
        return calculated_in_decimal(calculate, self.value(node.left), self.value(node.right))

    def _signed(self, node: ast.expr, sign: int) -> Value:
        value, factor = self.value(node), Decimal(sign)
        return calculated_in_decimal(operator.mul, lambda lookup: factor, value)


def _all_of(parts: Sequence[Condition]) -> Condition:
    if len(parts) > 2:
        return lambda lookup: all(part(lookup) for part in parts)
    one, other = parts  # what is mostly written, and in half the time
    return lambda lookup: one(lookup) and other(lookup)


def _any_of(parts: Sequence[Condition]) -> Condition:
    if len(parts) > 2:
        return lambda lookup: any(part(lookup) for part in parts)
    one, other = parts
    return lambda lookup: one(lookup) or other(lookup)


def value_of(operand: Operand) -> Value:
    """The value of a name or a literal."""
    if isinstance(operand, Name):
        name = operand.name
        return lambda lookup: lookup(name)
    constant = operand[0]
    return lambda lookup: constant


def _membership(value: Value, choices: Choices, negated: bool) -> Condition:
    """Whether a value is one of the literals. Null is neither in them nor not in them."""
    values = choices.values

    def test(lookup: Lookup) -> bool:
        found = value(lookup)
        if found is None:
            return False
        kind = kind_of(found)
        if kind == "other" or isinstance(found, Nanoseconds):
            return any(are_equal(found, value) for _, value in values) != negated
        return ((kind, found) in values) != negated

    return test


# --- Where values are found ---


def path(value: Any, names: Tuple[str, ...]) -> Any:
    """The value at the end of a dotted path through objects; None where it leads nowhere."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def field(order: Optional[Dict[str, Any]], name: str) -> Any:
    """The field of a decoded order, `a.b` for one within another; None where there is none."""
    return None if order is None else order.get(name, path(order, tuple(name.split("."))))
