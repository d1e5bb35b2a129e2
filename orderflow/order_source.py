"""Orders from a file or a pipe: CSV and JSON Lines, told apart by content, read line by line.

Owns: `OrderFile`, the check that a line has the schema's fields and types, what is said of a bad line.
Does not know: the rules of business (orders.py), encoding, Kafka.
Used by: producer.py.

A line is a record: a stray quote spoils its own line and no other. What passes has every field, of its type;
whether a price may be negative is for the consumer to say. A JSON line may also be a record as it stood in a
topic, `{"key_b64": …, "payload_b64": …}`: it is passed on byte for byte.
"""

import base64
import csv
import json
import os
import select
from typing import Any, BinaryIO, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

from orderflow.cli import CommandError, UsageError
from orderflow.order_fields import Field, json_reader, text_reader
from orderflow.text import escape

Order = Dict[str, Any]
Parse = Callable[[str], Union[Order, "RawRecord"]]

MAX_LINE_BYTES = 16 * 1024 * 1024
_CHUNK_BYTES = 64 * 1024
_IDLE_S = 0.1


class BadLine(NamedTuple):
    """A line that is no order: `file:line`, and why."""

    where: str
    reason: str


class RawRecord(NamedTuple):
    """A record to be passed on byte for byte."""

    key: Optional[bytes]
    value: Optional[bytes]


Item = Union[Order, RawRecord, BadLine, None]
"""What reading brings. None: nothing came for a moment, so there is time to do something else."""


# --- One line ---


class _CsvLine:
    """Reads the lines of a CSV file under one header."""

    def __init__(self, header: str, fields: Sequence[Field]) -> None:
        self._delimiter = max(",;\t", key=header.count)
        names = [name.strip() for name in self._cells(header)]
        _check_header(names, fields)
        self._width = len(names)
        self._columns = [(f.name, names.index(f.name), text_reader(f)) for f in fields if f.name in names]

    def __call__(self, line: str) -> Order:
        cells = self._cells(line)
        if len(cells) != self._width:
            raise ValueError(f"has {len(cells)} columns, not {self._width}")
        try:
            return {name: read(cells[index]) for name, index, read in self._columns}
        except (ValueError, RecursionError):
            raise _faults((name, read, cells[index]) for name, index, read in self._columns) from None

    def _cells(self, line: str) -> List[str]:
        if '"' not in line:
            return line.split(self._delimiter)
        try:
            return next(csv.reader([line], delimiter=self._delimiter, strict=True))
        except csv.Error as error:
            raise ValueError(f"quotes do not match: {error}") from None


def _check_header(names: Sequence[str], fields: Sequence[Field]) -> None:
    known = {field.name for field in fields}
    faults = {
        "missing": [field.name for field in fields if field.required and field.name not in names],
        "no field of an order": [escape(name) for name in names if name not in known],
        "there twice": sorted({name for name in names if name in known and names.count(name) > 1}),
    }
    told = [f"{fault}: {', '.join(found)}" for fault, found in faults.items() if found]
    if told:
        raise UsageError(f"the first line must name the columns of an order; {'; '.join(told)}")


class _JsonLine:
    """Reads the lines of a JSON Lines file."""

    def __init__(self, fields: Sequence[Field]) -> None:
        self._readers = {field.name: json_reader(field) for field in fields}
        self._required = {field.name for field in fields if field.required}

    def __call__(self, line: str) -> Union[Order, RawRecord]:
        value = _json(line)
        if not isinstance(value, dict):
            raise ValueError("is not a JSON object")
        if value.keys() == {"key_b64", "payload_b64"}:
            return RawRecord(_bytes(value["key_b64"]), _bytes(value["payload_b64"]))
        self._check_names(value)
        try:
            return {name: self._readers[name](part) for name, part in value.items()}
        except ValueError:
            raise _faults((name, self._readers[name], part) for name, part in value.items()) from None

    def _check_names(self, order: Order) -> None:
        missing = [name for name in self._required if name not in order]
        unknown = [escape(name) for name in order if name not in self._readers]
        if missing:
            raise ValueError(f"lacks {', '.join(sorted(missing))}")
        if unknown:
            raise ValueError(f"has what is no field of an order: {', '.join(unknown)}")


