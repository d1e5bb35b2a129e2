"""Process deaths, simulated in memory: every killer is found within its budget, at no other order's cost."""

import threading
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Set

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orderflow.consume.retry import Policy
from orderflow.consume.settlement import DROPPED, SETTLED, Settlement
from orderflow.model.commit_metadata import Commit, Entry, read_metadata
from tests.support.memory import write_metadata
from tests.support.scripted_session import BEGAN_S, DEAD_LETTERS, Killed, Life, Topic

LIVES = 400


class _DiesBefore:
    """A commit that the process does not live to make."""

    settlement = SETTLED

    @property
    def took_effect(self) -> bool:
        """Nothing took effect."""
        raise Killed


class _DiesAfter:
    """A commit whose answer the process does not live to see."""

    took_effect = True

    @property
    def settlement(self) -> Any:
        """No answer."""
        raise Killed


class Past(NamedTuple):
    """The state of a topic after any number of deaths."""

    lives: int
    calls: Dict[bytes, int]
    """How often each order was called."""
    deaths: Dict[bytes, Set[int]]
    """The attempts at which the process died while nothing else was called, by order."""
    done: Dict[bytes, int]
    letters: List[bytes]
    causes: List[str]


class World:
    """A topic, the orders that kill the process, and kills from outside."""

    def __init__(self, topic: Topic, killers: List[bytes], max_retries: int = 3, call_s: float = 0.0) -> None:
        self.topic = topic
        self.killers = set(killers)
        self.policy = Policy(max_retries, 1.0, 8.0)
        self.call_s = call_s
        self.workers = 1
        self.commits = 0
        """Settlements of the last life."""
        self.lock = threading.Lock()
        self.calls: Dict[bytes, int] = {}
        self.deaths: Dict[bytes, Set[int]] = {}
        self.done: Dict[bytes, int] = {}
        self.left: Optional[int] = None
        """Calls until a death from without, in this life."""

    def handler(self, order: Dict[str, Any]) -> None:
        """Process an order, unless it is a killer or the process's time has come."""
        value = order["value"]
        with self.lock:
            self.calls[value] = self.calls.get(value, 0) + 1
        self.topic.clock.pass_by(self.call_s)
        if value in self.killers:
            raise Killed
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Killed
        with self.lock:
            self.done[value] = self.done.get(value, 0) + 1

    def life(self, partitions: Optional[List[int]] = None) -> Life:
        """A new process, which owns all partitions or some. Once it is dead, nothing of it takes effect."""
        is_dead = threading.Event()

        def mortal(order: Dict[str, Any]) -> None:
            if is_dead.is_set():
                raise Killed
            try:
                self.handler(order)
            except Killed:
                is_dead.set()
                raise

        life = Life(self.topic, mortal, policy=self.policy, partitions=partitions, workers=self.workers)
        settle = life.session._settle

        self.commits = 0

        def settled(outgoing: Any, offsets: Any) -> Settlement:
            self.commits += 1
            return DROPPED if is_dead.is_set() else settle(outgoing, offsets)

        life.session._settle = settled  # type: ignore[method-assign]
        return life

    def live(self, hand: Sequence[int] = (), shares: Sequence[List[int]] = ()) -> Past:
        """Start again until the topic is drained. `hand`: deaths from without, one a life.

        After so many calls, or, where negative, before or after so many commits. `shares`: the partitions
        that each of the first lives owns, as when there are other members.
        """
        lives, deaths, owned = 0, list(hand), list(shares)
        while True:
            lives += 1
            assert lives < LIVES, f"no end: {sorted(self.calls.items(), key=lambda it: -it[1])[:5]}"
            share = owned.pop(0) if owned else None
            life = self.life(share)
            death = deaths.pop(0) if deaths else None
            self.left = death if death is not None and death >= 0 else None
            if death is not None and death < 0:
                self._die_at_commit(life, -death)
            try:
                life.drain()
                if share is None:
                    break
            except Killed:
                self._note_alone()
        letters = self.topic.of(DEAD_LETTERS)
        causes = [_header(record.headers, "orders.dlq.reason") for record in letters]
        return Past(
            lives, self.calls, self.deaths, self.done, [record.value or b"" for record in letters], causes
        )

    @staticmethod
    def _die_at_commit(life: Life, number: int) -> None:
        commit, seen = life.session.commit, [0]

        def mortal(offsets: Any) -> Any:
            seen[0] += 1
            if seen[0] == (number + 1) // 2:
                answer: Any = _DiesBefore() if number % 2 else _DiesAfter()
                life.session.answers.append(answer)
            return commit(offsets)

        life.session.commit = mortal  # type: ignore[method-assign]

    def _note_alone(self) -> None:
        """Who died alone, as far as anybody can tell: each counted attempt once."""
        for number, (offset, text) in self.topic.committed.items():
            commit = read_metadata(text, offset)
            for entry in commit.entries if commit is not None else []:
                if commit is not None and entry.offset == commit.alone:
                    self.deaths.setdefault(b"%d:%d" % (number, entry.offset), set()).add(entry.attempts)


def _header(headers: Any, name: str) -> str:
    found: bytes = next(value for key, value in headers if key == name)
    return found.decode()


def budget(max_retries: int) -> int:
    """The calls a killer may get: its budget plus one, and one death has to be alone."""
    return max(max_retries + 2, 3)


def topic_of(orders: int, partitions: int, keys: int) -> Topic:
    """Orders in all partitions, with that many keys each."""
    topic = Topic(partitions)
    for partition in range(partitions):
        topic.fill(orders, partition, keys)
    return topic


