"""The two brakes by themselves: in any sequence of outcomes they hold when they should and only then."""

import random
from collections import deque
from typing import Deque, Dict, List, Optional, Set, Tuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from orderflow.consume.key_brake import KeyBrake
from orderflow.consume.outage_brake import FailedCall, OutageBrake
from orderflow.consume.successes import Successes
from tests.support.scripted_session import Stored

WINDOW_S = 60.0
FIRST = FailedCall(first=True)
RETRY = FailedCall(first=False, retried=True)


def brake_of(*partitions: int) -> OutageBrake:
    """A brake that knows these partitions, each with a success."""
    brake = OutageBrake(WINDOW_S)
    for number in partitions or (0,):
        brake.add(number)
        brake.succeeded(number)
    return brake


def failing(brake: OutageBrake, calls: int, number: int = 0) -> List[int]:
    """Fail that many first calls, each with its own key; returns the partitions this holds."""
    return [held for _ in range(calls) for held in brake.failed(number, FIRST)]


# --- the outage brake, promise by promise


def test_the_forty_fifth_failure_holds_a_partition() -> None:
    """Once, and it says so once."""
    brake = brake_of(0)

    assert ([], [0], []) == (failing(brake, 44), failing(brake, 1), failing(brake, 10))
    assert brake.holds(0)


@pytest.mark.parametrize(("failures", "engages"), [(8, False), (9, False), (19, True), (99, True)])
def test_more_than_nine_in_ten_must_fail(failures: int, engages: bool) -> None:
    """For however long: a partition in which a tenth succeeds is never held."""
    brake = brake_of(0)
    for _ in range(200):
        failing(brake, failures)
        if not brake.is_on:
            brake.succeeded(0)

    assert engages == brake.is_on


def test_retries_are_no_evidence() -> None:
    """Poison at the end of a topic fails again and again, while nothing fresh does."""
    brake = brake_of(0)
    failing(brake, 40)

    assert [] == [held for _ in range(500) for held in brake.failed(0, RETRY)]


@pytest.mark.parametrize(("keys", "engages"), [(4, False), (5, True), (44, True)])
def test_few_keys_are_an_outage_from_five_on_when_nothing_else_succeeds(keys: int, engages: bool) -> None:
    """They can never count 45 times, so used-up retry budgets count."""
    brake, key_brake = brake_of(0), KeyBrake()
    for key in range(keys):
        brake.failed(0, FIRST)
        key_brake.exhausted(b"%d" % key, brake.began(0))
    for _ in range(3):
        for known in list(key_brake.failing.values()):
            brake.failed(0, FailedCall(first=False, last=True, retried=True, known=known))

    assert engages == brake.is_on


def test_what_follows_a_failing_key_is_no_evidence_where_anything_succeeds() -> None:
    """A thousand keys that keep failing, and one success since they began."""
    brake, key_brake = brake_of(0), KeyBrake()
    for key in range(1000):
        key_brake.exhausted(b"%d" % key, brake.began(0))
    failing(brake, 1)
    brake.succeeded(0)
    for known in key_brake.failing.values():
        for first, last, retried in ((True, False, False), (False, True, True), (True, True, False)):
            brake.failed(0, FailedCall(first, last, retried, known=known))

    assert not brake.is_on


def test_partitions_that_fail_are_taken_together() -> None:
    """Two fresh failures in each of 64, whose retries fail too: all that fail are held, and no other."""
    brake = brake_of(*range(65))
    held: List[int] = []
    for number in range(64):
        failing(brake, 2, number)
    for number in range(64):
        held += brake.failed(number, RETRY)

    assert brake.held() == sorted(held)
    assert len(held) >= 23
    assert not brake.holds(64)


def test_the_same_without_a_success_before() -> None:
    """A process that starts in an outage: 45 failures anywhere, and untouched partitions are held as well."""
    brake = OutageBrake(WINDOW_S)
    for number in range(64):
        brake.add(number)
    held = [partition for number in range(45) for partition in brake.failed(number, FIRST)]

    assert list(range(45)) == held
    assert brake.holds(63)


def test_a_fresh_partition_is_free_after_one_success_and_held_after_one_failure() -> None:
    """While another one is held."""
    brake = brake_of(0)
    failing(brake, 45)
    for number in (1, 2):
        brake.add(number)
    assert brake.holds(1) and brake.holds(2)

    brake.succeeded(1)
    assert [2] == brake.failed(2, FIRST)
    assert [0, 2] == brake.held()
    assert not brake.holds(1)


