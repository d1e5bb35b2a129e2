"""Which dead letters a verb is about: where to read, and which of what was read to keep."""

import re
from datetime import datetime, timezone
from fnmatch import fnmatchcase
from functools import partial
from math import inf
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from orderflow.dlq.letter import STATES, Letter
from orderflow.dlq.where import conditions
from orderflow.dlq.where.terms import Lookup, WhereError
from orderflow.kafka.positions import BEGINNING, Position, Range
from orderflow.model import time_spans
from orderflow.model.records import Place
from orderflow.model.text import keys_shown_as, quoted, typed_bytes

Filter = Callable[[Letter], bool]


class SelectionError(ValueError):
    """A filter that cannot be read; its text tells which and what is wrong."""


class Selection(NamedTuple):
    """The range to read, the filters that a dead letter must all pass, and how many to take at most."""

    range: Range = Range()
    filters: Tuple[Filter, ...] = ()
    limit: Optional[int] = None

    def takes(self, letter: Letter) -> bool:
        """Whether the dead letter is chosen."""
        return all(test(letter) for test in self.filters)

    @property
    def is_everything(self) -> bool:
        """Whether nothing was narrowed down, so that a verb that changes things asks for `--all`."""
        return not self.filters and self.range == Range() and self.limit is None


class Wanted(NamedTuple):
    """The filters as they were typed; each list ORed within, ANDed with the others."""

    partitions: Sequence[int] = ()
    offsets: Sequence[str] = ()
    limit: Optional[int] = None
    since: Optional[str] = None
    until: Optional[str] = None
    groups: Sequence[str] = ()
    reason_codes: Sequence[str] = ()
    errors: Sequence[str] = ()
    keys: Sequence[str] = ()
    headers: Sequence[str] = ()
    source_topics: Sequence[str] = ()
    states: Sequence[str] = ()
    where: Sequence[str] = ()


def selection(wanted: Wanted, order_fields: Sequence[str], now_ms: int) -> Selection:
    """What was typed, made ready to be applied. Raises `SelectionError` for what cannot be read."""
    found = _range(wanted, now_ms)
    filters = [
        *_times(found),
        *_any(_groups(wanted.groups)),
        *_any([_by_glob(lambda letter: letter.kind.reason, glob) for glob in wanted.reason_codes]),
        *_any([_by_error(glob) for glob in wanted.errors]),
        *_any([_by_key(key) for key in wanted.keys]),
        *_any([_by_header(text) for text in wanted.headers]),
        *_any([_by_glob(lambda letter: letter.kind.topic, glob) for glob in wanted.source_topics]),
        *_any(_states(wanted.states)),
        *_any([_by_condition(text, order_fields) for text in wanted.where]),
    ]
    if wanted.limit is not None and wanted.limit < 0:
        raise SelectionError("-c: the count must not be negative")
    return Selection(found, tuple(filters), wanted.limit)


def at_places(chosen: Selection, places: Sequence[Place]) -> Selection:
    """The same, of these places in the dead letter topic alone, where any are given."""
    if not places:
        return chosen
    partitions = chosen.range.partitions
    wanted = frozenset(place for place in places if not partitions or place[0] in partitions)

    def is_there(letter: Letter) -> bool:
        return (letter.record.partition, letter.record.offset) in wanted

    return chosen._replace(range=_around(chosen.range, places), filters=(is_there, *chosen.filters))


def _around(wanted: Range, places: Sequence[Place]) -> Range:
    """Read no more than is needed: those partitions, and where it is one, only from first to last place.

    Where to begin was typed for a reason: a place before it is not taken.
    """
    partitions = frozenset(partition for partition, _ in places)
    if len(partitions) > 1 or wanted.begin != BEGINNING:
        return wanted._replace(partitions=partitions)
    offsets = [offset for _, offset in places]
    begin, end = Position("offset", min(offsets)), Position("offset", max(offsets) + 1)
    return wanted._replace(partitions=partitions, begin=begin, end=end)


# --- Where to read ---


