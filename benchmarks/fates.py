"""What became of the orders of a run, and when: what `fate_reader` wrote, counted and measured. Pure."""

from collections import Counter
from typing import Dict, List, NamedTuple, Optional, Sequence


class Fate(NamedTuple):
    """A result or a dead letter of one order, as a reader of committed transactions saw it."""

    is_result: bool
    number: int
    intended_us: int
    seen_us: int

    @property
    def latency_ms(self) -> float:
        """From the intended time of sending until it was seen."""
        return (self.seen_us - self.intended_us) / 1000


def read_fates(lines: Sequence[str]) -> List[Fate]:
    """Lines of `fate_reader`, in their order."""
    fates = []
    for line in lines:
        what, number, intended_us, seen_us = line.split(",")
        fates.append(Fate(what == "result", int(number), int(intended_us), int(seen_us)))
    return fates


class Accounts(NamedTuple):
    """Whether every order has exactly one fate, and each key its order."""

    lost: int
    doubled: int
    dead: int
    out_of_order: int
    """Results that came before one of an earlier order of their key."""

    @property
    def are_right(self) -> bool:
        """Nothing is lost or doubled, and the order of each key was kept."""
        return not (self.lost or self.doubled or self.out_of_order)


def account(fates: Sequence[Fate], sent: int, keys: Optional[int] = None) -> Accounts:
    """The accounts of a run that sent that many orders, of that many keys in turn (None: a key each)."""
    counts = Counter(fate.number for fate in fates)
    return Accounts(
        lost=sent - len(counts),
        doubled=sum(count - 1 for count in counts.values()),
        dead=sum(not fate.is_result for fate in fates),
        out_of_order=_out_of_order(fates, keys or sent),
    )


def _out_of_order(fates: Sequence[Fate], keys: int) -> int:
    last: Dict[int, int] = {}
    wrong = 0
    for fate in fates:
        if fate.is_result:
            key = fate.number % keys
            wrong += fate.number < last.get(key, -1)
            last[key] = max(fate.number, last.get(key, -1))
    return wrong


def longest_gap_ms(fates: Sequence[Fate], from_us: int, to_us: int) -> float:
    """The longest time within a span in which no result was seen."""
    seen = sorted(fate.seen_us for fate in fates if fate.is_result and from_us <= fate.seen_us <= to_us)
    edges = [from_us, *seen, to_us]
    return max(later - earlier for earlier, later in zip(edges, edges[1:])) / 1000


def percentile(values: Sequence[float], percent: float) -> float:
    """Of values that are sorted; 0 of none."""
    return values[min(len(values) - 1, int(len(values) * percent / 100))] if values else 0.0
