"""One unfinished order that a ledger lists, and the orders of its key that queue behind it."""

from collections import deque
from typing import Any, Deque, NamedTuple, Optional, Tuple, Union

from orderflow.errors import Failure
from orderflow.model import ledger_page

IN_COMPANY, ALONE = 1, 2
"""How to call a suspect: with a few other suspects, or with nothing else in flight."""


class Follower(NamedTuple):
    """A record waiting behind the head of its key."""

    record: Any
    offset: int
    size: int


class Head:
    """An unfinished order below `next`, either waiting or in flight."""

    __slots__ = (
        "_failed_before",
        "_key_hash",
        "announced",
        "attempts",
        "began",
        "careful",
        "died_alone",
        "due_s",
        "failure",
        "first_failed_at_ms",
        "followers",
        "key",
        "offset",
        "packed",
        "record",
        "run",
        "size",
        "suspect",
        "trail",
        "voted",
    )

    def __init__(
        self, record: Any, offset: int, key: Optional[bytes], attempts: int = 0, size: int = 0
    ) -> None:
        """`size`: roughly how many bytes of memory the record takes."""
        self.record = record
        self.offset = offset
        self.key = key
        self.attempts = attempts
        self.size = size
        self.due_s: Optional[float] = None
        """When it may be called again, or None while it is in flight."""
        self.followers: Union[Deque[Follower], Tuple[()]] = ()
        self.announced = False
        """It is listed as about to be called: if the process dies now, it may be the cause."""
        self.suspect = 0
        """IN_COMPANY or ALONE if it was announced when a process died and may be the cause, else 0."""
        self.died_alone = False
        """A process died while calling nothing but this order."""
        self.trail = 0
        """How many of its followers may be the cause as well, having run on behind its announcement."""
        self.careful = 0
        """How many calls of its key to announce, because the last owner did not stop cleanly."""
        self.run = 0
        """How many of its followers may run on behind its announcement."""
        self.failure: Optional[Failure] = None
        """What its last call failed of, shortened; None if it has not failed in this process."""
        self.first_failed_at_ms: Optional[int] = None
        """None if it has not failed yet, or failed before this process began, which is nowhere told."""
        self._failed_before = attempts > 0
        self.began: Optional[int] = None
        """The outage brake's count of successes in its partition when it first failed."""
        self.voted = False
        """Its first call counted as evidence of an outage."""
        self.packed: Optional[bytes] = None
        """Its entry on a page, until something changes: a page lists thousands that did not."""
        self._key_hash: Optional[bytes] = None

    def wait_until(self, due_s: float) -> None:
        """It is no longer in flight, and may be called again at `due_s`."""
        self.due_s = due_s
        self.announced = False
        self.run = 0
        self.packed = None

    def take_off(self) -> None:
        """It is in flight now."""
        self.due_s = None
        self.packed = None

    def announce(self) -> None:
        """It is about to be called, once a commit says so."""
        self.announced = True
        self.packed = None

    def let_run(self, run: int) -> None:
        """Up to `run` followers may run on behind its announcement."""
        self.run = run

    def count_call(self) -> None:
        """Count a call before making it, so that a death during it counts."""
        self.attempts += 1
        self.packed = None

    def uncount_call(self) -> None:
        """The counted call was not made."""
        self.attempts -= 1
        self.packed = None

    def failed(self, attempts: int, now_ms: int, failure: Optional[Failure] = None) -> None:
        """Its call number `attempts` failed, of `failure`."""
        self.attempts = attempts
        self.failure = failure
        self.packed = None
        if attempts == 1 and self.first_failed_at_ms is None and not self._failed_before:
            self.first_failed_at_ms = now_ms

    def waits_since(self, at_ms: int) -> bool:
        """Whether it waits for a retry since then at the latest, or since before this process began."""
        first_ms = self.first_failed_at_ms
        return self.due_s is not None and self.attempts > 0 and (first_ms is None or first_ms <= at_ms)

    def first_seen_failing(self, began: int) -> None:
        """Remember the outage brake's count of successes at its first failure."""
        if self.began is None:
            self.began = began

    def vote(self) -> None:
        """Its first call counts as evidence of an outage."""
        self.voted = True

    def start_over(self, began: int) -> None:
        """An outage is over: it gets its full retry budget back."""
        self.attempts, self.began, self.voted = 0, began, False
        self.packed = None

    def call_carefully(self, calls: int) -> None:
        """The last owner did not stop cleanly: announce this many calls of its key."""
        self.careful = calls

    def suspect_of(self, how: int, died_alone: bool, trail: int) -> None:
        """It may have killed the process."""
        self.suspect, self.died_alone, self.trail = how, died_alone, trail
        self.packed = None

    def clear(self) -> None:
        """Its call returned, so it killed no process; its followers still may have."""
        self.suspect, self.died_alone = 0, False
        self.packed = None

    # --- followers -------------------------------------------------------------------------------

    def follow(self, follower: Follower) -> None:
        """One more order queues behind it."""
        if self.followers:
            self.followers.append(follower)
            return
        self.followers = deque([follower])
        self.packed = None

    def succeed(self) -> Optional["Head"]:
        """The head that replaces it and takes over its other followers; None if it has none."""
        if not self.followers:
            return None
        follower = self.followers.popleft()
        head = Head(follower.record, follower.offset, self.key, size=follower.size)
        head.inherit(self)
        return head

    def inherit(self, done: "Head") -> None:
        """Take over the previous head's followers and caution."""
        self.followers = done.followers or ()
        self.careful, self.run = max(0, done.careful - 1), max(0, done.run - 1)

    # --- its entry on a page ---------------------------------------------------------------------

    def entry(self, began_s: float) -> bytes:
        """Its entry on a page. `began_s`: the epoch second at which the clock of due times showed 0."""
        if self.packed is None:
            self.packed = self._packed(began_s)
        return self.packed

    def _packed(self, began_s: float) -> bytes:
        announced, in_company, due_s = self.announced, False, self.due_s
        if self.suspect and not announced:
            announced, in_company, due_s = True, self.suspect == IN_COMPANY, None
        flags = (
            (ledger_page.FOLLOWED if self.followers else 0)
            | (ledger_page.ANNOUNCED if announced else 0)
            | (ledger_page.IN_COMPANY if in_company else 0)
        )
        due_at_s = 0.0 if due_s is None else began_s + due_s
        return ledger_page.entry_bytes(self.offset, due_at_s, self.attempts, flags)

    def forget_entry(self) -> None:
        """It tells a time of day that another clock has: pack it anew."""
        self.packed = None

    def key_hash(self) -> bytes:
        """Tells its followers from other orders, should the log lose the head itself."""
        if self._key_hash is None:
            self._key_hash = ledger_page.key_hash(self.key or b"")
        return self._key_hash
