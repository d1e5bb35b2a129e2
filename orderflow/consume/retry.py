"""Decides what to do about a failure: retry, or give the order up.

Pure: chance is an argument, and so is what the brakes say.
"""

from typing import NamedTuple, Union

from orderflow.errors import Failure

JITTER = 0.25
"""The share of a delay by which it is randomly shortened or lengthened."""


class Policy(NamedTuple):
    """How often and at what intervals to retry an order. Times in seconds."""

    max_retries: int = 3
    backoff_s: float = 5.0
    backoff_max_s: float = 60.0
    key_failures: int = 3
    """After this many orders of a key in a row use up their retries, the next get one call each."""


class Retry(NamedTuple):
    """Call again after `delay_s`."""

    delay_s: float


class GiveUp(NamedTuple):
    """Dead-letter it for this reason."""

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
    """Decide about an order whose `attempts`-th call has failed.

    `chance` in [0, 1) determines the jitter. `key_failing`: earlier orders of its key used up their
    retries, so this one gets none. `may_exhaust` is False while the outage brake permits no dead letter.
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
    """Seconds to wait after the `attempts`-th failure: doubles each time, up to a maximum.

    Jitter spreads orders that failed together by up to a quarter either way, so the mean is what the policy
    says. No delay exceeds the maximum, jitter included. Near the maximum the range is narrowed rather than
    clipped, since clipped delays would bunch the retries again.
    """
    return _spread_s(policy.backoff_s * 2.0 ** min(attempts - 1, 60), policy, chance)


def _spread_s(nominal_s: float, policy: Policy, chance: float) -> float:
    nominal_s = min(nominal_s, policy.backoff_max_s)
    least_s = nominal_s * (1.0 - JITTER)
    most_s = min(nominal_s * (1.0 + JITTER), policy.backoff_max_s)
    return least_s + (most_s - least_s) * chance


def _because(failure: Failure, reason: str) -> Failure:
    """Replace the last call's reason code with the one for giving up, unless its own says more."""
    own = ("decode", "validate", "publish")
    return failure if failure.stage in own else failure._replace(reason=reason)
