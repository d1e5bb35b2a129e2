"""The figures of running consumers: plain values that can be added up and sent through a pipe as JSON.

A `Reading` is what the loop knows of itself, taken about once a second. `Figures` are what is shown: the
reading together with what others found out meanwhile, the ends of the log above all.
"""

import json
from typing import Any, Dict, Iterable, Mapping, NamedTuple, Optional, Tuple, Union

from orderflow.model.metric import Histogram

# --- what the loop knows ---


class PartitionReading(NamedTuple):
    """One assigned partition, as the loop sees it."""

    next: Optional[int] = None
    """The first offset not admitted yet; None until its commit has been read."""
    end: Optional[int] = None
    """The end of its log as of the last fetch."""
    waiting: int = 0
    """Orders that wait for a retry and are listed in the commit."""
    in_flight: int = 0
    """Orders given to worker threads."""
    queued: int = 0
    """Orders that queue behind a waiting one or one in flight with their key."""
    waiting_bytes: int = 0
    queued_limit: int = 0
    waiting_bytes_limit: int = 0
    waiting_limit: int = 0
    is_restored: bool = False
    holds: Tuple[str, ...] = ()
    """Why nothing is fetched from it."""
    is_braked: bool = False
    """The outage brake holds it."""
    careful: int = 0
    """Orders still to be called with care, because an owner died."""


class Reading(NamedTuple):
    """What the loop knows of itself at one moment."""

    at_s: float = 0.0
    """On the monotonic clock."""
    processed: int = 0
    settled_at_s: float = 0.0
    has_unsettled: bool = False
    """Something is finished and not committed yet, or being called."""
    is_member: bool = False
    """The group has admitted this consumer."""
    rebalances: int = 0
    oldest_call_at_s: Optional[float] = None
    """When the longest of the calls that worker threads run began; None if none runs."""
    keys_braked: int = 0
    partitions: Mapping[int, PartitionReading] = {}
    times_s: Mapping[int, Tuple[int, float]] = {}
    """By partition, the offset of a record polled lately, and its timestamp in epoch seconds."""
    calls: Mapping[str, Histogram] = {}
    settlements: Mapping[str, Histogram] = {}


# --- what is shown ---


class Stop(NamedTuple):
    """A partition takes in nothing."""

    reason: str
    for_s: float


class PartitionFigures(NamedTuple):
    """One assigned partition."""

    waiting: int = 0
    in_flight: int = 0
    queued: int = 0
    waiting_bytes: int = 0
    waiting_limit: int = 0
    queued_limit: int = 0
    waiting_bytes_limit: int = 0
    unseen: Optional[int] = None
    """None while the end of its log, or what is committed, is not known yet."""
    oldest_unseen_s: float = 0.0
    stop: Optional[Stop] = None
    is_braked: bool = False
    careful: int = 0


class Health(NamedTuple):
    """What the probes answer."""

    hangs: Tuple[str, ...] = ()
    """Why the process should be restarted; empty while it is alive."""
    not_ready: Tuple[str, ...] = ()
    """Why it does not do its work; empty while it is ready."""
    notes: Tuple[str, ...] = ()
    """What else is worth knowing."""

    def plus(self, other: "Health") -> "Health":
        """Both together."""
        return Health(*(mine + others for mine, others in zip(self, other)))


class ProcessFigures(NamedTuple):
    """What the operating system says of the process."""

    cpu_s: float = 0.0
    resident_bytes: int = 0
    open_files: int = 0
    threads: int = 0
    started_at_s: float = 0.0

    def plus(self, other: "ProcessFigures") -> "ProcessFigures":
        """Both together; the start is that of the older one."""
        starts_s = [each.started_at_s for each in (self, other) if each.started_at_s]
        return ProcessFigures(
            self.cpu_s + other.cpu_s,
            self.resident_bytes + other.resident_bytes,
            self.open_files + other.open_files,
            self.threads + other.threads,
            min(starts_s, default=0.0),
        )


Reasons = Mapping[str, int]
"""Counts by reason code."""


