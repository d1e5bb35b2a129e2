"""The fast road: a reader made to measure for a flat record of primitives.

Owns: the source text of that reader, and `compile_reader`.
Does not know: framings, schema look-up, what to tell about bytes that it does not like.
Used by: codec.

A general Avro decoder asks the schema at every field what to do. Here the answers are written out once as
straight Python, which halves the time. The reader decodes only what it can prove to be canonical, and
hands everything else, however valid, to the careful road:

- a length or number must be in its shortest form, and end within 64 bits less one group,
- an int must fit 32 bits, a string must be UTF-8, a boolean 0 or 1,
- the last field must end exactly where the bytes end (a slice past the end is caught by that too).
"""

import struct
from typing import Any, Callable, Dict, List, Optional

from orderflow.avro_schema import Schema

Decode = Callable[[bytes], Dict[str, Any]]

INT_GROUPS = 5
LONG_GROUPS = 9
LENGTH_GROUPS = 4
"""The most 7-bit groups that the fast road reads. Nine cover 62 bits and the sign: more is rare."""


def compile_reader(schema: Schema, start: int, max_bytes: int, careful: Decode) -> Decode:
    """A decoder of values whose body begins at `start`. What it cannot prove it gives to `careful`."""
    names: Dict[str, Any] = {
        "careful": careful,
        "read_float": struct.Struct("<f").unpack_from,
        "read_double": struct.Struct("<d").unpack_from,
        "REFUSED": (IndexError, struct.error, UnicodeDecodeError),
    }
    exec(compile(source(schema, start, max_bytes), f"<reader of {schema.name}>", "exec"), names)
    decode: Decode = names["decode"]
    return decode


def source(schema: Schema, start: int, max_bytes: int) -> str:
    """The reader as Python text. `at` is the position of the next byte to read."""
    fields = schema.parsed["fields"]
    lines = ["def decode(value):", " try:", "  size = len(value)", f"  at = {start}"]
    lines.append(f"  if size > {max_bytes}: return careful(value)")
    for number, field in enumerate(fields):
        lines.extend("  " + line for line in _FIELD[field["type"]](f"f{number}"))
    items = ", ".join(f"{field['name']!r}: f{number}" for number, field in enumerate(fields))
    lines.append(f"  if at == size: return {{{items}}}")
    lines.extend([" except REFUSED:", "  pass", " return careful(value)"])
    return "\n".join(lines) + "\n"


def _varint(groups: int) -> List[str]:
    """Read an unsigned variable-length number of at most so many 7-bit groups into `n`.

    Each further group takes back the continuation bit (128) that the one before it has added.
    A last group of 0 would be an over-long form.
    """
    lines = ["n = value[at]", "at += 1"]
    indent = ""
    for group in range(1, groups):
        lines.append(f"{indent}if {'n' if group == 1 else 'b'} > 127:")
        indent += " "
        shift = 7 * group
        lines.append(f"{indent}b = value[at]; at += 1; n += (b << {shift}) - {1 << shift}")
    lines.append(f"{indent}if b > 127: return careful(value)")
    lines.append(" if not b: return careful(value)")
    return lines


def _number(groups: int, bound: Optional[int]) -> Callable[[str], List[str]]:
    def lines(name: str) -> List[str]:
        check = [f"if n > {bound}: return careful(value)"] if bound else []
        return [*_varint(groups), *check, f"{name} = -(n + 1 >> 1) if n & 1 else n >> 1"]

    return lines


def _sized(expression: str) -> Callable[[str], List[str]]:
    def lines(name: str) -> List[str]:
        return [
            *_varint(LENGTH_GROUPS),
            "if n & 1: return careful(value)",
            "end = at + (n >> 1)",
            f"{name} = {expression}",
            "at = end",
        ]

    return lines


def _boolean(name: str) -> List[str]:
    return ["n = value[at]", "at += 1", "if n > 1: return careful(value)", f"{name} = n == 1"]


def _fixed(reader: str, width: int) -> Callable[[str], List[str]]:
    return lambda name: [f"{name}, = {reader}(value, at)", f"at += {width}"]


_FIELD: Dict[str, Callable[[str], List[str]]] = {
    "null": lambda name: [f"{name} = None"],
    "boolean": _boolean,
    "int": _number(INT_GROUPS, bound=0xFFFFFFFF),
    "long": _number(LONG_GROUPS, bound=None),
    "float": _fixed("read_float", 4),
    "double": _fixed("read_double", 8),
    "bytes": _sized("value[at:end]"),
    "string": _sized("value[at:end].decode()"),
}
