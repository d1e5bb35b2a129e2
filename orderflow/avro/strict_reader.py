"""A strict decoder of Avro bytes, compiled for one schema.

A general decoder consults the schema at every field. Here the schema is written out once as straight-line
Python, which takes half the time. The decoder returns an order only for bytes that it has proven to be its
one canonical encoding, and leaves all others, however valid, to the slow path `careful`:

- a number or length has its shortest form and not one of the rare largest sizes; an int fits 32 bits,
- a string is UTF-8, a boolean is 0 or 1, the index of a symbol or a union branch exists,
- the items of an array or a map come in one block, without a byte size; no map key occurs twice,
- a decimal is no longer than its precision can need,
- the last field ends exactly where the bytes end, which also catches a slice past the end.
"""

import struct
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from orderflow.avro.schema import Schema, decimal_bytes, definition_of, definitions, is_free_decimal, kind_of

Decode = Callable[[bytes], Dict[str, Any]]

INT_GROUPS = 5
LONG_GROUPS = 9
LENGTH_GROUPS = 4
"""The most 7-bit groups that are read. Nine cover 62 bits and the sign; more is rare, so the slow path."""

MAX_LINES = 10_000
MAX_NESTING = 12
"""Python compiles at most 20 nested loops. Schemas beyond these limits take the slow path."""

STEPS = [None if byte & 1 or byte > 127 else 1 + (byte >> 1) for byte in range(256)]
"""By a length's first byte: the distance from that byte to the end of the data. None: the length takes more
than one byte, or is negative. A look-up is faster than a check."""

REFUSE = "return careful(value)"
REFUSE_ODD = f"if n & 1: {REFUSE}"


class _TooComplex(Exception):
    """The schema is not worth a reader of its own."""


class Check(NamedTuple):
    """What must be true of a record beyond its encoding."""

    condition: Callable[[Callable[[str], str]], str]
    """Returns the condition's source; its argument gives the source of a field's value."""
    refuse: Callable[[Dict[str, Any]], None]
    """Raises the reason for a record that fails the condition."""


def compile_reader(
    schema: Schema, start: int, max_bytes: int, careful: Decode, check: Optional[Check] = None
) -> Decode:
    """A decoder of values whose body starts at `start`. What it cannot prove goes to `careful`.

    It returns raw values: a logical type's number or bytes, not its meaning. The check is not applied to
    what `careful` returns.
    """
    writer = _Writer(schema)
    try:
        text = writer.function(start, max_bytes, check)
    except _TooComplex:
        return careful
    names = {
        **writer.constants,
        "careful": careful,
        "steps": STEPS,
        "refuse": check and check.refuse,
        "read_float": struct.Struct("<f").unpack_from,
        "read_double": struct.Struct("<d").unpack_from,
    }
    exec(compile(text, f"<reader of {schema.name}>", "exec"), names)
    decode: Decode = names["decode"]
    return decode


class _Writer:
    """Writes the decoder. In its text, `at` is the next byte's position, `n` the last number read."""

    def __init__(self, schema: Schema) -> None:
        self.constants: Dict[str, Any] = {}
        self._schema = schema
        self._named = definitions(schema.parsed)
        self._variables = 0
        self._lines = 0
        self._parts: Dict[str, Callable[[Any, str, int], List[str]]] = {
            "null": lambda part, name, depth: [f"{name} = None"],
            "boolean": lambda part, name, depth: _boolean(name),
            "int": lambda part, name, depth: _number(name, INT_GROUPS, bound=0xFFFFFFFF),
            "long": lambda part, name, depth: _number(name, LONG_GROUPS, bound=None),
            "float": lambda part, name, depth: [f"{name}, = read_float(value, at)", "at += 4"],
            "double": lambda part, name, depth: [f"{name}, = read_double(value, at)", "at += 8"],
            "bytes": lambda part, name, depth: _bytes(part, name),
            "string": lambda part, name, depth: _sized(f"{name} = value[at + 1:end].decode()"),
            "fixed": lambda part, name, depth: _fixed(part, name),
            "enum": self._enum,
            "union": self._union,
            "array": self._array,
            "map": self._map,
            "record": self._record,
        }

    def function(self, start: int, max_bytes: int, check: Optional[Check]) -> str:
        reading, fields = self._fields(self._schema.parsed, 0)
        # Hostile bytes raise nearly everything: IndexError, struct.error, UnicodeDecodeError, MemoryError.
        body = [
            "size = len(value)",
            f"if size > {max_bytes}: {REFUSE}",
            f"at = {start}",
            *reading,
            f"if at == size: record = {_record_of(fields)}",
        ]
        lines = ["record = None", "try:", *_indented(body), "except Exception: pass"]
        lines.append(f"if record is None: {REFUSE}")
        if check:
            lines.append(f"if not ({check.condition(fields.__getitem__)}): refuse(record)")
        return "\n".join(["def decode(value):", *_indented(lines), " return record"]) + "\n"

    def _read(self, part: Any, name: str, depth: int) -> List[str]:
        """The lines that read one part into the variable `name`."""
        definition = definition_of(part, self._named)
        lines = self._parts[kind_of(definition)](definition, name, depth + 1)
        self._lines += len(lines)
        if self._lines > MAX_LINES or depth > MAX_NESTING:
            raise _TooComplex
        return lines

    def _variable(self) -> str:
        self._variables += 1
        return f"v{self._variables}"

    def _fields(self, part: Any, depth: int) -> Tuple[List[str], Dict[str, str]]:
        """The lines that read all fields of a record, and the variable that holds each."""
        lines: List[str] = []
        fields: Dict[str, str] = {}
        for field in part["fields"]:
            variable = fields[field["name"]] = self._variable()
            lines += self._read(field["type"], variable, depth)
        return lines, fields

    def _record(self, part: Any, name: str, depth: int) -> List[str]:
        lines, fields = self._fields(part, depth)
        return [*lines, f"{name} = {_record_of(fields)}"]

    def _enum(self, part: Any, name: str, depth: int) -> List[str]:
        symbols = f"symbols_{len(self.constants)}"
        self.constants[symbols] = tuple(part["symbols"])
        # A negative number is odd. A number that is too large raises IndexError.
        return [*_varint(INT_GROUPS), REFUSE_ODD, f"{name} = {symbols}[n >> 1]"]

    def _union(self, part: Any, name: str, depth: int) -> List[str]:
        lines = _varint(INT_GROUPS)
        for index, branch in enumerate(part):
            lines.append(f"{'elif' if index else 'if'} n == {2 * index}:")
            lines += _indented(self._read(branch, name, depth))
        return [*lines, f"else: {REFUSE}"]

    def _array(self, part: Any, name: str, depth: int) -> List[str]:
        item = self._variable()
        lines = [*self._read(part["items"], item, depth), f"{name}.append({item})"]
        return _block(f"{name} = []", lines)

    def _map(self, part: Any, name: str, depth: int) -> List[str]:
        key, item = self._variable(), self._variable()
        lines = [
            *_sized(f"{key} = value[at + 1:end].decode()"),
            f"if {key} in {name}: {REFUSE}",
            *self._read(part["values"], item, depth),
            f"{name}[{key}] = {item}",
        ]
        return _block(f"{name} = {{}}", lines)


