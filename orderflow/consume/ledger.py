"""The ledger of one partition: which offsets are finished, which wait, and what to commit.

Three offsets matter:
- `next`: the first offset not admitted yet. Everything below it has been seen.
- a *head*: an unfinished offset below `next`, listed in the metadata.
- the *commit point*: the lowest head, or `next`. Everything below it is finished.

Later orders with a head's key are its *followers*. They are not listed: since orders of a key run one at a
time, every record of that key between the head and `next` is unfinished, and no other record is.
"""

import heapq
from typing import Any, Dict, Iterator, List, Optional, Tuple

from orderflow.consume.head import IN_COMPANY, Follower, Head
from orderflow.consume.waiting_bytes import Share, WaitingBytes
from orderflow.model.commit_metadata import METADATA_LIMIT, capacity

UNLIMITED = 1 << 62


class Ledger:
    """One partition's ledger. Its owner records what happens; the ledger never acts by itself."""

    def __init__(
        self,
        next_offset: int,
        max_queued: int = 100_000,
        waiting_bytes: Optional[WaitingBytes] = None,
        metadata_limit: int = METADATA_LIMIT,
        busy: Optional[Dict[bytes, int]] = None,
        most_paged: int = 0,
    ) -> None:
        """`busy` counts the ledgers in which each key has a head; all ledgers of a process share it.

        They share `waiting_bytes` as well. `most_paged`: how many heads a page can list; 0: no pages.
        """
        self.next = next_offset
        self.max_queued = max_queued
        self.metadata_limit = metadata_limit
        self.most_paged = most_paged
        self.heads: Dict[int, Head] = {}
        self.by_key: Dict[bytes, Head] = {}
        self.suspects: Dict[int, Head] = {}
        """The suspects among the heads, by offset."""
        self.busy: Dict[bytes, int] = {} if busy is None else busy
        self.queued = 0
        self.held = Share(WaitingBytes(UNLIMITED) if waiting_bytes is None else waiting_bytes)
        """The bytes of the heads and their followers."""
        self.changed = False
        """Whether anything has changed since the last commit."""
        self._due: List[Tuple[float, int]] = []
        self._offsets: List[int] = []
        """A heap of the heads' offsets, and of some that are finished."""
        self._max_heads = max(capacity(1, metadata_limit), most_paged)

    def touch(self) -> None:
        """The last commit is uncertain, or something committed along with the ledger changed."""
        self.changed = True

    def told(self) -> None:
        """A commit with the current state is in flight."""
        self.changed = False

    # --- admitting -------------------------------------------------------------------------------

    def advance_to(self, offset: int) -> None:
        """Everything below this offset has been admitted or is not a record."""
        if offset > self.next:
            self.next = offset
            self.changed = True

    def admit(self, record: Any, offset: int, key: Optional[bytes], attempts: int = 0, size: int = 0) -> Head:
        """List a record as a head in flight. Its key must not have a head yet."""
        head = Head(record, offset, key, attempts, size)
        self.heads[offset] = head
        heapq.heappush(self._offsets, offset)
        self.held.add(size)
        self.changed = True
        if key is not None:
            self.by_key[key] = head
            self.busy[key] = self.busy.get(key, 0) + 1
        return head

    def release_key(self, key: bytes) -> None:
        """Stop counting this key as busy: none of its orders is unfinished here."""
        del self.by_key[key]
        ledgers = self.busy[key] - 1
        if ledgers:
            self.busy[key] = ledgers
        else:
            del self.busy[key]

    def release(self) -> None:
        """The partition is given up: its keys no longer count as busy, and its orders take no memory."""
        for key in list(self.by_key):
            self.release_key(key)
        self.held.give_back(self.held.bytes)

    def queue(self, key: bytes, record: Any, offset: int, size: int) -> None:
        """Queue a record behind the head of its key."""
        self.by_key[key].follow(Follower(record, offset, size))
        self.queued += 1
        self.held.add(size)
        self.changed = True

    def plan_intake(self, offsets: int) -> None:
        """Fix how many heads may be listed while `next` advances by at most `offsets`."""
        span = self.next + offsets - self.commit_point
        self._max_heads = max(capacity(span, self.metadata_limit), self.most_paged)

    @property
    def room(self) -> int:
        """How many more heads may be listed."""
        return max(0, self._max_heads - len(self.heads))

    @property
    def lists_too_much(self) -> bool:
        """True if more heads were restored than the limit that is known by now has room for."""
        return len(self.heads) > self._max_heads

    @property
    def limit_reached(self) -> Optional[str]:
        """The limit that admits no more heads or followers, None if all have room."""
        if not self.room:
            return "heads"
        if self.queued >= self.max_queued:
            return "queued"
        return "bytes" if self.held.of.are_spent else None

    @property
    def has_room(self) -> bool:
        """True if admitting is worthwhile again: a quarter of each limit is free."""
        return (
            len(self.heads) * 4 <= self._max_heads * 3
            and self.queued * 4 <= self.max_queued * 3
            and self.held.of.have_room
        )

    # --- waiting and finishing -------------------------------------------------------------------

    def wait(self, head: Head, due_s: float) -> None:
        """Have a head wait until `due_s`. Its followers wait with it; nothing else does."""
        self.changed = True
        self.postpone(head, due_s)

    def postpone(self, head: Head, due_s: float) -> None:
        """Have a head that was not called wait a little longer; this needs no commit."""
        head.wait_until(due_s)
        heapq.heappush(self._due, (due_s, head.offset))

    def next_due_s(self) -> Optional[float]:
        """When the first waiting head is due, or None if none is waiting."""
        while self._due:
            due_s, offset = self._due[0]
            head = self.heads.get(offset)
            if head is not None and head.due_s == due_s:
                return due_s
            heapq.heappop(self._due)
        return None

    def take_due(self, now_s: float) -> Optional[Head]:
        """Take the head that has been due longest; it is then in flight. None if none is due."""
        due_s = self.next_due_s()
        if due_s is None or due_s > now_s:
            return None
        head = self.heads[heapq.heappop(self._due)[1]]
        head.take_off()
        return head

    def finish(self, head: Head) -> Optional[Head]:
        """The head is processed or dead-lettered. Returns its next follower, now in flight, or None."""
        self.changed = True
        del self.heads[head.offset]
        self.suspects.pop(head.offset, None)
        self.held.give_back(head.size)
        following = head.succeed()
        if following is not None:
            self.queued -= 1
            self._replace(head, following)
        elif head.key is not None:
            self.release_key(head.key)
        return following

    def _replace(self, done: Head, head: Head) -> None:
        self.heads[head.offset] = head
        heapq.heappush(self._offsets, head.offset)
        if done.trail:
            self.suspect(head, IN_COMPANY, trail=done.trail - 1)
        assert done.key is not None
        self.by_key[done.key] = head

    def suspect(self, head: Head, how: int, died_alone: bool = False, trail: int = 0) -> None:
        """Suspect a head of having killed the process: it is called as `how` says until a call clears it."""
        head.suspect_of(how, died_alone, trail)
        self.suspects[head.offset] = head

    def clear(self, head: Head) -> None:
        """A call of the head returned, so it is no suspect; its followers may still become one."""
        head.clear()
        self.suspects.pop(head.offset, None)

    def bring_forward(self, head: Head, due_s: float) -> None:
        """Make a waiting head due no later than `due_s`."""
        if head.due_s is not None and head.due_s > due_s:
            self.wait(head, due_s)

    def waiting(self) -> Iterator[Head]:
        """The waiting heads, in no particular order."""
        return (head for head in list(self.heads.values()) if head.due_s is not None)

    # --- committing ------------------------------------------------------------------------------

    @property
    def commit_point(self) -> int:
        """The offset to commit: the lowest unfinished one."""
        offsets, heads = self._offsets, self.heads
        while offsets and offsets[0] not in heads:
            heapq.heappop(offsets)
        return offsets[0] if offsets else self.next

    @property
    def unfinished(self) -> int:
        """How many records below `next` are unfinished."""
        return len(self.heads) + self.queued

    def limit_metadata(self, limit: int) -> None:
        """The broker accepts no more than this many bytes."""
        self.metadata_limit = limit
        self.touch()
