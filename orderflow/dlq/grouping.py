"""Dead letters counted by kind of failure, in bounded memory however many kinds there are."""

from typing import Dict, List, Optional, Tuple

from orderflow.dlq.letter import FailureKind, Letter
from orderflow.dlq.masking import NOTHING_HIDDEN, Mask
from orderflow.dlq.sums import NOTHING, Amount, Sum
from orderflow.dlq.tally import OTHERS
from orderflow.dlq.timeline import Timeline, Window, incident

MOST_GROUPS = 5_000
"""Kinds of failure that are told apart; with more, the small and old ones are counted together."""
ANY_OTHER = FailureKind("none", OTHERS)


class Group:
    """One kind of failure: how often, when, how much, and what one of them said."""

    __slots__ = ("first_ms", "kind", "last_ms", "message", "position", "states", "sum", "timeline")

    def __init__(self, kind: FailureKind, message: Optional[str], position: str) -> None:
        self.kind = kind
        self.message = message
        """That of the first that was read."""
        self.position = position
        """Of that one."""
        self.sum = Sum()
        self.first_ms: Optional[int] = None
        self.last_ms: Optional[int] = None
        self.timeline = Timeline()
        self.states: Dict[str, int] = {}
        """How many are in each state, as far as they were told."""

    @property
    def count(self) -> int:
        """How many there are."""
        return self.sum.count

    def add(self, at_ms: Optional[int], amount: Amount) -> None:
        """Count one more, that died at this time."""
        self.sum.add(amount)
        if at_ms is not None:
            self.timeline.add(at_ms)
            if self.first_ms is None or at_ms < self.first_ms:
                self.first_ms = at_ms
            if self.last_ms is None or at_ms > self.last_ms:
                self.last_ms = at_ms

    def add_state(self, state: str, number: int = 1) -> None:
        """Count as many in this state."""
        self.states[state] = self.states.get(state, 0) + number

    def take(self, other: "Group") -> None:
        """Count another group as part of this one."""
        self.sum.take(other.sum)
        for state, number in other.states.items():
            self.add_state(state, number)
        self.timeline.take(other.timeline)
        times = [self.first_ms, self.last_ms, other.first_ms, other.last_ms]
        known = [at_ms for at_ms in times if at_ms is not None]
        self.first_ms, self.last_ms = min(known, default=None), max(known, default=None)


class Groups:
    """All kinds of failure among the dead letters that were added."""

    def __init__(self, mask: Mask = NOTHING_HIDDEN) -> None:
        self._mask = mask
        self._groups: Dict[str, Group] = {}

    def add(self, letter: Letter, amount: Amount = NOTHING) -> Group:
        """Count one dead letter in its group, which is returned."""
        group = self._groups.get(letter.kind.fingerprint)
        if group is None:
            group = self._new(letter)
        group.add(letter.record.timestamp_ms, amount)
        return group

    def rows(self) -> List[Group]:
        """The groups, the most frequent first, then the latest; what was counted together comes last."""
        return sorted(self._groups.values(), key=_rank)

    def window(self, parts: int) -> Optional[Window]:
        """The span in which nearly all of it happened; None if no time is known."""
        groups = self._groups.values()
        found = incident((group.timeline for group in groups), parts)
        first = min((group.first_ms for group in groups if group.first_ms is not None), default=None)
        last = max((group.last_ms for group in groups if group.last_ms is not None), default=None)
        if found is None or first is None or last is None:
            return None
        return found._replace(begin_ms=max(first, found.begin_ms), end_ms=min(last + 1, found.end_ms))

    def _new(self, letter: Letter) -> Group:
        if len(self._groups) >= MOST_GROUPS:
            self._fold()
        shown = self._mask.letter(letter)
        group = Group(shown.kind, shown.detail[0], letter.position)
        return self._groups.setdefault(group.kind.fingerprint, group)

    def _fold(self) -> None:
        """Count the smaller half together, but for the newest of it: a new failure begins small.

        So many kinds of one record each displace no frequent one.
        """
        others = self._groups.pop(OTHERS, None) or Group(ANY_OTHER, None, "")
        half = (MOST_GROUPS - 1) // 2 or 1
        by_weight = sorted(self._groups.values(), key=_weight, reverse=True)
        frequent = by_weight[: half - half // 4]
        newest = sorted(by_weight[len(frequent) :], key=_began, reverse=True)
        kept = [*frequent, *newest[: half // 4]]
        for group in newest[half // 4 :]:
            others.take(group)
        self._groups = {group.kind.fingerprint: group for group in [*kept, others]}


FEW = 12
"""Groups that are always shown one by one."""
SMALL = 0.01
"""Share of all dead letters below which a group is small."""
NEWEST = 3
"""Small groups that are shown all the same, since they began last."""


def worth_a_row(groups: List[Group]) -> Tuple[List[Group], List[Group]]:
    """The groups to show one by one, and the small ones to sum up in a line, of groups in their order."""
    total = sum(group.count for group in groups)
    small = [group for group in groups[FEW:] if group.count < SMALL * total]
    newest = sorted(small, key=_began, reverse=True)[:NEWEST]
    folded = [group for group in small if group not in newest]
    if len(folded) < 2:
        return groups, []
    return [group for group in groups if group not in folded], folded


def _rank(group: Group) -> Tuple[bool, int, int]:
    return group.kind.fingerprint == OTHERS, -group.count, -(group.last_ms or 0)


def _weight(group: Group) -> Tuple[int, bool]:
    """The more frequent, then those that tell what they died of."""
    return group.count, group.kind.reason is not None or group.kind.error_class is not None


def _began(group: Group) -> int:
    return -1 if group.first_ms is None else group.first_ms
