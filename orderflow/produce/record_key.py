"""The key of a record: the text of one field of its order."""

from datetime import date, datetime, time
from typing import Any, Callable, Dict, Optional

from orderflow.avro.evolution import value_types
from orderflow.avro.schema import Schema, definition_of, definitions, describe
from orderflow.exits import UsageError
from orderflow.model.moments import Nanoseconds
from orderflow.model.text import did_you_mean

Order = Dict[str, Any]
KeyOf = Callable[[Order], Optional[bytes]]
NESTED = {"record", "array", "map"}


def key_reader(schema: Schema, field: str) -> KeyOf:
    """A function that returns the key of an order. Raises UsageError for a field that cannot be a key.

    An order whose field is null has no key: nothing waits behind it, and it waits behind nothing.
    """
    types = {each["name"]: each["type"] for each in schema.parsed["fields"]}
    if field not in types:
        near = did_you_mean(field, list(types))
        raise UsageError(
            f"ORDER_KEY {field} is no field of {schema.name}{near}; "
            f"name the one whose orders are to stay in order: {', '.join(types)}"
        )
    if not NESTED.isdisjoint(value_types(_resolved(types[field], schema))):
        raise UsageError(f"ORDER_KEY {field} is {describe(types[field])}: a key is a single value")
    return lambda order: key_bytes(order[field])


def _resolved(part: Any, schema: Schema) -> Any:
    """The part with its definition, or those of a union's branches."""
    named = definitions(schema.parsed)
    if isinstance(part, list):
        return [definition_of(branch, named) for branch in part]
    return definition_of(part, named)


def key_bytes(value: Any) -> Optional[bytes]:
    """A value as the key of a record: bytes as they are, times in ISO 8601, anything else as its text."""
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, (date, datetime, time, Nanoseconds)):
        return value.isoformat().encode()
    return str(value).encode()