@pytest.mark.parametrize("max_retries", [0, 1, 2, 3, 10])
@pytest.mark.parametrize("keys", [1, 7, 1000])
def test_two_killers_in_two_partitions_are_both_found(max_retries: int, keys: int) -> None:
    """They take turns to end the process, and neither makes the engine forget the other."""
    world = World(topic_of(150, 2, keys), [b"0:70", b"1:3"], max_retries)

    past = world.live()

    assert sorted(past.letters) == [b"0:70", b"1:3"]
    assert past.causes == ["process.killed_consumer"] * 2
    assert max(past.calls[killer] for killer in world.killers) <= budget(max_retries)
    assert len(past.done) == 298


@pytest.mark.parametrize("workers", [2, 8])
@pytest.mark.parametrize("keys", [5, 1000])
def test_killers_among_orders_of_many_workers_are_found(workers: int, keys: int) -> None:
    """Several may be running when one of them kills the process, and one may directly follow another."""
    killers = [b"0:3", b"0:4", b"0:60", b"1:4"]
    world = World(topic_of(100, 2, keys), killers)
    world.workers = workers

    past = world.live()

    assert sorted(past.letters) == killers
    assert max(past.calls[killer] for killer in killers) <= budget(3)
    assert len(past.done) == 196


NEVER = 1_000_000


def test_a_death_amid_caution_does_not_shorten_it() -> None:
    """The killer is far beyond where the second life got to; the third is careful up to there."""
    world = World(topic_of(20_000, 1, 20_000), [b"0:15000"])

    past = world.live([NEVER, 3, 3])

    assert past.calls[b"0:15000"] <= budget(3)
    assert past.causes == ["process.killed_consumer"]


def test_a_killer_deep_in_the_queue_of_its_key_is_found() -> None:
    """All orders are of one key, so that each runs on behind the one before it."""
    world = World(topic_of(2_000, 1, 1), [b"0:777", b"0:1500"])

    past = world.live([NEVER, 3, 300])

    assert max(past.calls[killer] for killer in world.killers) <= budget(3)
    assert len(past.done) == 1_998


def test_an_order_that_failed_before_and_was_in_flight_is_called_again() -> None:
    """Its budget is all but used up by failures; a death that another one caused does not count for it."""
    world = World(topic_of(10, 1, 10), [b"0:9"])
    entries = [Entry(4, 3, 0, announced=True), Entry(9, 0, 0, announced=True)]
    world.topic.committed[0] = 4, write_metadata(Commit(10, entries, False, False, None, int(BEGAN_S)), 4)

    past = world.live()

    assert past.letters == [b"0:9"]
    assert past.done[b"0:4"] == 1


def test_a_killer_is_found_while_the_outage_brake_holds() -> None:
    """The one order a second that is tried is announced as well."""
    world = World(topic_of(5, 1, 5), [b"0:0"])
    braked = Commit(0, [], clean=False, braked=True, alone=None, written_at_s=int(BEGAN_S))
    world.topic.committed[0] = 0, write_metadata(braked, 0)

    past = world.live()

    assert past.letters == [b"0:0"]
    assert past.calls[b"0:0"] <= budget(3)


@pytest.mark.parametrize("keys", [1, 10_000])
@pytest.mark.parametrize("hand", [[10_000], [10_000, 250], [10_000, 250, 20, 5]])
def test_crashes_that_no_order_caused_cost_a_commit_for_many_orders(keys: int, hand: List[int]) -> None:
    """Killed during normal and then careful calls: two hundred commits for 21,000 orders, not thousands."""
    world = World(topic_of(7_000, 3, keys), [])

    past = world.live(hand)

    assert not past.letters and len(past.done) == 21_000
    assert world.commits < 300


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Any few partitions, any keys, any killers."""
    partitions, orders = draw(st.integers(1, 3)), draw(st.sampled_from([1, 5, 20, 120]))
    topic = topic_of(orders, partitions, draw(st.sampled_from([1, 3, 1000])))
    places = st.tuples(st.integers(0, partitions - 1), st.integers(0, orders - 1))
    killers = [b"%d:%d" % place for place in draw(st.lists(places, max_size=5, unique=True))]
    return World(topic, killers, draw(st.sampled_from([0, 1, 2, 3, 5])), draw(st.sampled_from([0.0, 0.004])))


SHARES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=2, unique=True), max_size=8)
HANDS = st.lists(st.one_of(st.integers(0, 150), st.integers(-30, -1)), max_size=6)


@settings(max_examples=100)
@given(worlds(), HANDS, SHARES)
def test_whatever_dies_and_when_it_ends_and_the_budgets_hold(
    world: World, hand: List[int], shares: List[List[int]]
) -> None:
    """Any killers, any deaths from without between them, at a call or at a commit, and any owners."""
    partitions = len(world.topic.records)
    past = world.live(hand, [sorted({number % partitions for number in share}) for share in shares])

    for killer in world.killers:
        assert past.calls.get(killer, 0) <= budget(world.policy.max_retries), (killer, past.calls, hand)
    assert world.killers <= set(past.letters)
    others = set(past.letters) - world.killers
    alone = 1 if world.policy.max_retries < 3 else world.policy.max_retries - 1
    assert all(len(past.deaths[value]) >= alone for value in others), others
    deaths = sum(past.calls.get(killer, 0) for killer in world.killers) + len(hand)
    assert past.lives <= deaths + len(shares) + 1
    assert len(past.done) + len(set(past.letters)) >= sum(len(part) for part in world.topic.records.values())
    assert len(past.letters) == len(set(past.letters))
