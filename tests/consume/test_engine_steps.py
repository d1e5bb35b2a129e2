"""The engine in memory, step by step, against everything a client and a broker can do to it."""

import random
import zlib
from collections import Counter
from typing import Any, Callable, Dict, List, Optional, Sequence, Set

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orderflow.consume.retry import Policy
from orderflow.consume.settlement import Offsets, Outcome, Settlement
from orderflow.model.commit_metadata import read_metadata
from orderflow.model.records import Outgoing
from tests.support.scripted_session import DEAD_LETTERS, RESULTS, Life, ScriptedSession, Stored, Topic

Order = Dict[str, Any]


class Shop:
    """A handler that records its calls and fails as instructed."""

    def __init__(self, fails: Callable[[bytes], bool] = lambda value: False) -> None:
        self.calls: List[bytes] = []
        self.done: List[bytes] = []
        self._fails = fails

    def __call__(self, order: Order) -> None:
        """Process one order."""
        self.calls.append(order["value"])
        if self._fails(order["value"]):
            raise ConnectionError("not now")
        self.done.append(order["value"])


def everything(topic: Topic) -> List[bytes]:
    """The value of every order that the log holds."""
    return [record.value() or b"" for log in topic.records.values() for record in log.values()]


def test_every_order_is_called_once_and_settled() -> None:
    """The normal case: three partitions, nothing fails."""
    topic, shop = Topic(partitions=3), Shop()
    for partition in range(3):
        topic.fill(100, partition)

    Life(topic, shop).drain()

    assert sorted(everything(topic)) == sorted(shop.calls)
    assert {0: 100, 1: 100, 2: 100} == {number: offset for number, (offset, _) in topic.committed.items()}


def test_what_fails_for_ever_is_dead_lettered_after_its_budget() -> None:
    """One order of ten fails at each of its four calls; the others are not touched by it."""
    topic, shop = Topic(), Shop(fails=lambda value: value == b"0:3")
    topic.fill(10)

    Life(topic, shop).drain()

    assert 4 == shop.calls.count(b"0:3")
    assert 9 == len(shop.done) == len(set(shop.done))
    assert [b"0:3"] == [letter.value for letter in topic.of(DEAD_LETTERS)]


# --- redelivered, late, missing and reordered records

