"""The two brakes against naive models: when they engage, what they hold back, and when they let go."""

from typing import Hashable, List, Optional, Tuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from orderflow.retry import KeyBrake, OutageBrake

WINDOW_S = 60.0


def failing(brake: OutageBrake, calls: int, keys: int) -> List[bool]:
    """So many fresh failures over so many keys; whether each engaged the brake."""
    return [brake.failed(number % keys) for number in range(calls)]


# --- the outage brake, promise by promise


def test_an_outage_engages_the_brake_at_the_fiftieth_failure() -> None:
    """Once, and it says so once."""
    brake = OutageBrake(WINDOW_S)

    assert [False] * 49 + [True] + [False] * 10 == failing(brake, 60, keys=5)
    assert brake.holds


@pytest.mark.parametrize(("successes", "engages"), [(5, True), (6, False)])
def test_nine_in_ten_must_fail(successes: int, engages: bool) -> None:
    """Forty-five of the last fifty are an outage; forty-four are not."""
    brake = OutageBrake(WINDOW_S)
    brake.succeeded(successes)
    failing(brake, 50 - successes, keys=10)

    assert engages == brake.holds


@pytest.mark.parametrize(("keys", "engages"), [(4, False), (5, True)])
def test_a_few_failing_keys_are_no_outage(keys: int, engages: bool) -> None:
    """However often they fail: the key brake is for them."""
    brake = OutageBrake(WINDOW_S)
    failing(brake, 500, keys)

    assert engages == brake.holds


def test_a_handful_of_poison_on_a_healthy_topic_is_no_outage() -> None:
    """Successes in between keep it from engaging; those long past do not."""
    brake = OutageBrake(WINDOW_S)
    for key in range(40):
        brake.failed(key)
        brake.succeeded(10)
    assert not brake.holds

    failing(brake, 45, keys=45)
    assert brake.holds


def test_a_success_in_bulk_counts_as_often_as_it_says() -> None:
    """A thousand successes in one word push every older failure out."""
    brake = OutageBrake(WINDOW_S)
    failing(brake, 49, keys=49)
    brake.succeeded(1000)
    failing(brake, 44, keys=44)

    assert not brake.holds


def test_one_order_a_window_may_be_given_up_while_it_holds() -> None:
    """So a topic of nothing but poison drains, and an outage of ten minutes costs ten orders at most."""
    brake = OutageBrake(WINDOW_S)
    brake.engage()

    granted_s = [now_s for now_s in range(0, 601, 5) if brake.may_exhaust(float(now_s))]

    assert list(range(60, 601, 60)) == granted_s


def test_two_successes_of_four_calls_release_it() -> None:
    """One lucky call in an outage does not; what needs half to succeed is over the worst."""
    brake = OutageBrake(WINDOW_S)
    brake.engage()

    calls = [True, False, False, False, True, False, False, False, True, True]
    assert [False] * 9 + [True] == [brake.probed(succeeded) for succeeded in calls]
    assert not brake.holds


def test_after_a_release_the_evidence_is_gathered_anew() -> None:
    """The failures of the last outage are no evidence of a next one."""
    brake = OutageBrake(WINDOW_S)
    failing(brake, 50, keys=10)
    brake.probed(True)
    assert brake.probed(True)

    assert not any(failing(brake, 49, keys=10))
    assert brake.failed("one more")


def test_a_restart_in_an_outage_goes_on_holding() -> None:
    """Told by the metadata: nothing that waited is given up before a whole window has passed."""
    brake = OutageBrake(WINDOW_S, holds=True)

    assert not brake.may_exhaust(1000.0)
    assert not brake.may_exhaust(1059.9)
    assert brake.may_exhaust(1060.0)


# --- the outage brake against a model


