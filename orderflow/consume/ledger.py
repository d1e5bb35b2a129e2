"""The offset ledger of one partition: what is finished, what waits, and what to commit.

Three offsets matter:
- `next`: the first offset that was never admitted. Everything below it was seen.
- a *head*: an offset below `next` that is not finished, and is listed in the metadata.
- the *commit point*: the lowest head, or `next`. Everything below it is finished.

Later orders with a head's key are its *followers*. They are not listed: with one order of a key at a time,
every record of that key between the head and `next` is unfinished, and nothing else is.
"""

import heapq
from collections import deque
from typing import Any, Deque, Dict, Iterator, List, NamedTuple, Optional, Tuple

from orderflow.model.commit_metadata import (
    DELAYS_S,
    FORMAT,
    METADATA_LIMIT,
    capacity,
    entry_text,
    reach_digit,
    sealed,
)

IN_COMPANY, ALONE = 1, 2
"""How a head under suspicion is called: with a few others of its kind, or with nothing else in flight."""


class Follower(NamedTuple):
    """A record that waits behind the head of its key."""

    record: Any
    offset: int
    size: int


class Head:
    """One unfinished order below `next`: it waits for its time, or it is in flight."""

    __slots__ = (
        "announced",
        "attempts",
        "began",
        "careful",
        "died_alone",
        "due_s",
        "first_failed_at_ms",
        "followers",
        "key",
        "offset",
        "record",
        "run",
        "suspect",
        "trail",
        "voted",
    )

    def __init__(self, record: Any, offset: int, key: Optional[bytes], attempts: int = 0) -> None:
        self.record = record
        self.offset = offset
        self.key = key
        self.attempts = attempts
        self.due_s: Optional[float] = None
        """When it may be called again, or None while it is in flight."""
        self.followers: Deque[Follower] = deque()
        self.announced = False
        """It is listed as about to be called: should the process die now, it may be the cause."""
        self.suspect = 0
        """It was announced when a process died, and may be the cause: IN_COMPANY or ALONE. 0: it is not."""
        self.died_alone = False
        """A process died while nothing but this was called."""
        self.trail = 0
        """This many orders behind it may be the cause as well, since they ran on behind its announcement."""
        self.careful = 0
        """The last owner did not stop properly: this many calls of its key are announced."""
        self.run = 0
        """This many orders behind it may run on behind its announcement."""
        self.first_failed_at_ms: Optional[int] = None
        self.began: Optional[int] = None
        """How many successes of its partition the outage brake had noted when it first failed."""
        self.voted = False
        """Its first call was evidence of an outage."""

    def wait_until(self, due_s: float) -> None:
        """It is not in flight any more, and may be called again then."""
        self.due_s = due_s
        self.announced = False
        self.run = 0

    def take_off(self) -> None:
        """It is in flight from now on."""
        self.due_s = None

    def announce(self) -> None:
        """It is about to be called, and a commit is to say so first."""
        self.announced = True

    def let_run(self, run: int) -> None:
        """Up to `run` orders of its key may run on behind its announcement."""
        self.run = run

    def count_call(self) -> None:
        """A call is counted before it is made, so that a death in it counts."""
        self.attempts += 1

    def uncount_call(self) -> None:
        """The call that was counted was not made."""
        self.attempts -= 1

    def failed(self, attempts: int, now_ms: int) -> None:
        """Its call number `attempts` failed."""
        self.attempts = attempts
        if attempts == 1 and self.first_failed_at_ms is None:
            self.first_failed_at_ms = now_ms

    def first_seen_failing(self, began: int) -> None:
        """The outage brake had noted that many successes when it first failed."""
        if self.began is None:
            self.began = began

    def vote(self) -> None:
        """Its first call is evidence of an outage."""
        self.voted = True

    def start_over(self, began: int) -> None:
        """An outage is over: it has its whole budget again."""
        self.attempts, self.began, self.voted = 0, began, False

    def call_carefully(self, calls: int) -> None:
        """The last owner did not stop properly: announce this many calls of its key."""
        self.careful = calls

    def suspect_of(self, how: int, died_alone: bool, trail: int) -> None:
        """It may have ended the process."""
        self.suspect, self.died_alone, self.trail = how, died_alone, trail

    def clear(self) -> None:
        """A call of it returned, so it ended no process; those behind it may still have."""
        self.suspect, self.died_alone = 0, False

    def succeed(self, follower: Follower) -> "Head":
        """The head that takes its place, with all that waits behind."""
        head = Head(follower.record, follower.offset, self.key)
        head.inherit(self)
        return head

    def inherit(self, done: "Head") -> None:
        """Take over the queue and the caution of the head before."""
        self.followers = done.followers
        self.careful, self.run = max(0, done.careful - 1), max(0, done.run - 1)


