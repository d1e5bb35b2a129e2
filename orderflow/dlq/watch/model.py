"""What the live screen knows: groups, the latest dead letters of each, and what is asked of them."""

from collections import deque
from contextlib import nullcontext
from typing import Any, Callable, ContextManager, Deque, Dict, List, NamedTuple, Optional, Sequence, Tuple

from orderflow.dlq.grouping import MOST_GROUPS, Group, Groups
from orderflow.dlq.letter import Letter
from orderflow.dlq.masking import Mask
from orderflow.dlq.output.group_table import digits_of, frame_text
from orderflow.dlq.output.listing import summary
from orderflow.dlq.tally import SHORTEST, Unresolved
from orderflow.dlq.timeline import Window
from orderflow.model.text import escape, shown_bytes

LATEST, FEWEST, MOST_KEPT = 100, 10, 20_000
"""Dead letters of a group that can be looked through, fewer of each where there are many groups; the verbs
reach all of them."""
LONGEST = 200
PARTS, AT_ONCE = 12, 100
"""Of a chart, and groups that are drawn up between two looks whether somebody waits."""
SORTS = ("count", "last", "first")


class Row(NamedTuple):
    """One dead letter in the list of its group."""

    position: str
    """As `show` takes it."""
    at_ms: Optional[int]
    key: str
    what: str


class GroupRow(NamedTuple):
    """One group in the table."""

    fingerprint: str
    digits: str
    number: int
    first_ms: Optional[int]
    last_ms: Optional[int]
    counts: Tuple[int, ...]
    what: str
    reason: str


class Table(NamedTuple):
    """The groups as they were when this was drawn up. It never changes, so that any thread may look at it."""

    rows: Sequence[GroupRow] = ()
    """All of them, the most frequent first."""
    window: Optional[Window] = None
    """What their charts span."""
    digits: int = SHORTEST
    """As many of a fingerprint as tell these groups apart."""
    unresolved: int = 0
    read: int = 0
    """All dead letters, those that somebody decided about too."""

    def found(self, needle: str = "", sort: str = SORTS[0]) -> List[GroupRow]:
        """The groups that hold the text somewhere, in this order."""
        wanted = needle.lower()
        rows = [row for row in self.rows if wanted in f"{row.digits} {row.what} {row.reason}".lower()]
        if sort != SORTS[0]:
            rows.sort(key=lambda row: (row.last_ms if sort == "last" else row.first_ms) or 0, reverse=True)
        return rows


class Model:
    """Filled by one thread, and looked at by another, which never waits for more than a copy of few lines.

    What takes time, counting and drawing up the table, is done by the thread that fills it.
    """

    def __init__(self, mask: Mask, lock: Optional[ContextManager[Any]] = None) -> None:
        self._mask = mask
        self._lock: ContextManager[Any] = nullcontext() if lock is None else lock
        self._latest: Dict[str, Deque[Kept]] = {}
        """What the lock guards; all else is the filling thread's own, or replaced as a whole."""
        self.version = 0
        """Goes up with every change."""
        self.clear()

    # --- the thread that fills it ----------------------------------------------------------------

    def clear(self) -> None:
        """Forget everything, to read it all again."""
        self._groups = Groups(self._mask)
        self._totals = Unresolved()
        self._texts: Dict[str, Tuple[str, str]] = {}
        self.table = Table()
        self._drawn = self.version = self.version + 1
        with self._lock:
            self._latest = {}

    def add(self, letters: Sequence[Letter]) -> None:
        """Take dead letters in; those that somebody decided about are counted only."""
        unresolved = [letter for letter in letters if self._totals.add(letter)]
        for letter in unresolved:
            self._groups.add(letter)
        kept = [(letter.kind.fingerprint, _kept(self._mask.letter(letter))) for letter in unresolved]
        with self._lock:
            for mark, one in kept:
                (self._latest.get(mark) or self._new_latest(mark)).append(one)
        self.version += bool(letters)

    def draw_up(self, rest: Callable[[], object] = lambda: None) -> None:
        """Make the table anew, if anything has changed; `rest` is called all few milliseconds of it."""
        if self._drawn == self.version:
            return
        self._drawn = self.version
        groups, window = self._groups.rows(), self._groups.window(PARTS)
        texts, digits = self._texts, digits_of(groups)
        self._texts = {one.kind.fingerprint: texts.get(one.kind.fingerprint) or _texts(one) for one in groups}
        rows: List[GroupRow] = []
        for begin in range(0, len(groups), AT_ONCE):
            rest()
            some = groups[begin : begin + AT_ONCE]
            rows += [_group_row(one, digits, window, self._texts[one.kind.fingerprint]) for one in some]
        self.table = Table(rows, window, digits, self._totals.unresolved, self._totals.count)

    def _new_latest(self, fingerprint: str) -> "Deque[Kept]":
        """Room for a group. Those of groups that were counted together meanwhile are forgotten."""
        if len(self._latest) > 2 * MOST_GROUPS:
            known = {group.kind.fingerprint for group in self._groups.rows()}
            self._latest = {mark: kept for mark, kept in self._latest.items() if mark in known}
        most = max(FEWEST, min(LATEST, MOST_KEPT // (len(self._latest) + 1)))
        return self._latest.setdefault(fingerprint, deque(maxlen=most))

    # --- any thread ------------------------------------------------------------------------------

    def digits_of(self, fingerprint: str) -> str:
        """As many digits as tell this group apart from the others."""
        return fingerprint[: self.table.digits]

    def letters(self, fingerprint: str, needle: str = "") -> List[Row]:
        """The latest dead letters of a group that hold the text, the newest first."""
        with self._lock:
            latest = list(self._latest.get(fingerprint, ()))
        rows, wanted = map(_row, reversed(latest)), needle.lower()
        return [row for row in rows if wanted in f"{row.position} {row.key} {row.what}".lower()]


def _group_row(group: Group, digits: int, window: Optional[Window], texts: Tuple[str, str]) -> GroupRow:
    counts = tuple(group.timeline.parts(window)) if window else ()
    mark, (what, reason) = group.kind.fingerprint, texts
    return GroupRow(mark, mark[:digits], group.count, group.first_ms, group.last_ms, counts, what, reason)


def _texts(group: Group) -> Tuple[str, str]:
    """What a group is about, and its reason; the same for as long as there is the group."""
    kind = group.kind
    where = "" if kind.frame is None else f"{escape(frame_text(kind.frame))}  "
    error = summary(kind.error_class, group.message) or "-"
    return f"{where}{error}"[:LONGEST], escape(kind.reason or kind.stage or "-")


Kept = Tuple[str, Optional[int], Optional[bytes], Optional[str], Optional[str]]
"""Of a dead letter: position, time, key, class of the error and message."""


def _kept(letter: Letter) -> Kept:
    record, message = letter.record, letter.detail[0]
    error_class, short = letter.kind.error_class, None if message is None else message[:LONGEST]
    return letter.position, record.timestamp_ms, record.key, error_class, short


def _row(kept: Kept) -> Row:
    position, at_ms, key, error_class, message = kept
    return Row(position, at_ms, shown_bytes(key)[:LONGEST], summary(error_class, message)[:LONGEST] or "-")
