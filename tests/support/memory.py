"""A topic's partition in memory, and what the engine's assignment needs of Kafka to restore from it."""

from typing import (
    Any,
    Callable,
    Dict,
    FrozenSet,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Set,
    Tuple,
    cast,
)

from orderflow.consume.assignment import Assignment
from orderflow.consume.ledger import Ledger
from orderflow.consume.outage_brake import OutageBrake
from orderflow.consume.pace import Pace
from orderflow.consume.partition import Partition
from orderflow.consume.reading_back import Found, Recovery
from orderflow.consume.restoring import Connections, Limits, Restoration, Terms
from orderflow.consume.session import Session
from orderflow.consume.settlement import SETTLED, Settlement
from orderflow.consume.statement import first_form
from orderflow.consume.world import World
from orderflow.kafka.command_reader import Received
from orderflow.kafka.ledger_pages import Found as FoundPage
from orderflow.kafka.ledger_pages import LedgerPages, Search, Wanted
from orderflow.model.command import VALID_S, partition_of, read_command
from orderflow.model.commit_metadata import Commit, Stand
from orderflow.model.records import Headers, Outgoing

TIME_OF_DAY_S = 1_764_000_000.0
LIMITS = Limits(10_000, 64 * 1024 * 1024)


def write_metadata(commit: Commit, base: int) -> str:
    """What the ledger that `commit` tells of writes at the offset `base`."""
    ledger = Ledger(commit.next)
    for entry in commit.entries:
        head = ledger.admit(None, entry.offset, b"%d" % entry.offset, entry.attempts)
        ledger.wait(head, float(entry.delay_s))
        if entry.announced:
            head.announce()
        if entry.has_followers:
            ledger.queue(b"%d" % entry.offset, None, entry.offset + 1, 0)
    assert base == ledger.commit_point
    stand = Stand(base, commit.next, *commit[2:5], commit.reach, commit.written_at_s, commit.topic_id)
    return first_form(ledger, stand, 0.0).text


def text_of(
    ledger: Ledger, clean: bool, alone: Optional[int] = None, now_s: float = 0.0, braked: bool = False
) -> str:
    """The first form of a ledger's metadata."""
    stand = Stand(ledger.commit_point, ledger.next, clean, braked, alone, None, int(TIME_OF_DAY_S))
    return first_form(ledger, stand, now_s).text


class Stored:
    """One record of the log, as the client hands it over."""

    published_ms = 1_764_000_000_000

    def __init__(self, offset: int, key: Optional[bytes], value: bytes = b"order") -> None:
        self._offset, self._key, self._value = offset, key, value

    def __repr__(self) -> str:
        return f"<{self._offset} {self._key!r}>"

    def topic(self) -> str:
        """Name of its topic."""
        return "orders"

    def partition(self) -> int:
        """Number of its partition."""
        return 0

    def offset(self) -> int:
        """Its place in the partition."""
        return self._offset

    def key(self) -> Optional[bytes]:
        """Its key, or None."""
        return self._key

    def value(self) -> bytes:
        """Its value."""
        return self._value

    def headers(self) -> Optional[Headers]:
        """None: it has none."""
        return None

    def set_headers(self, headers: Headers) -> None:
        """What it has can always be read."""

    def timestamp(self) -> Tuple[int, int]:
        """A time that its producer gave it."""
        return 1, self.published_ms


class Log:
    """One partition: its records by offset, and its bounds. Offsets without a record are holes."""

    def __init__(self) -> None:
        self.records: Dict[int, Stored] = {}
        self.low = 0
        self.high = 0

    def append(self, offset: int, key: Optional[bytes]) -> Stored:
        """Add a record at an offset at or after the end."""
        self.records[offset] = Stored(offset, key)
        self.high = offset + 1
        return self.records[offset]

    def read(self, start: int, end: int) -> List[Stored]:
        """The records from `start` up to `end`."""
        return [self.records[offset] for offset in sorted(self.records) if start <= offset < end]


class MemorySession:
    """A session that is assigned partition 0 of a log, at a committed offset with metadata."""

    topic = "orders"

    def __init__(self, log: Log, committed: Tuple[Optional[int], str]) -> None:
        self.assigned = {0}
        self.commits: List[Tuple[int, str]] = []
        self.position: Optional[int] = None
        self._log = log
        self._committed = committed

    def take_lost(self) -> Set[int]:
        """Nothing is ever taken away."""
        return set()

    def pause(self, partitions: Sequence[int]) -> None:
        """Nothing is fetched anyway."""

    def committed(self, partitions: Sequence[int], timeout_s: float) -> Dict[int, Tuple[Optional[int], str]]:
        """Offset and metadata that the last owner left."""
        return dict.fromkeys(partitions, self._committed)

    def bounds(self, partition: int, timeout_s: float) -> Tuple[int, int]:
        """The log's first offset and the one after its last."""
        return self._log.low, self._log.high

    def first_since(self, partition: int, since_ms: int, timeout_s: float) -> Optional[int]:
        """The first offset whose record was published then or later."""
        found = self._log.read(self._log.low, self._log.high)
        return next((record.offset() for record in found if record.timestamp()[1] >= since_ms), None)

    def resume_at(self, partition: int, offset: int) -> None:
        """Note where reading would go on."""
        self.position = offset

    def member(self) -> None:
        """Of no group."""

    def commit(self, offsets: Dict[int, Tuple[int, str]]) -> Settlement:
        """Note what is committed."""
        self.commits.extend(offsets.values())
        return SETTLED