def _record_of(fields: Dict[str, str]) -> str:
    return f"{{{', '.join(f'{name!r}: {variable}' for name, variable in fields.items())}}}"


def _indented(lines: List[str]) -> List[str]:
    return [" " + line for line in lines]


def _varint(groups: int) -> List[str]:
    """Read an unsigned variable-length number of at most `groups` 7-bit groups into `n`."""
    lines = ["n = value[at]", "if n < 128: at += 1"]
    indent = ""
    for group in range(1, groups):
        lines += [
            f"{indent}else:",
            f"{indent} b{group} = value[at + {group}]",
            f"{indent} if b{group} < 128:",
            f"{indent}  if not b{group}: {REFUSE}",
            f"{indent}  n += {_higher_groups(group)}; at += {group + 1}",
        ]
        indent += " "
    return [*lines, f"{indent}else: {REFUSE}"]


def _higher_groups(last: int) -> str:
    """What groups 1 to `last` add to the first, minus the continuation bit (128) of all but the last."""
    groups = [f"(b{group} << {7 * group})" for group in range(1, last + 1)]
    return f"{' + '.join(groups)} - {sum(128 << 7 * group for group in range(last))}"


def _number(name: str, groups: int, bound: Optional[int]) -> List[str]:
    check = [f"if n > {bound}: {REFUSE}"] if bound else []
    return [*_varint(groups), *check, f"{name} = -(n + 1 >> 1) if n & 1 else n >> 1"]


def _boolean(name: str) -> List[str]:
    return ["n = value[at]; at += 1", f"if n > 1: {REFUSE}", f"{name} = n == 1"]


def _sized(take: str) -> List[str]:
    """Read a length, let `take` use that many bytes, from `at + 1` to `end`, and go on after them."""
    return [
        "step = steps[value[at]]",
        "if step is None:",
        *_indented([*_varint(LENGTH_GROUPS), REFUSE_ODD, "at -= 1; step = 1 + (n >> 1)"]),
        "end = at + step",
        take,
        "at = end",
    ]


def _bytes(part: Any, name: str) -> List[str]:
    lines = _sized(f"{name} = value[at + 1:end]")
    if is_free_decimal(part):
        lines.insert(-2, f"if step > {1 + decimal_bytes(part['precision'])}: {REFUSE}")
    return lines


def _fixed(part: Any, name: str) -> List[str]:
    # It reads no single byte: without the check, an array of these could run past the end endlessly.
    return [f"end = at + {part['size']}", f"if end > size: {REFUSE}", f"{name} = value[at:end]", "at = end"]


def _block(create: str, item: List[str]) -> List[str]:
    """Items in one block, then the empty block that ends them; only the latter if there are no items."""
    return [
        *_varint(LENGTH_GROUPS),
        REFUSE_ODD,
        create,
        "if n:",
        " for _ in range(n >> 1):",
        *_indented(_indented(item)),
        f" if value[at]: {REFUSE}",
        " at += 1",
    ]