def test_one_order_a_window_may_be_given_up_while_it_holds() -> None:
    """Over all partitions: an outage of ten minutes costs ten orders at most."""
    brake = OutageBrake(WINDOW_S)
    brake.add(0, held=True)
    brake.add(1, held=True)

    granted_s = [now_s for now_s in range(0, 601, 5) if brake.take_permit(now_s % 2, float(now_s))]

    assert list(range(60, 601, 60)) == granted_s


def test_a_partition_that_flows_may_always_give_up() -> None:
    """Whatever else is held."""
    brake = brake_of(0, 1)
    failing(brake, 45)

    assert [True] * 3 == [brake.take_permit(1, 0.0) for _ in range(3)]


def test_two_successes_of_four_calls_release_it() -> None:
    """One lucky call in an outage does not; what needs half to succeed is over the worst."""
    brake = OutageBrake(WINDOW_S)
    brake.add(0, held=True)
    calls = [True, False, False, False, True, False, False, False, True, True]
    released = [brake.succeeded(0) if succeeded else bool(brake.failed(0, RETRY)) for succeeded in calls]

    assert [False] * 9 + [True] == released
    assert not brake.is_on


def test_after_a_release_the_evidence_is_gathered_anew() -> None:
    """The failures of the last outage are no evidence of a next one."""
    brake = brake_of(0)
    failing(brake, 45)
    brake.succeeded(0)
    assert brake.succeeded(0)

    assert [] == failing(brake, 44)
    assert [0] == failing(brake, 1)


def test_a_restart_in_an_outage_goes_on_holding() -> None:
    """As the metadata says: no waiting order is given up before a full window has passed."""
    brake = OutageBrake(WINDOW_S)
    brake.add(0, held=True)

    assert not brake.take_permit(0, 1000.0)
    assert not brake.take_permit(0, 1059.9)
    assert brake.take_permit(0, 1060.0)


def test_a_partition_that_is_taken_away_holds_nothing_any_more() -> None:
    """Its next owner learns it from the metadata; here, nobody else keeps it."""
    brake = brake_of(0)
    failing(brake, 45)
    brake.forget(0)
    brake.add(1)

    assert not brake.is_on
    assert not brake.holds(1)


def test_a_probe_that_succeeds_is_followed_by_another_at_once() -> None:
    """A recovered partition is found after two calls, not two seconds."""
    brake = OutageBrake(WINDOW_S)
    brake.add(0, held=True)
    brake.probing(0, 17.0)
    assert brake.probe_at_s(0) == 17.0

    brake.succeeded(0)
    assert brake.probe_at_s(0) == 0.0


# --- the traffic of the world


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("partitions", [1, 8])
def test_five_thousand_recurring_keys_of_which_a_part_fails_are_no_outage(
    share: float, partitions: int
) -> None:
    """Minutes of it: each order fails four times, then its followers, next to healthy partitions."""
    chance, brake, key_brake = random.Random(7), OutageBrake(WINDOW_S), KeyBrake()
    waiting: Dict[int, Tuple[int, int]] = {}
    due: Deque[int] = deque()
    for _ in range(60_000):
        key = chance.randrange(5_000)
        if key >= share * 5_000:
            brake.succeeded(key % partitions)
        elif key not in waiting:
            waiting[key] = 0, brake.began(key % partitions)
            due.append(key)
        if due and (chance.random() < 0.3 or waiting[due[0]][0] == 0):
            key = due.popleft()
            attempts, began = waiting.pop(key)
            name = b"%d" % key
            known, last = key_brake.failing.get(name), attempts == 3 or key_brake.holds(name)
            brake.failed(key % partitions, FailedCall(attempts == 0, last, attempts > 0, True, began, known))
            if last:
                key_brake.exhausted(name, began)
            else:
                waiting[key] = attempts + 1, began
                due.append(key)
        assert not brake.is_on


@pytest.mark.parametrize("seed", range(20))
def test_a_partition_of_which_nearly_all_fails_is_held_soon(seed: int) -> None:
    """95 % of fresh orders: within some hundred calls, while its neighbour at 20 % never is."""
    chance, brake = random.Random(seed), brake_of(0, 1)
    calls = 0
    while not brake.is_on:
        calls += 1
        for number, share in ((0, 0.95), (1, 0.2)):
            if chance.random() < share:
                brake.failed(number, FIRST)
            else:
                brake.succeeded(number)

    assert [0] == brake.held()
    assert calls <= 400


# --- the outage brake against whatever comes


