"""Writes the heads of a ledger: as the text of the commit metadata, or as the entries of a page."""

from typing import List, Mapping, NamedTuple

from orderflow.consume.head import IN_COMPANY, Head
from orderflow.model.commit_metadata import DELAYS_S, EXACT_DELAY_S, MAX_ATTEMPTS, entry_text

LONG_S = 60.0
"""Retention or compaction may take the record of a head that waits for longer, and its key with it."""


class Text(NamedTuple):
    """The entries as text."""

    text: str
    is_enough: bool
    """Whether it says everything. Long delays are rounded up, again at each restart: with many restarts an
    order would never be due. And it has no keys: what queues behind a head could not be told from finished
    orders any more if the log lost its record."""
    counts_all: bool
    """Whether it says how often each was tried: attempts have a largest value there."""


class Entries(NamedTuple):
    """The entries of a page."""

    entries: List[bytes]
    key_hashes: List[bytes]


def as_text(heads: Mapping[int, Head], base: int, now_s: float, time_of_day_s: float) -> Text:
    """A commit may list hundreds of heads, so each text is looked up and no object is created."""
    entry, longest_s, is_enough, counts_all = entry_text, float(DELAYS_S[-1]), True, True
    long_ago_ms = int((time_of_day_s - LONG_S) * 1000)
    texts: List[str] = []
    last = base
    for offset in sorted(heads):
        head = heads[offset]
        delay_s = 0.0 if head.due_s is None else head.due_s - now_s
        if head.attempts > MAX_ATTEMPTS:
            counts_all = False
        if delay_s > EXACT_DELAY_S:
            is_enough = False
        whole_s = 0 if delay_s <= 0.0 else round(delay_s if delay_s < longest_s else longest_s)
        announced = head.announced
        if head.suspect and not announced:
            announced, whole_s = True, 1 if head.suspect == IN_COMPANY else 0
        step = (offset - last) * 2
        if head.followers:
            step += 1
            is_enough = is_enough and delay_s <= LONG_S and not head.waits_since(long_ago_ms)
        texts.append(entry(step, head.attempts, announced, whole_s))
        last = offset
    return Text("".join(texts), is_enough, counts_all)


def as_entries(heads: Mapping[int, Head], began_s: float) -> Entries:
    """A page may list tens of thousands, so each head keeps its entry until it changes.

    `began_s`: the epoch second at which the clock of due times showed 0.
    """
    listed = list(map(heads.__getitem__, sorted(heads)))
    return Entries(
        [head.packed or head.entry(began_s) for head in listed],
        [head.key_hash() for head in listed if head.followers],
    )
