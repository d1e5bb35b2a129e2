"""What to do about a failure: call again, or give the order up.

Pure: chance is an argument, and so is whether the brakes permit a dead letter.
"""

from typing import NamedTuple, Union

from orderflow.errors import Failure

JITTER = 0.25
"""The share of a delay by which chance makes it shorter or longer."""


class Policy(NamedTuple):
    """How often and how far apart an order is called again. Frozen settings, in seconds."""

    max_retries: int = 3
    backoff_s: float = 5.0
    backoff_max_s: float = 60.0
    key_failures: int = 3
    """Dead letters of a key in a row, for want of retries, after which its orders get one call each."""


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

    `chance` in [0, 1) draws the jitter. `key_failing`: the orders before it of its key used their
    budgets up, so this one gets no back-off. `may_exhaust` is False while an outage brake holds.
    """
    if not failure.retryable:
        return GiveUp(failure)
    exhausted = attempts > policy.max_retries
    if (exhausted or key_failing) and not may_exhaust:
        return Retry(_spread_s(policy.backoff_max_s, policy, chance))
    if exhausted:
        return GiveUp(_because(failure, "process.retries_exhausted"))
    if key_failing:
        return GiveUp(_because(failure, "process.key_failing"))
    if failure.after_s is not None:
        return Retry(max(0.0, failure.after_s))
    return Retry(backoff_s(attempts, policy, chance))


def backoff_s(attempts: int, policy: Policy, chance: float) -> float:
    """Seconds to wait after the `attempts`-th failure: doubled each time, up to a maximum.

    Jitter spreads orders that failed together over a quarter less and a quarter more, so that the mean is
    what the policy says. The maximum holds after the jitter: no retry waits longer. Near it the spread ends
    there, rather than that all longer delays become the maximum, and the retries meet again.
    """
    return _spread_s(policy.backoff_s * 2.0 ** min(attempts - 1, 60), policy, chance)


def _spread_s(nominal_s: float, policy: Policy, chance: float) -> float:
    nominal_s = min(nominal_s, policy.backoff_max_s)
    least_s = nominal_s * (1.0 - JITTER)
    most_s = min(nominal_s * (1.0 + JITTER), policy.backoff_max_s)
    return least_s + (most_s - least_s) * chance


def _because(failure: Failure, reason: str) -> Failure:
    """The reason code of giving up replaces that of the last call; a decoder's own code stays."""
    return failure if failure.stage == "decode" else failure._replace(reason=reason)
