"""The partitions that are ours: how each is restored when it comes, and held while it must not flow.

Owns: one `Partition` (with its ledger) for each that is ready, and those still being restored.
Does not know: handlers, failures, dead letters.
Used by: processor.

A partition is ready when its committed metadata is read, its waiting records are back in memory, and
the mark "open" is committed. Until then nothing of it is taken in: a later order of a waiting key
could overtake. After a settlement that is not certain, every partition goes this way again.
"""

from typing import Callable, Dict, FrozenSet, Iterable, List, NamedTuple, Optional, Set, Tuple

from confluent_kafka import KafkaException

from orderflow.consume import caution
from orderflow.consume.brakes import OutageBrake
from orderflow.consume.failing import Failing
from orderflow.consume.intake import Intake
from orderflow.consume.ledger import Head, Ledger
from orderflow.consume.reading_back import Found, Recovery
from orderflow.consume.session import Session
from orderflow.consume.settlement import Outcome, SessionLost
from orderflow.model.commit_metadata import METADATA_LIMIT, Commit, Entry, read_metadata
from orderflow.model.records import Message

CAREFUL_CALLS = 20_000
"""Calls made with care after an owner did not stop properly, if it left no word of how many it took."""
FIRST_CHUNK, LARGEST_CHUNK = 100, 500
"""Orders of a partition announced at once then.

What ended the owner was most likely among the first: each chunk that is survived lets the next be twice
as large.
"""
READ_BACK_S = 0.05
COMMITTED_TIMEOUT_S = 1.0
BOUNDS_TIMEOUT_S = 2.0
STEP = "restoring what is committed"
BEYOND_END_LIMIT = 10
"""Looks, a second apart, before a committed offset beyond the end of the log is believed."""

Report = Callable[..., None]


class Limits(NamedTuple):
    """Bounds of one partition's ledger."""

    max_queued: int
    max_queued_bytes: int


class Partition:
    """One partition that is ours and ready."""

    def __init__(self, number: int, ledger: Ledger, end: int) -> None:
        self.number = number
        self.ledger = ledger
        self.end = end
        """Where the log ended when this partition was restored."""
        self.careful_left = 0
        """Orders that are still to be announced before they are called, since an owner died."""
        self.chunk = FIRST_CHUNK
        """So many of them at once."""
        self.dirty = False
        """Something changed since the last settlement."""
        self.in_flight = 0
        """Calls that run in worker threads."""
        self.alone: Optional[int] = None
        """The offset that is called while nothing else is, or died so before, since it may be a killer."""
        self.holds: Dict[str, Optional[float]] = {}
        """Why nothing is fetched, and until when (None: until it is released)."""

    @property
    def calls_alone(self) -> bool:
        """Whether a call that must be the only one is being made."""
        head = None if self.alone is None else self.ledger.heads.get(self.alone)
        return head is not None and head.announced

    @property
    def is_clean(self) -> bool:
        """Whether its next owner may trust that no call was cut short."""
        careful = any(head.suspect or head.careful for head in self.ledger.heads.values())
        return not self.in_flight and not self.careful_left and not careful


class _Restoring:
    """A partition on its way to ready."""

    def __init__(self, partition: Partition, entries: List[Entry], commit: Optional[Commit]) -> None:
        self.partition = partition
        self.entries = {entry.offset: entry for entry in entries}
        self.commit = commit
        self.suspicions = caution.judge(commit)


