"""The offset ledger of one partition: what is finished, what waits, and what to commit.

Owns: the high-water mark, the heads (orders that wait or are in flight), the followers queued
behind a head of their key, the commit point and the text of the commit's metadata.
Does not know: Kafka's client, the clock, what an order is, why one failed.
Used by: processor (one ledger a partition), and dlq_handler's `waiting` (reads the metadata).

Three offsets matter:
- `next`: the first offset never taken in. Everything below it was seen.
- a *head*: an offset below `next` that is not finished, and is listed in the metadata.
- the *commit point*: the lowest head, or `next`. Everything below it is finished.
Later orders of a head's key are its *followers*. They are not listed: with one order of a key at a
time, every record of that key between the head and `next` is unfinished, and nothing else is.
"""

import heapq
import re
from bisect import bisect_left
from collections import deque
from functools import lru_cache
from math import log2
from typing import Any, Deque, Dict, Iterator, List, NamedTuple, Optional, Tuple
from zlib import crc32

METADATA_LIMIT = 4000
"""Bytes of metadata that a broker takes at its default of `offset.metadata.max.bytes` (4,096)."""

MAX_ATTEMPTS = 31
"""The most attempts that an entry of the metadata can count."""

FORMAT = "of1"
HEADER_LIMIT = 69
"""Bytes of metadata beside the entries, at most: two offsets of 19 digits, a time of 10, the check."""
REACHES = [100 << power for power in range(9)]
"""The reaches that one digit can name."""
DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
DIGIT_VALUES = {digit: value for value, digit in enumerate(DIGITS)}

DELAYS_S = [*range(32), *(round(32 * 1.36**step) for step in range(32))]
"""The delays that one digit can name: exact up to 31 s, then in steps of a third, to about 5 days."""


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
        "announced", "attempts", "began", "careful", "died_alone", "due_s", "first_failed_at_ms",
        "followers", "key", "offset", "record", "run", "suspect", "trail", "voted",
    )  # fmt: skip

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


class Entry(NamedTuple):
    """A head as the metadata lists it."""

    offset: int
    attempts: int
    delay_s: int
    has_followers: bool = False
    announced: bool = False


class Commit(NamedTuple):
    """What the metadata of a committed offset says of its partition."""

    next: int
    entries: List[Entry]
    clean: bool
    braked: bool
    alone: Optional[int]
    """The offset that was called alone when this was committed, or that died so and was not called since."""
    written_at_s: int
    reach: Optional[int] = None
    """About so many orders beyond `next` may be called before the next commit. None: not known."""


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
        self._due: List[Tuple[float, int]] = []
        self._max_heads = capacity(1, metadata_limit)

    # --- taking in -------------------------------------------------------------------------------

    def take_in(self, record: Any, offset: int, key: Optional[bytes], attempts: int = 0) -> Head:
        """List a record as a head in flight. Its key must not have one yet."""
        head = Head(record, offset, key, attempts)
        self.heads[offset] = head
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

    def queue(self, key: bytes, record: Any, offset: int, size: int) -> None:
        """Keep a record behind the head of its key."""
        self.by_key[key].followers.append(Follower(record, offset, size))
        self.queued += 1
        self.queued_bytes += size

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
        return (
            not self.room
            or self.queued >= self.max_queued
            or self.queued_bytes >= self.max_queued_bytes
        )

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
        head.due_s = due_s
        head.announced = False
        head.run = 0
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
        head.due_s = None
        return head

    def finish(self, head: Head) -> Optional[Head]:
        """The head is processed or dead-lettered. Its next follower, now in flight, or None."""
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
        head = Head(follower.record, follower.offset, done.key)
        head.followers = done.followers
        head.careful, head.run = max(0, done.careful - 1), max(0, done.run - 1)
        self.heads[head.offset] = head
        if done.trail:
            self.suspect(head, IN_COMPANY, trail=done.trail - 1)
        assert done.key is not None
        self.by_key[done.key] = head
        return head

    def suspect(self, head: Head, how: int, died_alone: bool = False, trail: int = 0) -> None:
        """Suspect a head of having ended the process: it is called as `how` says until a call clears it."""
        head.suspect, head.died_alone, head.trail = how, died_alone, trail
        self.suspects[head.offset] = head

    def clear(self, head: Head) -> None:
        """A call of the head came to its end, so it is no suspect; those behind it may still become one."""
        head.suspect, head.died_alone = 0, False
        self.suspects.pop(head.offset, None)

    def take(self, head: Head) -> None:
        """A head that waits is in flight from now on, whether its time has come or not."""
        head.due_s = None

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
        flags = ("c" if clean else "o") + ("b" if braked else "") + _reach_digit(reach)
        alone_at = "" if alone is None else str(alone - base)
        parts = [FORMAT, flags, str(self.next - base), alone_at, str(int(time_of_day_s))]
        return _sealed(";".join([*parts, self._entries(base, now_s)]), base)

    def _entries(self, base: int, now_s: float) -> str:
        """Runs over hundreds of heads a commit, so the text of each is looked up, and no object is built."""
        heads, entry, longest_s = self.heads, _entry, float(DELAYS_S[-1])
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