class MemoryRecovery:
    """Finds records in a log, all of a search in one poll."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._searches: Dict[int, Tuple[List[int], Optional[int], int]] = {}

    def __contains__(self, partition: int) -> bool:
        return partition in self._searches

    def __bool__(self) -> bool:
        return bool(self._searches)

    def start(self, partition: int, lone: Sequence[int], through: Optional[int], end: int) -> None:
        """Search these at the next poll."""
        self._searches[partition] = (list(lone), through, end)

    def cancel(self, partitions: Set[int]) -> None:
        """Search these no more."""
        for partition in partitions:
            self._searches.pop(partition, None)

    def poll(self, timeout_s: float) -> List[Found]:
        """All that was searched."""
        found = [self._found(partition, *search) for partition, search in self._searches.items()]
        self._searches.clear()
        return found

    def _found(self, partition: int, lone: List[int], through: Optional[int], end: int) -> Found:
        records = [self._log.records[offset] for offset in lone if offset in self._log.records]
        missing = [offset for offset in lone if offset not in self._log.records]
        if through is not None:
            records += self._log.read(through, end)
        return Found(partition, list(records), missing, complete=True)


class MemoryPages:
    """Finds the pages among records that were sent to a ledger topic, all of them in one poll."""

    def __init__(self, sent: Callable[[], List[Outgoing]] = list) -> None:
        """`sent`: what readers see of the ledger topic now."""
        self._sent = sent
        self._wanted: Dict[int, Wanted] = {}

    def __bool__(self) -> bool:
        return bool(self._wanted)

    def hidden(self) -> Set[int]:
        """None: there are no transactions."""
        return set()

    def start(self, number: int, wanted: Wanted) -> None:
        """Find this at the next poll."""
        self._wanted[number] = wanted

    def cancel(self, numbers: Set[int]) -> None:
        """Find these no more."""
        for number in numbers:
            self._wanted.pop(number, None)

    def poll(self, timeout_s: float) -> List[Tuple[int, Optional[FoundPage]]]:
        """All that is wanted."""
        found = [(number, self._find(wanted)) for number, wanted in self._wanted.items()]
        self._wanted.clear()
        return found

    def _find(self, wanted: Wanted) -> Optional[FoundPage]:
        sent = self._sent()
        search = Search(wanted, 0, len(sent))
        for record in sent:
            found = search.look_at(record.key, record.value)
            if found is not None:
                return found
        return search.second_best

    def close(self) -> None:
        """Nothing to close."""


class MemoryInbox:
    """Hears the commands among records that were sent to a ledger topic, from the first of them on.

    A test sends each at a time of the clock, as `timestamp_ms`; one without has just been sent.
    """

    def __init__(
        self, sent: Callable[[], List[Outgoing]], clock: Callable[[], float], began_s: float
    ) -> None:
        """`clock` shows seconds since `began_s`, an epoch second."""
        self.listens: FrozenSet[int] = frozenset()
        self.problem: Optional[str] = None
        self.told: List[Tuple[float, int, bytes]] = []
        """Why orders wait: when that was told, of which partition, and what."""
        self._sent = sent
        self._clock = clock
        self._began_s = began_s
        self._place = 0

    def listen(self, partitions: FrozenSet[int]) -> None:
        """Nothing is heard for any others."""
        self.listens = partitions

    def take(self) -> List[Received]:
        """What was sent since the last call, if anything is listened to."""
        if not self.listens:
            return []
        sent = self._sent()[self._place :]
        self._place += len(sent)
        return [received for record in sent for received in self._received(record)]

    def _received(self, record: Outgoing) -> Iterator[Received]:
        number = partition_of("group", "orders", record.key)
        now_s = self._clock()
        at_ms = record.timestamp_ms
        sent_s = now_s if at_ms is None else at_ms / 1000 - self._began_s
        if number in self.listens and sent_s + VALID_S > now_s:
            yield Received(number, read_command(number, record.value), sent_s + VALID_S)

    def tell(self, partition: int, reasons: bytes) -> None:
        """Keep it."""
        self.told.append((self._clock(), partition, reasons))

    def take_problem(self) -> Optional[str]:
        """What a test says is wrong, once."""
        problem, self.problem = self.problem, None
        return problem


class Restored(NamedTuple):
    """What an assignment made of a committed offset."""

    partition: Partition
    events: List[Tuple[str, Dict[str, Any]]]
    session: MemorySession
    brake: OutageBrake

    def names(self) -> List[str]:
        """The names of the events that were reported."""
        return [name for name, _ in self.events]


def restore(
    log: Log,
    offset: Optional[int],
    metadata: str,
    now_s: float = 0.0,
    later_s: float = 0.0,
    limits: Limits = LIMITS,
    looks: int = 1,
    from_end: FrozenSet[int] = frozenset(),
    topic_id: Optional[str] = None,
) -> Restored:
    """Let a new owner take the partition over, `later_s` seconds after the commit was written.

    It checks the given number of times, some seconds apart.
    """
    clock_s = [now_s]
    events: List[Tuple[str, Dict[str, Any]]] = []
    session, brake = MemorySession(log, (offset, metadata)), OutageBrake(60.0)
    world = World(
        clock=lambda: clock_s[0],
        time_of_day=lambda: TIME_OF_DAY_S + later_s,
        chance=lambda: 0.0,
        report=lambda name, **fields: events.append((name, fields)),
    )
    recovery, pace = cast(Recovery, MemoryRecovery(log)), Pace(has_workers=False)
    connections = Connections(cast(Session, session), recovery, cast(LedgerPages, MemoryPages()))
    restoration = Restoration(
        connections, Terms(limits, from_end=from_end, topic_id=topic_id), brake, pace, world
    )
    assignment = Assignment(cast(Session, session), restoration, brake, pace, world)
    for look in range(looks):
        clock_s[0] = now_s + look * 5.0
        assignment.refresh(set())
    return Restored(assignment.ready[0], events, session, brake)
