"""Decides which orders may have killed a process, and how many to call at once to find out.

Pure: tests run a consumer's whole life with it in milliseconds.

An order that kills the process moves through four degrees of caution, one further each time:

1. none: it was called on the fast path, and no commit names it;
2. announced: before they are called, one commit lists the next few hundred orders;
3. in company: the announced orders are called a few at a time, each few announced, nothing else in flight;
4. alone: nothing else is in flight, and the attempt is committed first. Only such a death is counted.

An order that survives its call is cleared; one that was not called stays a suspect through any number of
deaths caused by others. So each degree costs a killer at most one call, however many killers there are,
and if there are none, it costs one commit per group of orders rather than one per order.
"""

from typing import Dict, List, Mapping, NamedTuple, Optional

from orderflow.consume.head import ALONE, IN_COMPANY, Head
from orderflow.consume.ledger import Ledger
from orderflow.model.commit_metadata import Commit

COMPANY = 8
"""The most suspects of one partition that are called together. If no more than this were being called when
a process died, the killer is one of them, and they are called alone."""
COMPANIES = 32
"""The most suspects over all partitions that are called together."""
CALLS_ON_THE_WAY = 3
"""Calls at the first three degrees; one of these deaths may go uncounted."""
MOST_DEATHS = 30
"""However many retries an order has, it is not allowed to kill more processes than this."""
KEY_RUN = 50
"""The most followers of a key that run between two settlements (with workers), or behind an announced head
(without)."""


class Suspicion(NamedTuple):
    """How carefully to call a suspect."""

    how: int
    died_alone: bool = False


class Care(NamedTuple):
    """How far past a head the last owner may have called, depending on whether there are workers."""

    followers: int
    """Followers of a head that are announced as well."""
    trail: int
    """Followers that may have run on behind an announced head."""


INLINE = Care(20_000, KEY_RUN)
"""Without workers: followers of an announced head may run on, or a topic with a single key would need a
commit per order. Orders of one key that succeed at once have no head, so any number may have been called."""
POOL = Care(2 * KEY_RUN, 0)
"""With workers: they can call heads of other keys meanwhile, so each order is announced. Two settlements may
be in flight, and no key runs further than KEY_RUN between two."""


class Next(NamedTuple):
    """The suspects to call next, with nothing else in flight."""

    partitions: List[int]
    heads: List[Head]
    alone: bool


def judge(commit: Commit) -> Dict[int, Suspicion]:
    """By offset: the orders that may have killed the process that left this commit.

    Each partition is judged by itself: its next owner may also own partitions of other processes.
    """
    if commit.clean:
        return {}
    announced = [entry for entry in commit.entries if entry.announced]
    called = {entry.offset for entry in announced if not entry.delay_s}
    are_few = len(called) <= COMPANY
    found: Dict[int, Suspicion] = {}
    for entry in announced:
        died_alone = entry.offset == commit.alone
        alone = died_alone or (are_few and entry.offset in called)
        found[entry.offset] = Suspicion(ALONE if alone else IN_COMPANY, died_alone)
    return found


def may_share(max_retries: int) -> bool:
    """Whether the retry budget has room for a death in company."""
    return max_retries >= CALLS_ON_THE_WAY - 1


def is_guilty(head: Head, max_retries: int) -> bool:
    """Whether it died alone, and its budget allows no further death.

    The budget is max_retries + 1 calls, and one more death goes uncounted. So one of its calls may have been
    on the fast path, one announced and, if there is room for it, one in company.
    """
    most = max_retries - (1 if may_share(max_retries) else 0)
    return head.died_alone and head.attempts >= min(most, MOST_DEATHS)


def choose(ledgers: Mapping[int, Ledger], now_s: float, max_retries: int) -> Optional[Next]:
    """Which suspects to call next; None if none is due."""
    return _choose_alone(ledgers, now_s, max_retries) or _choose_company(ledgers, now_s)


def _choose_alone(ledgers: Mapping[int, Ledger], now_s: float, max_retries: int) -> Optional[Next]:
    """One suspect to call alone.

    If a partition's alone mark is set, only the order it names: the mark has room for one, and must not be
    lost before that order's outcome is known.
    """
    chosen: Optional[Next] = None
    for number, ledger in sorted(ledgers.items()):
        marked = [head for head in ledger.suspects.values() if head.died_alone]
        for head in marked or sorted(ledger.suspects.values(), key=_offset):
            if not _is_due(head, now_s) or (head.suspect != ALONE and may_share(max_retries)):
                continue
            if marked:
                return Next([number], [head], alone=True)
            chosen = chosen or Next([number], [head], alone=True)
    return chosen


def _choose_company(ledgers: Mapping[int, Ledger], now_s: float) -> Optional[Next]:
    """A few from each partition, less those still to be called alone, which are listed the same way."""
    partitions: List[int] = []
    heads: List[Head] = []
    for number, ledger in sorted(ledgers.items()):
        suspects = sorted(ledger.suspects.values(), key=_offset)
        room = COMPANY - sum(head.suspect == ALONE for head in suspects)
        due = [head for head in suspects if head.suspect == IN_COMPANY and _is_due(head, now_s)]
        few = due[: max(0, min(room, COMPANIES - len(heads)))]
        heads += few
        partitions += [number] * len(few)
    return Next(partitions, heads, alone=False) if heads else None


def _is_due(head: Head, now_s: float) -> bool:
    return head.due_s is not None and head.due_s <= now_s


def _offset(head: Head) -> int:
    return head.offset
