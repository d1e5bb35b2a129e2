"""Kafka as a script: one topic in memory, and a session whose every answer a test can choose.

The one fake of our own code that is worth having. It stands for the broker and its client, so that the real
engine can be stepped through redelivered, skipped and reordered records, refused and unknown settlements, and
deaths between any two steps, in milliseconds. `Topic` is what outlives a process; a `Life` is one process.

    topic = Topic(partitions=2)
    topic.put(0, b"key", b"value")
    life = Life(topic, handler)
    life.until(life.is_drained)
"""

import itertools
from collections import deque
from typing import (
    Any,
    Callable,
    Deque,
    Dict,
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
from orderflow.consume.handler import Handler
from orderflow.consume.outbox import Outbox
from orderflow.consume.outcomes import Business, Destination
from orderflow.consume.pages import LedgerTopic
from orderflow.consume.reading_back import Found, Recovery
from orderflow.consume.restoring import Connections, Limits, Terms
from orderflow.consume.retry import Policy
from orderflow.consume.session import Session
from orderflow.consume.settlement import DROPPED, SETTLED, Offsets, Outcome, Settlement
from orderflow.consume.watchdog import Watchdog
from orderflow.consume.world import World
from orderflow.kafka.ledger_pages import LedgerPages
from orderflow.model.records import Headers, Outgoing
from tests.support.memory import Log, MemoryPages, MemoryRecovery

ORDERS, DEAD_LETTERS, RESULTS, LEDGER = "orders", "orders-dlq", "orders-processed", "orders-waiting"
BEGAN_S = 1_764_000_000.0
"""Time of day at which a script begins; its clock begins at 0."""
POLICY = Policy(max_retries=3, backoff_s=1.0, backoff_max_s=8.0)
LIMITS = Limits(10_000, 64 * 1024 * 1024)
PAGES = LedgerTopic(LEDGER, 1, 1_000_000, "group")
STEP_S = 0.001
"""What a poll that finds something takes."""


class Clock:
    """The time of a script: it passes in polls, and where a test or a handler lets it pass."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.began_s = BEGAN_S

    def __call__(self) -> float:
        """Seconds since the script began."""
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
        return 1, int(BEGAN_S * 1000)


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

    def put(self, partition: int, key: Optional[bytes], value: Optional[bytes] = None) -> Stored:
        """Append one record; its value names its place where none is given."""
        offset = self.high[partition]
        value = f"{partition}:{offset}".encode() if value is None else value
        record = self.records[partition][offset] = Stored(partition, offset, key, value)
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


class Answer(NamedTuple):
    """How one settlement ends: what the engine is told, and whether Kafka did it all the same."""

    settlement: Settlement
    took_effect: bool = False


class ScriptedSession:
    """The face of `orderflow.consume.session.Session` over a `Topic`. `answers` and `odd` are the script."""

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
        self.while_waiting: Callable[[float], None] = lambda waited_s: None
        self.answers: Deque[Answer] = deque()
        """How the next settlements end, with or without records; all succeed when it is empty."""
        self.doubts: Deque[Settlement] = deque()
        """What Kafka says of unknown outcomes; the truth when it is empty."""
        self.odd: Deque[Callable[[List[Stored]], Sequence[Stored]]] = deque()
        """What the next polls that find something make of what they found: repeat, skip, reorder."""
        self.sends: List[Tuple[Sequence[Outgoing], Offsets]] = []
        """Every try to settle, successful or not."""
        self.seeks: List[Tuple[int, int]] = []
        self.place: Dict[int, int] = {}
        self.paused: Set[int] = set()
        self._log = topic
        self._on_revoke = on_revoke
        self._joining: Set[int] = set(topic.records if partitions is None else partitions)
        self._leaving: Set[int] = set()
        self._is_member = True

    # --- the script

    def revoke(self, *partitions: int) -> None:
        """Have the group take partitions away in the next poll."""
        self._leaving.update(partitions)

    def assign(self, *partitions: int) -> None:
        """Have the group give partitions in the next poll."""
        self._joining.update(partitions)

    def expel(self) -> None:
        """Drop the member: whatever it settles from now on is refused."""
        self._is_member = False

    # --- consuming

    def poll(self, max_records: int, timeout_s: float) -> List[Stored]:
        """The next records of every partition that is assigned and not paused."""
        self._rebalance()
        found: List[Stored] = []
        for number in sorted(self.assigned - self.paused):
            found += self._take(number, max_records - len(found))
        if found and self.odd:
            found = list(self.odd.popleft()(found))
        self._log.clock.pass_by(STEP_S if found else timeout_s)
        return found

    def _take(self, number: int, most: int) -> List[Stored]:
        records = self._log.read(number, self.place[number], most) if most > 0 else []
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
        joining, self._joining = self._joining - self.assigned, set()
        for number in joining:
            self.place[number] = self._log.committed.get(number, (self._log.low[number], ""))[0]
        self.assigned |= joining
        self.paused -= joining

    def take_lost(self) -> Set[int]:
        """The partitions that were taken away since the last call."""
        lost, self.lost = self.lost, set()
        return lost

    def partitions(self, timeout_s: float) -> List[int]:
        """Every partition of the topic."""
        return sorted(self._log.records)

    def positions(self, partitions: Sequence[int]) -> Dict[int, int]:
        """Where the client would read on."""
        return {number: self.place[number] for number in partitions if number in self.place}

    def committed(self, partitions: Sequence[int], timeout_s: float) -> Dict[int, Tuple[Optional[int], str]]:
        """What the group has committed."""
        return {number: self._log.committed.get(number, (None, "")) for number in partitions}

    def bounds(self, partition: int, timeout_s: float) -> Tuple[int, int]:
        """The first offset of the log and the one after its last."""
        return self._log.low[partition], self._log.high[partition]

    def known_end(self, partition: int) -> Optional[int]:
        """The end of the log."""
        return self._log.high[partition]

    def seek(self, partition: int, offset: int) -> None:
        """Read on from an offset."""
        self.seeks.append((partition, offset))
        self.place[partition] = offset

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
        """Who we are in the group; None where it has dropped us."""
        return "member" if self._is_member else None

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
        if self.doubts:
            return self.doubts.popleft()
        held = {number: self._log.committed.get(number) for number in offsets}
        return SETTLED if held == dict(offsets) else Settlement(Outcome.NOT_COMMITTED, "aborted")

    def _settle(self, outgoing: Sequence[Outgoing], offsets: Offsets) -> Settlement:
        self.sends.append((outgoing, offsets))
        if not self._is_member:
            return DROPPED
        answer = self.answers.popleft() if self.answers else Answer(SETTLED, took_effect=True)
        if answer.took_effect:
            self._log.sent += outgoing
            self._log.committed.update(offsets)
        return answer.settlement

    def close(self) -> None:
        """Leave the group."""


class ScriptedRecovery(MemoryRecovery):
    """The face of `orderflow.consume.reading_back.Recovery` over a `Topic`: all of a search in one poll."""

    def __init__(self, topic: Topic) -> None:
        super().__init__(Log())
        self._topic = topic

    def _found(self, partition: int, lone: List[int], through: Optional[int], end: int) -> Found:
        kept = self._topic.records[partition]
        records = [kept[offset] for offset in lone if offset in kept]
        if through is not None:
            records += self._topic.read(partition, through, end - through)
        records = [record for record in records if record.place < end]
        return Found(partition, list(records), [offset for offset in lone if offset not in kept], True)

    def close(self) -> None:
        """Nothing to close."""


class _NoWatchdog:
    """A script's clock stands still while a handler runs, so that nothing can take too long."""

    def busy(self) -> None:
        """Something is called."""

    def busy_since(self, started_s: Optional[float]) -> None:
        """Something is called."""

    def idle(self) -> None:
        """Nothing is called."""


class Killed(SystemExit):
    """Raised by a script's handler or answer: the process is dead, as by kill -9."""


class Life:
    """One process: the whole engine over a scripted session. To die is to be dropped."""

    def __init__(
        self,
        topic: Topic,
        handler: Handler,
        *,
        policy: Policy = POLICY,
        exactly_once: bool = True,
        workers: int = 1,
        partitions: Optional[Iterable[int]] = None,
        publishes: bool = False,
        limits: Limits = LIMITS,
        outage_window_s: float = 60.0,
        pages: bool = False,
        connect: Callable[..., ScriptedSession] = ScriptedSession,
    ) -> None:
        """`pages`: whatever waits is listed on a page of the ledger topic, and nothing in the metadata.

        `connect` makes the session, which a test may replace by a kind of its own.
        """
        self.topic = topic
        self.clock = clock = topic.clock
        self.events: List[Tuple[str, Dict[str, Any]]] = []
        self.session = connect(topic, exactly_once, partitions, self._revoked)
        world = World(clock, clock.time_of_day, lambda: 0.0, self.report)
        business = Business(_as_it_is, handler, lambda value: None, keep_stack=False, workers=workers)
        terms = Terms(limits, "group")
        if pages:
            terms = terms._replace(ledger_topic=PAGES, metadata_limit=0)
        destination = Destination(RESULTS if publishes else None, 1_000_000, "group", "client")
        self.engine = Engine(
            Connections(
                cast(Session, self.session),
                cast(Recovery, ScriptedRecovery(topic)),
                cast(LedgerPages, MemoryPages(lambda: topic.of(LEDGER))),
            ),
            business,
            Sending(Outbox(DEAD_LETTERS), destination),
            Settings(policy, outage_window_s, terms, lambda: None),
            cast(Watchdog, _NoWatchdog()),
            world,
        )
        self.loop, self.brake = self.engine.loop, self.engine.brake

    def report(self, event: str, **fields: Any) -> None:
        """Keep an event of the engine."""
        self.events.append((event, fields))

    def names(self) -> List[str]:
        """The names of the events so far."""
        return [name for name, _ in self.events]

    def _revoked(self, partitions: Set[int]) -> None:
        self.engine.revoked(partitions)

    # --- running

    def step(self, times: int = 1) -> None:
        """Let the engine go that many rounds."""
        for _ in range(times):
            self.loop.step()

    def until(self, holds: Callable[[], bool], steps: int = 5_000) -> None:
        """Step until something holds; fails after that many steps."""
        for _ in range(steps):
            if holds():
                return
            self.step()
        raise AssertionError(f"not so after {steps} steps, at {self.clock():.1f} s: {self.events[-5:]}")

    def is_drained(self) -> bool:
        """Whether all that was there at the start is processed or dead-lettered, and settled."""
        return bool(self.session.assigned) and self.loop.is_drained

    def drain(self, steps: int = 5_000) -> "Life":
        """Step until everything has its fate."""
        self.until(self.is_drained, steps)
        return self

    def stop(self) -> None:
        """End as after Ctrl-C: everything settled, every partition given back with a clean mark."""
        self.loop.finish_calls(self.clock() + 5.0)
        self._revoked(set(self.session.assigned))


def _as_it_is(value: Optional[bytes]) -> Dict[str, Any]:
    return {"value": b"" if value is None else value}
