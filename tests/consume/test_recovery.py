"""Reading waiting orders back from a real Kafka: each one is found, or reported missing."""

import random
import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from orderflow.consume.reading_back import Recovery
from tests.conftest import Kafka

pytestmark = pytest.mark.broker

DEADLINE_S = 30.0


class Topic:
    """A topic to be written offset by offset: records, transaction markers and aborted records."""

    def __init__(self, kafka: Kafka, name: str, partitions: int = 1) -> None:
        self.name = name
        self.client: Dict[str, Any] = {"bootstrap.servers": kafka.bootstrap_servers}
        self.admin = AdminClient(self.client)
        (made,) = self.admin.create_topics([NewTopic(name, partitions, 1)]).values()
        made.result(DEADLINE_S)
        self.ends = [0] * partitions
        self._reader = Consumer({**self.client, "group.id": "ends"})
        self._plain = Producer(self.client)
        self._transactional: Optional[Producer] = None

    def records(self, count: int, partition: int = 0, size: int = 1) -> None:
        """That many records, each at an offset."""
        self._send(self._plain, count, partition, size)

    def transaction(self, count: int, partition: int = 0, commit: bool = True) -> None:
        """That many records in a transaction, and its marker: one more offset without a record."""
        producer = self.begin(count, partition)
        if commit:
            producer.commit_transaction(DEADLINE_S)
        else:
            producer.abort_transaction(DEADLINE_S)
        self.ends[partition] += 1
        self._wait_for_end(partition)

    def _wait_for_end(self, partition: int) -> None:
        """A transaction has ended for its producer before its marker is in the log."""
        place = TopicPartition(self.name, partition)
        until_s = time.monotonic() + DEADLINE_S
        while self._reader.get_watermark_offsets(place, timeout=DEADLINE_S)[1] < self.ends[partition]:
            assert time.monotonic() < until_s, "the marker never came"

    def begin(self, count: int, partition: int = 0) -> Producer:
        """The same, left open."""
        if self._transactional is None:
            self._transactional = Producer({**self.client, "transactional.id": self.name})
            self._transactional.init_transactions(DEADLINE_S)
        self._transactional.begin_transaction()
        self._send(self._transactional, count, partition, 1)
        return self._transactional

    def _send(self, producer: Producer, count: int, partition: int, size: int) -> None:
        for number in range(count):
            producer.produce(self.name, b"x" * size, b"%d" % (number % 7), partition)
        assert producer.flush(DEADLINE_S) == 0
        self.ends[partition] += count

    def delete_before(self, offset: int, partition: int = 0) -> None:
        """What retention does."""
        place = TopicPartition(self.name, partition, offset)
        (deleted,) = self.admin.delete_records([place]).values()
        deleted.result(DEADLINE_S)


class Result(NamedTuple):
    """What a search of one partition brought."""

    offsets: List[int]
    missing: List[int]
    completions: int


class Searching:
    """A recovery on a topic, driven until it has nothing left to search."""

    def __init__(self, topic: Topic) -> None:
        self.recovery = Recovery(topic.name, topic.client, "group")
        self.results: Dict[int, Result] = {}

    def start(self, lone: Sequence[int], through: Optional[int], end: int, partition: int = 0) -> None:
        """Add a search."""
        self.results[partition] = Result([], [], 0)
        self.recovery.start(partition, lone, through, end)

    def poll(self) -> None:
        """Advance once."""
        for found in self.recovery.poll(0.05):
            before = self.results[found.partition]
            self.results[found.partition] = Result(
                before.offsets + [record.offset() for record in found.records],
                before.missing + found.missing,
                before.completions + found.complete,
            )
            assert found.complete == (found.partition not in self.recovery)
            assert {found.partition} >= {record.partition() for record in found.records}

    def poll_until_found(self) -> None:
        """Advance until something comes, and no further."""
        until_s = time.monotonic() + DEADLINE_S
        while not any(result.offsets for result in self.results.values()):
            assert time.monotonic() < until_s, "nothing was found"
            self.poll()

    def finish(self) -> Dict[int, Result]:
        """Drive all searches to their end; the deadline fails the test."""
        until_s = time.monotonic() + DEADLINE_S
        while self.recovery:
            assert time.monotonic() < until_s, f"still searching: {self.results}"
            self.poll()
        return self.results

    def all_of(self, lone: Sequence[int], through: Optional[int], end: int) -> Result:
        """Search partition 0."""
        self.start(lone, through, end)
        return self.finish()[0]