class BrakeMachine(RuleBasedStateMachine):
    """Calls of every kind at any time. The model keeps all of history and looks through it."""

    def __init__(self) -> None:
        super().__init__()
        self.brake = OutageBrake(WINDOW_S)
        self.now_s = 0.0
        self.fresh: List[Tuple[bool, Hashable]] = []
        """First calls since the last release."""
        self.probes: List[bool] = []
        """Calls since it holds."""
        self.holds = False
        self.last_yes_s: Optional[float] = None

    def is_outage(self) -> bool:
        """What the evidence says, in the words of the promise."""
        last = self.fresh[-50:]
        failed = [key for succeeded, key in last if not succeeded]
        return len(last) == 50 and len(failed) >= 45 and len(set(failed)) >= 5

    @rule(calls=st.integers(0, 200))
    def succeed(self, calls: int) -> None:
        """A batch of fresh orders succeeded."""
        self.brake.succeeded(calls)
        self.fresh += [(True, None)] * calls

    @rule(calls=st.integers(1, 60), keys=st.integers(1, 12))
    def fail(self, calls: int, keys: int) -> None:
        """Fresh orders of so many keys failed."""
        for number in range(calls):
            self.fresh.append((False, number % keys))
            engages = not self.holds and self.is_outage()
            assert engages == self.brake.failed(number % keys)
            if engages:
                self.begin()

    def begin(self) -> None:
        """The brake holds from now on."""
        self.holds, self.probes = True, []

    @rule()
    def restart(self) -> None:
        """A partition came whose last owner's brake held."""
        self.brake.engage()
        if not self.holds:
            self.begin()

    @rule(succeeded=st.booleans())
    def probe(self, succeeded: bool) -> None:
        """Any call while it holds."""
        if not self.holds:
            return
        self.probes.append(succeeded)
        releases = self.probes[-4:].count(True) >= 2
        assert releases == self.brake.probed(succeeded)
        if releases:
            self.holds, self.fresh, self.last_yes_s = False, [], None

    @rule(later_s=st.floats(0, 200))
    def ask(self, later_s: float) -> None:
        """An order's budget is used up, and the engine asks whether to give it up."""
        self.now_s += later_s
        may = self.brake.may_exhaust(self.now_s)
        if not self.holds:
            assert may
            return
        if self.last_yes_s is None:
            assert not may
            self.last_yes_s = self.now_s
        elif may:
            assert self.now_s - self.last_yes_s >= WINDOW_S
            self.last_yes_s = self.now_s
        else:
            assert self.now_s - self.last_yes_s < WINDOW_S

    @invariant()
    def holds_as_the_model_says(self) -> None:
        """Engaged by fresh failures or a restart alone, released by successes alone."""
        assert self.holds == self.brake.holds


BrakeMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_outage_brake_agrees_with_the_model = BrakeMachine.TestCase


# --- the key brake


def test_a_key_is_failing_until_one_of_its_orders_succeeds() -> None:
    """Other keys have no part in it."""
    brake = KeyBrake()
    brake.exhausted(b"bad")
    brake.succeeded(b"good")
    assert [b"bad"] == list(brake.failing)

    brake.succeeded(b"bad")
    assert [] == list(brake.failing)


def test_orders_without_a_key_are_never_braked() -> None:
    """One of them says nothing about the next."""
    brake = KeyBrake()
    brake.exhausted(None)

    assert None not in brake.failing


KEYS = st.sampled_from([None, *(bytes([number]) for number in range(8))])


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 5), st.lists(st.tuples(st.booleans(), KEYS), max_size=60))
def test_key_brake_remembers_the_latest_keys_and_no_more(
    max_keys: int, events: List[Tuple[bool, Optional[bytes]]]
) -> None:
    """Bounded however many keys fail: the one that failed longest ago is forgotten first."""
    brake, model = KeyBrake(max_keys), []  # type: ignore[var-annotated]
    for exhausted, key in events:
        if exhausted:
            brake.exhausted(key)
        else:
            brake.succeeded(key)
        model = [known for known in model if known != key]
        if exhausted and key is not None:
            model = [*model, key][-max_keys:]

        assert model == list(brake.failing)
