"""The decision after a failed call, for every failure, policy and number of attempts."""

from typing import List, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orderflow.consume.retry import Decision, GiveUp, Policy, Retry, backoff_s, decide
from orderflow.errors import (
    Failure,
    InvalidOrder,
    RejectOrder,
    RetryLater,
    RulesFailed,
    UnknownSchema,
    describe,
)

FAILED = describe(ValueError("boom"))
SECONDS = st.one_of(st.just(0.0), st.floats(0.001, 1e6))
POLICIES = st.builds(
    Policy,
    max_retries=st.integers(0, 30),
    backoff_s=SECONDS,
    backoff_max_s=SECONDS,
)
CHANCES = st.floats(0, 1, exclude_max=True)
AFTER = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True))
RETRYABLE = st.builds(
    Failure,
    reason=st.sampled_from(["process.failed", "process.retry_later", "decode.unknown_schema"]),
    stage=st.sampled_from(["process", "decode"]),
    error_class=st.just("ValueError"),
    message=st.just("boom"),
    retryable=st.just(True),
    after_s=AFTER,
)


def calls_until_given_up(failure: Failure, policy: Policy, most: int = 100) -> List[Decision]:
    """Every decision on an order whose calls all fail alike, until it is given up."""
    decisions: List[Decision] = []
    while len(decisions) < most and not (decisions and isinstance(decisions[-1], GiveUp)):
        decisions.append(decide(failure, len(decisions) + 1, policy, chance=0.5))
    return decisions


# --- the budget


@settings(max_examples=80, deadline=None)
@given(RETRYABLE, POLICIES)
def test_an_order_gets_one_call_and_max_retries_more(failure: Failure, policy: Policy) -> None:
    """Never fewer, never more, whatever delays the handler asks for."""
    decisions = calls_until_given_up(failure, policy)

    assert 1 + policy.max_retries == len(decisions)
    assert [Retry] * policy.max_retries + [GiveUp] == [type(decision) for decision in decisions]


def test_the_shipped_policy_waits_5_10_and_20_seconds() -> None:
    """Three retries, doubled each time; the fourth failure is the last."""
    given_up = GiveUp(FAILED._replace(reason="process.retries_exhausted"))

    assert [Retry(5.0), Retry(10.0), Retry(20.0), given_up] == calls_until_given_up(FAILED, Policy())


PERMANENT = [InvalidOrder("quantity", "is 0"), RejectOrder("no such customer")]


@pytest.mark.parametrize("error", PERMANENT)
@pytest.mark.parametrize("attempts", [1, 2, 4, 99])
@pytest.mark.parametrize("key_failing", [True, False])
@pytest.mark.parametrize("may_exhaust", [True, False])
def test_a_permanent_failure_is_given_up_at_once_as_it_is(
    error: Exception, attempts: int, key_failing: bool, may_exhaust: bool
) -> None:
    """It has a reason of its own, needs no budget, and an outage does not change it."""
    failure = describe(error)

    assert GiveUp(failure) == decide(failure, attempts, Policy(), 0.5, key_failing, may_exhaust)


def test_giving_up_keeps_all_of_the_failure_but_its_reason() -> None:
    """Class, message and stack are those of the last call."""
    failure = describe(ConnectionError("bank is down"), with_stack=True)

    decision = decide(failure, 4, Policy(), 0.0)

    assert GiveUp(failure._replace(reason="process.retries_exhausted")) == decision


@pytest.mark.parametrize("key_failing", [True, False])
def test_a_decoder_keeps_its_reason(key_failing: bool) -> None:
    """An id that no registry ever learned is still `decode.unknown_schema` after its budget."""
    failure = describe(UnknownSchema("id 7"))

    assert GiveUp(failure) == decide(failure, 4, Policy(), 0.0, key_failing)


# --- the brakes' part in it


@settings(max_examples=100, deadline=None)
@given(RETRYABLE, st.integers(1, 1000), POLICIES, CHANCES, st.booleans())
def test_nothing_is_given_up_for_want_of_retries_while_the_brake_holds(
    failure: Failure, attempts: int, policy: Policy, chance: float, key_failing: bool
) -> None:
    """It waits instead: at the longest back-off when its budget is used up."""
    decision = decide(failure, attempts, policy, chance, key_failing, may_exhaust=False)

    assert isinstance(decision, Retry)
    if attempts > policy.max_retries or key_failing:
        assert 0.75 * policy.backoff_max_s <= decision.delay_s <= policy.backoff_max_s


@settings(max_examples=50, deadline=None)
@given(RETRYABLE, POLICIES, CHANCES)
def test_an_order_of_a_failing_key_gets_one_call(failure: Failure, policy: Policy, chance: float) -> None:
    """Whatever delay it asks for; its reason says that the key was failing before."""
    decision = decide(failure, 1, policy, chance, key_failing=True)

    assert isinstance(decision, GiveUp)
    if failure.stage == "process":
        expected = "process.key_failing" if policy.max_retries else "process.retries_exhausted"
        assert expected == decision.failure.reason


