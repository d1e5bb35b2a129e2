"""Walks Avro bytes strictly, without building a value, to find the first fault.

Strict means canonical: the one form that Avro's own encoders write. Over-long numbers, blocks with a
byte size, arrays in several blocks and repeated map keys are legal Avro and decode, but encoding the
result again would not give the same bytes.
"""

from typing import Any, Callable, Dict, List, NamedTuple, Optional

from orderflow.avro.schema import Schema, decimal_bytes, definition_of, definitions, is_free_decimal, kind_of
from orderflow.model.text import plural

MAX_VARINT_BYTES = 10


class Fault(NamedTuple):
    """The first fault in the bytes."""

    reason: str
    """A `decode.*` reason code."""
    position: int
    """Offset within the record's value, framing included."""
    what: str
    """One clause for people."""
    field: str
    """Path of the field being read, such as `items[2].price`; empty for the record itself."""


def first_fault(schema: Schema, value: bytes, start: int) -> Optional[Fault]:
    """Where `value[start:]` first departs from the schema's canonical encoding, or None."""
    walk = _Walk(schema.parsed, value, start)
    try:
        walk.everything(schema.parsed)
    except _Found as found:
        return Fault(found.reason, found.position, found.what, ".".join(walk.path).replace(".[", "["))
    return None


class _Found(Exception):
    def __init__(self, reason: str, position: int, what: str) -> None:
        super().__init__(what)
        self.reason, self.position, self.what = reason, position, what


class _Walk:
    """One pass over one value. `path` is the current field, and is kept when a fault is found."""

    def __init__(self, parsed: Any, value: bytes, start: int) -> None:
        self.path: List[str] = []
        self._value = value
        self._at = start
        self._named = definitions(parsed)
        self._steps: Dict[str, Callable[[Any], object]] = {
            "null": lambda part: None,
            "boolean": self._boolean,
            "int": lambda part: self._int(),
            "long": lambda part: self._varint(),
            "float": lambda part: self._skip(4),
            "double": lambda part: self._skip(8),
            "bytes": self._bytes,
            "string": lambda part: self._string(),
            "fixed": lambda part: self._skip(part["size"]),
            "enum": lambda part: self._choice("symbol", len(part["symbols"])),
            "union": self._union,
            "array": lambda part: self._blocks(self._array_item(part["items"])),
            "map": lambda part: self._blocks(self._map_item(part["values"])),
            "record": self._record,
        }

    def everything(self, parsed: Any) -> None:
        self._record(parsed)
        left = len(self._value) - self._at
        if left:
            raise _Found(
                "decode.trailing_bytes",
                self._at,
                f"{plural(left, 'byte is', 'bytes are')} left over after the record",
            )

    def _visit(self, part: Any, name: str) -> None:
        definition = definition_of(part, self._named)
        self.path.append(name)
        self._steps[kind_of(definition)](definition)
        self.path.pop()

    def _record(self, part: Any) -> None:
        for field in part["fields"]:
            self._visit(field["type"], field["name"])

    def _union(self, part: Any) -> None:
        branch = part[self._choice("branch", len(part))]
        definition = definition_of(branch, self._named)
        self._steps[kind_of(definition)](definition)

    def _choice(self, what: str, number: int) -> int:
        position = self._at
        index = self._int()
        if not 0 <= index < number:
            raise _Found("decode.choice", position, f"{what} {index} of {number} does not exist")
        return index

    def _blocks(self, item: Callable[[int], None]) -> None:
        """Items in one block, then the empty block that ends them; only the latter if there are no items."""
        position = self._at
        count = self._varint()
        if count < 0:
            raise _Found("decode.not_canonical", position, "the items come in a block with a byte size")
        for number in range(count):
            item(number)
        position = self._at
        if count and self._varint():
            raise _Found("decode.not_canonical", position, "the items come in more than one block")

    def _array_item(self, items: Any) -> Callable[[int], None]:
        return lambda number: self._visit(items, f"[{number}]")

    def _map_item(self, values: Any) -> Callable[[int], None]:
        seen = set()

        def item(number: int) -> None:
            position = self._at
            key = self._string()
            if key in seen:
                raise _Found("decode.not_canonical", position, f"the map has the key {key!r} twice")
            seen.add(key)
            self._visit(values, f"[{key!r}]")

        return item

    def _boolean(self, part: Any) -> None:
        self._skip(1)
        byte = self._value[self._at - 1]
        if byte > 1:
            raise _Found("decode.not_canonical", self._at - 1, f"a boolean is 0 or 1, not {byte}")

    def _bytes(self, part: Any) -> None:
        position = self._at
        size = self._length()
        digits = part["precision"] if is_free_decimal(part) else None
        if digits is not None and size > decimal_bytes(digits):
            raise _Found(
                "decode.decimal", position, f"{size} bytes for a decimal of {plural(digits, 'digit')}"
            )
        self._skip(size)

    def _string(self) -> str:
        size = self._length()
        self._skip(size)
        start = self._at - size
        try:
            return self._value[start : self._at].decode()
        except UnicodeDecodeError as error:
            raise _Found("decode.utf8", start + error.start, f"not UTF-8: {error.reason}") from None

    def _length(self) -> int:
        position = self._at
        size = self._varint()
        if size < 0:
            raise _Found("decode.length", position, f"a length of {size}")
        return size

    def _skip(self, size: int) -> None:
        left = len(self._value) - self._at
        if size > left:
            raise _Found(
                "decode.truncated",
                self._at,
                f"{plural(size, 'byte is', 'bytes are')} needed and {plural(left, 'is', 'are')} left",
            )
        self._at += size

    def _int(self) -> int:
        position = self._at
        number = self._varint()
        if not -(2**31) <= number < 2**31:
            raise _Found("decode.int_range", position, f"{number} does not fit an int of 32 bits")
        return number

    def _varint(self) -> int:
        """One zig-zag number of at most 64 bits in its shortest form."""
        start = self._at
        number = 0
        for group in range(MAX_VARINT_BYTES):
            self._skip(1)
            byte = self._value[self._at - 1]
            number |= (byte & 127) << (7 * group)
            if byte < 128:
                break
        else:
            raise _Found("decode.varint", start, f"a number of more than {MAX_VARINT_BYTES} bytes")
        if number >= 2**64:
            raise _Found("decode.varint", start, "a number of more than 64 bits")
        if group and not byte:
            raise _Found("decode.not_canonical", start, "a number in more bytes than it needs")
        return (number >> 1) ^ -(number & 1)
