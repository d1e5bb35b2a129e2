"""Reads a dead letter of any dialect: where it came from, why it died, what is the source's own."""

import re
from typing import Callable, Dict, NamedTuple, Optional, Set, Tuple

from orderflow.dlq.dialects import (
    DIALECTS,
    NONE,
    OWN,
    SHARE_GROUP,
    Dialect,
    Facts,
    Names,
    Values,
    _pick,
    decimal_of,
    text_of,
)
from orderflow.dlq.frames import CAUSED_BY, frame_of, names_the_bug
from orderflow.frames import place_of
from orderflow.model import dead_letter as own
from orderflow.model.fingerprint import digest_of, fingerprint, normalised
from orderflow.model.records import Headers, Record


class Explanation(NamedTuple):
    """What a dead letter tells of itself. None means not carried; nothing here is ever a guess."""

    dialect: str
    topic: Optional[str] = None
    partition: Optional[int] = None
    offset: Optional[int] = None
    timestamp_ms: Optional[int] = None
    timestamp_type: Optional[str] = None
    group: Optional[str] = None
    attempts: Optional[int] = None
    reason: Optional[str] = None
    stage: Optional[str] = None
    component: Optional[str] = None
    error_class: Optional[str] = None
    cause_class: Optional[str] = None
    """As a header names it, which can still be a wrapper."""
    message: Optional[str] = None
    root_class: Optional[str] = None
    """The innermost cause: from the stack trace where there is one, else from a header."""
    root_message: Optional[str] = None
    """Its first line."""
    stack: Optional[str] = None
    frame: Optional[str] = None
    """Where the application failed, as a header names it, else by the stack trace."""
    fingerprint: str = ""
    """Of its kind of failure, the same for all of a kind whoever wrote them, and when."""
    mark: Optional[str] = None
    """The fingerprint that its header carries, which an older version worked out in another way."""
    retryable: Optional[bool] = None
    first_failed_at_ms: Optional[int] = None
    failed_at_ms: Optional[int] = None
    failed_at_topic: Optional[str] = None
    """The retry topic on which it failed last, where that is not the source."""
    schema: Optional[str] = None
    client: Optional[str] = None
    earlier_failures: Optional[int] = None
    """How often it was dead-lettered before and copied back with its headers."""
    key_is_original: Optional[bool] = True
    value_is_original: Optional[bool] = True
    """False: the source's value is not here and has to be fetched. None: there is no source record."""
    headers_are_original: Optional[bool] = True
    """None: this system does not always copy the source's own headers, and this record has none."""
    headers_left_out: Optional[str] = None
    """Why there are none: the Kafka client could not read them, here or when it died."""
    note: Optional[str] = None
    replay_job: Optional[str] = None
    replay_count: Optional[int] = None
    replay_from: Optional[str] = None
    """The dead letter that was replayed and came back as this one."""


def explain(record: Record) -> Explanation:
    """Everything that a dead letter of any dialect tells, none of it guessed."""
    values = _by_name(record.headers)
    dialect = _recognise(values, record.headers, created_ms(record))
    facts = _facts(dialect, record, values)
    facts.update(_life_story(values))
    if dialect.refine:
        facts.update(dialect.refine(facts, record, values))
    facts.update(_without_headers(facts, record, values))
    facts["fingerprint"] = _fingerprint(facts)
    return Explanation(**facts)


def recognise(headers: Headers, created_ms: Optional[int] = None) -> Dialect:
    """The dialect of a dead letter: the complete set of names that was written last.

    Whoever dead-letters a record adds his marks to those that it carries, so his are the last, or with some
    systems the first. `created_ms` is the record's own time, see `created_ms`.
    """
    return _recognise(_by_name(headers), headers, created_ms)


def user_headers(headers: Headers, created_ms: Optional[int] = None) -> Headers:
    """The source's own headers: all that are not diagnostic in this dead letter's dialect, in order."""
    dialect = recognise(headers, created_ms)
    return [header for header in headers if not dialect.is_diagnostic(header[0])]


def created_ms(record: Record) -> Optional[int]:
    """The time that whoever wrote the record gave it; None where the broker dated it, or nobody did."""
    return record.timestamp_ms if record.timestamp_type == "CreateTime" else None


