"""One unfinished order that a ledger lists, and the orders of its key that queue behind it."""

from collections import deque
from typing import Any, Deque, NamedTuple, Optional

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
        self.first_failed_at_ms: Optional[int] = None
        self.began: Optional[int] = None
        """The outage brake's count of successes in its partition when it first failed."""
        self.voted = False
        """Its first call counted as evidence of an outage."""

    def wait_until(self, due_s: float) -> None:
        """It is no longer in flight, and may be called again at `due_s`."""
        self.due_s = due_s
        self.announced = False
        self.run = 0

    def take_off(self) -> None:
        """It is in flight now."""
        self.due_s = None

    def announce(self) -> None:
        """It is about to be called, once a commit says so."""
        self.announced = True

    def let_run(self, run: int) -> None:
        """Up to `run` followers may run on behind its announcement."""
        self.run = run

    def count_call(self) -> None:
        """Count a call before making it, so that a death during it counts."""
        self.attempts += 1

    def uncount_call(self) -> None:
        """The counted call was not made."""
        self.attempts -= 1

    def failed(self, attempts: int, now_ms: int) -> None:
        """Its call number `attempts` failed."""
        self.attempts = attempts
        if attempts == 1 and self.first_failed_at_ms is None:
            self.first_failed_at_ms = now_ms

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

    def call_carefully(self, calls: int) -> None:
        """The last owner did not stop cleanly: announce this many calls of its key."""
        self.careful = calls

    def suspect_of(self, how: int, died_alone: bool, trail: int) -> None:
        """It may have killed the process."""
        self.suspect, self.died_alone, self.trail = how, died_alone, trail

    def clear(self) -> None:
        """Its call returned, so it killed no process; its followers still may have."""
        self.suspect, self.died_alone = 0, False

    def succeed(self, follower: Follower) -> "Head":
        """The head that replaces it and takes over its followers."""
        head = Head(follower.record, follower.offset, self.key)
        head.inherit(self)
        return head

    def inherit(self, done: "Head") -> None:
        """Take over the previous head's followers and caution."""
        self.followers = done.followers
        self.careful, self.run = max(0, done.careful - 1), max(0, done.run - 1)
