"""Restores assigned partitions: reads what is committed and fetches the waiting orders it lists.

A partition is ready once its committed metadata has been read, its waiting records are back in memory and the
"open" mark is committed. Until then none of its orders is admitted: a later one could overtake a waiting one.
"""

from functools import partial
from typing import Callable, Dict, FrozenSet, Iterator, List, NamedTuple, Optional, Set, Tuple

from confluent_kafka import KafkaError, KafkaException

from orderflow.consume import caution
from orderflow.consume.coming import Coming
from orderflow.consume.inbox import Inbox, NoInbox
from orderflow.consume.ledger import Ledger
from orderflow.consume.other_topic import Committed, first_to_call
from orderflow.consume.outage_brake import OutageBrake
from orderflow.consume.pace import Pace
from orderflow.consume.paged_commits import Complete, PagedCommits
from orderflow.consume.pages import LedgerTopic, Pages, Written
from orderflow.consume.partition import Partition
from orderflow.consume.put_off import PutOff
from orderflow.consume.reading_back import Recovery
from orderflow.consume.session import Session
from orderflow.consume.settlement import Outcome, SessionLost
from orderflow.consume.waiting_bytes import WaitingBytes
from orderflow.consume.world import World
from orderflow.kafka.ledger_pages import LedgerPages
from orderflow.model.commit_metadata import (
    METADATA_LIMIT,
    Commit,
    Signature,
    capacity,
    of_another_topic,
    read_metadata,
)
from orderflow.model.text import plural

CAREFUL_CALLS = 20_000
"""Careful calls after an unclean stop, if the last owner did not record how many it might make."""
READ_BACK_S = 0.05
FIRST_ASK_S, COMMITTED_TIMEOUT_S = 0.25, 1.0
"""For what is committed, which comes in milliseconds unless an open transaction hides it: at first, and once
that has not sufficed. Ready partitions wait meanwhile, and the transaction is ended after the first."""
BOUNDS_TIMEOUT_S = 2.0
LEAST_METADATA = 422
"""Bytes that the longest name of a page takes with what surrounds it."""
BEYOND_END_LIMIT = 10
"""Checks, a second apart, before a committed offset beyond the end of the log is taken as real."""


def _no_trace(number: int, committed: Optional[int]) -> Optional[str]:
    return None


class Limits(NamedTuple):
    """How much may wait."""

    max_queued: int
    """Orders of one partition that wait behind another of their key."""
    max_waiting_bytes: int
    """Bytes of all waiting orders of the process."""


class Terms(NamedTuple):
    """How to restore partitions."""

    limits: Limits
    group: str = ""
    """The consumer group: pages are found by it."""
    ledger_topic: Optional[LedgerTopic] = None
    """Where to list what the commit metadata has no room for; None: nowhere."""
    metadata_limit: int = METADATA_LIMIT
    """Bytes of metadata to write at most."""
    care: caution.Care = caution.INLINE
    """How many followers of a head to call carefully after a death."""
    from_end: FrozenSet[int] = frozenset()
    """Partitions that start at their end if nothing is committed for them."""
    find_trace: Callable[[int, Optional[int]], Optional[str]] = _no_trace
    """Finds evidence that the group worked on a partition it has no ledger for."""
    topic_id: Optional[str] = None
    """Kafka's id of the orders topic: what was committed for another of that name does not count."""
    owner: Optional[str] = None
    """What our commits name, so that a successor can end the transaction that our death may leave open."""

    def with_pages_in(self, partitions: int) -> "Terms":
        """The same with so many partitions of the ledger topic."""
        topic = self.ledger_topic
        return self if topic is None else self._replace(ledger_topic=topic._replace(partitions=partitions))


class Connections(NamedTuple):
    """The engine's connections to Kafka."""

    session: Session
    recovery: Recovery
    pages: LedgerPages
    inbox: Inbox = NoInbox()
    """What operators ask for."""


