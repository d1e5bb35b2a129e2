"""Every outcome of every call of a settlement, on a real broker behind a wire with accidents.

The one rule behind all of them: the records are there if and only if the offsets are committed, whatever
the session says; and what it calls settled is committed.
"""

import time
from typing import Any, Callable, Dict, Iterator, List, Set, Tuple

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic

from config import CLIENT_DEFAULTS
from orderflow.consume.client_config import Clients, consumer_config, producer_config
from orderflow.consume.session import Session
from orderflow.consume.settlement import Outcome
from orderflow.model.records import Outgoing
from tests.conftest import Kafka
from tests.support import fault_proxy as wire
from tests.support.account import read_topic
from tests.support.fault_proxy import FaultProxy
from tests.support.pipeline import eventually

pytestmark = pytest.mark.broker

HASTY = {
    "reconnect.backoff.max.ms": "200",
    "transaction.timeout.ms": "1500",
    "session.timeout.ms": "1500",
    "heartbeat.interval.ms": "300",
}

# Error codes: https://kafka.apache.org/protocol#protocol_error_codes
ACCIDENTS: Dict[int, Tuple[object, ...]] = {
    wire.PRODUCE: (wire.LOST_REQUEST, wire.LOST_ANSWER),
    wire.TXN_OFFSET_COMMIT: (wire.LOST_REQUEST, wire.LOST_ANSWER),
    wire.INIT_PRODUCER_ID: (wire.LOST_REQUEST, wire.LOST_ANSWER, 14, 15, 16, 51, 53),
    wire.ADD_PARTITIONS: (wire.LOST_REQUEST, wire.LOST_ANSWER, 3, 14, 15, 16, 29, 47, 49, 51, 53, 90),
    wire.ADD_OFFSETS: (wire.LOST_REQUEST, wire.LOST_ANSWER, 14, 15, 16, 30, 47, 49, 51, 53, 90),
    wire.END_TXN: (wire.LOST_REQUEST, wire.LOST_ANSWER, -1, 14, 15, 16, 47, 48, 49, 51, 53, 90),
}
"""By request: 3 no such topic, 14 coordinator loading, 15 not available, 16 moved, 29 30 53 denied, 47 epoch,
48 state, 49 id mapping, 51 concurrent transactions, 90 fenced, -1 unknown."""
EVERY_ACCIDENT = [(api, what) for api, accidents in ACCIDENTS.items() for what in accidents]
GRAVEST = [
    (wire.PRODUCE, wire.LOST_ANSWER),
    (wire.TXN_OFFSET_COMMIT, wire.LOST_ANSWER),
    (wire.ADD_OFFSETS, 16),
    (wire.END_TXN, wire.LOST_ANSWER),
    (wire.END_TXN, 90),
]
"""The short form; tests/chaos/test_engine_session.py takes all of them."""


