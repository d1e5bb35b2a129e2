"""Functions of the tree that Python's parser makes of a condition."""

import ast
from decimal import Decimal
from typing import Sequence

from orderflow.dlq.where.calculating import (
    CALCULATIONS,
    DECIMAL_CALCULATIONS,
    EXACT,
    calculated,
    calculated_in_decimal,
    in_decimal,
)
from orderflow.dlq.where.comparing import TESTS, are_equal, kind_of
from orderflow.dlq.where.terms import Condition, Lookup, Value, WhereError
from orderflow.dlq.where.translation import Choices, Constant, Name, Operand, Translation
from orderflow.model.moments import Nanoseconds


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
        return calculated(type(node.op), self.value(node.left), self.value(node.right))

    def _signed(self, node: ast.expr, sign: int) -> Value:
        value = self.value(node)
        return calculated(ast.Mult, lambda lookup: sign, value)

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
        return calculated_in_decimal(EXACT.multiply, lambda lookup: factor, value)


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