class Restoration:
    """Restores partitions, a little at a time."""

    def __init__(
        self,
        connections: Connections,
        terms: Terms,
        brake: OutageBrake,
        pace: Pace,
        world: World,
    ) -> None:
        self.busy: Dict[bytes, int] = {}
        """Keys with a head in any ledger: the only look-up made for every record."""
        self.waiting_bytes = WaitingBytes(terms.limits.max_waiting_bytes)
        self._session, self._recovery = connections.session, connections.recovery
        self._terms = terms
        self._brake = brake
        self._pace = pace
        self._world = world
        self._paged = PagedCommits(connections.pages, terms.group, self._session.topic, world, terms.topic_id)
        self._coming: Dict[int, Coming] = {}
        self._metadata_limits: Dict[int, int] = {}
        self._beyond_end: Dict[int, int] = {}
        self._ask_s = FIRST_ASK_S
        self._put_off = PutOff(world)

    @property
    def reads_back(self) -> bool:
        """True while waiting orders are being read back; polling need not wait meanwhile."""
        return bool(self._recovery or self._paged) and not self._put_off.has_all

    def coming(self) -> Dict[int, int]:
        """By partition that is being restored and whose commit has been read: the offset to continue at."""
        return {number: coming.partition.ledger.next for number, coming in self._coming.items()}

    def list_anew(self, partitions: int) -> None:
        """The ledger topic was created anew, with so many partitions."""
        self._terms = self._terms.with_pages_in(partitions)
        for coming in self._coming.values():
            coming.partition.list_anew(partitions)

    def cancel(self, numbers: Set[int]) -> None:
        """Stop restoring these partitions."""
        self._recovery.cancel(numbers)
        self._paged.cancel(numbers)
        self._put_off.forget(numbers)
        for number in numbers & set(self._coming):
            self._coming.pop(number).partition.ledger.release()

    def lower_metadata_limit(self, ready: Dict[int, Partition]) -> bool:
        """The broker accepts less than assumed: ledgers get a limit a quarter lower.

        False if they cannot go on with it: without pages what they list may not fit, and a page needs a name.
        """
        for number, partition in ready.items():
            self._metadata_limits[number] = limit = partition.ledger.metadata_limit * 3 // 4
            partition.ledger.limit_metadata(limit)
        least = min((partition.ledger.metadata_limit for partition in ready.values()), default=0)
        return self._terms.ledger_topic is not None and least >= LEAST_METADATA

    def advance(self, missing: Set[int]) -> Iterator[Partition]:
        """Continue restoring these; yields those that are now ready."""
        if self._put_off.has_all:
            return
        for step in (partial(self._begin, missing), self._read_pages, self._read_back):
            with self._put_off.all_together():
                step()
        for coming in [self._coming[number] for number in sorted(self._put_off.due(set(self._coming)))]:
            if coming.partition.number not in self._recovery and self._is_open(coming):
                yield coming.partition

    # --- reading what is committed ---------------------------------------------------------------

    def _begin(self, missing: Set[int]) -> None:
        numbers = self._put_off.due(missing - set(self._coming) - self._paged.numbers())
        if not numbers:
            return
        self._session.pause(sorted(numbers))
        for number, (offset, metadata) in sorted(self._committed(sorted(numbers)).items()):
            with self._put_off.alone(number):
                self._begin_one(number, offset, metadata)

    def _committed(self, numbers: List[int]) -> Dict[int, Tuple[Optional[int], str]]:
        """What is committed for these; those for which a transaction hides it are put off."""
        try:
            found = self._session.committed(numbers, self._ask_s)
        except KafkaException:
            self._ask_s = min(COMMITTED_TIMEOUT_S, 2 * self._ask_s)
            hidden = self._session.end_left_open(numbers) & set(numbers)
            if not hidden:
                raise
        else:
            self._ask_s = FIRST_ASK_S
            return found
        for number in hidden:
            self._put_off.put_off(number, KafkaError(KafkaError.UNSTABLE_OFFSET_COMMIT))
        others = [number for number in numbers if number not in hidden]
        return self._session.committed(others, COMMITTED_TIMEOUT_S) if others else {}

    def _begin_one(self, number: int, committed: Optional[int], metadata: str) -> None:
        low, high = self._session.bounds(number, BOUNDS_TIMEOUT_S)
        beginning = high if number in self._terms.from_end else low
        offset = beginning if committed is None else committed
        commit = read_metadata(metadata, offset, self._terms.topic_id)
        mark = commit.next if commit else offset
        if mark > high:
            return self._is_beyond_end(number, mark, high)
        self._beyond_end.pop(number, None)
        if commit is not None and commit.page is not None:
            return self._paged.start(number, offset, commit)
        if commit is None:
            other = of_another_topic(metadata, offset, self._terms.topic_id)
            if other is not None:
                there = Committed(offset, other)
                offset = first_to_call(self._session, number, there, (low, high), self._world)
            else:
                self._report_unlisted(number, committed, metadata, (max(offset, low), high))
            commit = _without_list(offset)
        return self._begin_at(Complete(number, offset, commit), (low, high))

    def _report_unlisted(
        self, number: int, committed: Optional[int], metadata: str, called: Tuple[int, int]
    ) -> None:
        """Say what is known where no list comes with the committed offset. `called`: from where to where."""
        if metadata and committed is not None:
            told = metadata[:80]
            self._world.report("metadata_foreign", partition=number, offset=committed, metadata=told)
        self._look_for_lost_ledger(number, committed, *called)

    def _begin_at(self, complete: Complete, bounds: Tuple[int, int]) -> None:
        low, high = bounds
        number, commit = complete.number, complete.commit
        if commit.next < low:
            self._world.report("lost_by_retention", partition=number, offset=commit.next, until=low)
        partition = self._new(complete, max(commit.next, low), high)
        self._begin_reading_back(Coming(partition, complete, self._terms.care, self._world))

    def _read_pages(self) -> None:
        for number in self._paged.take_hidden():
            self._put_off.put_off(number, KafkaError(KafkaError.UNSTABLE_OFFSET_COMMIT))
        for complete in self._paged.poll(READ_BACK_S) if self._paged else []:
            if self._terms.ledger_topic is None:
                _require_room(self._session.topic, complete)
            with self._put_off.alone(complete.number):
                self._begin_at(complete, self._session.bounds(complete.number, BOUNDS_TIMEOUT_S))

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
        self._put_off.look_again(number)
        if looks >= BEYOND_END_LIMIT:
            raise _beyond_end(self._session.topic, number, mark, high)

    def _new(self, complete: Complete, next_offset: int, high: int) -> Partition:
        number, base, commit = complete[:3]
        limit = self._metadata_limits.get(number, self._terms.metadata_limit)
        topic, max_queued = self._terms.ledger_topic, self._terms.limits.max_queued
        paged = 0 if topic is None else topic.most_heads
        ledger = Ledger(next_offset, max_queued, self.waiting_bytes, limit, self.busy, paged)
        careful = 0 if commit.clean else _careful_calls(commit)
        self._brake.add(number, held=commit.braked)
        last = None if commit.page is None else Written(base, commit.page)
        pages = None if topic is None else Pages(topic, self._session.topic, number, last)
        signature = Signature(self._terms.topic_id, self._terms.owner)
        return Partition(number, ledger, high, careful, pages, signature)

    # --- reading waiting orders back -------------------------------------------------------------

    def _begin_reading_back(self, coming: Coming) -> None:
        number, ledger = coming.partition.number, coming.partition.ledger
        self._coming[number] = coming
        if coming.missing():
            self._recovery.start(number, coming.lone, coming.read_through_from, ledger.next)

    def _read_back(self) -> None:
        """Continue the searches for a moment; ready partitions wait meanwhile."""
        until_s = self._world.clock() + READ_BACK_S
        while self._recovery and self._world.clock() < until_s:
            for found in self._recovery.poll(READ_BACK_S):
                for record in found.records:
                    self._coming[found.partition].take(record)

    def _begins_again(self, coming: Coming) -> bool:
        """Have everything from the first order that is lost with its key on called again; False: none is."""
        start, number = coming.unknown_from, coming.partition.number
        if start is None:
            return False
        low, high = self._session.bounds(number, BOUNDS_TIMEOUT_S)
        for offset, more in coming.missing(start).items():
            self._world.report("waiting_order_lost", partition=number, offset=offset, more=more)
        self.cancel({number})
        self._begin_at(coming.until(start, low), (low, high))
        return True

    # --- ready -----------------------------------------------------------------------------------

    def _is_open(self, coming: Coming) -> bool:
        with self._put_off.alone(coming.partition.number):
            return self._open(coming)
        return False

    def _open(self, coming: Coming) -> bool:
        """Commit the "open" mark and start fetching the partition."""
        partition = coming.partition
        number, ledger = partition.number, partition.ledger
        if self._begins_again(coming) or not self._commit_open(partition):
            return False
        self._session.resume_at(number, ledger.next)
        if coming.is_dated_ahead:
            ledger.touch()  # a new page tells the times of today's clock
        for offset, more in coming.missing().items():
            ledger.touch()  # the next commit must not name a list that still has it
            self._world.report("waiting_order_lost", partition=number, offset=offset, more=more)
        del self._coming[number]
        self._put_off.succeeded(number)
        waiting, careful = ledger.unfinished, bool(partition.careful_left)
        self._world.report(
            "partition_ready", partition=number, offset=ledger.next, waiting=waiting, careful=careful
        )
        return True

    def _commit_open(self, partition: Partition) -> bool:
        braked = self._brake.holds(partition.number)
        statement = partition.commit_again(self._world, clean=False, braked=braked, reach=self._pace.reach)
        settlement = self._session.commit({partition.number: statement.place})
        if settlement.outcome is Outcome.SETTLED:
            partition.ledger.told()
            return True
        if settlement.outcome is Outcome.METADATA_TOO_LARGE:
            raise _unlistable(self._session.topic, partition)
        self._put_off.put_off_all(0.2, settlement.detail)
        return False


