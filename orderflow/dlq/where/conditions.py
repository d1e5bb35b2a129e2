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
compared with a text in ISO 8601. What cannot be calculated (with null or a text, by zero, too large) is null.
A name may hold a dash after a dot, as in `to.zip-code`, so a minus after such a name needs a space.

The condition is translated word by word into Python's grammar, with `v0`, `v1` … in place of every name and
literal. Python's own parser then groups it, and its tree can hold no more than we put in.
"""

from typing import Any, Collection, Dict, FrozenSet, Optional, Tuple

from orderflow.dlq.where.terms import Condition, Expression, Value, WhereError
from orderflow.dlq.where.translation import Name, Translator
from orderflow.dlq.where.tree import Builder, DecimalBuilder, tree_of, value_of

GRAMMAR = """\
  COND:  TEST, also with and, or, not and parentheses
  TEST:  EXPR = EXPR (also <> < <= > >=), EXPR ~ 'GLOB' or !~, EXPR [not] in (VALUE, ...), EXPR is [not] null
  EXPR:  a number, 'text', true, false, a field of the order as price or to.city, a name of the JSON output as
         error.reason, and what is calculated of them with + - * / % and parentheses
  A test with null, or of a number with a text, is false. --sum adds EXPR up in decimal: 19.99 is 19.99."""
"""For help texts."""


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


# --- Where values are found ---


def path(value: Any, names: Tuple[str, ...]) -> Any:
    """The value at the end of a dotted path through objects; None where it leads nowhere."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def field(order: Optional[Dict[str, Any]], name: str) -> Any:
    """The field of a decoded order, `a.b` for one within another; None where there is none."""
    return None if order is None else order.get(name, path(order, tuple(name.split("."))))