def _json(line: str) -> Any:
    try:
        return json.loads(line, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {error.msg} at column {error.colno}") from None
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def _object(pairs: List[Tuple[str, Any]]) -> Order:
    """JSON's last-one-wins would change an order silently."""
    order = dict(pairs)
    if len(order) != len(pairs):
        raise ValueError("has a name twice")
    return order


def _bytes(text: Any) -> Optional[bytes]:
    if text is None:
        return None
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError):
        raise ValueError("key_b64 and payload_b64 must be base64 or null") from None


def _faults(parts: Iterator[Tuple[str, Callable[[Any], Any], Any]]) -> ValueError:
    """What is wrong with each field, in one sentence."""
    reasons = []
    for name, read, value in parts:
        try:
            read(value)
        except (ValueError, RecursionError) as error:
            reasons.append(f"{name}: {error}")
    return ValueError("; ".join(reasons))


# --- The file ---


class OrderFile:
    """The orders of one file or pipe, in its order, as they come. Iterate once.

    Raises UsageError where the whole is neither CSV nor JSON Lines, before any order was read from it.
    """

    def __init__(self, stream: BinaryIO, name: str, fields: Sequence[Field]) -> None:
        self.name = name
        self.line = 0
        """Number of the line read last, from 1."""
        self._fd = stream.fileno()
        self._size = os.fstat(self._fd).st_size
        self._bytes = 0
        self._fields = fields
        self._parse: Optional[Union[_CsvLine, _JsonLine]] = None

    @property
    def fraction(self) -> Optional[float]:
        """How much has been read, 0 to 1; None where the end is not known, as with a pipe."""
        return self._bytes / self._size if self._size else None

    @property
    def position(self) -> str:
        """`file:line` of the line read last."""
        return f"{self.name}:{self.line}"

    def __iter__(self) -> Iterator[Item]:
        for line in self._lines():
            if line is None:
                yield None
                continue
            self.line += 1
            self._bytes += len(line) + 1
            if not line.isspace() and line:
                yield self._item(line)

    def _item(self, line: bytes) -> Item:
        """The order of one line; None for a header."""
        try:
            text = line.decode().rstrip("\r")
        except UnicodeDecodeError as error:
            self._refuse_first_line("is not UTF-8 text")
            return BadLine(
                self.position, f"is not UTF-8: byte 0x{line[error.start]:02x} at column {error.start + 1}"
            )
        try:
            return self._parse(text) if self._parse else self._begin(text.lstrip("\ufeff"))
        except ValueError as error:
            return BadLine(self.position, str(error))

    def _begin(self, text: str) -> Item:
        """Find out by the first line what the file is; None if that was a header."""
        if text.lstrip().startswith("["):
            raise UsageError(
                f"{self.position}: is a JSON array; JSON Lines has an object a line: jq -c '.[]' FILE"
            )
        if text.lstrip().startswith("{"):
            self._parse = _JsonLine(self._fields)
            return self._parse(text)
        try:
            self._parse = _CsvLine(text, self._fields)
        except (UsageError, ValueError) as error:
            raise UsageError(f"{self.position}: is neither JSON Lines nor CSV: {error}") from None
        return None

    def _refuse_first_line(self, why: str) -> None:
        if self._parse is None:
            raise UsageError(
                f"{self.position}: {why}; if it is compressed or UTF-16, convert it on the way: "
                "zcat or iconv FILE | producer.py --input -"
            )

    def _lines(self) -> Iterator[Optional[bytes]]:
        """The lines without their ends; None whenever nothing came for a moment."""
        rest = b""
        for chunk in self._chunks():
            if chunk is None:
                yield None
                continue
            lines = (rest + chunk).split(b"\n")
            rest = lines.pop()
            yield from lines
            if len(rest) > MAX_LINE_BYTES:
                raise CommandError(f"{self.name}:{self.line + 1}: is longer than {MAX_LINE_BYTES:,} bytes")
        if rest:
            yield rest

    def _chunks(self) -> Iterator[Optional[bytes]]:
        """What can be read now. Waiting is cut into moments, so that a silent pipe holds up nobody."""
        while True:
            if not select.select([self._fd], [], [], _IDLE_S)[0]:
                yield None
                continue
            try:
                chunk = os.read(self._fd, _CHUNK_BYTES)
            except OSError as error:
                raise CommandError(f"{self.name}: cannot be read: {error.strerror}") from error
            if not chunk:
                return
            yield chunk