Odd = Callable[[List[Stored]], Sequence[Stored]]
ODD: Dict[str, Odd] = {
    "the batch twice": lambda found: [*found, *found],
    "each record twice": lambda found: [record for record in found for _ in range(2)],
    "its first half again at the end": lambda found: [*found, *found[: len(found) // 2]],
    "backwards": lambda found: found[::-1],
    "in pairs the wrong way round": lambda found: sorted(found, key=lambda record: record.place ^ 1),
    "without its first records": lambda found: found[3:],
    "without its last records": lambda found: found[:-3],
    "without one in the middle": lambda found: [*found[:5], *found[6:]],
    "not at all": lambda found: [],
}


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("odd", list(ODD))
def test_a_batch_that_comes_oddly_is_processed_once(odd: str, workers: int) -> None:
    """The first batch of all, and one in the middle."""
    topic, shop = Topic(partitions=2), Shop()
    topic.fill(40, 0, keys=5)
    topic.fill(40, 1, keys=5)
    life = Life(topic, shop, workers=workers)
    life.session.odd.append(ODD[odd])
    life.drain()
    topic.fill(40, 0, keys=5)
    topic.fill(40, 1, keys=5)
    life.session.odd.append(ODD[odd])
    life.until(lambda: len(shop.done) >= 160)
    life.until(life.is_drained)

    assert sorted(everything(topic)) == sorted(shop.calls)
    for partition in (b"0:", b"1:"):
        called = [int(value.split(b":")[1]) for value in shop.done if value.startswith(partition)]
        for key in range(5):
            of_key = [offset for offset in called if offset % 5 == key]
            assert sorted(of_key) == of_key, "the order of a key"


def test_what_was_polled_before_an_outage_is_not_processed_again_after_it() -> None:
    """The client delivers 550 orders a second time when the paused partition is resumed."""
    topic = Topic(partitions=3)
    for partition in range(3):
        topic.fill(1_000, partition)
    shop = Shop(fails=lambda value: topic.clock() < 3.0)
    life = Life(topic, shop)
    life.until(lambda: "outage_begins" in life.names())
    seen: List[Stored] = [*topic.read(0, 0, 550)]
    life.session.odd.extend([lambda found: [*seen, *found]] * 3)
    life.drain(steps=20_000)

    assert {1} == set(Counter(shop.done).values())
    assert sorted(everything(topic)) == sorted(shop.done)
    assert "handed_over_again" in life.names()


@pytest.mark.parametrize("workers", [1, 4])
def test_no_result_is_committed_without_the_offset_of_its_order(workers: int) -> None:
    """A gap is looked into by a seek, after which the client knows no position until a record comes."""
    topic = Topic(partitions=2)
    for _ in range(3):
        topic.fill(20)
        topic.leave_hole(0)
    topic.fill(3_000, 1)
    life = Life(topic, lambda order: order["value"], workers=workers, publishes=True)

    while not life.is_drained():
        life.step()
        beyond = [
            value
            for value in (result.value or b"" for result in topic.of(RESULTS))
            if int(value.split(b":")[1]) >= next_told(topic, int(value.split(b":")[0]))
        ]
        assert not beyond


def next_told(topic: Topic, partition: int) -> int:
    """The first offset that the group's commit says was not admitted yet."""
    offset, metadata = topic.committed.get(partition, (0, ""))
    commit = read_metadata(metadata, offset)
    assert commit is not None or not metadata
    return offset if commit is None else commit.next


@pytest.mark.parametrize("publishes", [False, True])
def test_what_was_there_at_the_start_is_done_although_orders_keep_coming(publishes: bool) -> None:
    """Later ones may wait for a retry at any time, and a settlement may be under way."""
    topic = Topic(partitions=2)
    done: Set[bytes] = set()
    topic.fill(50, 0)

    def handle(order: Order) -> bytes:
        if order["value"] not in early or topic.clock() < 1.0:
            raise ConnectionError("not now")
        done.add(order["value"])
        return bytes(order["value"])

    early = everything(topic)
    life = Life(topic, handle, publishes=publishes, outage_window_s=0.0)
    for _ in range(3_000):
        topic.fill(1, 0)
        life.step()
        if life.is_drained():
            break

    assert life.is_drained()
    assert done == set(early)
    assert topic.committed[0][0] >= 50
    assert len(topic.of(RESULTS)) == (50 if publishes else 0)


def test_an_order_that_comes_late_is_processed_all_the_same() -> None:
    """Its offset was taken for a gap twice; then the client delivers it after the others."""
    topic, shop = Topic(), Shop()
    topic.fill(10)
    life = Life(topic, shop)
    missing = topic.read(0, 5, 1)[0]
    life.session.odd.extend([lambda found: [each for each in found if each is not missing]] * 9)
    life.drain()
    life.session.odd.clear()
    assert missing.value() not in shop.calls

    topic.fill(5)
    life.session.odd.append(lambda found: [*found, missing])
    life.until(lambda: len(shop.done) == 15)

    assert sorted(everything(topic)) == sorted(shop.done)
    assert "came_late" in life.names()


def test_a_place_where_the_client_goes_on_after_a_pause_is_named() -> None:
    """Every resume gives an explicit offset, since the client's own position can be stale."""
    topic = Topic()
    topic.fill(300)
    shop = Shop(fails=lambda value: topic.clock() < 3.0)
    life = Life(topic, shop)
    life.until(lambda: "outage_begins" in life.names())
    polled = life.session.place[0]
    life.session.place[0] = 7  # the stale place
    life.drain(steps=20_000)

    assert (0, polled) in life.session.seeks
    assert {1} == set(Counter(shop.done).values())


def test_a_log_that_lost_its_end_is_not_taken_for_a_repetition() -> None:
    """An unclean election: processed offsets now hold other records. That is reported, not skipped."""
    topic, shop = Topic(), Shop()
    topic.fill(100)
    life = Life(topic, shop).drain()
    for offset in range(40, 100):
        topic.compact(0, offset)
    topic.high[0] = 40
    topic.put(0, b"new", b"rewritten")
    life.session.place[0] = 40

    with pytest.raises(Exception, match="the log ends at 41"):
        life.until(lambda: False, steps=2_000)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([1, 4]), st.booleans())
def test_whatever_the_client_does_an_order_is_processed_once(seed: int, workers: int, exactly: bool) -> None:
    """Odd batches at any time, amid failures, gaps and outages; nothing is lost or processed twice."""
    chance = random.Random(seed)
    topic = Topic(partitions=2)
    for _ in range(200):
        partition = chance.randrange(2)
        topic.put(partition, chance.choice([None, b"a", b"b", b"%d" % chance.randrange(50)]))
        if chance.random() < 0.02:
            topic.leave_hole(partition, chance.randrange(1, 4))
    bad_until_s = chance.choice([0.0, 2.0, 5.0])
    shop = Shop(fails=lambda value: topic.clock() < bad_until_s or chance.random() < 0.05)
    life = Life(topic, shop, workers=workers, exactly_once=exactly)
    whole = [odd for name, odd in ODD.items() if "without" not in name and "not" not in name]
    life.session.odd.extend(chance.choice([*whole, _as_it_is, _as_it_is]) for _ in range(40))
    life.drain(steps=20_000)

    dead = [letter.value or b"" for letter in topic.of(DEAD_LETTERS)]
    assert sorted(everything(topic)) == sorted([*shop.done, *dead])


def _as_it_is(found: List[Stored]) -> List[Stored]:
    return found


# --- a broker that takes less metadata than it was asked for


class Stingy(ScriptedSession):
    """A session whose broker takes 400 bytes of metadata."""

    def commit(self, offsets: Offsets) -> Settlement:
        """Commit offsets alone, if their metadata fits."""
        return self._refused(offsets) or super().commit(offsets)

    def send(
        self, outgoing: Sequence[Outgoing], offsets: Offsets, member: Any, pages: Sequence[Outgoing] = ()
    ) -> Settlement:
        """Send, if the metadata of the offsets fits."""
        return self._refused(offsets) or super().send(outgoing, offsets, member, pages)

    def _refused(self, offsets: Offsets) -> Optional[Settlement]:
        fits = all(len(metadata) <= 400 for _, metadata in offsets.values())
        return None if fits else Settlement(Outcome.METADATA_TOO_LARGE, "too large")


@pytest.mark.parametrize("exactly_once", [True, False])
def test_a_broker_that_takes_less_metadata_is_survived(exactly_once: bool) -> None:
    """Three of five orders fail for 20 s: fewer are listed after each refusal, and none is lost."""
    topic = Topic()
    topic.fill(2_000)
    shop = Shop(fails=lambda value: zlib.crc32(value) % 5 < 3 and topic.clock() < 20.0)
    policy = Policy(max_retries=30, backoff_s=1.0, backoff_max_s=2.0)
    Life(topic, shop, exactly_once=exactly_once, policy=policy, connect=Stingy).drain(steps=60_000)

    assert set(everything(topic)) == set(shop.done)