class Figures(NamedTuple):
    """The figures of one consumer, or of several together."""

    consumers: int = 1
    processed: int = 0
    dead_lettered: Reasons = {}
    retries: Reasons = {}
    restarts: int = 0
    """How often everything was restored from the committed offsets because unsettled work was lost."""
    rebalances: int = 0
    partitions: Mapping[int, PartitionFigures] = {}
    unsettled_s: float = 0.0
    """How long nothing has been settled although there is something to do."""
    longest_call_s: float = 0.0
    """How long the longest handler call that runs now has been running."""
    keys_braked: int = 0
    is_kafka_lost: bool = False
    calls: Mapping[str, Histogram] = {}
    settlements: Mapping[str, Histogram] = {}
    process: ProcessFigures = ProcessFigures()
    health: Health = Health()
    process_restarts: int = 0
    """How often a supervisor has started a process anew."""

    # --- sums ------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Orders that wait for a retry."""
        return sum(each.waiting for each in self.partitions.values())

    @property
    def in_flight(self) -> int:
        """Orders being called by worker threads."""
        return sum(each.in_flight for each in self.partitions.values())

    @property
    def queued(self) -> int:
        """Orders behind those."""
        return sum(each.queued for each in self.partitions.values())

    @property
    def unseen(self) -> Optional[int]:
        """Orders in the log that are not admitted yet; None while that is not known of every partition."""
        known = [each.unseen for each in self.partitions.values() if each.unseen is not None]
        return sum(known) if len(known) == len(self.partitions) else None

    @property
    def stops(self) -> Dict[int, Stop]:
        """The partitions that take in nothing, and why."""
        return {number: each.stop for number, each in self.partitions.items() if each.stop is not None}

    # --- several consumers -----------------------------------------------------------------------

    def plus(self, other: "Figures") -> "Figures":
        """Both consumers together: counts add up, partitions unite, and of two ages the longer one counts."""
        return Figures(
            self.consumers + other.consumers,
            self.processed + other.processed,
            _sum(self.dead_lettered, other.dead_lettered),
            _sum(self.retries, other.retries),
            self.restarts + other.restarts,
            self.rebalances + other.rebalances,
            {**self.partitions, **other.partitions},
            max(self.unsettled_s, other.unsettled_s),
            max(self.longest_call_s, other.longest_call_s),
            self.keys_braked + other.keys_braked,
            self.is_kafka_lost or other.is_kafka_lost,
            _together(self.calls, other.calls),
            _together(self.settlements, other.settlements),
            self.process.plus(other.process),
            self.health.plus(other.health),
            self.process_restarts + other.process_restarts,
        )

    def as_json(self) -> str:
        """One line of ASCII."""
        return json.dumps(self, separators=(",", ":"))

    @classmethod
    def of_json(cls, line: Union[str, bytes]) -> "Figures":
        """Read back what `as_json` wrote."""
        named: Dict[str, Any] = dict(zip(cls._fields, json.loads(line)))
        named["partitions"] = {int(number): _partition(each) for number, each in named["partitions"].items()}
        for name in ("calls", "settlements"):
            named[name] = {key: Histogram(tuple(each[0]), each[1]) for key, each in named[name].items()}
        named["process"] = ProcessFigures(*named["process"])
        named["health"] = Health(*map(tuple, named["health"]))
        return cls(**named)


def total(of_each: Iterable[Figures]) -> Figures:
    """The figures of several consumers together."""
    found = Figures(consumers=0)
    for figures in of_each:
        found = found.plus(figures)
    return found


def _sum(one: Reasons, other: Reasons) -> Reasons:
    return {reason: one.get(reason, 0) + other.get(reason, 0) for reason in {**one, **other}}


def _together(one: Mapping[str, Histogram], other: Mapping[str, Histogram]) -> Mapping[str, Histogram]:
    none = Histogram()
    return {name: one.get(name, none).plus(other.get(name, none)) for name in {**one, **other}}


def _partition(fields: Any) -> PartitionFigures:
    found = PartitionFigures(*fields)
    return found if found.stop is None else found._replace(stop=Stop(*found.stop))
