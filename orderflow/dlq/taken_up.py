"""Whether the owners of waiting orders have done what they were asked, as what they commit since tells."""

from typing import Dict, Iterable, Mapping, NamedTuple, Optional, Sequence

from orderflow.model.command import RETRY_NOW
from orderflow.model.commit_metadata import Commit, Entry

SLACK_MS = 2_000
"""Commits tell times in whole seconds."""


class Asked(NamedTuple):
    """One order that its owner is asked to do something with."""

    partition: int
    offset: int
    attempts: int


class Stated(NamedTuple):
    """What a group has committed for one partition."""

    offset: Optional[int]
    commit: Optional[Commit]
    """None: nothing of ours."""


class Account(NamedTuple):
    """Of the orders of one partition: what became of them."""

    asked: int = 0
    done: int = 0
    """They are due or called again, or done with; asked to be given up: they wait no more."""
    called: int = 0
    """Asked to be given up, but called before that, in vain: they wait again, and were left alone."""

    @property
    def left(self) -> int:
        """Those of which nothing is known yet."""
        return self.asked - self.done - self.called


def accounts(
    do: str,
    orders: Sequence[Asked],
    before: Mapping[int, Stated],
    now: Mapping[int, Stated],
    now_ms: int,
) -> Dict[int, Account]:
    """By partition. `before`: what was committed when the orders were chosen."""
    found: Dict[int, Account] = {}
    entries = {number: _entries(stated.commit) for number, stated in now.items()}
    committed = {number for number, stated in now.items() if stated != before.get(number)}
    for order in orders:
        number = order.partition
        known = found.get(number, Account())
        known = known._replace(asked=known.asked + 1)
        if number in committed:
            known = _counted(known, do, order, now[number], entries[number].get(order.offset), now_ms)
        found[number] = known
    return found


def _counted(
    known: Account, do: str, order: Asked, stated: Stated, entry: Optional[Entry], now_ms: int
) -> Account:
    commit = stated.commit
    if commit is None or not commit.is_complete or order.offset >= commit.next:
        return known
    if entry is None:
        return known._replace(done=known.done + 1)
    if entry.attempts != order.attempts:
        is_done = do == RETRY_NOW
        return known._replace(done=known.done + is_done, called=known.called + (not is_done))
    due_ms = (commit.written_at_s + entry.delay_s) * 1000
    is_due = do == RETRY_NOW and (entry.announced or due_ms <= now_ms + SLACK_MS)
    return known._replace(done=known.done + is_due)


def _entries(commit: Optional[Commit]) -> Dict[int, Entry]:
    return {entry.offset: entry for entry in commit.entries} if commit is not None else {}


def total(found: Iterable[Account]) -> Account:
    """All partitions together."""
    summed = Account()
    for one in found:
        summed = Account(*(mine + theirs for mine, theirs in zip(summed, one)))
    return summed
