"""Counts of dead letters: by hour, by what they tell. Memory is bounded however many there are."""

from collections import Counter
from typing import Dict, Iterable, List, Optional, Tuple, Union

from orderflow.dlq.letter import NEW, Letter
from orderflow.dlq.timeline import Window
from orderflow.kafka.positions import Range

MOST_LABELS = 5_000
"""Combinations of reason, source topic and the like that are told apart; memory is bounded."""
MOST_SHORTENED = 5_000
SHORTEST = 4
"""Hex digits of a fingerprint that are shown where they suffice."""
OTHERS = "others"
HOUR_MS = 3_600_000
DAY_MS = 86_400_000


def window_of(wanted: Range, parts: int, now_ms: int) -> Window:
    """What a chart spans: what was asked for, else the last day."""
    end_ms = now_ms if wanted.until_ms is None else wanted.until_ms
    begin_ms = end_ms - DAY_MS if wanted.since_ms is None else min(wanted.since_ms, end_ms - 1)
    return Window(begin_ms, end_ms + 1, parts)


class Unresolved:
    """How many there are, how many of them still wait for someone, and since when."""

    def __init__(self) -> None:
        self.count = 0
        self.unresolved = 0
        self.oldest_ms: Optional[int] = None

    def add(self, letter: Letter) -> bool:
        """Count one; whether it is unresolved."""
        self.count += 1
        if letter.state != NEW:
            return False
        self.unresolved += 1
        at_ms = letter.record.timestamp_ms
        if at_ms is not None and (self.oldest_ms is None or at_ms < self.oldest_ms):
            self.oldest_ms = at_ms
        return True


class Totals:
    """Dead letters counted by everything that an overview shows."""

    def __init__(self, window: Window) -> None:
        self.window = window
        self.count = 0
        self.oldest_ms: Optional[int] = None
        self.newest_ms: Optional[int] = None
        self.parts = [0] * window.parts
        self.earlier = 0
        """Those before the window."""
        self.later = 0
        """Those behind it: whoever wrote them has another idea of now."""
        self.undated = 0
        self._alike: Dict[Labels, int] = {}

    def add(self, letter: Letter) -> None:
        """Count one dead letter."""
        self.count += 1
        kind, record = letter.kind, letter.record
        of_kind = (kind.stage, kind.reason, kind.dialect, kind.topic)
        labels: Labels = (letter.state, *of_kind, record.partition)
        alike = self._alike.get(labels)
        if alike is None and len(self._alike) >= MOST_LABELS:
            labels = (OTHERS,) * len(labels)
            alike = self._alike.get(labels)
        self._alike[labels] = 1 if alike is None else alike + 1
        if record.timestamp_ms is not None:
            self._add_time(record.timestamp_ms)
        else:
            self.undated += 1

    def by_label(self) -> Dict[str, Dict[str, int]]:
        """For each of `TOLD_BY`, how many there are of each label, the most frequent first."""
        counters: List[Counter[str]] = [Counter() for _ in TOLD_BY]
        for labels, number in self._alike.items():
            for counter, label in zip(counters, labels):
                counter[NOT_CARRIED if label is None else str(label)] += number
        return {name: dict(counter.most_common()) for name, counter in zip(TOLD_BY, counters)}

    def _add_time(self, at_ms: int) -> None:
        if self.oldest_ms is None or at_ms < self.oldest_ms:
            self.oldest_ms = at_ms
        if self.newest_ms is None or at_ms > self.newest_ms:
            self.newest_ms = at_ms
        part = self.window.part(at_ms)
        if part is not None:
            self.parts[part] += 1
        elif at_ms < self.window.begin_ms:
            self.earlier += 1
        else:
            self.later += 1


TOLD_BY = ("states", "stages", "reasons", "dialects", "source_topics", "partitions")
Labels = Tuple[Union[str, int, None], ...]
"""What one dead letter tells, in the order of `TOLD_BY`."""
NOT_CARRIED = "(not carried)"


def short_length(fingerprints: Iterable[str], shortest: int = SHORTEST) -> int:
    """How many digits tell all these fingerprints apart, at least `shortest`."""
    known = sorted(set(fingerprints))
    alike = [_common(one, other) for one, other in zip(known, known[1:])]
    return max([shortest, *(length + 1 for length in alike)])


def _common(one: str, other: str) -> int:
    for place, (left, right) in enumerate(zip(one, other)):
        if left != right:
            return place
    return min(len(one), len(other))


class Shortener:
    """Shows fingerprints as short as those seen before allow, where they come one by one."""

    def __init__(self) -> None:
        self._owners: Dict[str, str] = {}

    def short(self, fingerprint: str) -> str:
        """The first digits that no other fingerprint seen before begins with."""
        if len(self._owners) > MOST_SHORTENED:
            return fingerprint
        for length in range(SHORTEST, len(fingerprint)):
            owner = self._owners.setdefault(fingerprint[:length], fingerprint)
            if owner == fingerprint:
                return fingerprint[:length]
        return fingerprint