@pytest.fixture
def make(kafka: Kafka, topic: Callable[..., str]) -> Iterator[Callable[..., Tuple[Topic, Searching]]]:
    """Make a topic and a recovery on it: `make(partitions=3)`."""
    made: List[Searching] = []

    def new(partitions: int = 1) -> Tuple[Topic, Searching]:
        target = Topic(kafka, topic(), partitions)
        made.append(Searching(target))
        return target, made[-1]

    yield new
    for searching in made:
        searching.recovery.close()


Make = Callable[..., Tuple[Topic, Searching]]


@pytest.mark.clock
def test_lone_records_cost_a_seek_each_and_not_what_lies_behind_them(make: Make) -> None:
    """Records the client has fetched beyond a wanted one are neither awaited nor made into objects."""
    topic, searching = make()
    topic.records(60_000, size=50)
    wanted = list(range(0, 60_000, 1_000))
    searching.all_of([wanted[0]], None, 60_000)

    began_s = time.monotonic()
    result = searching.all_of(wanted, None, 60_000)

    assert result.offsets == wanted
    assert time.monotonic() - began_s < 0.02 * len(wanted), "47 ms each, when it waited for more"


# --- what the log holds


def test_lone_records_are_found_near_and_far(make: Make) -> None:
    """Those close together are read through, those far apart are sought; nothing else is returned."""
    orders, searching = make()
    orders.records(3000)
    wanted = [0, 1, 7, 500, 501, 1200, 2500, 2999]

    assert Result(wanted, [], 1) == searching.all_of(wanted, None, 3000)


def test_a_range_is_read_from_its_first_record_to_its_last(make: Make) -> None:
    """None left out, none at the mark or beyond, which the session reads."""
    orders, searching = make()
    orders.records(2000)

    assert Result(list(range(700, 1900)), [], 1) == searching.all_of([], 700, 1900)


def test_a_range_is_over_at_its_mark_and_not_at_the_end_of_the_log(make: Make) -> None:
    """However much was written since: a restart must not cost the whole backlog."""
    orders, searching = make()
    orders.records(12_000)
    searching.start([], 5, 8)

    searching.poll_until_found()

    assert Result([5, 6, 7], [], 1) == searching.results[0]


def test_lone_records_come_before_the_range(make: Make) -> None:
    """In the order of their offsets, so that the order of keys is kept."""
    orders, searching = make()
    orders.records(1500)

    assert Result([3, 1000, *range(1001, 1010)], [], 1) == searching.all_of([3, 1000], 1001, 1010)


def test_a_record_larger_than_a_fetch_is_found(make: Make) -> None:
    """Fetches are kept small for the sake of seeks; that must not hide a large order."""
    orders, searching = make()
    orders.records(2)
    orders.records(1, size=700_000)
    orders.records(2)

    assert Result([2, 4], [], 1) == searching.all_of([2, 4], None, 5)


def test_the_first_and_last_record_of_a_range_of_one(make: Make) -> None:
    """A head with followers right below the mark."""
    orders, searching = make()
    orders.records(10)

    assert Result([9], [], 1) == searching.all_of([], 9, 10)


# --- what it does not hold


