"""What the live screen knows: groups, the latest dead letters of each, and what is asked of them."""

from collections import deque
from contextlib import nullcontext
from typing import Any, ContextManager, Deque, Dict, List, NamedTuple, Optional, Sequence, Tuple

from orderflow.dlq.grouping import MOST_GROUPS, Group, Groups
from orderflow.dlq.letter import Letter
from orderflow.dlq.masking import Mask
from orderflow.dlq.output.group_table import digits_of, frame_text
from orderflow.dlq.output.listing import summary
from orderflow.dlq.tally import Unresolved, short_length
from orderflow.dlq.timeline import Window
from orderflow.model.text import escape, shown_bytes

LATEST, FEWEST, MOST_KEPT = 100, 10, 20_000
"""Dead letters of a group that can be looked through, fewer of each where there are many groups; the verbs
reach all of them."""
LONGEST = 200
PARTS = 12
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
    """The groups as they are asked for."""

    rows: List[GroupRow]
    window: Optional[Window]


class Model:
    """Filled by one thread, asked by another: `lock` lets one of them in at a time."""

    def __init__(self, mask: Mask, lock: Optional[ContextManager[Any]] = None) -> None:
        self._mask = mask
        self._lock: ContextManager[Any] = nullcontext() if lock is None else lock
        self.clear()

    def clear(self) -> None:
        """Forget everything, to read it all again."""
        with self._lock:
            self._groups = Groups(self._mask)
            self._totals = Unresolved()
            self._latest: Dict[str, Deque[Kept]] = {}
            self.version = 0
            """Goes up with every change."""

    def add(self, letters: Sequence[Letter]) -> None:
        """Take dead letters in; those that somebody decided about are counted only."""
        with self._lock:
            for letter in letters:
                if self._totals.add(letter):
                    self._groups.add(letter)
                    latest = self._latest.get(letter.kind.fingerprint)
                    if latest is None:
                        latest = self._new_latest(letter.kind.fingerprint)
                    latest.append(_kept(self._mask.letter(letter)))
            self.version += 1

    def table(self, needle: str = "", sort: str = SORTS[0]) -> Table:
        """The groups that hold the text somewhere, in this order."""
        with self._lock:
            groups, window = self._groups.rows(), self._groups.window(PARTS)
            digits = digits_of(groups)
            rows = [_group_row(group, digits, window) for group in groups]
        found = [row for row in rows if needle.lower() in f"{row.digits} {row.what} {row.reason}".lower()]
        if sort != SORTS[0]:
            found.sort(key=lambda row: (row.last_ms if sort == "last" else row.first_ms) or 0, reverse=True)
        return Table(found, window)

    def counts(self) -> Unresolved:
        """How many there are in all."""
        return self._totals

    def digits_of(self, fingerprint: str) -> str:
        """As many digits as tell this group apart from the others."""
        with self._lock:
            marks = [group.kind.fingerprint for group in self._groups.rows()]
        return fingerprint[: short_length([*marks, fingerprint])]

    def letters(self, fingerprint: str, needle: str = "") -> List[Row]:
        """The latest dead letters of a group that hold the text, the newest first."""
        with self._lock:
            latest = list(self._latest.get(fingerprint, ()))
        rows = map(_row, reversed(latest))
        return [row for row in rows if needle.lower() in f"{row.position} {row.key} {row.what}".lower()]

    def _new_latest(self, fingerprint: str) -> "Deque[Kept]":
        """Room for a group. Those of groups that were counted together meanwhile are forgotten."""
        if len(self._latest) > 2 * MOST_GROUPS:
            known = {group.kind.fingerprint for group in self._groups.rows()}
            self._latest = {mark: kept for mark, kept in self._latest.items() if mark in known}
        most = max(FEWEST, min(LATEST, MOST_KEPT // (len(self._latest) + 1)))
        return self._latest.setdefault(fingerprint, deque(maxlen=most))


def _group_row(group: Group, digits: int, window: Optional[Window]) -> GroupRow:
    kind = group.kind
    where = "" if kind.frame is None else f"{escape(frame_text(kind.frame))}  "
    error = summary(kind.error_class, group.message) or "-"
    return GroupRow(
        kind.fingerprint,
        kind.fingerprint[:digits],
        group.count,
        group.first_ms,
        group.last_ms,
        tuple(group.timeline.parts(window)) if window else (),
        f"{where}{error}"[:LONGEST],
        escape(kind.reason or kind.stage or "-"),
    )


Kept = Tuple[str, Optional[int], Optional[bytes], Optional[str], Optional[str]]
"""Of a dead letter: position, time, key, class of the error and message."""


def _kept(letter: Letter) -> Kept:
    record, message = letter.record, letter.detail[0]
    error_class, short = letter.kind.error_class, None if message is None else message[:LONGEST]
    return letter.position, record.timestamp_ms, record.key, error_class, short


def _row(kept: Kept) -> Row:
    position, at_ms, key, error_class, message = kept
    return Row(position, at_ms, shown_bytes(key)[:LONGEST], summary(error_class, message)[:LONGEST] or "-")