def _by_name(headers: Headers) -> Values:
    values: Values = {}
    for name, value in headers:
        values.setdefault(name, []).append(value)
    return values


def _recognise(values: Values, headers: Headers, created_ms: Optional[int]) -> Dialect:
    found = [dialect for dialect in DIALECTS if _is_written_by(dialect, values, headers)]
    if len(found) <= 1:
        return found[0] if found else NONE
    places = {name: place for place, (name, _) in enumerate(headers)}
    last = max(found, key=lambda dialect: _written_at(dialect, places))
    first = next((each for each in found if each.first_wins and each.is_diagnostic(headers[0][0])), None)
    # Both ends may be marked: then the last wins, unless it shows that it was carried along by the first.
    is_last = last.is_diagnostic(headers[-1][0]) and (last is not OWN or _is_dated_by_us(values, created_ms))
    return last if first is None or is_last else first


def _is_written_by(dialect: Dialect, values: Values, headers: Headers) -> bool:
    """Whether its names are complete, and those that a broker and we write stand where we put them."""
    if not dialect.is_complete_in(values):
        return False
    if dialect is OWN:
        return own.is_ours(headers)
    return dialect is not SHARE_GROUP or _is_of_a_broker(headers)


def _is_of_a_broker(headers: Headers) -> bool:
    """Whether the last headers are a broker's: it writes no others behind them."""
    last: Set[str] = set()
    for name, _ in reversed(headers):
        if name in last or not name.startswith(own.BROKER_PREFIX):
            break
        last.add(name)
    return last.issuperset(SHARE_GROUP.complete)


def _is_dated_by_us(values: Values, created_ms: Optional[int]) -> bool:
    """Whether the record's time is one that we give: that of the death, or else that of the order."""
    dates = (own.FAILED_AT, own.TIMESTAMP)
    return created_ms is None or created_ms in [decimal_of(_pick(values, (name,), False)) for name in dates]


def _written_at(dialect: Dialect, places: Dict[str, int]) -> int:
    """Where the set stands. One that is put in front counts as older than those behind."""
    return -1 if dialect.first_wins else places[dialect.complete[-1]]


def _facts(dialect: Dialect, record: Record, values: Values) -> Facts:
    """The facts that stand in headers of their own, and the innermost cause."""

    def text(names: Names) -> Optional[str]:
        return text_of(_pick(values, names, dialect.first_wins)) if names else None

    def number(names: Names) -> Optional[int]:
        return _number(_pick(values, names, dialect.first_wins), dialect.binary) if names else None

    facts: Facts = {
        "dialect": dialect.name,
        "topic": text(dialect.topic),
        "partition": number(dialect.partition),
        "offset": number(dialect.offset),
        "timestamp_ms": known_time(created_ms(record) if dialect.keeps_time else number(dialect.timestamp)),
        "timestamp_type": text(dialect.timestamp_type),
        "group": text(dialect.group),
        "attempts": number(dialect.attempts),
        "reason": text(dialect.reason),
        "stage": text(dialect.stage),
        "component": _component(dialect, text),
        "error_class": text(dialect.error_class),
        "cause_class": text(dialect.cause_class),
        "message": text(dialect.message),
        "stack": text(dialect.stack),
        "earlier_failures": _sets(dialect, values) - 1 if dialect.offset else None,
    }
    facts["root_class"], facts["root_message"] = _root(facts, text(dialect.cause_message))
    facts["frame"] = text(dialect.frame) or frame_of(facts["stack"])
    return facts


def known_time(at_ms: Optional[int]) -> Optional[int]:
    """The time; None for -1 too, which is how Kafka says that a record has no time."""
    return None if at_ms is None or at_ms < 0 else at_ms


def _fingerprint(facts: Facts) -> str:
    """By the innermost cause, since wrappers are alike for failures that have nothing in common."""
    told_by_cause = facts["root_class"] is not None
    message = facts["root_message"] if told_by_cause else facts["message"]
    kind = facts["root_class"] if told_by_cause else facts["error_class"]
    classes = (kind,) if told_by_cause or not facts["cause_class"] else (kind, facts["cause_class"])
    return fingerprint_of((facts["reason"], facts["stage"], *classes), message, facts["frame"])


