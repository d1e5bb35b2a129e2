"""Restores assigned partitions: reads what is committed and fetches the waiting orders it lists.

A partition is ready once its committed metadata has been read, its waiting records are back in memory and the
"open" mark is committed. Until then none of its orders is admitted: a later one could overtake a waiting one.
"""

from typing import Callable, Dict, FrozenSet, Iterator, List, NamedTuple, Optional, Set

from confluent_kafka import KafkaException

from orderflow.consume import caution
from orderflow.consume.brakes import OutageBrake
from orderflow.consume.failing import Failing
from orderflow.consume.ledger import Head, Ledger
from orderflow.consume.pace import Pace
from orderflow.consume.partition import Partition, size_of
from orderflow.consume.reading_back import Found, Recovery
from orderflow.consume.session import Session
from orderflow.consume.settlement import Outcome, SessionLost
from orderflow.consume.world import World
from orderflow.model.commit_metadata import METADATA_LIMIT, Commit, Entry, read_metadata
from orderflow.model.records import Message

CAREFUL_CALLS = 20_000
"""Careful calls after an unclean stop, if the last owner did not record how many it might make."""
READ_BACK_S = 0.05
COMMITTED_TIMEOUT_S = 1.0
BOUNDS_TIMEOUT_S = 2.0
BEYOND_END_LIMIT = 10
"""Checks, a second apart, before a committed offset beyond the end of the log is taken as real."""
STEP = "restoring what is committed"


def _no_trace(number: int, committed: Optional[int]) -> Optional[str]:
    return None


class Limits(NamedTuple):
    """The limits of one partition's ledger."""

    max_queued: int
    max_queued_bytes: int


class Terms(NamedTuple):
    """How to restore partitions."""

    limits: Limits
    care: caution.Care = caution.INLINE
    """How many followers of a head to call carefully after a death."""
    from_end: FrozenSet[int] = frozenset()
    """Partitions that start at their end if nothing is committed for them."""
    find_trace: Callable[[int, Optional[int]], Optional[str]] = _no_trace
    """Finds evidence that the group worked on a partition it has no ledger for."""


class _Coming:
    """A partition being restored."""

    def __init__(self, partition: Partition, commit: Optional[Commit]) -> None:
        self.partition = partition
        self.commit = commit
        self.entries: Dict[int, Entry] = {entry.offset: entry for entry in (commit.entries if commit else [])}
        """Orders listed as waiting that have not been read back yet."""
        self.suspicions = caution.judge(commit)

    @property
    def read_through_from(self) -> Optional[int]:
        """The offset from which every record is wanted, since it may be a follower."""
        return next((entry.offset for entry in self.entries.values() if entry.has_followers), None)


