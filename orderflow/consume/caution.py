"""After a process died without a word: who may be to blame, and how few are called at once to find out.

Pure: whole lives of a consumer are tested with it in milliseconds.

An order that ends the process meets four degrees of caution, each time it does so the next one:

1. none: it was called on the fast road, and no commit names it;
2. announced: one commit lists what is about to be called, hundreds of orders, before they are called;
3. in company: what was announced is called by the few, each few announced, nothing else in flight;
4. alone: nothing else is in flight, and the attempt is committed before. Only such a death is counted.

What survives a call is cleared, and what was not called stays under suspicion through any number of
deaths that others cause. So each degree costs a killer one call at most, however many killers there
are, and without one the degrees cost a commit for each few, not one for each order.
"""

from typing import Dict, List, Mapping, NamedTuple, Optional

from orderflow.consume.ledger import ALONE, IN_COMPANY, Head, Ledger
from orderflow.model.commit_metadata import Commit

COMPANY = 8
"""The most suspects of a partition that are called together. If no more than that were being called when a
process died, then it is one of these few, and they are called alone."""
COMPANIES = 32
"""The most suspects of all partitions that are called together."""
CALLS_ON_THE_WAY = 3
"""Deaths at the first three degrees, of which the promise lets one go uncounted."""
KEY_RUN = 50
"""Orders that run on behind the head of their key between two settlements of workers, or behind one that was
announced where there are none."""


class Suspicion(NamedTuple):
    """Why an order is called with care, and with how much."""

    how: int
    died_alone: bool = False


class Care(NamedTuple):
    """How far behind a head the last owner may have called, by the way in which we call."""

    followers: int
    """Orders behind a head that are announced as well."""
    trail: int
    """Orders behind an announced head that may have run on behind its announcement."""


INLINE = Care(20_000, KEY_RUN)
"""One at a time: what an announced head releases may run on, or a topic of one key would take a commit for
each order. Orders of one key that succeed at once have no head between them, so any number was called."""
POOL = Care(2 * KEY_RUN, 0)
"""Workers have the heads of other keys to call meanwhile, so each order is announced. Two settlements may
be on their way, and between two no key runs further than KEY_RUN."""


class Next(NamedTuple):
    """What to call next, and nothing else."""

    partitions: List[int]
    heads: List[Head]
    alone: bool


def judge(commit: Optional[Commit]) -> Dict[int, Suspicion]:
    """By offset: the orders that may have ended the process that left this commit behind.

    A partition is judged by itself: the next process may own it together with those of another one.
    """
    if commit is None or commit.clean:
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
    """Whether the budget has room for a death in company."""
    return max_retries >= CALLS_ON_THE_WAY - 1


def is_guilty(head: Head, max_retries: int) -> bool:
    """Whether it died alone, and that was the last death that its budget allows.

    The budget is max_retries + 1 calls, and one death more goes uncounted. So of its calls, one may have
    been on the fast road, one among those announced and, if there is room for it, one in company.
    """
    most = max_retries - (1 if may_share(max_retries) else 0)
    return head.died_alone and head.attempts >= most


def choose(ledgers: Mapping[int, Ledger], now_s: float, max_retries: int) -> Optional[Next]:
    """Which suspects to call next; None where none is due."""
    return _choose_alone(ledgers, now_s, max_retries) or _choose_company(ledgers, now_s)


def _choose_alone(ledgers: Mapping[int, Ledger], now_s: float, max_retries: int) -> Optional[Next]:
    """One of those that are called alone.

    Of a partition whose mark is set, none but the order that it names: the mark has room for one, and must
    not be lost before that one's fate is known.
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
    """A few from every partition, less those that still have to be called alone, which are listed alike."""
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
