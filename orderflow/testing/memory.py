"""Kafka in memory: one topic, and a session with it in which everything succeeds at once.

What outlives a process is the `Topic`: its records, what the group has committed, and what was sent. Time
passes in polls only, so that an hour of waiting for a retry takes milliseconds.
"""

import itertools
import threading
from typing import (
    Any,
    Callable,
    Dict,
    FrozenSet,
    Iterable,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Set,
    Tuple,
    cast,
)

from confluent_kafka import KafkaError

from orderflow.consume.engine import Engine, Sending, Settings
from orderflow.consume.inbox import Inbox, NoInbox
from orderflow.consume.outbox import Outbox
from orderflow.consume.outcomes import Business, Destination
from orderflow.consume.reading_back import Found, Recovery
from orderflow.consume.restoring import Connections
from orderflow.consume.session import Session
from orderflow.consume.settlement import DROPPED, SETTLED, Offsets, Outcome, Settlement
from orderflow.consume.watchdog import Watchdog
from orderflow.consume.world import World
from orderflow.kafka.ledger_pages import LedgerPages
from orderflow.model.records import Headers, Outgoing

ORDERS, DEAD_LETTERS, RESULTS, LEDGER = "orders", "orders-dlq", "orders-processed", "orders-waiting"
BEGAN_S = 1_764_000_000.0
"""Time of day at which the clock begins; it begins at 0."""
STEP_S = 0.001
"""What a poll that finds something takes."""