def _unlistable(topic: str, partition: Partition) -> SessionLost:
    """The orders listed by an earlier commit no longer fit: the broker's limit was lowered."""
    waiting = plural(len(partition.ledger.heads), "waiting order")
    return SessionLost(
        f"{topic}-{partition.number}: the committed metadata lists {waiting}, more than the broker now "
        "accepts. Nothing was skipped. Raise the broker's offset.metadata.max.bytes to 4096, its default"
    )


def _beyond_end(topic: str, number: int, mark: int, high: int) -> SessionLost:
    """What is committed lies behind the end of the log, and stays there."""
    return SessionLost(
        f"{topic}-{number}: offset {mark} is committed, but the log ends at {high}. "
        "The topic was deleted and recreated, or has lost records. Nothing was skipped. To process "
        "the records it has now, reset the group: kafka-consumer-groups.sh --reset-offsets "
        f"--to-earliest --topic {topic}:{number} --execute"
    )


def _require_room(topic: str, complete: Complete) -> None:
    """Without pages, what a page lists cannot be committed again. Raises SessionLost."""
    number, commit = complete.number, complete.commit
    if len(commit.entries) > capacity(commit.next):
        waiting = plural(len(commit.entries), "waiting order is", "waiting orders are")
        raise SessionLost(
            f"{topic}-{number}: {waiting} listed on a page of the ledger topic, more than "
            "commit metadata has room for. Nothing was skipped. This consumer needs LEDGER_TOPIC, with "
            "the rights to read and write it"
        )


def _without_list(offset: int) -> Commit:
    """What is assumed where nothing was committed, or by somebody else: all before the offset is done."""
    return Commit(offset, [], clean=True, braked=False, alone=None, written_at_s=0)


def _careful_calls(commit: Commit) -> int:
    """How many orders the last owner may have called before it died without committing them."""
    return min(CAREFUL_CALLS, commit.reach or CAREFUL_CALLS)
