"""The translation of a condition into Python's grammar, word by word."""

import difflib
from decimal import Decimal
from typing import Any, Collection, Dict, FrozenSet, List, NamedTuple, Optional, Tuple, Union

from orderflow.dlq.where.comparing import kind_of
from orderflow.dlq.where.terms import WhereError
from orderflow.dlq.where.words import CONSTANTS, Token, constant_of, tokens_of

DEEPEST = 50
"""Parentheses, signs and `not` within each other; deeper ones are not what a person writes."""


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
        number = self._literal("a number")
        return number.copy_negate() if isinstance(number, Decimal) else -number

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
