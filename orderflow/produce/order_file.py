"""Reads orders from a file or a pipe, CSV or JSON Lines by its content, one record at a time.

CSV is what the standard library's csv module accepts in strict mode: a quoted cell may contain line breaks,
and a record that does not parse is refused whole, under the number of its first line. In JSON Lines, each
line is a record; one that is longer than a record may be is one bad line. Accepted orders have every field
with the right type; checking the rules is up to the consumer. A JSON line may also hold the bytes of a
record, `{"key_b64": …, "payload_b64": …}`, which are passed on unchanged.
"""

import csv
import re
from collections import Counter
from typing import Any, BinaryIO, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Union

from orderflow.avro.json_value import json_value
from orderflow.avro.logical_fields import base64_bytes
from orderflow.avro.order_fields import Field, faults, record_reader
from orderflow.exits import CommandError, UsageError
from orderflow.model.cells import fit
from orderflow.model.text import escape, listed, plural
from orderflow.produce.file_lines import MAX_RECORD_BYTES, Lines, Silent, TooLong, check_text

Order = Dict[str, Any]


class BadLine(NamedTuple):
    """A record that is not an order: `file:line` of its first line, and the reason."""

    where: str
    reason: str


class RawRecord(NamedTuple):
    """A record to be passed on byte for byte."""

    key: Optional[bytes]
    value: Optional[bytes]


Item = Union[Order, RawRecord, BadLine, None]
"""What reading yields. None: nothing arrived for a moment, so the caller can do other work."""


# --- One record ---


class _CsvRow:
    """Turns the rows of a CSV file into orders by its header."""

    def __init__(self, header: Sequence[str], fields: Sequence[Field]) -> None:
        names = [name.strip() for name in header]
        _check_header(names, fields)
        self._width = len(names)
        there = [field for field in fields if field.name in names]
        self._columns = [(each.name, names.index(each.name), each.spelling.from_text) for each in there]
        self._defaults = {field.name: field.default for field in fields if field.name not in names}

    def __call__(self, cells: Sequence[str]) -> Order:
        if len(cells) != self._width:
            raise ValueError(f"has {plural(len(cells), 'column')}, not {self._width}")
        try:
            order = {name: read(cells[index]) for name, index, read in self._columns}
        except (ValueError, RecursionError):
            raise faults((name, read, cells[index]) for name, index, read in self._columns) from None
        return {**self._defaults, **order} if self._defaults else order


def _check_header(names: Sequence[str], fields: Sequence[Field]) -> None:
    """Refuse a header that does not fit an order. A nameless first column, pandas' row number, is ignored."""
    known = {field.name for field in fields}
    unknown = [name for place, name in enumerate(names) if name not in known and (name or place)]
    counts, nameless = Counter(names), unknown.count("")
    faults = {
        "missing": [field.name for field in fields if field.required and field.name not in counts],
        "no field of an order": [fit(escape(name), _LONGEST_TOLD) for name in unknown if name],
        "without a name": [f"{nameless:,} column{'s' * (nameless > 1)}"] if nameless else [],
        "there twice": sorted(name for name in known if counts[name] > 1),
    }
    told = [f"{fault}: {listed(found, _MOST_TOLD)}" for fault, found in faults.items() if found]
    if told:
        raise UsageError(f"the first line must name the columns of an order; {'; '.join(told)}")


_MOST_TOLD, _LONGEST_TOLD = 10, 40
"""Columns that a refusal names, and characters of each: a file of something else may have thousands."""


class JsonLine:
    """Reads the lines of a JSON Lines file."""

    def __init__(self, fields: Sequence[Field]) -> None:
        self._read = record_reader(fields)

    def __call__(self, line: str) -> Union[Order, RawRecord]:
        """The order of a line, or its record. Raises ValueError."""
        value = json_value(line)
        if not isinstance(value, dict):
            raise ValueError("is not a JSON object")
        if value.keys() == {"key_b64", "payload_b64"}:
            return RawRecord(_bytes(value["key_b64"]), _bytes(value["payload_b64"]))
        return self._read(value)


def _bytes(text: Any) -> Optional[bytes]:
    try:
        return None if text is None else base64_bytes(text)
    except ValueError:
        raise ValueError("key_b64 and payload_b64 must be base64 or null") from None


# --- The file ---