def position(text: str, now_ms: int) -> Tuple[str, Position]:
    """One `-o` in kcat's forms, with the edge that it sets: `begin` or `end`.

    `beginning`, `end`, `N` (an offset), `-N` (N before the end), `s@T` (from a time), `e@T` (up to a time).
    A time means the records' own, wherever they stand.
    """
    if text in ("beginning", "end"):
        return "begin", Position(text)
    if re.fullmatch(r"-?\d{1,18}", text):
        number = int(text)
        return "begin", Position("back", -number) if text.startswith("-") else Position("offset", number)
    if text[:2] in ("s@", "e@"):
        return "begin" if text[0] == "s" else "end", Position("time", moment(text[2:], now_ms))
    raise SelectionError(f"-o {text}: must be beginning, end, an offset, -N, s@TIME or e@TIME")


TIME_FORMS = f"{time_spans.FORMS} (ago), 2026-11-24, 2026-11-24T10:30:00Z or epoch milliseconds"


def moment(text: str, now_ms: int) -> int:
    """Epoch milliseconds of a time: an age, a date or time (UTC unless it says so), or epoch milliseconds."""
    age_ms = time_spans.read_span(text)
    if age_ms is not None:
        return max(0, now_ms - age_ms)
    if re.fullmatch(r"[0-9]{9,17}", text):
        return int(text)
    try:
        parsed = datetime.fromisoformat(re.sub(r"[zZ]\Z", "+00:00", text))
        at_s = (parsed if parsed.tzinfo else parsed.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, OverflowError):
        raise SelectionError(f"{quoted(text)} is no time: give {TIME_FORMS}") from None
    return max(0, round(at_s * 1000))  # Kafka gives negative times a meaning of their own


def _range(wanted: Wanted, now_ms: int) -> Range:
    edges: Dict[str, Position] = {}
    for text in wanted.offsets:
        edge, place = position(text, now_ms)
        if edge in edges:
            raise SelectionError(f"-o {text}: where to {edge} is given twice")
        edges[edge] = place
    if any(partition < 0 for partition in wanted.partitions):
        raise SelectionError("-p: a partition must not be negative")
    times = {edge: place.value for edge, place in edges.items() if place.kind == "time"}
    since = (_moment_of("--since", wanted.since, now_ms), times.get("begin"))
    until = (_moment_of("--until", wanted.until, now_ms), times.get("end"))
    since_ms = max((at_ms for at_ms in since if at_ms is not None), default=None)
    until_ms = min((at_ms for at_ms in until if at_ms is not None), default=None)
    if since_ms is not None and until_ms is not None and since_ms >= until_ms:
        raise SelectionError(
            "--since (or -o s@) is not before --until (or -o e@): nothing lies between; an age as 2h is "
            "counted back from now"
        )
    return Range(
        frozenset(wanted.partitions),
        BEGINNING if "begin" in times else edges.get("begin", BEGINNING),
        None if "end" in times else edges.get("end"),
        since_ms,
        until_ms,
    )


def _moment_of(flag: str, text: Optional[str], now_ms: int) -> Optional[int]:
    try:
        return None if text is None else moment(text, now_ms)
    except SelectionError as error:
        raise SelectionError(f"{flag}: {error}") from None


# --- Which to keep ---


def _any(tests: List[Filter]) -> List[Filter]:
    """One filter that passes what any of the tests passes; none where nothing was asked."""
    if len(tests) <= 1:
        return tests
    return [lambda letter: any(test(letter) for test in tests)]


def _times(found: Range) -> List[Filter]:
    """By the time of each: seeking finds the first that is late enough, and those behind need no order."""
    tests: List[Filter] = []
    if found.since_ms is not None:
        since_ms = found.since_ms
        tests.append(lambda letter: _is_within(letter.record.timestamp_ms, begin_ms=since_ms))
    if found.until_ms is not None:
        until_ms = found.until_ms
        tests.append(lambda letter: _is_within(letter.record.timestamp_ms, end_ms=until_ms))
    return tests


def _is_within(at_ms: Optional[int], begin_ms: float = -inf, end_ms: float = inf) -> bool:
    """Whether it was then. What has no time is neither before nor after any."""
    return at_ms is not None and begin_ms <= at_ms < end_ms


def _groups(prefixes: Sequence[str]) -> List[Filter]:
    for prefix in prefixes:
        if not re.fullmatch(r"[0-9a-fA-F]{1,16}", prefix):
            raise SelectionError(f"-g {prefix}: a group is 1 to 16 hex digits, as `groups` shows it")
    lower = tuple(prefix.lower() for prefix in prefixes)
    return [lambda letter: _is_of(letter, lower)] if lower else []


