"""One dead letter in full, for people: the text of `show`."""

from typing import Any, List, Mapping, NamedTuple, Optional, Sequence

from orderflow.avro.codec import Inspection
from orderflow.dlq.audit import AuditEntry
from orderflow.dlq.explain import Explanation, created_ms, recognise
from orderflow.dlq.letter import Letter
from orderflow.dlq.masking import is_masked
from orderflow.dlq.output.envelope import plain, to_json
from orderflow.dlq.output.listing import Lines, summary
from orderflow.dlq.output.times import ago, clock, clock_ms
from orderflow.dlq.tally import NOT_CARRIED
from orderflow.model.cells import cells, fit, padded
from orderflow.model.records import Header, Record
from orderflow.model.text import escape, plural, shown_bytes

EMPTY = "(empty)"
COLUMN = 13
"""Width of the names on the left."""


class Shown(NamedTuple):
    """A dead letter and what was found out about it for `show`."""

    letter: Letter
    inspection: Inspection
    """Of the value that is shown: its own, or the source's."""
    fetched: Optional[Record]
    """The source record, where the dead letter does not carry its value and it could be fetched."""
    looked: bool
    """Whether it was looked for."""
    doubt: str = ""
    """Why what was found is not shown, or not certain to be the source."""


def show_lines(shown: Shown, now_ms: int, with_stack: bool = False, with_diagnostics: bool = False) -> Lines:
    """Everything about one dead letter, for people: what happened first, then where, then to what."""
    letter, told = shown.letter, shown.letter.told
    record = letter.record
    yield f"{escape(record.topic)}:{letter.position}  {letter.state}"
    yield from _error(told)
    yield from _field("died", f"{clock_ms(record.timestamp_ms)}  {ago(record.timestamp_ms, now_ms)}")
    yield from _field("from", _origin(told))
    yield from _field(
        "group", _or_not(told.group) + (f"  client {escape(told.client)}" if told.client else "")
    )
    yield from _field("attempts", _or_not(told.attempts))
    yield from _failure_times(told)
    yield from _field("fingerprint", told.fingerprint)
    yield from _field("dialect", told.dialect + (f"  {escape(told.component)}" if told.component else ""))
    yield from _replays(told)
    if told.note:
        yield from _field("note", told.note)
    yield from _field("key", _key(record))
    yield from _value(shown)
    yield from _headers(record, with_diagnostics)
    if with_stack:
        yield from _stack(told.stack)


def _field(name: str, text: str) -> Lines:
    yield f"{name:<{COLUMN}}{text}"


def _or_not(value: Any) -> str:
    return NOT_CARRIED if value is None else escape(str(value))


def _origin(told: Explanation) -> str:
    place = f"topic {_or_not(told.topic)}  partition {_or_not(told.partition)}  offset {_or_not(told.offset)}"
    kind = f" ({escape(told.timestamp_type)})" if told.timestamp_type else ""
    retry = f"  last failed on {escape(told.failed_at_topic)}" if told.failed_at_topic else ""
    return f"{place}  at {clock_ms(told.timestamp_ms)}{kind}{retry}"


def _failure_times(told: Explanation) -> Lines:
    if told.first_failed_at_ms is not None:
        yield from _field("first failed", clock_ms(told.first_failed_at_ms))
    if told.failed_at_ms is not None:
        yield from _field("last failed", clock_ms(told.failed_at_ms))


def _error(told: Explanation) -> Lines:
    retryable = {True: "  retryable", False: "  permanent", None: ""}[told.retryable]
    yield from _field("error", f"{_or_not(told.reason)}  stage {_or_not(told.stage)}{retryable}")
    if told.frame:
        yield from _field("at", escape(told.frame))
    yield from _field("class", _or_not(told.error_class))
    if told.root_class and told.root_class != told.error_class:
        cause = escape(told.root_class) + (f": {escape(told.root_message)}" if told.root_message else "")
        yield from _field("cause", cause)
    yield from _paragraph("message", told.message)


def _paragraph(name: str, text: Optional[str]) -> Lines:
    """Text over several lines, indented, each made safe."""
    if not text:
        yield from _field(name, NOT_CARRIED if text is None else EMPTY)
        return
    for place, line in enumerate(text.split("\n")):
        yield f"{name if place == 0 else '':<{COLUMN}}{escape(line)}".rstrip()


def _replays(told: Explanation) -> Lines:
    if told.replay_count is None and told.replay_from is None:
        return
    origin = f"  last from {escape(told.replay_from)}" if told.replay_from else ""
    job = f"  by job {escape(told.replay_job)}" if told.replay_job else ""
    yield from _field("replays", f"{_or_not(told.replay_count)}{origin}{job}")