class Bench:
    """A session whose one partition holds some records, and the outcomes of its settlements."""

    def __init__(self, kafka: Kafka, servers: str, topic: Callable[..., str], exactly_once: bool) -> None:
        self.source, self.sink, self.group = topic("source"), topic("sink"), topic("group")
        self.direct: Dict[str, Any] = {"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0}
        admin = AdminClient(self.direct)
        for made in admin.create_topics([NewTopic(self.source, 1, 1), NewTopic(self.sink, 1, 1)]).values():
            made.result(20)
        self.transactional_id = topic("transactions")
        client = {**CLIENT_DEFAULTS, "bootstrap.servers": servers, "log_level": 0, **HASTY}
        self.session = Session(
            self.source,
            Clients(
                consumer_config(client, self.group, 300),
                producer_config(client, self.transactional_id),
                exactly_once,
            ),
            on_revoke=lambda partitions: None,
            on_lost=lambda: None,
            while_waiting=lambda waited_s: None,
        )
        eventually(lambda: self.session.poll(1, 0.1) or self.session.assigned)
        self._next = 0
        self.told: Any = None

    def settle(self, **changed: Any) -> Outcome:
        """Settle one record that says which offset is committed with it."""
        self._next += 1
        value = str(self._next).encode().ljust(changed.get("size", 0))
        record = Outgoing(self.sink, b"key", value, [])
        offsets = {0: (self._next, f"of {self._next}")}
        member = changed.get("member", self.session.member())
        offsets = changed.get("offsets", offsets)
        self.told = self.session.send([record], offsets, member)
        outcome = self.told.outcome
        return self.session.commit(offsets).outcome if outcome is Outcome.SENT else outcome

    def committed(self) -> int:
        """The committed offset; 0 where nothing is committed."""
        consumer = Consumer({**self.direct, "group.id": self.group})
        try:
            (place,) = consumer.committed([TopicPartition(self.source, 0)], timeout=20)
            return max(0, place.offset)
        finally:
            consumer.close()

    def sent(self) -> List[int]:
        """What a reader of the records sees."""
        return [int(line.value or b"0") for line in read_topic(self.direct, self.sink)]


NewBench = Callable[..., Bench]


@pytest.fixture(scope="module")
def proxy(strict_kafka: Kafka) -> Iterator[FaultProxy]:
    """One wire for all tests here; each has its own accidents."""
    with FaultProxy(strict_kafka.bootstrap_servers) as between:
        yield between


@pytest.fixture
def bench(strict_kafka: Kafka, proxy: FaultProxy, topic: Callable[..., str]) -> Iterator[NewBench]:
    """Make a session behind the wire; it leaves its group with the test."""
    made: List[Bench] = []

    def make(exactly_once: bool = True) -> Bench:
        made.append(Bench(strict_kafka, proxy.bootstrap_servers, topic, exactly_once))
        return made[-1]

    yield make
    proxy.heal()
    proxy.narrow(0)
    for each in made:
        each.session.close()


def assert_all_or_nothing(tested: Bench, settled: Set[int]) -> None:
    """What was settled is committed; and records are there exactly for the offsets that are committed."""
    sent = tested.sent()
    assert tested.committed() == max(sent, default=0)
    assert len(sent) == len(set(sent)), "a record is there twice"
    assert settled <= set(sent), "it said settled, and a record is missing"


# --- exactly-once


def test_the_gravest_accidents_are_among_all() -> None:
    assert set(GRAVEST) <= set(EVERY_ACCIDENT)


def accident_id(value: object) -> str:
    """A name for a row: `EndTxn`, `90`, `answer-lost`."""
    return wire.NAMES.get(value, str(value).replace(" ", "-")) if isinstance(value, int) else str(value)


@pytest.mark.parametrize(("api", "what"), GRAVEST, ids=accident_id)
def test_no_accident_splits_a_transaction(bench: NewBench, proxy: FaultProxy, api: int, what: object) -> None:
    """A call that is cut off before or behind the broker, or refused: all or nothing, and the next works."""
    assert_survives(bench(), proxy, api, what)


def assert_survives(tested: Bench, proxy: FaultProxy, api: int, what: object) -> None:
    """Settle, meet with the accident, settle again: all or nothing each time."""
    settled: Set[int] = set()
    if api != wire.INIT_PRODUCER_ID:
        assert tested.settle() is Outcome.SETTLED
        settled.add(1)
    proxy.happened.clear()
    proxy.break_next(api, what)
    if tested.settle() is Outcome.SETTLED:
        settled.add(len(settled) + 1)
    assert proxy.happened == [(wire.NAMES[api], what)]
    assert_all_or_nothing(tested, settled)

    assert tested.settle() is Outcome.SETTLED, "the next settlement must work"
    assert_all_or_nothing(tested, settled | {tested.committed()})


def test_a_second_producer_of_the_same_name_fences_us_once(bench: NewBench) -> None:
    """A fatal error: what was under way is void, and the session takes its name back by itself."""
    tested = bench()
    assert tested.settle() is Outcome.SETTLED
    rival = Producer({**tested.direct, "transactional.id": tested.transactional_id})
    rival.init_transactions(10)

    assert tested.settle() is Outcome.NOT_COMMITTED
    assert_all_or_nothing(tested, {1})
    assert tested.settle() is Outcome.SETTLED
    assert_all_or_nothing(tested, {1, 3})


def test_what_takes_longer_than_a_transaction_may_is_settled_all_the_same(
    bench: NewBench, proxy: FaultProxy
) -> None:
    """Over a narrow wire, or under a quota: to give up at the same point each time would be for ever."""
    tested = bench()
    assert tested.settle() is Outcome.SETTLED
    proxy.narrow(300_000)

    outcomes = [tested.settle(size=900_000) for _ in range(4)]

    proxy.narrow(0)
    assert Outcome.SETTLED in outcomes, tested.told
    assert_all_or_nothing(tested, {1})


@pytest.mark.parametrize("exactly_once", [True, False])
def test_a_topic_that_was_made_to_take_less_gets_smaller_batches(bench: NewBench, exactly_once: bool) -> None:
    """Each record fits, and only all of them together do not: nobody has to raise anything."""
    tested = bench(exactly_once)
    assert tested.settle() is Outcome.SETTLED
    lower = ConfigEntry("max.message.bytes", "100000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, tested.sink, incremental_configs=[lower])
    admin = AdminClient(tested.direct)
    admin.incremental_alter_configs([resource])[resource].result(20)
    records = [Outgoing(tested.sink, b"key", b"%06d" % number * 1000, []) for number in range(100)]

    outcomes = [
        tested.session.send(records, {0: (2, "of 2")}, tested.session.member()).outcome for _ in range(4)
    ]

    assert (Outcome.SETTLED if exactly_once else Outcome.SENT) in outcomes


def test_a_member_that_the_group_has_dropped_can_commit_nothing(bench: NewBench, proxy: FaultProxy) -> None:
    """It learns of it only when it polls again; until then neither records nor offsets of its count."""
    tested = bench()
    assert tested.settle() is Outcome.SETTLED
    proxy.break_next(wire.HEARTBEAT, wire.LOST_REQUEST, times=1000)
    rival = Consumer({**tested.direct, **HASTY, "group.id": tested.group, "enable.auto.commit": False})
    rival.subscribe([tested.source])
    eventually(lambda: rival.poll(0.1) is None and rival.assignment())
    proxy.heal()
    for _ in range(30):
        assert tested.settle() is Outcome.EXPELLED, tested.told
        rival.poll(0.05)
    rival.close()
    assert_all_or_nothing(tested, {1})

    eventually(lambda: tested.session.poll(1, 0.1) or tested.session.take_lost())
    eventually(lambda: tested.session.poll(1, 0.1) or tested.session.assigned)
    assert tested.settle() is Outcome.SETTLED


def test_metadata_that_is_too_large_is_told_apart_and_aborts_the_transaction(bench: NewBench) -> None:
    tested = bench()

    assert tested.settle(offsets={0: (1, "x" * 5000)}) is Outcome.METADATA_TOO_LARGE
    assert (tested.sent(), tested.committed()) == ([], 0)
    assert tested.settle() is Outcome.SETTLED
    assert_all_or_nothing(tested, {2})


def test_a_topic_that_is_not_there_commits_nothing(bench: NewBench) -> None:
    """Refused or timed out, nothing is committed until it is there, in both guarantees."""
    for exactly_once in (True, False):
        tested = bench(exactly_once)
        tested.sink, there = f"{tested.sink}-missing", tested.sink

        assert tested.settle() in (Outcome.REFUSED, Outcome.NOT_COMMITTED)
        assert tested.committed() == 0
        tested.sink = there
        assert tested.settle() is Outcome.SETTLED
        assert tested.sent() == [2]


@pytest.mark.parametrize("exactly_once", [True, False])
def test_a_producer_that_may_not_begin_says_which_right_it_takes(
    bench: NewBench, proxy: FaultProxy, exactly_once: bool
) -> None:
    """A fatal error of the client's, in both guarantees: refused, and settled once the right is there."""
    tested = bench(exactly_once)
    proxy.break_next(wire.INIT_PRODUCER_ID, 53 if exactly_once else 31, times=1000)

    assert tested.settle() is Outcome.REFUSED, tested.told
    cluster = f"IDEMPOTENT_WRITE on the cluster, or WRITE on topic {tested.sink}"
    right = tested.transactional_id if exactly_once else cluster
    assert right in tested.told.detail
    proxy.heal()
    assert tested.settle() is Outcome.SETTLED, tested.told


# --- what is fetched


@pytest.mark.clock
def test_a_resumed_partition_flows_at_once(bench: NewBench) -> None:
    """The client's fetching thread sleeps for up to a second by then, and a resume alone leaves it asleep."""
    tested = bench()
    producer = Producer(tested.direct)
    waits_s = []
    for number in range(4):
        tested.session.pause([0])
        assert not tested.session.poll(1, 1.2)
        producer.produce(tested.source, b"%d" % number, partition=0)
        assert producer.flush(20) == 0
        began_s = time.monotonic()
        tested.session.resume_at(0, number)
        eventually(lambda: tested.session.poll(1, 0.1))
        waits_s.append(time.monotonic() - began_s)

    assert sum(waits_s) < 1.0, f"1.8 s would be four sleepers: {waits_s}"


# --- at-least-once


@pytest.mark.parametrize("what", [wire.LOST_REQUEST, wire.LOST_ANSWER])
def test_an_accident_of_a_confirmed_send_loses_nothing(
    bench: NewBench, proxy: FaultProxy, what: object
) -> None:
    """At least once: the record is confirmed before the offset is committed, however often it is sent."""
    tested = bench(exactly_once=False)
    proxy.break_next(wire.PRODUCE, what)
    proxy.break_next(wire.OFFSET_COMMIT, what)
    outcomes = [tested.settle() for _ in range(2)]

    assert outcomes[-1] is Outcome.SETTLED
    assert tested.committed() == 2
    settled = {number for number, outcome in enumerate(outcomes, 1) if outcome is Outcome.SETTLED}
    assert settled <= set(tested.sent())
