"""Orders broken on purpose, in every way that the consumer must survive."""

import itertools
import json
import random
from decimal import Decimal
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple
from uuid import UUID

from orderflow.avro.codec import shipped_rules
from orderflow.avro.framing import read_prefix
from orderflow.avro.schema import Schema, kind_of
from orderflow.produce.made_up import id_field

Order = Dict[str, Any]
Encode = Callable[[Order], bytes]
Damage = Callable[[bytes, Order, random.Random], bytes]


class Defect(NamedTuple):
    """One way to break an order: fields changed before encoding, and bytes damaged after it."""

    name: str
    reason: str
    """The reason code with which the consumer dead-letters it."""
    changes: Callable[[Order], Order]
    damage: Damage


class Spoiler:
    """Makes records that cannot be processed, with each of the defects in turn."""

    def __init__(
        self, encode: Encode, source: random.Random, schema: Schema, defects: Sequence[Defect]
    ) -> None:
        self._encode = encode
        self._random = source
        self._id = id_field(schema.parsed["fields"])
        self._defects = itertools.cycle(defects)
        self.made = 0
        """Bad records so far."""

    def spoil(self, order: Order) -> Tuple[Order, bytes]:
        """The next bad record: the order it stands for, with an id of its own, and its bytes."""
        defect = next(self._defects)
        self.made += 1
        meant = {**order, **self._own_id(order)}
        meant.update(defect.changes(meant))
        return meant, defect.damage(self._encode(meant), meant, self._random)

    def _own_id(self, order: Order) -> Order:
        """Another id than the order's, so that a bad record never has the key of a good one."""
        value = None if self._id is None else order[self._id]
        if isinstance(value, str):
            return {str(self._id): f"{value}-bad-{self.made}"}
        if isinstance(value, UUID):
            return {str(self._id): UUID(int=self._random.getrandbits(128), version=4)}
        return {str(self._id): -value} if isinstance(value, int) else {}


def defects_for(schema: Schema, own_rules: bool) -> List[Defect]:
    """Every defect that this schema can have. Which values break rules of one's own is not known here."""
    if own_rules:
        return list(DAMAGES)
    judged = [rule.field for rule in shipped_rules(schema).rules]
    breakers: List[Optional[Defect]] = [
        _with_negative_price(schema) if "price" in judged else None,
        _with("zero quantity", "quantity", 0) if "quantity" in judged else None,
        next((_with("empty id", name, "") for name in judged if name.endswith("_id")), None),
    ]
    return [*filter(None, breakers), *DAMAGES]


def _with(name: str, field: str, value: object) -> Defect:
    return Defect(name, f"validate.{field}", lambda order: {field: value}, _intact)


def _with_negative_price(schema: Schema) -> Defect:
    part = next(field["type"] for field in schema.parsed["fields"] if field["name"] == "price")
    least = _least_negative(part)  # for an order that is free, or has no price

    def changes(order: Order) -> Order:
        return {"price": -(order["price"] or 0) or least}

    return Defect("negative price", "validate.price", changes, _intact)


def _least_negative(part: Any) -> Any:
    """The negative number of this type that is nearest to zero, or -1."""
    if isinstance(part, list):
        return _least_negative(next(branch for branch in part if kind_of(branch) != "null"))
    if isinstance(part, dict) and part.get("logicalType") == "decimal":
        return Decimal(-1).scaleb(-part.get("scale", 0))
    return -1 if kind_of(part) in ("int", "long") else -1.0


def _nothing(order: Order) -> Order:
    return {}


def _intact(value: bytes, order: Order, source: random.Random) -> bytes:
    return value


def _truncated(value: bytes, order: Order, source: random.Random) -> bytes:
    """Cut within the last eight bytes, but not into the framing, so that it stays readable."""
    _, start = read_prefix(value)
    return value[: -source.randint(1, min(8, len(value) - start))]


def _unknown_schema(value: bytes, order: Order, source: random.Random) -> bytes:
    """The same framing, with a schema that nobody has."""
    if value[:1] == b"\x00":
        return b"\x00\x7f\xff\xff\xff" + value[5:]
    return value[:2] + bytes(byte ^ 0xFF for byte in value[2:10]) + value[10:]


def _foreign(value: bytes, order: Order, source: random.Random) -> bytes:
    """Another framing: the order as JSON text."""
    return json.dumps(order, default=str).encode()


DAMAGES: Sequence[Defect] = (
    Defect("truncated bytes", "decode.truncated", _nothing, _truncated),
    Defect("unknown schema", "decode.unknown_schema", _nothing, _unknown_schema),
    Defect("foreign framing", "decode.framing", _nothing, _foreign),
)
"""What can happen to the bytes of any order."""