class BrakeMachine(RuleBasedStateMachine):
    """Calls of every kind in three partitions, at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.brake = OutageBrake(WINDOW_S)
        self.now_s = 0.0
        self.permits_s: List[float] = []
        self.fresh: Set[int] = set()
        for number in range(3):
            self.brake.add(number)

    @rule(number=st.integers(0, 2), calls=st.integers(1, 200))
    def succeed(self, number: int, calls: int) -> None:
        """A batch of orders succeeded: no more than two are needed to release, and a free one stays free."""
        held = self.brake.holds(number)
        released = self.brake.succeeded(number, calls)
        assert not released or held
        assert calls < 2 or not self.brake.holds(number)

    @rule(number=st.integers(0, 2), calls=st.integers(1, 60), first=st.booleans(), last=st.booleans())
    def fail(self, number: int, calls: int, first: bool, last: bool) -> None:
        """Orders failed: whoever is held by it was not, and is now."""
        for _ in range(calls):
            before = self.brake.held()
            held = self.brake.failed(number, FailedCall(first, last, voted=True))
            assert not set(before) & set(held)
            assert sorted([*before, *held]) == self.brake.held()

    @rule(number=st.integers(0, 2), held=st.booleans())
    def come_and_go(self, number: int, held: bool) -> None:
        """A rebalance."""
        self.brake.forget(number)
        self.brake.add(number, held)
        assert self.brake.holds(number) == (held or self.brake.is_on)

    @rule(number=st.integers(0, 2), later_s=st.floats(0, 200))
    def ask(self, number: int, later_s: float) -> None:
        """An order's budget is used up."""
        self.now_s += later_s
        held = self.brake.holds(number)
        if self.brake.take_permit(number, self.now_s) and held:
            self.permits_s.append(self.now_s)

    @invariant()
    def next_to_nothing_is_given_up(self) -> None:
        """However often it engages: one a window."""
        assert all(later - sooner >= WINDOW_S for sooner, later in zip(self.permits_s, self.permits_s[1:]))

    @invariant()
    def what_matters_is_watched(self) -> None:
        """Successes of a partition that is not watched are never counted."""
        assert set(self.brake.held()) <= self.brake.uneasy
        assert all((self.brake.needed(number) > 0) == (number in self.brake.uneasy) for number in range(3))


BrakeMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_outage_brake_holds_whatever_comes = BrakeMachine.TestCase


# --- a batch's successes


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from("so")), max_size=30), st.data())
def test_successes_of_a_batch_are_counted_once(batch: List[Tuple[int, str]], data: st.DataObject) -> None:
    """By partition, between any two places, without what did not succeed, and up to what was asked for."""
    successes = Successes([Stored(number, place, None, b"") for place, (number, _) in enumerate(batch)])
    successes.others.update(place for place, (_, fate) in enumerate(batch, 1) if fate == "o")
    counted = dict.fromkeys(range(3), 0)
    for until in sorted(data.draw(st.lists(st.integers(0, len(batch)), max_size=6))):
        number, most = data.draw(st.integers(0, 2)), data.draw(st.integers(0, 5))
        expected = batch[counted[number] : until].count((number, "s"))
        counted[number] = until

        assert min(most, expected) == successes.count(number, most, until)


# --- the key brake


def test_a_key_is_held_after_three_dead_letters_in_a_row() -> None:
    """Two may be poison, and a success in between restarts the count. Other keys are not affected."""
    brake = KeyBrake()
    held = []
    for event in "dd+ddd+d":
        brake.exhausted(b"bad") if event == "d" else brake.succeeded(b"bad")
        brake.succeeded(b"good")
        held.append(brake.holds(b"bad"))

    assert [False, False, False, False, False, True, False, False] == held
    assert not brake.holds(b"good")


def test_one_dead_letter_is_a_setting() -> None:
    """KEY_FAILURES=1 holds a key at its first."""
    brake = KeyBrake(dead_letters=1)
    brake.exhausted(b"bad")

    assert brake.holds(b"bad")


def test_orders_without_a_key_are_never_braked() -> None:
    """One of them says nothing about the next."""
    brake = KeyBrake()
    for _ in range(5):
        brake.exhausted(None)

    assert not brake.holds(None)
    assert not brake.failing


KEYS = st.sampled_from([None, *(bytes([number]) for number in range(8))])


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 5), st.lists(st.tuples(st.booleans(), KEYS), max_size=60))
def test_key_brake_remembers_the_latest_keys_and_no_more(
    max_keys: int, events: List[Tuple[bool, Optional[bytes]]]
) -> None:
    """Bounded however many keys fail: the one that failed longest ago is forgotten first."""
    brake = KeyBrake(max_keys=max_keys)
    model: List[Optional[bytes]] = []
    for exhausted, key in events:
        if exhausted:
            brake.exhausted(key)
        else:
            brake.succeeded(key)
        model = [known for known in model if known != key]
        if exhausted and key is not None:
            model = [*model, key][-max_keys:]

        assert model == list(brake.failing)