def _key(record: Record) -> str:
    if not record.key:
        return "null" if record.key is None else EMPTY
    return f"{shown_bytes(record.key)}  ({plural(len(record.key), 'byte')})"


def _value(shown: Shown) -> Lines:
    record = shown.fetched or shown.letter.record
    if shown.looked:
        where = f"fetched from {escape(record.position)}" if shown.fetched else ""
        told = [where or shown.doubt or "no longer in the source topic", where and shown.doubt]
        yield from _field("value", "; ".join(["not in the dead letter", *filter(None, told)]))
        if shown.fetched is None:
            return
    if is_masked(shown.letter):
        yield from _field("" if shown.looked else "value", "without what is hidden; --unmask asks")
        yield from _fields(shown.inspection.order or {})
        return
    size = "null (tombstone)" if record.value is None else plural(len(record.value), "byte")
    schema = f"  {escape(shown.inspection.schema)}" if shown.inspection.schema else ""
    yield from _field("" if shown.looked else "value", size + schema)
    if shown.inspection.order is not None:
        yield from _fields(shown.inspection.order)
        return
    yield from _field("", f"not an order: {_why(shown.inspection.error)}")
    yield from hex_dump(record.value or b"")


def _why(error: Optional[Exception]) -> str:
    reason = getattr(error, "reason", None)
    return escape(f"{reason}: {error}" if reason else str(error))


def _fields(order: Mapping[str, Any]) -> Lines:
    longest = max((cells(escape(name)) for name in order), default=0)
    for name, value in order.items():
        told = plain(value)
        shown = escape(told) or EMPTY if isinstance(told, str) else to_json(told)
        yield f"{'':<{COLUMN}}{padded(escape(name), longest)}  {shown}"


MOST_DUMPED = 1_024
"""Bytes of a value that a hex dump shows; `--raw` gives all."""


def hex_dump(value: bytes) -> Lines:
    """Offset, 16 bytes in hex, and what of them is ASCII."""
    for at in range(0, min(len(value), MOST_DUMPED), 16):
        row = value[at : at + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        yield f"  {at:08x}  {row.hex(' '):<47}  {text}"
    if len(value) > MOST_DUMPED:
        yield f"  … and {plural(len(value) - MOST_DUMPED, 'byte')} more; --raw writes them all"


def _headers(record: Record, with_diagnostics: bool) -> Lines:
    headers, dialect = record.headers, recognise(record.headers, created_ms(record))
    own = [header for header in headers if not dialect.is_diagnostic(header[0])]
    diagnostic = [header for header in headers if dialect.is_diagnostic(header[0])]
    yield from _header_list("headers", own)
    if with_diagnostics or not diagnostic:
        yield from _header_list("diagnostics", diagnostic)
    else:
        yield from _field("diagnostics", f"{plural(len(diagnostic), 'header')}: --headers lists them")


MOST_OF_A_HEADER = 120


def _header_list(title: str, headers: Sequence[Header]) -> Lines:
    if not headers:
        yield from _field(title, "none")
    for place, (name, value) in enumerate(headers):
        shown = fit(shown_bytes(value), MOST_OF_A_HEADER)
        yield from _field(title if place == 0 else "", f"{escape(name)} = {shown}")


def _stack(stack: Optional[str]) -> Lines:
    if not stack:
        yield from _field("stack", NOT_CARRIED)
        return
    yield from _field("stack", "")
    for line in stack.rstrip("\n").split("\n"):
        yield "  " + escape(line.replace("\t", "    "))


def history_lines(letters: List[Letter], entries: Mapping[str, AuditEntry]) -> Lines:
    """The story of one order across its deaths, the first one first, with what was done after each.

    `entries` are the audit's, by `partition:offset`.
    """
    yield from _field("history", plural(len(letters), "death"))
    for letter in letters:
        at_ms = letter.record.timestamp_ms
        kind, (message, _, _) = letter.kind, letter.detail
        reason = escape(kind.reason or kind.error_class or "-")
        place = f"{clock(at_ms)}  {letter.position:<10}  {letter.state:<13}"
        yield f"  {place}  {reason}  {summary(kind.error_class, message)}"
        if letter.position in entries:
            yield _deed(entries[letter.position])


def _deed(entry: AuditEntry) -> str:
    """What was done to a dead letter."""
    target = f" into {entry.target}" if entry.target else ""
    why = f": {entry.reason}" if entry.reason else ""
    told = f"{entry.action}{target} by {entry.by}, job {entry.job}{why}"
    return f"  {clock(entry.at_ms)}  {escape(told)}"