class Clock:
    """A time that passes in polls, and where it is let pass."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.began_s = BEGAN_S

    def __call__(self) -> float:
        """Seconds since it began."""
        return self.now_s

    def time_of_day(self) -> float:
        """Seconds since the epoch."""
        return self.began_s + self.now_s

    def pass_by(self, seconds: float) -> None:
        """Let time pass."""
        self.now_s += max(0.0, seconds)


class Stored(NamedTuple):
    """One record of the topic, as the client hands it over."""

    number: int
    place: int
    its_key: Optional[bytes]
    its_value: Optional[bytes]
    its_headers: Optional[Headers] = None
    published_ms: int = int(BEGAN_S * 1000)

    def topic(self) -> str:
        """Name of its topic."""
        return ORDERS

    def partition(self) -> int:
        """Number of its partition."""
        return self.number

    def offset(self) -> int:
        """Its place in the partition."""
        return self.place

    def key(self) -> Optional[bytes]:
        """Its key, or None."""
        return self.its_key

    def value(self) -> Optional[bytes]:
        """Its value, or None for a tombstone."""
        return self.its_value

    def headers(self) -> Optional[Headers]:
        """Its headers in order, or None where it has none."""
        return self.its_headers

    def set_headers(self, headers: Headers) -> None:
        """What it has can always be read."""

    def timestamp(self) -> Tuple[int, int]:
        """A time that its producer gave it."""
        return 1, self.published_ms


class Topic:
    """What Kafka keeps: the records, what the group has committed, and what was sent."""

    def __init__(self, partitions: int = 1) -> None:
        self.records: Dict[int, Dict[int, Stored]] = {number: {} for number in range(partitions)}
        self.low: Dict[int, int] = dict.fromkeys(range(partitions), 0)
        self.high: Dict[int, int] = dict.fromkeys(range(partitions), 0)
        self.committed: Dict[int, Tuple[int, str]] = {}
        self.sent: List[Outgoing] = []
        """Results and dead letters that readers can see."""
        self.clock = Clock()
        self._epoch = 0
        self._lock = threading.Lock()

    def fence(self) -> int:
        """Begin the epoch of a new process: what an earlier one has in flight is refused, as by Kafka."""
        with self._lock:
            self._epoch += 1
            return self._epoch

    def settle(self, epoch: int, outgoing: Sequence[Outgoing], offsets: Offsets) -> bool:
        """Take up records and offsets, all or nothing; False for a process that was fenced off."""
        with self._lock:
            if epoch != self._epoch:
                return False
            self.sent += outgoing
            self.committed.update(offsets)
            return True

    def put(self, partition: int, key: Optional[bytes], value: Optional[bytes] = None) -> Stored:
        """Append one record; its value names its place where none is given."""
        offset = self.high[partition]
        return self.append(partition, key, f"{partition}:{offset}".encode() if value is None else value)

    def append(
        self,
        partition: int,
        key: Optional[bytes],
        value: Optional[bytes],
        headers: Optional[Headers] = None,
    ) -> Stored:
        """Append one record as it is."""
        offset = self.high[partition]
        record = self.records[partition][offset] = Stored(partition, offset, key, value, headers)
        self.high[partition] += 1
        return record

    def fill(self, orders: int, partition: int = 0, keys: Optional[int] = None) -> None:
        """Append that many orders of that many keys in turn; each with a key of its own by default."""
        first = self.high[partition]
        for number in range(orders):
            self.put(partition, b"%d-%d" % (partition, (first + number) % (keys or 1 << 60)))

    def leave_hole(self, partition: int, offsets: int = 1) -> None:
        """Let the log go on without a record, as markers of transactions and aborted records do."""
        self.high[partition] += offsets

    def compact(self, partition: int, offset: int) -> None:
        """Take a record away."""
        self.records[partition].pop(offset, None)

    def expire(self, partition: int, until: int) -> None:
        """Let retention delete what stands before an offset."""
        self.low[partition] = max(self.low[partition], until)
        for offset in [offset for offset in self.records[partition] if offset < until]:
            del self.records[partition][offset]

    def read(self, partition: int, start: int, most: int) -> List[Stored]:
        """The first records at or after an offset."""
        records, found = self.records[partition], range(start, self.high[partition])
        return list(itertools.islice((records[offset] for offset in found if offset in records), most))

    def of(self, topic: str) -> List[Outgoing]:
        """What was sent to one topic."""
        return [record for record in self.sent if record.topic == topic]


class MemorySession:
    """The face of `orderflow.consume.session.Session` over a `Topic`."""

    def __init__(
        self,
        topic: Topic,
        exactly_once: bool = True,
        partitions: Optional[Iterable[int]] = None,
        on_revoke: Callable[[Set[int]], None] = lambda gone: None,
    ) -> None:
        self.topic = ORDERS
        self.exactly_once = exactly_once
        self.assigned: Set[int] = set()
        self.lost: Set[int] = set()
        self.rebalances = 0
        self.while_waiting: Callable[[float], None] = lambda waited_s: None
        self.place: Dict[int, int] = {}
        self.paused: Set[int] = set()
        self._sought: Set[int] = set()
        """Sent somewhere, from where nothing has come yet: the client has no position then (measured)."""
        self._fetched_ends: Dict[int, int] = {}
        self._log = topic
        self._on_revoke = on_revoke
        self._joining: Set[int] = set(topic.records if partitions is None else partitions)
        self._leaving: Set[int] = set()
        self._epoch = topic.fence()

    # --- the group

    def revoke(self, *partitions: int) -> None:
        """Have the group take partitions away in the next poll."""
        self._leaving.update(partitions)

    def assign(self, *partitions: int) -> None:
        """Have the group give partitions in the next poll."""
        self._joining.update(partitions)

    # --- consuming

    def poll(self, max_records: int, timeout_s: float) -> List[Stored]:
        """The next records of every partition that is assigned and not paused."""
        self._rebalance()
        found: List[Stored] = []
        for number in sorted(self.assigned - self.paused):
            found += self._take(number, max_records - len(found))
        found = self._handed_over(found)
        self._log.clock.pass_by(STEP_S if found else timeout_s)
        return found

    def _handed_over(self, found: List[Stored]) -> List[Stored]:
        """What the client makes of the records that it found."""
        return found

    def _take(self, number: int, most: int) -> List[Stored]:
        records = self._log.read(number, self.place[number], most) if most > 0 else []
        if most > 0:
            self._sought.discard(number)
        self._fetched_ends[number] = self._log.high[number]
        if len(records) < most:
            self.place[number] = max(self.place[number], self._log.high[number])
        else:
            self.place[number] = records[-1].place + 1 if records else self.place[number]
        return records

    def _rebalance(self) -> None:
        leaving, self._leaving = self._leaving & self.assigned, set()
        if leaving:
            self._on_revoke(leaving)
            self.assigned -= leaving
            self.lost |= leaving
            self.rebalances += 1
        joining, self._joining = self._joining - self.assigned, set()
        for number in joining:
            self.place[number] = self._log.committed.get(number, (self._log.low[number], ""))[0]
        self.assigned |= joining
        self.paused -= joining
        self.rebalances += bool(joining)

    def take_lost(self) -> Set[int]:
        """The partitions that were taken away since the last call."""
        lost, self.lost = self.lost, set()
        return lost

    def member_id(self) -> Optional[str]:
        """Its name in the group, while it is in it."""
        return "member"

    def partitions(self, timeout_s: float) -> List[int]:
        """Every partition of the topic."""
        return sorted(self._log.records)

    def positions(self, partitions: Sequence[int]) -> Dict[int, int]:
        """Where the client would read on, as far as it knows."""
        known = set(self.place) - self._sought
        return {number: self.place[number] for number in partitions if number in known}

    def committed(self, partitions: Sequence[int], timeout_s: float) -> Dict[int, Tuple[Optional[int], str]]:
        """What the group has committed."""
        return {number: self._log.committed.get(number, (None, "")) for number in partitions}

    def end_left_open(self, partitions: Sequence[int]) -> FrozenSet[int]:
        """No transaction is ever left open here."""
        return frozenset()

    def bounds(self, partition: int, timeout_s: float) -> Tuple[int, int]:
        """The first offset of the log and the one after its last."""
        return self._log.low[partition], self._log.high[partition]

    def first_since(self, partition: int, since_ms: int, timeout_s: float) -> Optional[int]:
        """The first offset whose record was published then or later."""
        found = self._log.records[partition].values()
        return next((record.place for record in found if record.published_ms >= since_ms), None)

    def known_end(self, partition: int) -> Optional[int]:
        """The end of the log as of the last fetch: it stands still while a partition is paused."""
        return self._fetched_ends.get(partition)

    def seek(self, partition: int, offset: int) -> None:
        """Read on from an offset."""
        self.place[partition] = offset
        self._sought.add(partition)

    def pause(self, partitions: Sequence[int]) -> None:
        """Hand over nothing of these."""
        self.paused.update(partitions)

    def resume_at(self, partition: int, offset: int) -> None:
        """Hand them over again, from an offset on."""
        self.paused.discard(partition)
        self.seek(partition, offset)

    def take_errors(self) -> List[KafkaError]:
        """What the client reported."""
        return []

    # --- settling

    def member(self) -> Any:
        """Who we are in the group."""
        return "member"

    def expect(self, max_dead_letter_bytes: int, max_result_bytes: Optional[int] = None) -> None:
        """Sizes make no difference here."""

    def commit(self, offsets: Offsets) -> Settlement:
        """Commit offsets alone."""
        return self._settle((), offsets)

    def send(
        self, outgoing: Sequence[Outgoing], offsets: Offsets, member: Any, pages: Sequence[Outgoing] = ()
    ) -> Settlement:
        """Send records and pages, and commit the offsets with them in exactly-once mode."""
        sent = [*outgoing, *pages]
        if self.exactly_once:
            return self._settle(sent, offsets)
        settlement = self._settle(sent, {})
        confirmed = frozenset(range(len(outgoing)))
        return settlement if settlement is not SETTLED else Settlement(Outcome.SENT, "", confirmed)

    def find_out(self, offsets: Offsets) -> Settlement:
        """What became of a settlement whose outcome is unknown."""
        held = {number: self._log.committed.get(number) for number in offsets}
        return SETTLED if held == dict(offsets) else Settlement(Outcome.NOT_COMMITTED, "aborted")

    def _settle(self, outgoing: Sequence[Outgoing], offsets: Offsets) -> Settlement:
        return SETTLED if self._log.settle(self._epoch, outgoing, offsets) else DROPPED

    def close(self) -> None:
        """Leave the group."""


class NothingToRecover:
    """The face of a `Recovery` and of `LedgerPages` for a group that has no earlier work."""

    def __contains__(self, partition: int) -> bool:
        return False

    def __bool__(self) -> bool:
        return False

    def start(self, partition: int, lone: Sequence[int], through: Optional[int], end: int) -> None:
        """Never asked for."""

    def cancel(self, partitions: Set[int]) -> None:
        """Nothing is searched."""

    def poll(self, timeout_s: float) -> List[Found]:
        """Nothing is found."""
        return []

    def hidden(self) -> Set[int]:
        """Nothing is hidden."""
        return set()

    def close(self) -> None:
        """Nothing to close."""


class EarlierWork(NamedTuple):
    """What is read of a group's earlier work, and of what operators say about it."""

    recovery: Any = NothingToRecover()
    pages: Any = NothingToRecover()
    inbox: Inbox = NoInbox()


NO_EARLIER_WORK = EarlierWork()


class NoWatchdog:
    """The clock stands still while a handler runs, so that nothing can take too long."""

    timeout_s = 300.0

    def busy(self) -> None:
        """Something is called."""

    def busy_since(self, started_s: Optional[float]) -> None:
        """Something is called."""

    def idle(self) -> None:
        """Nothing is called."""


def engine_on(
    session: MemorySession,
    business: Business,
    destination: Destination,
    settings: Settings,
    world: World,
    earlier: EarlierWork = NO_EARLIER_WORK,
) -> Engine:
    """The real engine over a session in memory."""
    recovery, pages = cast(Recovery, earlier.recovery), cast(LedgerPages, earlier.pages)
    return Engine(
        Connections(cast(Session, session), recovery, pages, earlier.inbox),
        business,
        Sending(Outbox(DEAD_LETTERS), destination),
        settings,
        cast(Watchdog, NoWatchdog()),
        world,
    )
