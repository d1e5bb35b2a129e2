"""Every outcome of every call of a settlement, on a real broker behind a wire with accidents.

The one rule behind all of them: the records are there if and only if the offsets are committed, whatever
the session says; and what it calls settled is committed.
"""

from typing import Any, Callable, Dict, Iterator, List, Set, Tuple

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from config import CLIENT_DEFAULTS
from orderflow.records import Outgoing
from orderflow.session import Outcome, Session, consumer_config, producer_config
from tests import fault_proxy as wire
from tests.account import read_topic
from tests.conftest import Kafka
from tests.fault_proxy import FaultProxy
from tests.pipeline import eventually

pytestmark = pytest.mark.broker

HASTY = {"reconnect.backoff.max.ms": "200", "transaction.timeout.ms": "1500"}

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


class Bench:
    """A session whose one partition holds some records, and what became of its settlements."""

    def __init__(self, kafka: Kafka, servers: str, topic: Callable[..., str], exactly_once: bool) -> None:
        self.source, self.sink, self.group = topic("source"), topic("sink"), topic("group")
        self.direct = {"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0}
        admin = AdminClient(self.direct)
        for made in admin.create_topics([NewTopic(self.source, 1, 1), NewTopic(self.sink, 1, 1)]).values():
            made.result(20)
        self.transactional_id = topic("transactions")
        client = {**CLIENT_DEFAULTS, "bootstrap.servers": servers, "log_level": 0, **HASTY}
        self.session = Session(
            self.source,
            consumer_config(client, self.group, 300),
            producer_config(client, self.transactional_id),
            exactly_once,
            on_revoke=lambda partitions: None,
            on_lost=lambda: None,
        )
        eventually(lambda: self.session.poll(1, 0.1) or self.session.assigned)
        self._next = 0

    def settle(self, **changed: Any) -> Outcome:
        """Settle one record that says which offset is committed with it."""
        self._next += 1
        record = Outgoing(self.sink, b"key", str(self._next).encode(), [])
        offsets = {0: (self._next, f"of {self._next}")}
        member = changed.get("member", self.session.member())
        offsets = changed.get("offsets", offsets)
        outcome = self.session.send([record], offsets, member).outcome
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
    for each in made:
        each.session.close()


def assert_all_or_nothing(tested: Bench, settled: Set[int]) -> None:
    """What was settled is committed; and records are there exactly for the offsets that are committed."""
    sent = tested.sent()
    assert tested.committed() == max(sent, default=0)
    assert len(sent) == len(set(sent)), "a record is there twice"
    assert settled <= set(sent), "it said settled, and a record is missing"


# --- exactly-once


@pytest.mark.parametrize(("api", "what"), EVERY_ACCIDENT, ids=lambda value: wire.NAMES.get(value, str(value)))
def test_no_accident_of_a_transaction_splits_it(
    bench: NewBench, proxy: FaultProxy, api: int, what: object
) -> None:
    """A call that is cut off before or behind the broker, or refused: all or nothing, and the next one works."""
    tested = bench()
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