# --- the metadata's text -----------------------------------------------------------------------------
#
#   of1;<flags>;<next - offset>;<alone - offset, or empty>;<written at>;<entries>;<check>
#
# flags: o(pen) or c(lean), then b where the outage brake holds, then a digit for the reach (REACHES)
# where it is known. Numbers are decimal.
# An entry, in offset order: the distance from the one before, doubled, plus 1 with followers, in
# digits of 5 bits, low first, the sixth bit set while more follow; one digit of attempts, doubled,
# plus 1 if announced; one digit of delay (DELAYS_S). An announced entry with a delay is not being
# called: it was, when a process died, and still has to be called IN_COMPANY. The check is the CRC-32,
# in hex, of the committed offset and all before it: a text that was cut, or that a mirror carried over
# to the offset of another cluster, would list too little, and what is not listed counts as finished.
# The check keeps nobody from forging a text. So what is read is bounded: offsets that can exist, times
# of ten digits, no longer than we write. All else counts as foreign.


TEXT = re.compile(
    rf"{FORMAT};([co])(b?)([0-8]?);([0-9]{{1,19}});([0-9]{{0,19}});([0-9]{{1,10}});([A-Za-z0-9_-]*);[0-9a-f]{{8}}",
    re.ASCII,
)
"""Whatever is longer, or spelt otherwise, was not written here: anyone who may commit may forge a text."""
MAX_OFFSET = 2**63 - 1
LONGEST_NUMBER = 13
"""Digits of 5 bits that a doubled distance between two offsets takes."""


def _reach_digit(reach: Optional[int]) -> str:
    """The digit of the smallest reach that can be named and is no less, or of the largest there is."""
    return "" if reach is None else str(min(bisect_left(REACHES, reach), len(REACHES) - 1))


def _sealed(body: str, base: int) -> str:
    return f"{body};{crc32(f'{base};{body}'.encode()):08x}"


def read_metadata(text: str, base: int) -> Optional[Commit]:
    """What the metadata of the committed offset `base` says; None where it is not ours to read."""
    try:
        return _read(text, base)
    except ValueError:
        return None


def _read(text: str, base: int) -> Commit:
    found = TEXT.fullmatch(text) if len(text) <= METADATA_LIMIT else None
    if found is None or text != _sealed(text.rpartition(";")[0], base):
        raise ValueError(text)
    state, brake, reach, span, alone, written_at_s, entries = found.groups()
    commit = Commit(
        next=base + int(span),
        entries=list(_read_entries(entries, base)),
        clean=state == "c",
        braked=bool(brake),
        alone=base + int(alone) if alone else None,
        written_at_s=int(written_at_s),
        reach=REACHES[int(reach)] if reach else None,
    )
    if not _is_sound(commit, base):
        raise ValueError(text)
    return commit


def _is_sound(commit: Commit, base: int) -> bool:
    """A commit that could make a record skip is not ours: offsets rise, begin at the base, and exist."""
    offsets = [entry.offset for entry in commit.entries]
    first = offsets[0] if offsets else commit.next
    rising = all(low < high for low, high in zip(offsets, [*offsets[1:], commit.next]))
    known = commit.alone is None or base <= commit.alone < commit.next
    return first == base and rising and known and 0 <= base <= commit.next <= MAX_OFFSET


@lru_cache(maxsize=20_000)
def _entry(step: int, attempts: int, announced: bool, delay_s: int) -> str:
    """The text of one entry. Looked up mostly, since they are much alike."""
    return _number(step) + DIGITS[min(attempts, MAX_ATTEMPTS) * 2 + announced] + _delay(delay_s)


def _number(number: int) -> str:
    digits = ""
    while number > 31:
        digits += DIGITS[32 + (number & 31)]
        number >>= 5
    return digits + DIGITS[number]


def _delay(delay_s: int) -> str:
    """The digit of the shortest delay that can be named and is not shorter, or of the longest there is."""
    return DIGITS[min(bisect_left(DELAYS_S, delay_s), len(DELAYS_S) - 1)]


def _read_entries(text: str, base: int) -> Iterator[Entry]:
    values = iter([DIGIT_VALUES[digit] for digit in text])
    last = base
    for digit in values:
        step = _read_number(digit, values)
        attempts, delay = next(values, None), next(values, None)
        if attempts is None or delay is None:
            raise ValueError("cut off")
        last += step >> 1
        yield Entry(last, attempts >> 1, DELAYS_S[delay], bool(step & 1), bool(attempts & 1))


def _read_number(digit: int, values: Iterator[int]) -> int:
    number, shift = digit & 31, 5
    while digit >= 32:
        following = next(values, None)
        if following is None or shift >= 5 * LONGEST_NUMBER:
            raise ValueError("cut off, or no distance between two offsets")
        digit = following
        number |= (digit & 31) << shift
        shift += 5
    return number


# --- how many heads fit ------------------------------------------------------------------------------


def capacity(span: int, limit: int = METADATA_LIMIT) -> int:
    """How many heads fit into `limit` bytes wherever they stand in `span` offsets; at least 1.

    A number v takes at most 1 + log32(v) digits, which is concave, so n distances that add up to
    the span take at most n digits each of their mean. That bound depends on the count and the span
    alone: a head that finishes and is replaced by a follower can never make the text too long.
    """
    return _capacity(max(span, 1).bit_length(), limit)


_capacities: Dict[Tuple[int, int], int] = {}


def _capacity(span_bits: int, limit: int) -> int:
    known = _capacities.get((span_bits, limit))
    if known is None:
        known = _capacities[span_bits, limit] = _search_capacity(2**span_bits, limit - HEADER_LIMIT)
    return known


def _search_capacity(span: int, room: int) -> int:
    low, high = 1, max(1, room // 3) + 1
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (middle, high) if _worst_size(middle, span) <= room else (low, middle)
    return low


def _worst_size(count: int, span: int) -> float:
    return count * (3 + log2(2 * span / count + 2) / 5)