def fingerprint_of(kind: Tuple[Optional[str], ...], message: Optional[str], frame: Optional[str]) -> str:
    """16 hex digits that failures of a kind share: reason, stage and classes of errors, and where they began.

    That is file and function: the line is another one after the next deploy. Where no frame is known, what
    the message says decides, and where only one of a library is, both do.
    """
    if frame is None:
        return fingerprint(kind[0], kind[1], "\0".join(filter(None, kind[2:])), message)
    where = f"@{place_of(frame)}"
    if not names_the_bug(frame):
        where += f" {normalised(message or '')}"
    return digest_of((*(part or "" for part in kind), where))


BINARY_LENGTHS = (4, 8)
"""Bytes of an int (partition, attempts) and a long (offset, timestamp)."""


def _number(value: Optional[bytes], binary: bool) -> Optional[int]:
    """The number, or None where a header of this name holds something else."""
    if not binary:
        return decimal_of(value)
    if value is None or len(value) not in BINARY_LENGTHS:
        return None
    return int.from_bytes(value, "big", signed=True)


def _component(dialect: Dialect, text: Callable[[Names], Optional[str]]) -> Optional[str]:
    pattern, names = dialect.component
    parts = [text((name,)) for name in names]
    return pattern % tuple(parts) if parts and all(part is not None for part in parts) else None


def _sets(dialect: Dialect, values: Values) -> int:
    """How many whole sets of coordinates the record carries: one for each time that it died."""
    return min(len(values[name]) for name in dialect.complete)


ERROR_LINE = re.compile(r"(?P<kind>[\w.$]+)(?:: (?P<message>.*))?\Z")


def _root(facts: Facts, cause_message: Optional[str]) -> Tuple[Optional[str], Optional[str]]:
    """Class and first line of the innermost cause: by the stack trace, else by headers."""
    found = _innermost(facts["stack"])
    if found:
        return found
    if facts["cause_class"] is not None:
        return facts["cause_class"], _first_line(cause_message)
    return (
        (facts["error_class"], _first_line(facts["message"]))
        if facts["error_class"] is not None
        else (None, None)
    )


def _innermost(stack: Optional[str]) -> Optional[Tuple[Optional[str], Optional[str]]]:
    """Class and first line of the innermost cause in a Java stack trace.

    Indented `Caused by:` lines belong to suppressed errors, of earlier attempts for instance.
    """
    if not stack:
        return None
    at = stack.rfind(CAUSED_BY)
    line = stack[at + len(CAUSED_BY) :] if at >= 0 else stack
    found = ERROR_LINE.match(line.split("\n", 1)[0].rstrip("\r"))
    return (found["kind"], found["message"] or None) if found else None


def _first_line(text: Optional[str]) -> Optional[str]:
    return text.split("\n", 1)[0] if text else None


def _life_story(values: Values) -> Facts:
    """What our replays wrote, which stays with the order whoever dead-letters it next."""
    if own.REPLAY_COUNT not in values and own.REPLAY_FROM not in values:
        return {}
    return {
        "replay_job": text_of(_pick(values, (own.REPLAY_JOB,), False)),
        "replay_count": decimal_of(_pick(values, (own.REPLAY_COUNT,), False)),
        "replay_from": text_of(_pick(values, (own.REPLAY_FROM,), False)),
    }


CANNOT_CARRY = "its headers were left out, and a replay cannot carry them"


def _without_headers(facts: Facts, record: Record, values: Values) -> Facts:
    """What is told where the headers could not be read; of a stranger's dead letter then nothing else is."""
    # Of a stranger's, `import` says so in the only header that is left. Any other is the producer's own.
    is_said = facts["dialect"] == OWN.name or len(record.headers) == 1
    said = text_of(_pick(values, (own.HEADERS_LEFT_OUT,), False)) if is_said else None
    why = record.headers_left_out or said
    if why is None:
        return {}
    told = {"message": f"its headers cannot be read: {why}"} if facts["dialect"] == NONE.name else {}
    notes = [note for note in (facts.get("note"), f"{CANNOT_CARRY}: {why}") if note]
    return {**told, "headers_left_out": why, "headers_are_original": False, "note": "; ".join(notes)}
