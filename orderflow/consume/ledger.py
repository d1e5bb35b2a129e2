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
from orderflow.model.commit_metadata import (
    DELAYS_S,
    FORMAT,
    METADATA_LIMIT,
    capacity,
    entry_text,
    reach_digit,
    sealed,
)


class Ledger:
    """One partition's ledger. Its owner records what happens; the ledger never acts by itself."""

    def __init__(
        self,
        next_offset: int,
        max_queued: int = 10_000,
        max_queued_bytes: int = 64 * 1024 * 1024,
        metadata_limit: int = METADATA_LIMIT,
        busy: Optional[Dict[bytes, int]] = None,
    ) -> None:
        """`busy` counts the ledgers in which each key has a head; all ledgers of a process share it."""
        self.next = next_offset
        self.max_queued = max_queued
        self.max_queued_bytes = max_queued_bytes
        self.metadata_limit = metadata_limit
        self.heads: Dict[int, Head] = {}
        self.by_key: Dict[bytes, Head] = {}
        self.suspects: Dict[int, Head] = {}
        """The suspects among the heads, by offset."""
        self.busy: Dict[bytes, int] = {} if busy is None else busy
        self.queued = 0
        self.queued_bytes = 0
        self.changed = False
        """Whether anything has changed since the last commit."""
        self._due: List[Tuple[float, int]] = []
        self._max_heads = capacity(1, metadata_limit)

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

    def admit(self, record: Any, offset: int, key: Optional[bytes], attempts: int = 0) -> Head:
        """List a record as a head in flight. Its key must not have a head yet."""
        head = Head(record, offset, key, attempts)
        self.heads[offset] = head
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

    def release_keys(self) -> None:
        """The partition is given up: its keys no longer count as busy."""
        for key in list(self.by_key):
            self.release_key(key)

    def queue(self, key: bytes, record: Any, offset: int, size: int) -> None:
        """Queue a record behind the head of its key."""
        self.by_key[key].followers.append(Follower(record, offset, size))
        self.queued += 1
        self.queued_bytes += size
        self.changed = True

    def plan_intake(self, offsets: int) -> None:
        """Fix how many heads may be listed while `next` advances by at most `offsets`."""
        self._max_heads = capacity(self.next + offsets - self.commit_point, self.metadata_limit)

    @property
    def room(self) -> int:
        """How many more heads may be listed."""
        return max(0, self._max_heads - len(self.heads))

    @property
    def lists_too_much(self) -> bool:
        """True if more heads were restored than the limit that is known by now has room for."""
        return len(self.heads) > self._max_heads

    @property
    def is_full(self) -> bool:
        """True if one more head or follower may be too many: admit nothing more."""
        return not self.room or self.queued >= self.max_queued or self.queued_bytes >= self.max_queued_bytes

    @property
    def has_room(self) -> bool:
        """True if admitting is worthwhile again: a quarter of each limit is free."""
        return (
            len(self.heads) * 4 <= self._max_heads * 3
            and self.queued * 4 <= self.max_queued * 3
            and self.queued_bytes * 4 <= self.max_queued_bytes * 3
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
        if not head.followers:
            if head.key is not None:
                self.release_key(head.key)
            return None
        follower = head.followers.popleft()
        self.queued -= 1
        self.queued_bytes -= follower.size
        return self._succeed(head, follower)

    def _succeed(self, done: Head, follower: Follower) -> Head:
        head = done.succeed(follower)
        self.heads[head.offset] = head
        if done.trail:
            self.suspect(head, IN_COMPANY, trail=done.trail - 1)
        assert done.key is not None
        self.by_key[done.key] = head
        return head

    def suspect(self, head: Head, how: int, died_alone: bool = False, trail: int = 0) -> None:
        """Suspect a head of having killed the process: it is called as `how` says until a call clears it."""
        head.suspect_of(how, died_alone, trail)
        self.suspects[head.offset] = head

    def clear(self, head: Head) -> None:
        """A call of the head returned, so it is no suspect; its followers may still become one."""
        head.clear()
        self.suspects.pop(head.offset, None)

    def reschedule(self, due_s: float) -> None:
        """Make every waiting head due no later than `due_s`."""
        for head in self.waiting():
            if head.due_s is not None and head.due_s > due_s:
                self.wait(head, due_s)

    def waiting(self) -> Iterator[Head]:
        """The waiting heads, in no particular order."""
        return (head for head in list(self.heads.values()) if head.due_s is not None)

    # --- committing ------------------------------------------------------------------------------

    @property
    def commit_point(self) -> int:
        """The offset to commit: the lowest unfinished one."""
        return min(self.heads) if self.heads else self.next

    @property
    def unfinished(self) -> int:
        """How many records below `next` are unfinished."""
        return len(self.heads) + self.queued

    def metadata(
        self,
        now_s: float,
        time_of_day_s: float,
        clean: bool,
        braked: bool = False,
        alone: Optional[int] = None,
        reach: Optional[int] = None,
    ) -> str:
        """The metadata to commit with `commit_point`. `now_s` is on the same clock as the due times."""
        base = self.commit_point
        if self.lists_too_much:
            # The broker takes less than we thought, and what was restored fitted without these.
            braked, alone, reach = False, None, None
        flags = ("c" if clean else "o") + ("b" if braked else "") + reach_digit(reach)
        alone_at = "" if alone is None else str(alone - base)
        parts = [FORMAT, flags, str(self.next - base), alone_at, str(int(time_of_day_s))]
        return sealed(";".join([*parts, self._entries(base, now_s)]), base)

    def _entries(self, base: int, now_s: float) -> str:
        """A commit may list hundreds of heads, so each text is looked up and no object is created."""
        heads, entry, longest_s = self.heads, entry_text, float(DELAYS_S[-1])
        texts: List[str] = []
        last = base
        for offset in sorted(heads):
            head = heads[offset]
            delay_s = 0.0 if head.due_s is None else head.due_s - now_s
            whole_s = 0 if delay_s <= 0.0 else round(delay_s if delay_s < longest_s else longest_s)
            announced = head.announced
            if head.suspect and not announced:
                announced, whole_s = True, 1 if head.suspect == IN_COMPANY else 0
            step = (offset - last) * 2 + (1 if head.followers else 0)
            texts.append(entry(step, head.attempts, announced, whole_s))
            last = offset
        return "".join(texts)
