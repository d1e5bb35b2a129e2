"""The fields of an order as files spell them: JSON values and CSV cells, checked against the schema.

Owns: `Field`, and the readers of one value; each says what is wrong with a value that does not fit.
Does not know: lines, files, the rules of business.
Used by: order_source.
"""

import json
import math
import re
from typing import Any, Callable, Dict, List, Mapping, NamedTuple

from orderflow.text import escape


class Field(NamedTuple):
    """One field of the order schema, as far as a file needs to know it."""

    name: str
    kind: str
    """An Avro primitive type, or `other` for what only the encoder can judge."""
    nullable: bool
    required: bool


def fields_of(schema: Mapping[str, Any]) -> List[Field]:
    """The fields of an Avro record schema (its JSON form)."""
    return [_field(definition) for definition in schema["fields"]]


def _field(definition: Mapping[str, Any]) -> Field:
    kinds = definition["type"] if isinstance(definition["type"], list) else [definition["type"]]
    solid = [kind for kind in kinds if kind != "null"]
    kind = solid[0] if len(solid) == 1 and isinstance(solid[0], str) and solid[0] in _FROM_JSON else "other"
    return Field(definition["name"], kind, "null" in kinds, "default" not in definition)


# --- One value: text or JSON to what the schema holds; a ValueError says what is wrong with it ---


def shown(value: Any) -> str:
    """A value as an error quotes it: escaped, and not at length."""
    text = escape(value if isinstance(value, str) else json.dumps(value))
    return f"{text[:40]}…" if len(text) > 40 else f"'{text}'" if isinstance(value, str) else text


def _whole(bits: int) -> Callable[[Any], int]:
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1

    def check(value: Any) -> int:
        if type(value) is not int:
            raise ValueError(f"{shown(value)} is not a whole number")
        if not low <= value <= high:
            raise ValueError(f"{shown(value)} does not fit into {bits} bits")
        return value

    return check


def _number(value: Any) -> float:
    if type(value) not in (int, float):
        raise ValueError(f"{shown(value)} is not a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if type(value) is int and number != value:
        raise ValueError(f"{shown(value)} cannot be held exactly")
    return number


def _string(value: Any) -> str:
    if type(value) is not str:
        raise ValueError(f"{shown(value)} is not text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{shown(value)} is not valid Unicode") from None
    return value


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError(f"{shown(value)} is neither true nor false")
    return value


def _anything(value: Any) -> Any:
    return value


_FROM_JSON: Dict[str, Callable[[Any], Any]] = {
    "string": _string,
    "int": _whole(32),
    "long": _whole(64),
    "float": _number,
    "double": _number,
    "boolean": _boolean,
}


def _integer_text(text: str) -> int:
    if not re.fullmatch("[+-]?[0-9]{1,40}", text, re.ASCII):
        raise ValueError(f"{shown(text)} is not a whole number")
    return int(text)


def _number_text(text: str) -> float:
    try:
        if "_" not in text and text.isascii():
            return float(text)
    except ValueError:
        pass
    raise ValueError(f"{shown(text)} is not a number")


def _boolean_text(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(f"{shown(text)} is neither true nor false")
    return text == "true"


_FROM_TEXT: Dict[str, Callable[[str], Any]] = {
    "string": str,
    "int": _integer_text,
    "long": _integer_text,
    "float": _number_text,
    "double": _number_text,
    "boolean": _boolean_text,
}


def json_reader(field: Field) -> Callable[[Any], Any]:
    """Reader of a JSON value. What it raises is a ValueError."""
    check = _FROM_JSON.get(field.kind, _anything)
    return (lambda value: None if value is None else check(value)) if field.nullable else check


def text_reader(field: Field) -> Callable[[str], Any]:
    """Reader of a CSV cell: text to JSON's value, then the same check. Empty is null if that is allowed."""
    parse, check = _FROM_TEXT.get(field.kind, json.loads), _FROM_JSON.get(field.kind, _anything)
    if field.nullable:
        return lambda text: check(parse(text)) if text else None
    return lambda text: check(parse(text))