def _is_of(letter: Letter, prefixes: Tuple[str, ...]) -> bool:
    """By its group, or by the fingerprint that it carries, which is what older versions showed."""
    return letter.fingerprint.startswith(prefixes) or (letter.mark or "-").startswith(prefixes)


def _states(wanted: Sequence[str]) -> List[Filter]:
    chosen = [state.strip() for text in wanted for state in text.split(",")]
    for state in chosen:
        if state not in STATES:
            raise SelectionError(f"--state {state}: must be {', '.join(STATES)}")
    allowed = frozenset(chosen)
    return [lambda letter: letter.state in allowed] if chosen else []


def _by_glob(value_of: Callable[[Letter], Optional[str]], glob: str) -> Filter:
    def test(letter: Letter) -> bool:
        value = value_of(letter)
        return value is not None and fnmatchcase(value, glob)

    return test


def _by_error(glob: str) -> Filter:
    """By class (whole or its last name), by the innermost cause, or by message."""

    def test(letter: Letter) -> bool:
        told = letter.told
        kinds = [kind for kind in (told.error_class, told.cause_class, told.root_class) if kind]
        names = [*kinds, *(kind.rsplit(".", 1)[-1] for kind in kinds)]
        return any(fnmatchcase(text, glob) for text in (*names, told.message or "", told.root_message or ""))

    return test


def _by_key(key: str) -> Filter:
    wanted = keys_shown_as(key)
    return lambda letter: letter.record.key in wanted


def _by_header(text: str) -> Filter:
    name, separator, value = text.partition("=")
    wanted = typed_bytes(value)
    if not separator:
        return lambda letter: any(header[0] == name for header in letter.record.headers)
    return lambda letter: (name, wanted) in letter.record.headers


def _source_place(letter: Letter) -> Tuple[Optional[int], Optional[int]]:
    _, partition, offset = letter.detail
    return partition, offset


META: Dict[str, Callable[[Letter], Any]] = {
    "partition": lambda letter: letter.record.partition,
    "offset": lambda letter: letter.record.offset,
    "ts": lambda letter: letter.record.timestamp_ms,
    "key": lambda letter: None if letter.record.key is None else letter.record.key.decode("utf-8", "replace"),
    "state": lambda letter: letter.state,
    "fingerprint": lambda letter: letter.fingerprint,
    "dialect": lambda letter: letter.kind.dialect,
    "attempts": lambda letter: letter.told.attempts,
    "replays": lambda letter: letter.told.replay_count,
    "consumer_group": lambda letter: letter.told.group,
    "source.topic": lambda letter: letter.kind.topic,
    "source.partition": lambda letter: _source_place(letter)[0],
    "source.offset": lambda letter: _source_place(letter)[1],
    "source.timestamp": lambda letter: letter.told.timestamp_ms,
    "error.reason": lambda letter: letter.kind.reason,
    "error.stage": lambda letter: letter.kind.stage,
    "error.class": lambda letter: letter.told.error_class,
    "error.cause": lambda letter: letter.told.root_class,
    "error.message": lambda letter: letter.told.message,
}
"""Names of the JSON output that `--where` may ask for, beside the order's own fields, which win."""


def _by_condition(text: str, order_fields: Sequence[str]) -> Filter:
    names, lookup_in = names_in(order_fields)
    try:
        test = conditions.condition(text, names)
    except WhereError as error:
        raise SelectionError(f"--where {quoted(text)}: {error}") from None
    return lambda letter: test(lookup_in(letter))


LookupIn = Callable[[Letter], Lookup]


def names_in(order_fields: Sequence[str]) -> Tuple[List[str], LookupIn]:
    """The names that may be asked of a dead letter, and what looks them up in one."""
    fields = frozenset(order_fields)
    names = [*fields, *(f"{name}." for name in fields), *META]

    def value_of(letter: Letter, name: str) -> Any:
        if name in fields:
            return None if letter.order is None else letter.order.get(name)
        if name.split(".")[0] in fields:
            return conditions.field(letter.order, name)
        return META[name](letter)

    return names, lambda letter: partial(value_of, letter)
