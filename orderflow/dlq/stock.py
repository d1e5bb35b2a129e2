"""Dead letters as a stock: how many still wait for someone, by what they died of, and how old they are.

Each takes about 21 bytes, so that a topic of ten million takes 200 MiB. Pure: the time is an argument.
"""

from array import array
from bisect import bisect_left
from collections import Counter
from itertools import compress
from typing import Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple
from typing import Counter as CounterOf

from orderflow.dlq.letter import FailureKind
from orderflow.model.metric import COUNTER, GAUGE, Metric, Sample

MOST_ROWS = 200
"""Kinds of failure that are shown apart, the most frequent ones; Prometheus keeps every label for ever."""
OTHERS = "others"
DIGITS = 8
"""Of a fingerprint that are shown; `-g` takes them."""
NOT_CARRIED = "none"

Labels = Tuple[str, str, str]
"""Stage, reason and group."""


class StockFigures(NamedTuple):
    """What is shown."""

    held: int = 0
    unresolved: Mapping[Labels, int] = {}
    oldest_s: float = 0.0
    """How old the oldest unresolved one is; 0 if there is none."""
    expiry_s: Optional[float] = None
    """Until the first unresolved one may be deleted; None if there is none, or the topic never deletes."""
    new_kinds: int = 0
    expired: int = 0
    arrived: int = 0
    is_kafka_lost: bool = False


class _Partition:
    """The dead letters of one partition, in the order of their offsets."""

    def __init__(self) -> None:
        self.offsets = array("q")
        self.times_ms = array("q")
        self.kinds = array("I")
        self.is_open = bytearray()
        """1 where it is unresolved."""
        self._oldest_ms: Optional[int] = None
        self._is_oldest_known = True

    def add(self, offset: int, at_ms: int, kind: int, is_open: bool) -> None:
        self.offsets.append(offset)
        self.times_ms.append(at_ms)
        self.kinds.append(kind)
        self.is_open.append(is_open)
        if is_open:
            self._opened(at_ms)

    def place(self, offset: int) -> Optional[int]:
        """Where the dead letter with this offset is."""
        place = bisect_left(self.offsets, offset)
        return place if place < len(self.offsets) and self.offsets[place] == offset else None

    def set_open(self, place: int, is_open: bool) -> bool:
        """Whether that changed anything."""
        if bool(self.is_open[place]) is is_open:
            return False
        self.is_open[place] = is_open
        if is_open:
            self._opened(self.times_ms[place])
        else:
            self._closed(self.times_ms[place])
        return True

    def _opened(self, at_ms: int) -> None:
        self._oldest_ms = at_ms if self._oldest_ms is None else min(self._oldest_ms, at_ms)

    def _closed(self, at_ms: int) -> None:
        """Only if it was the oldest, another one is now, which is looked for when it is asked for."""
        self._is_oldest_known = self._is_oldest_known and at_ms != self._oldest_ms

    def drop_before(self, offset: int) -> Iterator[int]:
        """Forget those before this offset; yields the kind of each that was unresolved."""
        place = bisect_left(self.offsets, offset)
        for each in range(place):
            if self.is_open[each]:
                self._closed(self.times_ms[each])
                yield self.kinds[each]
        for column in (self.offsets, self.times_ms, self.kinds, self.is_open):
            del column[:place]

    def oldest_open_ms(self) -> Optional[int]:
        """Of the unresolved ones, in whatever order they came: those of an import may be far older."""
        if not self._is_oldest_known:
            self._oldest_ms = min(compress(self.times_ms, self.is_open), default=None)
            self._is_oldest_known = True
        return self._oldest_ms


