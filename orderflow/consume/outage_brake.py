"""The outage brake: it keeps an outage from flooding the dead letters.

Pure: it is given every outcome and the time, and says which partitions to hold back.
"""

from collections import deque
from typing import Deque, Dict, List, NamedTuple, Optional, Set

from orderflow.consume.key_brake import FailingKey

VOTE = 2
"""Evidence from an order's failed first call, once per key until that key succeeds."""
BUDGET = 16
"""Evidence from an order of a failing key that uses up its retries, if nothing has succeeded meanwhile."""
REPEAT = 1
"""The same for an order that got a single call."""
SUCCESS = 18
"""What a success subtracts: unless nine in ten calls fail, the evidence does not grow."""
OUTAGE = 90
"""The evidence at which an outage is assumed: 45 votes without a success."""
IN_A_ROW = 3
"""A partition is failing now after this many failed calls in a row, retries included."""
RELEASE_CALLS, RELEASE_SUCCESSES = 4, 2
"""A held partition is released when this many of its last calls succeeded."""


class FailedCall(NamedTuple):
    """What the outage brake needs to know about a failed call."""

    first: bool
    """It was the order's first call in this process."""
    last: bool = False
    """The order has no retries left."""
    retried: bool = False
    """The order had been called before."""
    voted: bool = False
    """Its first call counted as evidence."""
    began: Optional[int] = 0
    """Its partition's count of noted successes when the order first failed here; None: that is just now."""
    known: Optional[FailingKey] = None
    """Its key, if that was already failing."""


class _Part:
    """The brake's state for one partition."""

    __slots__ = (
        *("evidence", "failed", "held", "is_fresh", "is_hearsay", "pending", "probe_at_s", "probes"),
        "successes",
    )

    def __init__(self) -> None:
        self.held = False
        self.is_hearsay = False
        """The last owner held it, and no call has told us anything yet."""
        self.is_fresh = True
        """No call has succeeded or failed yet."""
        self.evidence = 0
        self.pending = 0
        """Evidence since the last success that has not been pooled yet."""
        self.failed = 0
        """Failed calls in a row."""
        self.successes = 0
        """Noted successes: not all of them, but at least one after each failure."""
        self.probes: Deque[bool] = deque(maxlen=RELEASE_CALLS)
        self.probe_at_s = 0.0

    def hold(self) -> None:
        self.held, self.is_fresh = True, False
        self.probes.clear()
        self.probe_at_s = 0.0

    def hold_by_hearsay(self) -> None:
        self.is_hearsay = True

    def probe_failed(self) -> None:
        self.probes.append(False)
        self.is_hearsay = False

    def fail(self, counts: int) -> int:
        """Count one more failed call; returns the evidence to pool."""
        self.is_fresh = False
        self.failed += 1
        self.evidence += counts
        self.pending += counts
        if not self.fails_now:
            return 0
        pooled, self.pending = self.pending, 0
        return pooled

    def succeed(self, calls: int) -> None:
        self.successes += calls
        self.probe_at_s = 0.0
        self.is_hearsay = False
        if self.held:
            self.probes.extend([True] * min(calls, RELEASE_CALLS))
        else:
            self.evidence = max(0, self.evidence - SUCCESS * calls)

    def release(self) -> None:
        self.held, self.evidence = False, 0

    def calm(self) -> None:
        """Failures before the last success no longer count as failing now."""
        self.failed = self.pending = 0
        self.is_fresh = False

    def probe_next(self, at_s: float) -> None:
        self.probe_at_s = at_s

    @property
    def may_be_released(self) -> bool:
        return self.probes.count(True) >= RELEASE_SUCCESSES

    @property
    def fails_now(self) -> bool:
        return self.failed >= (IN_A_ROW if self.successes else 1)

    @property
    def is_calm(self) -> bool:
        return not (self.held or self.is_fresh or self.evidence or self.failed)