class Restoration:
    """Restores partitions, a little at a time."""

    def __init__(
        self,
        session: Session,
        recovery: Recovery,
        terms: Terms,
        brake: OutageBrake,
        pace: Pace,
        world: World,
    ) -> None:
        self.busy: Dict[bytes, int] = {}
        """Keys with a head in any ledger: the only look-up made for every record."""
        self._session = session
        self._recovery = recovery
        self._terms = terms
        self._brake = brake
        self._pace = pace
        self._world = world
        self._coming: Dict[int, _Coming] = {}
        self._metadata_limits: Dict[int, int] = {}
        self._beyond_end: Dict[int, int] = {}
        self._retry_at_s = 0.0
        self._failing = Failing(world.clock, world.report)

    @property
    def reads_back(self) -> bool:
        """True while waiting orders are being read back; polling need not wait meanwhile."""
        return bool(self._recovery)

    def coming(self) -> Dict[int, int]:
        """By partition that is being restored and whose commit has been read: the offset to continue at."""
        return {number: coming.partition.ledger.next for number, coming in self._coming.items()}

    def cancel(self, numbers: Set[int]) -> None:
        """Stop restoring these partitions."""
        self._recovery.cancel(numbers)
        for number in numbers:
            self._coming.pop(number, None)

    def lower_metadata_limit(self, ready: Dict[int, Partition]) -> None:
        """The broker accepts less than assumed: restored ledgers get a limit a quarter lower."""
        for number, partition in ready.items():
            self._metadata_limits[number] = partition.ledger.metadata_limit * 3 // 4

    def advance(self, missing: Set[int]) -> Iterator[Partition]:
        """Continue restoring these; yields those that are now ready."""
        if self._world.clock() < self._retry_at_s:
            return
        try:
            self._begin(missing - set(self._coming))
            self._read_back()
            for coming in list(self._coming.values()):
                if coming.partition.number not in self._recovery and self._open(coming):
                    yield coming.partition
        except KafkaException as error:
            # Wait as long as this may have blocked, or the ready partitions would starve.
            self._delay(COMMITTED_TIMEOUT_S, error.args[0].str())

    def _delay(self, delay_s: float, detail: str) -> None:
        self._retry_at_s = self._world.clock() + delay_s
        self._world.report("restore_delayed", detail=detail)
        self._failing.failed(STEP, detail)

    # --- reading what is committed ---------------------------------------------------------------

    def _begin(self, numbers: Set[int]) -> None:
        if not numbers:
            return
        self._session.pause(sorted(numbers))
        committed = self._session.committed(sorted(numbers), COMMITTED_TIMEOUT_S)
        for number, (offset, metadata) in sorted(committed.items()):
            self._begin_one(number, offset, metadata)

    def _begin_one(self, number: int, committed: Optional[int], metadata: str) -> None:
        low, high = self._session.bounds(number, BOUNDS_TIMEOUT_S)
        beginning = high if number in self._terms.from_end else low
        offset = beginning if committed is None else committed
        commit = read_metadata(metadata, offset)
        if metadata and commit is None:
            self._world.report("metadata_foreign", partition=number, offset=offset, metadata=metadata[:80])
        mark = commit.next if commit else offset
        if mark > high:
            return self._is_beyond_end(number, mark, high)
        self._beyond_end.pop(number, None)
        if mark < low:
            self._world.report("lost_by_retention", partition=number, offset=mark, until=low)
        if commit is None:
            self._look_for_lost_ledger(number, committed, max(mark, low), high)
        self._begin_reading_back(_Coming(self._new(number, max(mark, low), high, commit), commit))
        return None

    def _look_for_lost_ledger(self, number: int, committed: Optional[int], start: int, end: int) -> None:
        """Report a list of waiting orders that was lost when its offset expired or was reset."""
        trace = self._terms.find_trace(number, committed)
        if trace is not None:
            self._world.report(
                "ledger_lost", partition=number, committed=committed, offset=start, until=end, trace=trace
            )

    def _is_beyond_end(self, number: int, mark: int, high: int) -> None:
        """A new leader may briefly report a shorter log; if this persists, the topic was recreated."""
        looks = self._beyond_end[number] = self._beyond_end.get(number, 0) + 1
        self._retry_at_s = self._world.clock() + 1.0
        if looks >= BEYOND_END_LIMIT:
            raise SessionLost(
                f"{self._session.topic}-{number}: offset {mark} is committed, but the log ends at {high}. "
                "The topic was deleted and recreated, or has lost records. Nothing was skipped. To process "
                "the records it has now, reset the group: kafka-consumer-groups.sh --reset-offsets "
                f"--to-earliest --topic {self._session.topic}:{number} --execute"
            )

    def _new(self, number: int, next_offset: int, high: int, commit: Optional[Commit]) -> Partition:
        max_queued, max_queued_bytes = self._terms.limits
        limit = self._metadata_limits.get(number, METADATA_LIMIT)
        ledger = Ledger(next_offset, max_queued, max_queued_bytes, limit, self.busy)
        careful = 0 if commit is None or commit.clean else _careful_calls(commit)
        self._brake.add(number, held=commit is not None and commit.braked)
        return Partition(number, ledger, high, careful)

    # --- reading waiting orders back -------------------------------------------------------------

    def _begin_reading_back(self, coming: _Coming) -> None:
        number, ledger = coming.partition.number, coming.partition.ledger
        self._coming[number] = coming
        through = coming.read_through_from
        lone = [offset for offset in coming.entries if through is None or offset < through]
        if coming.entries:
            self._recovery.start(number, lone, through, ledger.next)

    def _read_back(self) -> None:
        """Continue the searches for a moment; ready partitions wait meanwhile."""
        until_s = self._world.clock() + READ_BACK_S
        while self._recovery and self._world.clock() < until_s:
            for found in self._recovery.poll(READ_BACK_S):
                self._take(found)

    def _take(self, found: Found) -> None:
        coming = self._coming[found.partition]
        for record in found.records:
            self._take_record(coming, record)

    def _take_record(self, coming: _Coming, record: Message) -> None:
        entry = coming.entries.pop(record.offset(), None)
        if entry is not None:
            self._list(coming, entry, record)
            return
        ledger, key = coming.partition.ledger, record.key()
        if key is not None and key in ledger.by_key:
            ledger.queue(key, record, record.offset(), size_of(record))

    def _list(self, coming: _Coming, entry: Entry, record: Message) -> None:
        commit, partition = coming.commit, coming.partition
        assert commit is not None
        key = record.key()
        # A late record was listed beside a head of its key, so it waits on its own.
        key = None if key in partition.ledger.by_key else key
        head = partition.ledger.admit(record, entry.offset, key, entry.attempts)
        if not commit.clean:
            head.call_carefully(self._terms.care.followers)
        suspicion = coming.suspicions.get(entry.offset)
        if suspicion is not None:
            partition.ledger.suspect(head, suspicion.how, suspicion.died_alone, self._terms.care.trail)
        if head.died_alone:
            partition.mark_alone(head.offset)
        partition.ledger.wait(head, self._world.clock() + self._still_to_wait_s(entry, commit, head))

    def _still_to_wait_s(self, entry: Entry, commit: Commit, head: Head) -> float:
        if head.suspect:
            return 0.0
        passed_s = max(0.0, self._world.time_of_day() - commit.written_at_s)
        return max(0.0, entry.delay_s - passed_s)

    # --- ready -----------------------------------------------------------------------------------

    def _open(self, coming: _Coming) -> bool:
        """Commit the "open" mark and start fetching the partition."""
        partition = coming.partition
        number, ledger = partition.number, partition.ledger
        if not self._commit_open(partition):
            return False
        self._session.resume_at(number, ledger.next)
        lost: List[Entry] = list(coming.entries.values())
        for entry in lost:
            self._world.report(
                "waiting_order_lost", partition=number, offset=entry.offset, more=entry.has_followers
            )
        del self._coming[number]
        self._failing.succeeded(STEP)
        waiting, careful = ledger.unfinished, bool(partition.careful_left)
        self._world.report(
            "partition_ready", partition=number, offset=ledger.next, waiting=waiting, careful=careful
        )
        return True

    def _commit_open(self, partition: Partition) -> bool:
        braked = self._brake.holds(partition.number)
        commit = partition.commit(self._world, clean=False, braked=braked, reach=self._pace.reach)
        settlement = self._session.commit({partition.number: commit})
        if settlement.outcome is Outcome.SETTLED:
            partition.ledger.told()
            return True
        if settlement.outcome is Outcome.METADATA_TOO_LARGE:
            self._unlistable(partition)
        self._delay(0.2, settlement.detail)
        return False

    def _unlistable(self, partition: Partition) -> None:
        """The orders listed by an earlier commit no longer fit: the broker's limit was lowered."""
        raise SessionLost(
            f"{self._session.topic}-{partition.number}: the committed metadata lists "
            f"{len(partition.ledger.heads)} waiting orders, more than the broker now accepts. Nothing "
            "was skipped. Raise the broker's offset.metadata.max.bytes to 4096, its default"
        )


def _careful_calls(commit: Commit) -> int:
    """How many orders the last owner may have called before it died without committing them."""
    return min(CAREFUL_CALLS, commit.reach or CAREFUL_CALLS)