class Assignment:
    """Keeps up with what the group assigns."""

    def __init__(
        self,
        session: Session,
        recovery: Recovery,
        limits: Limits,
        brake: OutageBrake,
        clock: Callable[[], float],
        time_of_day: Callable[[], float],
        report: Report,
        from_end: FrozenSet[int] = frozenset(),
        find_trace: Callable[[int, Optional[int]], Optional[str]] = lambda number, committed: None,
    ) -> None:
        """`from_end`: where nothing is committed for these partitions, they begin at their end.

        `find_trace`: what shows that the group worked on a partition of which it has no ledger.
        """
        self.ready: Dict[int, Partition] = {}
        self.intake = Intake()
        """What was handed over of those that are ready."""
        self.busy: Dict[bytes, int] = {}
        """Keys with a head, over all ledgers: the one look-up that every record costs."""
        self.reach: Optional[int] = None
        """About so many orders may be called between two settlements. None: not known."""
        self.care = caution.INLINE
        """How many orders behind a head are called with care after a death."""
        self._session = session
        self._recovery = recovery
        self._limits = limits
        self._brake = brake
        self._clock = clock
        self._time_of_day = time_of_day
        self._report = report
        self._from_end = from_end
        self._find_trace = find_trace
        self._restoring: Dict[int, _Restoring] = {}
        self._metadata_limits: Dict[int, int] = {}
        self._beyond_end: Dict[int, int] = {}
        self._retry_at_s = 0.0
        self._failing = Failing(clock, report)

    @property
    def is_settled(self) -> bool:
        """True when every partition that is assigned is ready."""
        return len(self.ready) == len(self._session.assigned)

    @property
    def reads_back(self) -> bool:
        """True while waiting orders are being read back, which needs no pause between."""
        return bool(self._recovery)

    # --- coming and going ------------------------------------------------------------------------

    def refresh(self, not_yet: Set[int]) -> None:
        """Restore what came a little further; `not_yet` still has calls running from before."""
        if self.is_settled or self._clock() < self._retry_at_s:
            return
        try:
            self._begin(self._session.assigned - set(self.ready) - set(self._restoring) - not_yet)
            self._read_back()
            self._finish_all()
        except KafkaException as error:
            # As long again as it may have blocked, or the partitions that are ready would starve.
            self._delay(COMMITTED_TIMEOUT_S, error.args[0].str())

    def _delay(self, delay_s: float, detail: str) -> None:
        self._retry_at_s = self._clock() + delay_s
        self._report("restore_delayed", detail=detail)
        self._failing.failed(STEP, detail)

    def _read_back(self) -> None:
        """Go on with the searches for a moment; partitions that are ready wait meanwhile."""
        until_s = self._clock() + READ_BACK_S
        while self._recovery and self._clock() < until_s:
            for found in self._recovery.poll(READ_BACK_S):
                self._take(found)

    def drop(self, partitions: Iterable[int]) -> None:
        """Forget these partitions' state. Those still assigned are restored from what is committed."""
        gone = set(partitions)
        self._recovery.cancel(gone)
        for number in gone:
            self._restoring.pop(number, None)
            partition = self.ready.pop(number, None)
            self.intake.forget(number)
            if partition is not None:
                self._release_keys(partition.ledger)

    def _release_keys(self, ledger: Ledger) -> None:
        for key in list(ledger.by_key):
            ledger.release_key(key)

    def _begin(self, numbers: Set[int]) -> None:
        if not numbers:
            return
        self._session.pause(sorted(numbers))
        committed = self._session.committed(sorted(numbers), COMMITTED_TIMEOUT_S)
        for number, (offset, metadata) in sorted(committed.items()):
            self._begin_one(number, offset, metadata)

    def _begin_one(self, number: int, offset: Optional[int], metadata: str) -> None:
        low, high = self._session.bounds(number, BOUNDS_TIMEOUT_S)
        committed = offset
        if offset is None:
            offset = high if number in self._from_end else low
        commit = read_metadata(metadata, offset)
        if metadata and commit is None:
            self._report("metadata_foreign", partition=number, offset=offset, metadata=metadata[:80])
        mark = commit.next if commit else offset
        if mark > high:
            return self._is_beyond_end(number, mark, high)
        self._beyond_end.pop(number, None)
        if mark < low:
            self._report("lost_by_retention", partition=number, offset=mark, until=low)
        if commit is None:
            self._look_for_lost_ledger(number, committed, max(mark, low), high)
        restoring = self._new(number, max(mark, low), high, commit)
        self._restoring[number] = restoring
        self._search(restoring)

    def _look_for_lost_ledger(self, number: int, committed: Optional[int], start: int, end: int) -> None:
        """Offsets that expired, or were reset, took the list of the waiting orders with them: say so."""
        trace = self._find_trace(number, committed)
        if trace is not None:
            self._report(
                "ledger_lost", partition=number, committed=committed, offset=start, until=end, trace=trace
            )

    def _is_beyond_end(self, number: int, mark: int, high: int) -> None:
        """A new leader may know less of the log for a moment; a topic made anew stays that way."""
        looks = self._beyond_end[number] = self._beyond_end.get(number, 0) + 1
        self._retry_at_s = self._clock() + 1.0
        if looks >= BEYOND_END_LIMIT:
            raise SessionLost(
                f"{self._session.topic}-{number}: offset {mark} is committed, but the log ends at {high}. "
                "The topic was deleted and created again, or has lost records. Nothing was skipped. To "
                "process what it holds now, reset the group: kafka-consumer-groups.sh --reset-offsets "
                f"--to-earliest --topic {self._session.topic}:{number} --execute"
            )

    def _new(self, number: int, next_offset: int, high: int, commit: Optional[Commit]) -> _Restoring:
        ledger = Ledger(
            next_offset,
            self._limits.max_queued,
            self._limits.max_queued_bytes,
            self._metadata_limits.get(number, METADATA_LIMIT),
            self.busy,
        )
        partition = Partition(number, ledger, high)
        if commit is not None and not commit.clean:
            partition.careful_left = _careful_calls(commit)
        self._brake.add(number, held=commit is not None and commit.braked)
        return _Restoring(partition, commit.entries if commit else [], commit)

    def _search(self, restoring: _Restoring) -> None:
        entries = list(restoring.entries.values())
        if not entries:
            return
        through = next((entry.offset for entry in entries if entry.has_followers), None)
        lone = [entry.offset for entry in entries if through is None or entry.offset < through]
        self._recovery.start(restoring.partition.number, lone, through, restoring.partition.ledger.next)

    # --- records that come back ------------------------------------------------------------------

    def _take(self, found: Found) -> None:
        restoring = self._restoring[found.partition]
        for record in found.records:
            self._take_record(restoring, record)

    def _take_record(self, restoring: _Restoring, record: Message) -> None:
        entry = restoring.entries.pop(record.offset(), None)
        if entry is not None:
            self._list(restoring, entry, record)
            return
        ledger, key = restoring.partition.ledger, record.key()
        if key is not None and key in ledger.by_key:
            ledger.queue(key, record, record.offset(), size_of(record))

    def _list(self, restoring: _Restoring, entry: Entry, record: Message) -> None:
        commit, partition = restoring.commit, restoring.partition
        assert commit is not None
        key = record.key()
        # One that came late was listed beside a head of its key, so it waits for itself alone.
        key = None if key in partition.ledger.by_key else key
        head = partition.ledger.take_in(record, entry.offset, key, entry.attempts)
        if not commit.clean:
            head.careful = self.care.followers
        suspicion = restoring.suspicions.get(entry.offset)
        if suspicion is not None:
            partition.ledger.suspect(head, suspicion.how, suspicion.died_alone, self.care.trail)
        if head.died_alone:
            partition.alone = head.offset
        partition.ledger.wait(head, self._clock() + self._still_to_wait_s(entry, commit, head))

    def _still_to_wait_s(self, entry: Entry, commit: Commit, head: Head) -> float:
        if head.suspect:
            return 0.0
        passed_s = max(0.0, self._time_of_day() - commit.written_at_s)
        return max(0.0, entry.delay_s - passed_s)

    def _finish_all(self) -> None:
        for number, restoring in list(self._restoring.items()):
            if number not in self._recovery:
                self._finish(number, restoring)

    def _finish(self, number: int, restoring: _Restoring) -> None:
        partition = restoring.partition
        if not self._commit_open(partition):
            return
        self._session.resume_at(number, partition.ledger.next)
        for entry in restoring.entries.values():
            more = entry.has_followers
            self._report("waiting_order_lost", partition=number, offset=entry.offset, more=more)
        del self._restoring[number]
        self.ready[number] = partition
        self._failing.succeeded(STEP)
        self.intake.begin(number, partition.ledger.next)
        self._report(
            "partition_ready",
            partition=number,
            offset=partition.ledger.next,
            waiting=partition.ledger.unfinished,
            careful=bool(partition.careful_left),
        )

    def _commit_open(self, partition: Partition) -> bool:
        offsets = {partition.number: self.commit_of(partition, clean=False)}
        settlement = self._session.commit(offsets)
        if settlement.outcome is Outcome.SETTLED:
            return True
        if settlement.outcome is Outcome.METADATA_TOO_LARGE:
            self._unlistable(partition)
        self._delay(0.2, settlement.detail)
        return False

    def _unlistable(self, partition: Partition) -> None:
        """What an earlier commit listed does not fit any more: somebody has lowered the broker's limit."""
        raise SessionLost(
            f"{self._session.topic}-{partition.number}: the committed metadata lists "
            f"{len(partition.ledger.heads)} waiting orders, more than the broker takes now; nothing was "
            "skipped. Raise the broker's offset.metadata.max.bytes to 4096, its default"
        )

    def commit_of(self, partition: Partition, clean: bool) -> Tuple[int, str]:
        """Offset and metadata to commit for a partition now."""
        ledger, braked = partition.ledger, self._brake.holds(partition.number)
        now_s, time_of_day_s = self._clock(), self._time_of_day()
        # What is left to be called with care is as far ahead for the next owner as what we call ourselves.
        reach = None if self.reach is None else max(self.reach, partition.careful_left)
        text = ledger.metadata(now_s, time_of_day_s, clean, braked, partition.alone, reach)
        return ledger.commit_point, text

    def bounds(self, number: int) -> Optional[Tuple[int, int]]:
        """Where the log begins and ends now, or None where it cannot be asked."""
        try:
            return self._session.bounds(number, BOUNDS_TIMEOUT_S)
        except KafkaException:
            return None

    def lower_metadata_limit(self) -> None:
        """The broker takes less than we thought: restored ledgers list a quarter less."""
        for number, partition in self.ready.items():
            self._metadata_limits[number] = partition.ledger.metadata_limit * 3 // 4

    # --- holding ---------------------------------------------------------------------------------

    def hold(self, partition: Partition, why: str, until_s: Optional[float] = None) -> None:
        """Fetch nothing of this partition until `until_s`, or until it is released."""
        if not partition.holds:
            self._session.pause([partition.number])
        partition.holds[why] = until_s

    def release(self, partition: Partition, why: str) -> None:
        """One reason not to fetch is gone. Where it was the last, say from where to go on.

        The client's own idea of that place can be stale after a pause, and then it repeats (seen).
        """
        if why not in partition.holds:
            return
        if len(partition.holds) == 1 and not self._go_on(partition.number):
            partition.holds[why] = self._clock()
            return
        del partition.holds[why]

    def _go_on(self, number: int) -> bool:
        offset = self.intake.expected(number)
        try:
            self._session.resume_at(number, offset)
        except KafkaException:  # the assignment is still settling: held until the next look
            self._session.pause([number])
            return False
        self.intake.go_back(number, offset)
        return True

    def release_expired(self) -> None:
        """Let go of the holds whose time has come."""
        now_s = self._clock()
        for partition in self.ready.values():
            for why, until_s in list(partition.holds.items()):
                if until_s is not None and until_s <= now_s:
                    self.release(partition, why)


def _careful_calls(commit: Commit) -> int:
    """What its owner may have called before it died, and did not come to commit."""
    return min(CAREFUL_CALLS, commit.reach or CAREFUL_CALLS)


def size_of(message: Message) -> int:
    """Bytes that a record keeps in memory, about."""
    return len(message.value() or b"") + len(message.key() or b"") + 200