class Ledger:
    """One partition's book. Its owner tells it what happens; it never acts by itself."""

    def __init__(
        self,
        next_offset: int,
        max_queued: int = 10_000,
        max_queued_bytes: int = 64 * 1024 * 1024,
        metadata_limit: int = METADATA_LIMIT,
        busy: Optional[Dict[bytes, int]] = None,
    ) -> None:
        """`busy` counts the ledgers in which a key has a head; ledgers of one process share it."""
        self.next = next_offset
        self.max_queued = max_queued
        self.max_queued_bytes = max_queued_bytes
        self.metadata_limit = metadata_limit
        self.heads: Dict[int, Head] = {}
        self.by_key: Dict[bytes, Head] = {}
        self.suspects: Dict[int, Head] = {}
        """The heads under suspicion, by offset, as in `heads`."""
        self.busy: Dict[bytes, int] = {} if busy is None else busy
        self.queued = 0
        self.queued_bytes = 0
        self.changed = False
        """Whether there is anything that the last commit did not say."""
        self._due: List[Tuple[float, int]] = []
        self._max_heads = capacity(1, metadata_limit)

    def touch(self) -> None:
        """What was said of it in a commit is not certain, or something beside it changed."""
        self.changed = True

    def told(self) -> None:
        """A commit that says everything is on its way."""
        self.changed = False

    # --- admitting -------------------------------------------------------------------------------

    def advance_to(self, offset: int) -> None:
        """Everything below this offset was admitted, or is no record."""
        if offset > self.next:
            self.next = offset
            self.changed = True

    def admit(self, record: Any, offset: int, key: Optional[bytes], attempts: int = 0) -> Head:
        """List a record as a head in flight. Its key must not have one yet."""
        head = Head(record, offset, key, attempts)
        self.heads[offset] = head
        self.changed = True
        if key is not None:
            self.by_key[key] = head
            self.busy[key] = self.busy.get(key, 0) + 1
        return head

    def release_key(self, key: bytes) -> None:
        """Nothing of this key is unfinished here any more."""
        del self.by_key[key]
        ledgers = self.busy[key] - 1
        if ledgers:
            self.busy[key] = ledgers
        else:
            del self.busy[key]

    def release_keys(self) -> None:
        """The partition is given up: its keys are free for the other ledgers."""
        for key in list(self.by_key):
            self.release_key(key)

    def queue(self, key: bytes, record: Any, offset: int, size: int) -> None:
        """Keep a record behind the head of its key."""
        self.by_key[key].followers.append(Follower(record, offset, size))
        self.queued += 1
        self.queued_bytes += size
        self.changed = True

    def plan_intake(self, offsets: int) -> None:
        """Fix how many heads may be listed while `next` rises by at most `offsets`."""
        self._max_heads = capacity(self.next + offsets - self.commit_point, self.metadata_limit)

    @property
    def room(self) -> int:
        """How many more heads may be listed."""
        return max(0, self._max_heads - len(self.heads))

    @property
    def is_full(self) -> bool:
        """True where one more head or follower may be one too many: take in nothing more."""
        return not self.room or self.queued >= self.max_queued or self.queued_bytes >= self.max_queued_bytes

    @property
    def has_room(self) -> bool:
        """True where it is worth taking in again: a quarter of each limit is free."""
        return (
            len(self.heads) * 4 <= self._max_heads * 3
            and self.queued * 4 <= self.max_queued * 3
            and self.queued_bytes * 4 <= self.max_queued_bytes * 3
        )

    # --- waiting and finishing -------------------------------------------------------------------

    def wait(self, head: Head, due_s: float) -> None:
        """Let a head wait until `due_s`. Its followers wait with it; nothing else does."""
        self.changed = True
        self.postpone(head, due_s)

    def postpone(self, head: Head, due_s: float) -> None:
        """Let a head that was not called wait a little longer; no commit need say so."""
        head.wait_until(due_s)
        heapq.heappush(self._due, (due_s, head.offset))

    def next_due_s(self) -> Optional[float]:
        """When the first waiting head is due, or None where none waits."""
        while self._due:
            due_s, offset = self._due[0]
            head = self.heads.get(offset)
            if head is not None and head.due_s == due_s:
                return due_s
            heapq.heappop(self._due)
        return None

    def take_due(self, now_s: float) -> Optional[Head]:
        """The head that is due longest, now in flight; None where none is due."""
        due_s = self.next_due_s()
        if due_s is None or due_s > now_s:
            return None
        head = self.heads[heapq.heappop(self._due)[1]]
        head.take_off()
        return head

    def finish(self, head: Head) -> Optional[Head]:
        """The head is processed or dead-lettered. Its next follower, now in flight, or None."""
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
        """Suspect a head of having ended the process: it is called as `how` says until a call clears it."""
        head.suspect_of(how, died_alone, trail)
        self.suspects[head.offset] = head

    def clear(self, head: Head) -> None:
        """A call of the head came to its end, so it is no suspect; those behind it may still become one."""
        head.clear()
        self.suspects.pop(head.offset, None)

    def reschedule(self, due_s: float) -> None:
        """Make every waiting head due at `due_s` at the latest."""
        for head in self.waiting():
            if head.due_s is not None and head.due_s > due_s:
                self.wait(head, due_s)

    def waiting(self) -> Iterator[Head]:
        """The heads that wait for their time, in no order."""
        return (head for head in list(self.heads.values()) if head.due_s is not None)

    # --- committing ------------------------------------------------------------------------------

    @property
    def commit_point(self) -> int:
        """The offset to commit: the lowest that is not finished."""
        return min(self.heads) if self.heads else self.next

    @property
    def unfinished(self) -> int:
        """How many records below `next` are not finished."""
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
        """The text to commit with `commit_point`. `now_s` is of the clock that the due times are of."""
        base = self.commit_point
        flags = ("c" if clean else "o") + ("b" if braked else "") + reach_digit(reach)
        alone_at = "" if alone is None else str(alone - base)
        parts = [FORMAT, flags, str(self.next - base), alone_at, str(int(time_of_day_s))]
        return sealed(";".join([*parts, self._entries(base, now_s)]), base)

    def _entries(self, base: int, now_s: float) -> str:
        """Runs over hundreds of heads a commit, so the text of each is looked up, and no object is built."""
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