class Stock:
    """The dead letters that the topic holds."""

    def __init__(self) -> None:
        self.arrived = 0
        """How many were added since `follow`."""
        self.new_kinds = 0
        """Kinds of failure never seen before, since then."""
        self.expired = 0
        """How many were deleted unresolved, since then."""
        self._follows = False
        self._partitions: Dict[int, _Partition] = {}
        self._kinds: Dict[str, int] = {}
        """Numbers of the kinds, by fingerprint."""
        self._labels: List[Labels] = []
        """By number."""
        self._open: CounterOf[int] = Counter()
        """How many are unresolved, by kind."""

    def follow(self) -> None:
        """All that was there at the start has been added: what comes now is new."""
        self._follows = True

    def add(self, partition: int, offset: int, at_ms: int, kind: FailureKind, is_open: bool) -> None:
        """One more dead letter, behind those of its partition that were added before."""
        number = self._number(kind)
        self._partitions.setdefault(partition, _Partition()).add(offset, at_ms, number, is_open)
        self.arrived += self._follows
        self._open[number] += is_open

    def _number(self, kind: FailureKind) -> int:
        number = self._kinds.get(kind.fingerprint)
        if number is None:
            number = self._kinds[kind.fingerprint] = len(self._labels)
            reason, stage = kind.reason or NOT_CARRIED, kind.stage or NOT_CARRIED
            self._labels.append((stage, reason, kind.fingerprint[:DIGITS]))
            self.new_kinds += self._follows
        return number

    def set_open(self, partition: int, offset: int, is_open: bool) -> None:
        """Something was done to a dead letter, or taken back."""
        held = self._partitions.get(partition)
        place = None if held is None else held.place(offset)
        if held is not None and place is not None and held.set_open(place, is_open):
            self._open[held.kinds[place]] += 1 if is_open else -1

    def drop_before(self, partition: int, offset: int) -> None:
        """The topic has deleted what stands before this offset."""
        held = self._partitions.get(partition)
        for kind in held.drop_before(offset) if held is not None else ():
            self._open[kind] -= 1
            self.expired += self._follows

    # --- figures ---------------------------------------------------------------------------------

    def figures(self, now_ms: int, retention_ms: Optional[int], is_kafka_lost: bool = False) -> StockFigures:
        """How things are. `retention_ms`: how long the topic keeps a record; None for ever, or not known."""
        openings_ms = [each.oldest_open_ms() for each in self._partitions.values()]
        oldest_ms = min((at_ms for at_ms in openings_ms if at_ms is not None), default=None)
        return StockFigures(
            sum(len(each.offsets) for each in self._partitions.values()),
            self._unresolved(),
            0.0 if oldest_ms is None else max(0.0, (now_ms - oldest_ms) / 1000),
            _expiry_s(oldest_ms, retention_ms, now_ms),
            self.new_kinds,
            self.expired,
            self.arrived,
            is_kafka_lost,
        )

    def _unresolved(self) -> Dict[Labels, int]:
        found: Dict[Labels, int] = {}
        known = [(number, count) for number, count in self._open.most_common() if count > 0]
        for place, (number, count) in enumerate(known):
            labels = self._labels[number] if place < MOST_ROWS else (OTHERS, OTHERS, OTHERS)
            found[labels] = found.get(labels, 0) + count
        return found


def _expiry_s(oldest_ms: Optional[int], retention_ms: Optional[int], now_ms: int) -> Optional[float]:
    if oldest_ms is None or retention_ms is None or retention_ms < 0:
        return None
    return max(0.0, (oldest_ms + retention_ms - now_ms) / 1000)


# --- the catalogue ---


def _plain(read: Callable[[StockFigures], float]) -> Callable[[StockFigures], Sequence[Sample]]:
    return lambda figures: [((), read(figures))]


def _expiry(figures: StockFigures) -> Sequence[Sample]:
    return [] if figures.expiry_s is None else [((), figures.expiry_s)]


METRICS: Sequence[Metric] = (
    Metric(
        "orders_dead_letters",
        GAUGE,
        "dead letters that the topic holds, resolved or not",
        _plain(lambda figures: figures.held),
    ),
    Metric(
        "orders_dead_letters_unresolved",
        GAUGE,
        "dead letters that were neither replayed nor discarded; `group` is what `-g` takes",
        lambda figures: sorted(figures.unresolved.items()),
        ("stage", "reason", "group"),
    ),
    Metric(
        "orders_dead_letters_oldest_unresolved_age_seconds",
        GAUGE,
        "how old the oldest of those is; 0 if there is none",
        _plain(lambda figures: figures.oldest_s),
    ),
    Metric(
        "orders_dead_letters_first_expiry_seconds",
        GAUGE,
        "until the topic may delete the first of those; absent if there is none, or it never deletes",
        _expiry,
    ),
    Metric(
        "orders_dead_letters_expired_unresolved_total",
        COUNTER,
        "dead letters that were deleted unresolved, since the start",
        _plain(lambda figures: figures.expired),
    ),
    Metric(
        "orders_dead_letters_arrived_total",
        COUNTER,
        "dead letters that arrived since the start",
        _plain(lambda figures: figures.arrived),
    ),
    Metric(
        "orders_dead_letters_new_kinds_total",
        COUNTER,
        "kinds of failure that were never seen in the topic before, since the start",
        _plain(lambda figures: figures.new_kinds),
    ),
    Metric(
        "orders_dead_letters_kafka_lost",
        GAUGE,
        "1 while no broker is reached",
        _plain(lambda figures: figures.is_kafka_lost),
    ),
)
