"""What to do about a failure: call again, or give the order up.

Owns: the policy, the back-off, `decide`, the outage brake and the key brake.
Does not know: the clock and chance (both are arguments), Kafka, offsets, dead-letter headers.
Used by: processor.
"""

from collections import OrderedDict, deque
from typing import Deque, Hashable, NamedTuple, Optional, Tuple, Union

from orderflow.errors import Failure


class Policy(NamedTuple):
    """How often and how far apart an order is called again. Frozen settings, in seconds."""

    max_retries: int = 3
    backoff_s: float = 5.0
    backoff_max_s: float = 60.0


class Retry(NamedTuple):
    """Call again after `delay_s`."""

    delay_s: float


class GiveUp(NamedTuple):
    """Dead-letter it, for this reason."""

    failure: Failure


Decision = Union[Retry, GiveUp]


def decide(
    failure: Failure,
    attempts: int,
    policy: Policy,
    chance: float,
    key_failing: bool = False,
    may_exhaust: bool = True,
) -> Decision:
    """What becomes of an order whose `attempts`-th call has failed.

    `chance` in [0, 1) draws the jitter. `key_failing`: the order before it of its key used its
    budget up, so this one gets no back-off. `may_exhaust` is False while an outage brake holds.
    """
    if not failure.retryable:
        return GiveUp(failure)
    exhausted = attempts > policy.max_retries
    if (exhausted or key_failing) and not may_exhaust:
        return Retry(policy.backoff_max_s)
    if exhausted:
        return GiveUp(_because(failure, "process.retries_exhausted"))
    if key_failing:
        return GiveUp(_because(failure, "process.key_failing"))
    if failure.after_s is not None:
        return Retry(max(0.0, failure.after_s))
    return Retry(backoff_s(attempts, policy, chance))


def backoff_s(attempts: int, policy: Policy, chance: float) -> float:
    """Seconds to wait after the `attempts`-th failure: doubled each time, up to a maximum.

    Jitter takes off up to half: enough to spread orders that failed together, and a budget still
    outlasts a disturbance of half its nominal length, which jitter down to zero would not.
    """
    doubled_s = policy.backoff_s * 2.0 ** min(attempts - 1, 60)
    return min(doubled_s, policy.backoff_max_s) * (1.0 - chance / 2.0)


def _because(failure: Failure, reason: str) -> Failure:
    """The reason code of giving up replaces that of the last call; a decoder's own code stays."""
    return failure if failure.stage == "decode" else failure._replace(reason=reason)


class OutageBrake:
    """Tells an outage of what the handler needs from faults of single orders.

    The evidence is first calls: when 90 % of the last 50 failed, over at least 5 keys, something
    that all orders need is down. Retries are no evidence: poison at the end of a topic fails for
    ever, while nothing fresh does. While the brake holds, nothing is given up for want of retries
    beyond one order a window, so that a topic of nothing but poison still drains.
    """

    CALLS = 50
    FAILED = 45
    KEYS = 5
    RELEASE_CALLS = 4

    def __init__(self, window_s: float, holds: bool = False) -> None:
        self.window_s = window_s
        self.holds = holds
        self._first_calls = 0
        self._failed: Deque[Tuple[int, Hashable]] = deque(maxlen=self.CALLS)
        """Which of the last first calls failed, by their number, and their keys."""
        self._probes: Deque[bool] = deque(maxlen=self.RELEASE_CALLS)
        self._given_up_at_s: Optional[float] = None

    def succeeded(self, first_calls: int) -> None:
        """So many first calls in a row succeeded."""
        self._first_calls += first_calls

    def failed(self, key: Hashable) -> bool:
        """A first call of an order of this key, never None, failed. True when that engages the brake."""
        self._first_calls += 1
        self._failed.append((self._first_calls, key))
        if self.holds or not self._is_outage():
            return False
        self.engage()
        return True

    def _is_outage(self) -> bool:
        while self._failed[0][0] <= self._first_calls - self.CALLS:
            self._failed.popleft()
        if self._first_calls < self.CALLS or len(self._failed) < self.FAILED:
            return False
        return len({key for _, key in self._failed}) >= self.KEYS

    def engage(self) -> None:
        """Hold, as when the evidence is complete or the last owner's metadata says so."""
        if not self.holds:
            self.holds = True
            self._probes.clear()

    def probed(self, succeeded: bool) -> bool:
        """A call was made while the brake holds. True when that releases it."""
        self._probes.append(succeeded)
        if self._probes.count(True) * 2 < self.RELEASE_CALLS:
            return False
        self.holds = False
        self._first_calls = 0
        self._failed.clear()
        self._given_up_at_s = None
        return True

    def may_exhaust(self, now_s: float) -> bool:
        """Whether an order may be given up now. Says yes once a window while the brake holds."""
        if not self.holds:
            return True
        if self._given_up_at_s is None:
            self._given_up_at_s = now_s
        if now_s - self._given_up_at_s < self.window_s:
            return False
        self._given_up_at_s = now_s
        return True


class KeyBrake:
    """The keys whose last order used its budget up: their next order gets one call, no back-off.

    Without it a key that always fails would hold each order of its queue for the whole budget.
    """

    def __init__(self, max_keys: int = 10_000) -> None:
        self.max_keys = max_keys
        self.failing: OrderedDict[Optional[bytes], None] = OrderedDict()

    def exhausted(self, key: Optional[bytes]) -> None:
        """An order of this key was given up for want of retries."""
        if key is None:
            return
        self.failing[key] = None
        self.failing.move_to_end(key)
        if len(self.failing) > self.max_keys:
            self.failing.popitem(last=False)

    def succeeded(self, key: Optional[bytes]) -> None:
        """An order of this key was processed: the key has its full budget back."""
        self.failing.pop(key, None)