# --- the back-off


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 10_000), POLICIES, CHANCES)
def test_backoff_stays_within_a_quarter_of_the_doubled_delay(
    attempts: int, policy: Policy, chance: float
) -> None:
    """Doubled each time; never longer than the maximum, never negative, never an overflow."""
    nominal_s = min(policy.backoff_s * 2.0 ** min(attempts - 1, 1000), policy.backoff_max_s)

    delay_s = backoff_s(attempts, policy, chance)

    assert nominal_s * 0.75 <= delay_s <= min(nominal_s * 1.25, policy.backoff_max_s)


def test_the_mean_is_what_the_policy_says() -> None:
    """The shipped budget is 35 s on the mean, and between 26.25 and 43.75 s."""
    chances = [(number + 0.5) / 1000 for number in range(1000)]
    budgets_s = [sum(backoff_s(attempts, Policy(), chance) for attempts in (1, 2, 3)) for chance in chances]

    assert 35.0 == pytest.approx(sum(budgets_s) / 1000)
    assert (26.25, 43.75) == pytest.approx((min(budgets_s), max(budgets_s)), abs=0.05)


def test_at_the_maximum_retries_are_spread_below_it() -> None:
    """They do not all wait for the maximum, and meet again."""
    delays_s = {backoff_s(9, Policy(), number / 100) for number in range(100)}

    assert len(delays_s) == 100
    assert (45.0, True) == (min(delays_s), max(delays_s) < 60.0)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), POLICIES)
def test_backoff_never_shrinks_with_attempts(attempts: int, policy: Policy) -> None:
    """With the same luck, a later retry waits at least as long."""
    assert backoff_s(attempts, policy, 0.0) <= backoff_s(attempts + 1, policy, 0.0)


def test_jitter_covers_its_whole_range() -> None:
    """Orders that failed together are spread over half of the delay."""
    assert (3.75, 5.0) == (backoff_s(1, Policy(), 0.0), backoff_s(1, Policy(), 0.5))
    assert 6.249 < backoff_s(1, Policy(), 0.9999) < 6.25


def test_no_backoff_is_a_setting() -> None:
    """RETRY_BACKOFF=0 means at once, at every attempt."""
    assert [0.0] * 5 == [backoff_s(attempts, Policy(backoff_s=0.0), 0.3) for attempts in range(1, 6)]


# --- what a handler asks for


@pytest.mark.parametrize(
    ("after", "delay_s"), [(0, 0.0), (0.5, 0.5), (3600, 3600.0), (-1, 0.0), (float("nan"), 0.0), (True, 1.0)]
)
def test_retry_later_sets_the_delay(after: float, delay_s: float) -> None:
    """Zero is a delay, not a default; nonsense is as soon as possible."""
    assert Retry(delay_s) == decide(describe(RetryLater(after=after)), 1, Policy(), 0.0)


def test_retry_later_without_a_delay_backs_off() -> None:
    """The handler leaves it to the policy."""
    assert Retry(5.0) == decide(describe(RetryLater("busy")), 1, Policy(), 0.5)


def test_what_a_handler_asks_for_counts_as_a_try() -> None:
    """So that an order which is asked for later again and again has an end: the budget's."""
    closed = describe(RetryLater("closed for the night", after=3600))

    assert [Retry(3600.0)] * 3 == calls_until_given_up(closed, Policy())[:3]
    assert isinstance(decide(closed, 4, Policy(), 0.5), GiveUp)


@pytest.mark.parametrize("after", ["soon", [], object()])
def test_a_delay_that_is_no_number_fails_in_the_handler(after: Optional[float]) -> None:
    """It is raised where it is written, so it counts as the handler's failure and not as the engine's."""
    with pytest.raises((TypeError, ValueError)):
        RetryLater(after=after)


def test_an_order_of_an_unknown_schema_waits_as_long_as_its_own_setting_says() -> None:
    """A rolling deployment takes minutes, whatever the back-off after a failed call is."""
    failure = describe(UnknownSchema("fingerprint 01", after_s=300.0))

    assert Retry(300.0) == decide(failure, 1, Policy(), 0.5)
    assert "decode.unknown_schema" == given_up(failure, 4).reason


def test_rules_that_keep_failing_keep_their_own_reason() -> None:
    """No handler was called, so its retries were not what was exhausted."""
    assert "validate.failed" == given_up(describe(RulesFailed("shop:rules: KeyError")), 4).reason


def given_up(failure: Failure, attempts: int) -> Failure:
    decision = decide(failure, attempts, Policy(), 0.5)
    assert isinstance(decision, GiveUp)
    return decision.failure