class OutageBrake:
    """Tells an outage of something the handler depends on from faults in single orders, per partition.

    The rule: the evidence is failed first calls. Each key counts once until it succeeds, since further
    failures of a key only tell us about that key; an order without a key counts by itself. Retries are not
    evidence: poison at the end of a topic keeps failing while no fresh order does. Nor are orders the
    handler never saw, or ones it asked to have back later. Each success cancels nine failures. At a balance
    of 45, the partition is held.

    Partitions with few orders are pooled: once three calls in a row have failed in a partition (or all of
    its calls so far), its failures also count towards the pool. When the pool reaches 45, every partition
    failing that way is held. A partition whose calls succeed is never in the pool and stays free. While any
    partition is held, one without any calls yet is held too, until its first call succeeds.

    A topic with fewer than 45 keys could never reach that. So orders behind a dead-lettered one of the same
    key also count when they use up their retries, provided that nothing in their partition has succeeded
    since the key began to fail. They count eight times as much, since four calls over 35 s say more than
    one call, up to a limit per key. Five keys that have each used up two retry budgets then make an outage;
    fewer than five never do, and are left to the key brake. An order whose first call was not evidence,
    because it was made before a restart or a release, counts when it uses up its retries, under the same
    condition. It has to have failed before in this process: right after a restart, what was failing anyway
    is called first, and nothing can have succeeded yet.

    While partitions are held, at most one order per window (over all partitions) is given up for lack of
    retries, so that a topic of nothing but poison still drains. A partition is released when two of its last
    four calls have succeeded.
    """

    def __init__(self, window_s: float) -> None:
        self.window_s = window_s
        self.uneasy: Set[int] = set()
        """The partitions whose successes matter; the others need not be counted."""
        self._parts: Dict[int, _Part] = {}
        self._pool = 0
        self._held: Set[int] = set()
        self._given_up_at_s: Optional[float] = None

    # --- what it holds ---------------------------------------------------------------------------

    @property
    def is_on(self) -> bool:
        """Whether any partition is held."""
        return bool(self._held)

    def held(self) -> List[int]:
        """The partitions in which nearly everything fails."""
        return sorted(self._held)

    def holds(self, number: int) -> bool:
        """Whether this partition is held, because of its own failures or as a fresh one in an outage."""
        return bool(self._held) and (number in self._held or self._part(number).is_fresh)

    def is_sure_of(self, number: int) -> bool:
        """Whether a call has failed here since it is held. What the last owner found may be over by now."""
        return number in self._held and not self._part(number).is_hearsay

    def probe_at_s(self, number: int) -> float:
        """When an order of this held partition may be tried."""
        return self._part(number).probe_at_s

    def probing(self, number: int, next_s: float) -> None:
        """An order of this partition is tried now; the next at `next_s`, or at once if this one succeeds."""
        self._part(number).probe_next(next_s)

    # --- outcomes --------------------------------------------------------------------------------

    def add(self, number: int, held: bool = False) -> None:
        """A partition was assigned; `held`: its last owner held it."""
        part = self._part(number)
        if held and not part.held:
            self._hold(number)
            part.hold_by_hearsay()

    def forget(self, number: int) -> None:
        """A partition was revoked."""
        self._parts.pop(number, None)
        self.uneasy.discard(number)
        self._held.discard(number)
        self._pool = 0

    def began(self, number: int) -> int:
        """A partition's count of noted successes, to pass back when a key keeps failing."""
        return self._part(number).successes

    def failed(self, number: int, call: FailedCall) -> List[int]:
        """A call failed. Returns the partitions that become held."""
        part = self._part(number)
        self.uneasy.add(number)
        if self.holds(number):
            part.probe_failed()
            return [] if part.held else self._hold(number)
        self._pool += part.fail(_weight(part, call))
        return self._judged(number, part)

    def _judged(self, number: int, part: _Part) -> List[int]:
        if self._pool >= OUTAGE:
            failing = [other for other, one in self._parts.items() if one.fails_now and not one.held]
            return self._hold(*failing)
        return self._hold(number) if part.evidence >= OUTAGE else []

    def _hold(self, *numbers: int) -> List[int]:
        self._pool = 0
        for number in numbers:
            self._part(number).hold()
        self._held.update(numbers)
        self.uneasy.update(numbers)
        return sorted(numbers)

    def needed(self, number: int) -> int:
        """How many successes of this partition would make a difference now; any beyond that would not."""
        if number not in self.uneasy:
            return 0
        part = self._part(number)
        evidence = max(part.evidence, self._pool if part.fails_now else 0)
        return max(1, -(-evidence // SUCCESS))

    def succeeded(self, number: int, calls: int = 1) -> bool:
        """Count successful calls, first or later ones. True if that releases the partition."""
        if number not in self.uneasy or not calls:
            return False
        part = self._part(number)
        part.succeed(calls)
        if part.held and not part.may_be_released:
            return False
        if part.held:
            self._release(number, part)
            return True
        if part.fails_now:
            self._pool = max(0, self._pool - SUCCESS * calls)
        self._calm(number, part)
        return False

    def _release(self, number: int, part: _Part) -> None:
        part.release()
        self._held.discard(number)
        if not self._held:
            self._given_up_at_s = None
        self._calm(number, part)

    def _calm(self, number: int, part: _Part) -> None:
        part.calm()
        if part.is_calm:
            self.uneasy.discard(number)

    def take_permit(self, number: int, now_s: float) -> bool:
        """Whether to give up an order of this partition that has no retries left; a yes uses up the permit.

        While the partition is held, there is one permit per window.
        """
        if not self.holds(number):
            return True
        if self._given_up_at_s is None:
            self._given_up_at_s = now_s
        if now_s - self._given_up_at_s < self.window_s:
            return False
        self._given_up_at_s = now_s
        return True

    def _part(self, number: int) -> _Part:
        part = self._parts.get(number)
        if part is None:
            part = self._parts[number] = _Part()
            self.uneasy.add(number)
        return part


def _weight(part: _Part, call: FailedCall) -> int:
    if call.first and call.known is None:
        return VOTE
    if not call.last:
        return 0
    if call.known is None:
        return VOTE if not call.voted and call.began == part.successes else 0
    if call.known.began != part.successes:
        return 0
    return call.known.count_again(BUDGET if call.retried else REPEAT)