def test_holes_of_transactions_are_reported_missing(make: Make) -> None:
    """Markers and aborted records have offsets that no reader ever sees, in the middle and at the end."""
    orders, searching = make()
    orders.records(2)  # 0 and 1
    orders.transaction(2)  # 2, 3 and a marker at 4
    orders.transaction(3, commit=False)  # 5 to 7, aborted, and a marker at 8
    orders.records(1)  # 9
    orders.transaction(1, commit=False)  # 10, aborted, and a marker at 11

    assert Result([1, 3, 9], [4, 6, 8, 10, 11], 1) == searching.all_of([1, 3, 4, 6, 8, 9, 10, 11], None, 12)


def test_a_range_with_holes_at_its_ends_is_complete(make: Make) -> None:
    """It starts at the first record there is, and ends even if there is no record at its end."""
    orders, searching = make()
    orders.records(1)
    orders.transaction(3, commit=False)  # 1 to 3, aborted, and a marker at 4
    orders.records(3)  # 5 to 7
    orders.transaction(1, commit=False)  # 8, aborted, and a marker at 9

    assert Result([5, 6, 7], [], 1) == searching.all_of([], 1, 10)


def test_what_retention_deleted_is_reported_missing(make: Make) -> None:
    """And what is left is found, lone or in a range that began before."""
    orders, searching = make(partitions=2)
    orders.records(100)
    orders.records(100, partition=1)
    orders.delete_before(50)
    orders.delete_before(50, partition=1)

    searching.start([3, 49, 50, 70], None, 100)
    searching.start([2], 40, 60, partition=1)

    assert {0: Result([50, 70], [3, 49], 1), 1: Result(list(range(50, 60)), [2], 1)} == searching.finish()


def test_a_log_that_was_deleted_whole_ends_the_search(make: Make) -> None:
    """Nothing is left to read, and nothing ever comes."""
    orders, searching = make()
    orders.records(10)
    orders.delete_before(10)

    assert Result([], [2, 5], 1) == searching.all_of([2, 5], 7, 10)


@pytest.mark.parametrize("offset", [12_000, 12_001, 50_000])
def test_an_offset_at_or_past_the_end_is_reported_missing(make: Make, offset: int) -> None:
    """A log may have lost its end with an unclean leader; the search must end, and not go round."""
    orders, searching = make()
    orders.records(12_000)

    assert Result([4], [offset], 1) == searching.all_of([4, offset], None, offset + 1)


def test_a_range_past_the_end_is_empty(make: Make) -> None:
    """Not filled with the records from the beginning of the log."""
    orders, searching = make()
    orders.records(12_000)

    assert Result([], [], 1) == searching.all_of([], 50_000, 50_500)


def test_an_empty_log_ends_the_search(make: Make) -> None:
    """In a recreated topic."""
    _, searching = make()

    assert Result([], [0], 1) == searching.all_of([0], 3, 9)


def test_an_open_transaction_does_not_hold_up_what_is_before_it(make: Make) -> None:
    """The session's mark lies before it; what is asked beyond counts as not there."""
    orders, searching = make()
    orders.records(5)
    open_one = orders.begin(2)

    assert Result([1, 3, 4], [], 1) == searching.all_of([1], 3, 5)
    open_one.abort_transaction(DEADLINE_S)


# --- several searches


def test_partitions_are_searched_side_by_side(make: Make) -> None:
    """One that completes does not disturb the others, which seek and read on meanwhile."""
    orders, searching = make(partitions=8)
    wanted = {}
    for partition in range(8):
        orders.records(3000, partition)
        wanted[partition] = list(range(partition, 3000, 600 + 40 * partition))

    for partition, lone in wanted.items():
        searching.start(lone, None, 3000, partition)

    assert {partition: Result(lone, [], 1) for partition, lone in wanted.items()} == searching.finish()


