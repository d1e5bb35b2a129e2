"""One partition while it is restored: takes the records that its commit lists, and those behind them."""

from typing import Dict, List, Mapping, Optional

from orderflow.consume import caution
from orderflow.consume.head import Head
from orderflow.consume.paged_commits import Complete
from orderflow.consume.partition import Partition
from orderflow.consume.waiting_bytes import size_of
from orderflow.consume.world import World
from orderflow.model.commit_metadata import Entry
from orderflow.model.ledger_page import key_hash
from orderflow.model.records import Message


class Coming:
    """A partition being restored."""

    def __init__(self, partition: Partition, complete: Complete, care: caution.Care, world: World) -> None:
        """`care`: how many followers of a head to call carefully after a death."""
        self.partition = partition
        self._complete = complete
        self._commit = complete.commit
        self._care = care
        self._world = world
        self._entries: Dict[int, Entry] = {entry.offset: entry for entry in complete.commit.entries}
        """Orders listed as waiting that have not been read back yet."""
        self._suspicions = caution.judge(complete.commit)
        self._key_hashes = complete.key_hashes
        self._by_hash: Mapping[bytes, int] = {told: offset for offset, told in complete.key_hashes.items()}

    # --- what is wanted --------------------------------------------------------------------------

    @property
    def read_through_from(self) -> Optional[int]:
        """The offset from which every record is wanted, since it may be a follower."""
        return next((entry.offset for entry in self._entries.values() if entry.has_followers), None)

    @property
    def lone(self) -> List[int]:
        """The offsets before that one which are wanted."""
        through = self.read_through_from
        return [offset for offset in self._entries if through is None or offset < through]

    def missing(self, since: int = 0) -> Dict[int, bool]:
        """Orders that were listed but not found, and whether unknown others had queued behind them."""
        return {
            offset: entry.has_followers and offset not in self._key_hashes
            for offset, entry in self._entries.items()
            if offset >= since
        }

    @property
    def unknown_from(self) -> Optional[int]:
        """The first lost order whose followers cannot be told from finished orders; None: there is none."""
        return min((offset for offset, more in self.missing().items() if more), default=None)

    @property
    def is_dated_ahead(self) -> bool:
        """Whether the page tells times of a clock that has been set back since."""
        return self._complete.page_written_at_s > self._world.time_of_day()

    def until(self, start: int, low: int) -> Complete:
        """The commit as if no order from `start` on had been seen; the log begins at `low`.

        What queued behind a lost order cannot be told from what is finished, so at most the promise of "once"
        is lost.
        """
        commit = self._commit
        entries = [entry for entry in commit.entries if entry.offset < start]
        alone = commit.alone if commit.alone is not None and commit.alone < start else None
        return self._complete._replace(
            commit=commit._replace(next=max(start, low), entries=entries, alone=alone)
        )

    # --- what is found ---------------------------------------------------------------------------

    def take(self, record: Message) -> None:
        """A record: listed, or behind one that is, or of no concern."""
        entry = self._entries.pop(record.offset(), None)
        if entry is not None:
            self._list(entry, record)
            return
        ledger, key = self.partition.ledger, record.key()
        if key is not None and key in ledger.by_key:
            ledger.queue(key, record, record.offset(), size_of(record))
        elif self._has_lost_head_of(key, record.offset()):
            head = ledger.admit(record, record.offset(), key, size=size_of(record))
            ledger.wait(head, self._world.clock())

    def _has_lost_head_of(self, key: Optional[bytes], offset: int) -> bool:
        """Whether this record queued behind a listed head that is no longer in the log."""
        if not self._by_hash or key is None:
            return False
        head = self._by_hash.get(key_hash(key))
        return head is not None and head in self._entries and head < offset

    def _list(self, entry: Entry, record: Message) -> None:
        partition, key = self.partition, record.key()
        # A late record was listed beside a head of its key, so it waits on its own.
        key = None if key in partition.ledger.by_key else key
        head = partition.ledger.admit(record, entry.offset, key, entry.attempts, size_of(record))
        if not self._commit.clean:
            head.call_carefully(self._care.followers)
        suspicion = self._suspicions.get(entry.offset)
        if suspicion is not None:
            partition.ledger.suspect(head, suspicion.how, suspicion.died_alone, self._care.trail)
        if head.died_alone:
            partition.mark_alone(head.offset)
        partition.ledger.wait(head, self._world.clock() + self._still_to_wait_s(entry, head))

    def _still_to_wait_s(self, entry: Entry, head: Head) -> float:
        if head.suspect:
            return 0.0
        passed_s = max(0.0, self._world.time_of_day() - self._commit.written_at_s)
        return max(0.0, entry.delay_s - passed_s)