class OrderFile:
    """The orders of one file or pipe, in sequence, as they arrive. Iterate once.

    Raises UsageError before the first order if the content is neither CSV nor JSON Lines.
    """

    def __init__(self, stream: BinaryIO, name: str, fields: Sequence[Field]) -> None:
        self.name = name
        self._lines = Lines(stream, name)
        self._fields = fields

    @property
    def fraction(self) -> Optional[float]:
        """How much has been read, 0 to 1; None if the end is not known, as with a pipe."""
        return self._lines.fraction

    @property
    def line(self) -> int:
        """Number of the first line of the last record read."""
        return self._lines.first

    @property
    def position(self) -> str:
        """`file:line` of the first line of the last record read."""
        return f"{self.name}:{self.line}"

    @property
    def next_position(self) -> str:
        """`file:line` of the line after it."""
        return f"{self.name}:{self._lines.last + 1}"

    def __iter__(self) -> Iterator[Item]:
        first = ""
        while not first.strip():
            self._lines.begin()
            try:
                first = next(self._lines)
            except Silent:
                yield None
            except TooLong as error:
                raise UsageError(f"{self.position}: {error}") from None
            except StopIteration:
                return
        self._refuse_what_is_not_text(first)
        if first.lstrip().startswith("["):
            raise UsageError(
                f"{self.position}: is a JSON array; JSON Lines has an object a line: jq -c '.[]' FILE"
            )
        if first.strip() == "{":
            raise UsageError(
                f"{self.position}: has an object over several lines; JSON Lines has one a line: jq -c . FILE"
            )
        if first.lstrip().startswith("{"):
            yield from self._json()
        else:
            yield from self._csv(first)

    def _refuse_what_is_not_text(self, first: str) -> None:
        try:
            check_text([first])
        except ValueError as error:
            raise UsageError(
                f"{self.position}: {error}; if it is compressed or UTF-16, convert it on the way: "
                "zcat or iconv FILE | producer.py --input -"
            ) from None

    def _json(self) -> Iterator[Item]:
        parse, lines = JsonLine(self._fields), self._lines
        lines.rewind()
        while True:
            lines.begin()
            try:
                line = next(lines).rstrip("\r\n")
                if line and not line.isspace():
                    yield self._judged(parse, line, [line])
            except Silent:
                yield None
            except TooLong as error:
                yield BadLine(self.position, str(error))
            except StopIteration:
                return

    def _csv(self, first: str) -> Iterator[Item]:
        named = re.fullmatch('"?sep=(.)"?\\s*', first)
        if not named:
            self._lines.rewind()
        rows = self._rows(named[1] if named else max(",;\t", key=first.count))
        parse: Optional[_CsvRow] = None
        for row in rows:
            if parse is None and row is not None:
                parse = self._header(row)
            elif not isinstance(row, list):
                yield row
            elif parse and not self._is_blank(row):
                yield self._judged(parse, row, row)

    def _is_blank(self, row: Sequence[str]) -> bool:
        """Whether the row read last comes from an empty line. A cell of blanks in quotes is a value."""
        return not row or (len(row) == 1 and self._lines.are_blank)

    def _header(self, row: Union[Sequence[str], BadLine]) -> _CsvRow:
        try:
            if isinstance(row, BadLine):
                raise ValueError(row.reason)
            check_text(row)
            return _CsvRow(row, self._fields)
        except (UsageError, ValueError) as error:
            raise UsageError(f"{self.position}: is neither JSON Lines nor CSV: {error}") from None

    def _rows(self, delimiter: str) -> Iterator[Union[List[str], BadLine, None]]:
        """The rows of a CSV file, and a BadLine for each record that does not parse.

        After a fault, the record is read again in the csv module's lenient mode to find where it ends: the
        second half of a quoted cell must not be taken for an order.
        """
        csv.field_size_limit(MAX_RECORD_BYTES)
        lines = self._lines
        strict, patient = (csv.reader(lines, delimiter=delimiter, strict=way) for way in (True, False))
        reader, fault = strict, ""
        while True:
            try:
                if not fault:
                    lines.begin()
                row = next(reader)
            except StopIteration:
                return
            except Silent:
                lines.rewind()
                yield None
            except TooLong as error:  # it may have opened a quote, so what follows may be no record
                raise CommandError(f"{self.name}:{lines.last}: {error}") from None
            except csv.Error as error:
                fault = fault or str(error)
                lines.rewind("\r")
                reader = patient
            else:
                yield BadLine(self.position, self._told(fault)) if fault else row
                reader, fault = strict, ""

    def _told(self, fault: str) -> str:
        said = next((said for words, said in _CSV_FAULTS.items() if words in fault), fault)
        first, last = self._lines.first, self._lines.last
        return said if last == first else f"{said} (lines {first} to {last} are one record)"

    def _judged(self, parse: Callable[[Any], Union[Order, RawRecord]], record: Any, parts: List[str]) -> Item:
        try:
            if self._lines.suspect:
                check_text(parts)
            return parse(record)
        except ValueError as error:
            return BadLine(self.position, str(error))


_CSV_FAULTS = {
    "unexpected end of data": "a quote is never closed",
    "expected after": "text follows a closing quote",
    "new-line character": "has a carriage return in the middle of a line",
}
"""The csv module's messages, and ours in their place."""