def test_a_search_that_starts_later_does_not_disturb_one_under_way(make: Make) -> None:
    """A rebalance brings partitions one by one."""
    orders, searching = make(partitions=3)
    for partition in range(3):
        orders.records(4000, partition)

    for partition in range(3):
        searching.start([5, 3000], 3500, 4000, partition)
        searching.poll()
        searching.poll()

    expected = Result([5, 3000, *range(3500, 4000)], [], 1)
    assert dict.fromkeys(range(3), expected) == searching.finish()


def test_a_cancelled_search_brings_nothing_more(make: Make) -> None:
    """Its partition went to another owner; the other one is searched to its end, and it may come back."""
    orders, searching = make(partitions=2)
    orders.records(2000)
    orders.records(2000, partition=1)
    searching.start([0], 1, 2000)
    searching.start([1500], None, 2000, partition=1)

    searching.recovery.cancel({0, 7})
    assert 0 not in searching.recovery and 1 in searching.recovery
    assert Result([1500], [], 1) == searching.finish()[1]
    assert Result([], [], 0) == searching.results[0]

    assert Result([0, 1, 2], [], 1) == searching.all_of([0], 1, 3)


def test_nothing_to_search_costs_nothing(make: Make) -> None:
    """No client is made before it is needed, and closing without one is fine."""
    _, searching = make()
    searching.start([], None, 5)

    assert 0 not in searching.recovery
    assert [] == searching.recovery.poll(5.0)
    searching.recovery.cancel({0})
    searching.recovery.close()


def test_it_commits_nothing_and_joins_no_group(make: Make) -> None:
    """It is in the group by name only, for clusters that allow a group no other name."""
    orders, searching = make()
    orders.records(10)
    searching.all_of([3], 5, 10)

    consumer = Consumer({**orders.client, "group.id": "group"})
    (committed,) = consumer.committed([TopicPartition(orders.name, 0)], timeout=DEADLINE_S)
    consumer.close()

    assert committed.offset < 0


# --- all of it at random


def write_at_random(orders: Topic, chance: random.Random, partition: int) -> Set[int]:
    """Write a log with holes of every kind; the offsets that hold a record."""
    held: Set[int] = set()
    for _ in range(12):
        begin, count = orders.ends[partition], chance.choice([1, 2, 40, 700])
        kind = chance.choice(["plain", "plain", "commit", "abort"])
        if kind == "plain":
            orders.records(count, partition)
        else:
            orders.transaction(count, partition, commit=kind == "commit")
        if kind != "abort":
            held |= set(range(begin, begin + count))
    return held


def search_at_random(chance: random.Random, end: int) -> Tuple[List[int], Optional[int], int]:
    """Any lone offsets, and any range behind them."""
    lone = sorted(chance.sample(range(end), min(end, chance.choice([0, 1, 3, 30]))))
    mark = chance.randrange((lone[-1] if lone else 0) + 1, end + 1)
    lowest = lone[-1] + 1 if lone else 0
    through = chance.randrange(lowest, mark) if lowest < mark and chance.random() < 0.6 else None
    return (lone, through, mark) if lone or through is not None else ([0], None, mark)


def expected(held: Set[int], lone: List[int], through: Optional[int], end: int) -> Result:
    """What the log's writer says that must be found."""
    ranged = [] if through is None else sorted(offset for offset in held if through <= offset < end)
    found = [offset for offset in lone if offset in held]
    return Result(found + ranged, [offset for offset in lone if offset not in held], 1)


def test_any_search_of_any_log_finds_exactly_what_is_there(make: Make) -> None:
    """Two logs with holes, forty searches of both at once."""
    chance = random.Random(20251124)
    orders, searching = make(partitions=2)
    logs = [write_at_random(orders, chance, partition) for partition in range(2)]

    for _ in range(40):
        asked = [search_at_random(chance, end) for end in orders.ends]
        for partition, search in enumerate(asked):
            searching.start(*search, partition)

        found = searching.finish()

        for partition, search in enumerate(asked):
            assert expected(logs[partition], *search) == found[partition], search
