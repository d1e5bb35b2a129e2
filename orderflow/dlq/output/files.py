"""Dead letters in files: the forms that are written, and the strict reading of what is imported."""

import base64
import binascii
import csv
import io
import re
from typing import Any, Callable, Dict, List, Optional, Tuple

from orderflow.dlq.letter import Letter
from orderflow.dlq.output.envelope import envelope, to_json
from orderflow.dlq.output.times import clock_ms
from orderflow.model.dead_letter import HEADERS_LEFT_OUT
from orderflow.model.json_text import read_json
from orderflow.model.records import Header, Headers, Outgoing
from orderflow.model.text import escape


class NoDeadLetter(ValueError):
    """A line that is no dead letter as `export` writes it."""


# --- Written ---


def json_line(letter: Letter) -> str:
    """Everything of the record, byte for byte, in one line."""
    return to_json(envelope(letter))


COLUMNS: Tuple[Tuple[str, Callable[[Dict[str, Any]], Any]], ...] = (
    ("position", lambda row: f"{row['partition']}:{row['offset']}"),
    ("died", lambda row: clock_ms(row["ts"])),
    ("key", lambda row: row["key"] if row["key"] is not None else row.get("key_b64")),
    ("state", lambda row: row["state"]),
    ("reason", lambda row: row["error"]["reason"]),
    ("stage", lambda row: row["error"]["stage"]),
    ("class", lambda row: row["error"]["class"]),
    ("message", lambda row: row["error"]["message"]),
    ("attempts", lambda row: row["attempts"]),
    ("replays", lambda row: row["replays"]),
    ("source_topic", lambda row: row["source"]["topic"]),
    ("source_partition", lambda row: row["source"]["partition"]),
    ("source_offset", lambda row: row["source"]["offset"]),
    ("consumer_group", lambda row: row["consumer_group"]),
    ("fingerprint", lambda row: row["fingerprint"]),
    ("dialect", lambda row: row["dialect"]),
    ("order", lambda row: None if row["payload"] is None else to_json(row["payload"])),
)
"""What a spreadsheet shows of a dead letter; it is for people, and cannot be imported."""


def csv_heading() -> str:
    """The first line."""
    return _csv([name for name, _ in COLUMNS])


def csv_line(letter: Letter) -> str:
    """One dead letter as a row."""
    row = envelope(letter)
    return _csv([cell(value_of(row)) for _, value_of in COLUMNS])


_STARTS = "=+\\-@|%\uff1d\uff0b\uff0d\uff20"
"""What a spreadsheet takes for the beginning of a formula, in the wide forms too."""
_NUMBER = r"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![^,;|\]}\s])"
_FIRST = re.compile(rf"(?=\s*[\"']*[{_STARTS}])")
_BEHIND_SEPARATOR = re.compile(rf"([,;|]\s*[\"']*)(?!{_NUMBER})(?=[{_STARTS}])")


def cell(value: Any) -> str:
    """A cell that a spreadsheet shows and never evaluates, whichever separator it splits the file at.

    A quote goes in front of what could be a formula, at the beginning and behind whatever may separate
    cells: a spreadsheet that expects another separator ignores the quotes around a cell. A number is none.
    """
    if value is None or isinstance(value, (bool, int, float)):
        return "" if value is None else str(value)
    text = _BEHIND_SEPARATOR.sub(r"\1'", escape(str(value)))
    return f"'{text}" if _FIRST.match(text) else text


def _csv(cells: List[str]) -> str:
    """A row without its end. Every cell is in quotes."""
    line = io.StringIO()
    csv.writer(line, quoting=csv.QUOTE_ALL, lineterminator="").writerow(cells)
    return line.getvalue()


# --- Read ---


def read_line(line: str, topic: str) -> Outgoing:
    """The record in a line, for this topic, whichever it came from. Raises NoDeadLetter."""
    try:
        row = read_json(line)
    except ValueError as error:
        raise NoDeadLetter(str(error)) from None
    if not isinstance(row, dict):
        raise NoDeadLetter("is no JSON object")
    missing = [name for name in ("key_b64", "payload_b64", "headers", "partition", "ts") if name not in row]
    if missing:
        raise NoDeadLetter(f"lacks {', '.join(missing)}; only what `export` or --json wrote can be imported")
    return Outgoing(
        topic,
        _bytes(row["key_b64"], "key_b64"),
        _bytes(row["payload_b64"], "payload_b64"),
        _headers(row["headers"]) + _mark_of_left_out(row),
        _whole(row["partition"], "partition") or 0,
        _whole(row["ts"], "ts"),
    )


def _bytes(text: Any, name: str) -> Optional[bytes]:
    if text is None:
        return None
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise NoDeadLetter(f"{name} is no base64") from None


def _whole(number: Any, name: str) -> Optional[int]:
    if number is None:
        return None
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < 2**63:
        raise NoDeadLetter(f"{name} is no whole number from 0")
    return number


def _mark_of_left_out(row: Dict[str, Any]) -> Headers:
    """Where headers could not be read when this was written: the copy says so too, unless it does already."""
    why = row.get("headers_left_out")
    if why is None or any(header[0] == HEADERS_LEFT_OUT for header in row["headers"]):
        return []
    if not isinstance(why, str):
        raise NoDeadLetter("headers_left_out is no text")
    return [(HEADERS_LEFT_OUT, why.encode())]


def _headers(rows: Any) -> Headers:
    if not isinstance(rows, list):
        raise NoDeadLetter("headers is no list")
    return [_header(row) for row in rows]


def _header(row: Any) -> Header:
    if not (isinstance(row, list) and len(row) == 2 and isinstance(row[0], str)):
        raise NoDeadLetter('a header is no ["name", value]')
    name, value = row
    if "\0" in name:  # the client would cut it there
        raise NoDeadLetter("the name of a header has a NUL character")
    if value is None:
        return name, None
    if isinstance(value, dict) and list(value) == ["b64"]:
        return name, _bytes(value["b64"], f"header {name}")
    if isinstance(value, str):
        return name, value.encode()
    raise NoDeadLetter(f'header {name} is no text, null or {{"b64": …}}')
