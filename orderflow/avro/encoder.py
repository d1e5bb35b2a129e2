"""Encodes orders to bytes."""

from io import BytesIO
from typing import Dict, List, Tuple

from fastavro import schemaless_writer
from fastavro.validation import ValidationError, validate

from orderflow.avro.schema import Schema
from orderflow.avro.written_branches import holding, preparations
from orderflow.model.orders import Order


class Unencodable(ValueError):
    """The order does not fit the schema. Names the field."""


class OrderEncoder:
    """Encodes orders with one schema and one prefix. Never writes a value other than the one given."""

    def __init__(self, schema: Schema, prefix: bytes) -> None:
        self.schema = schema
        self.prefix = prefix
        self._numbers = [
            (field["name"], *_NUMBERS[field["type"]])
            for field in schema.parsed["fields"]
            if schema.flat and field["type"] in _NUMBERS
        ]
        self._preparations = [] if schema.flat else preparations(schema.parsed)
        self._holds = {} if schema.flat else holding(schema.parsed)

    def encode(self, order: Order) -> bytes:
        """The framed bytes of the order. Raises `Unencodable`, naming the field that does not fit."""
        stream = BytesIO()
        stream.write(self.prefix)
        try:
            self._check(order)
            exact = self._prepared(order) if self._preparations else order
            schemaless_writer(stream, self.schema.parsed, exact, strict=True)
        except Exception as error:  # noqa: BLE001 - so do values of any type
            raise Unencodable(self._why(order, error)) from None
        return stream.getvalue()

    def _check(self, order: Order) -> None:
        """Refuse what fastavro would write as another value: 2**40 as an int, True as 1, "2" as 2.0."""
        if not self.schema.flat and (len(order) != len(self._holds) or self._misfits(order)):
            self._validate(order)
        for name, types, low, high in self._numbers:
            number = order[name]
            if type(number) not in types or (type(number) is int and not low <= number <= high):
                raise ValueError(f"field {name}: {number!r} is not {describe_type(self.schema, name)}")

    def _misfits(self, order: Order) -> List[str]:
        """The fields whose values would not be read back as they are."""
        return [name for name, holds in self._holds.items() if name not in order or not holds(order[name])]

    def _validate(self, order: Order) -> None:
        """Have fastavro name the field that does not fit.

        What fits is not shown to it: it gives up at the first branch that cannot be tried, a date for a text.
        """
        try:
            validate(order, self.schema.parsed, raise_errors=True, strict=True)
        except ValidationError:
            raise
        except Exception as error:  # it does not name the field of a logical value that it cannot try
            self._prepared(order)
            raise ValueError(f"field {', '.join(self._misfits(order))}: {error}") from error

    def _prepared(self, order: Order) -> Order:
        """The order as fastavro writes it exactly: with the branches of unions named."""
        prepared = dict(order)
        for name, prepare in self._preparations:
            try:
                prepared[name] = prepare(order[name])
            except ValueError as error:
                raise ValueError(f"field {name}: {error}") from None
        return prepared

    def _why(self, order: Order, error: Exception) -> str:
        if isinstance(error, ValidationError):
            return "; ".join(str(part) for part in error.errors)
        if isinstance(error, KeyError):
            return f"field {error.args[0]}: missing"
        return str(error)


def describe_type(schema: Schema, name: str) -> str:
    """A field's type in a flat schema, with its article."""
    kind = next(field["type"] for field in schema.parsed["fields"] if field["name"] == name)
    return {"int": "an int of 32 bits", "long": "a long of 64 bits"}.get(kind, f"a {kind}")


_EXACT_DOUBLE = 2**53
_EXACT_FLOAT = 2**24
_NUMBERS: Dict[str, Tuple[Tuple[type, ...], int, int]] = {
    "boolean": ((bool,), 0, 1),
    "int": ((int,), -(2**31), 2**31 - 1),
    "long": ((int,), -(2**63), 2**63 - 1),
    "float": ((float, int), -_EXACT_FLOAT, _EXACT_FLOAT),
    "double": ((float, int), -_EXACT_DOUBLE, _EXACT_DOUBLE),
}
"""The Python types that a numeric field accepts, and the integers that it holds exactly."""
