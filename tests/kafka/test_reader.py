"""The reader on a real broker: it seeks, it ends where it should, and it fetches single records."""

import time
from typing import Any, Callable, Iterator, List, Tuple

import pytest
from confluent_kafka.admin import AdminClient

import orderflow.kafka.reader
from orderflow.exits import CommandError, TopicMissing
from orderflow.kafka.places import spans_of
from orderflow.kafka.positions import Position, Range
from orderflow.kafka.reader import Reader, Span, Unreadable, consumer_config
from orderflow.kafka.topics import dead_letters, ensure_topics
from orderflow.model.records import Outgoing
from tests.support.dlq_tools import T0_MS, make_topic, send

pytestmark = pytest.mark.broker

Open = Callable[..., Reader]


@pytest.fixture
def opened(kafka: Any, topic: Callable[[str], str]) -> Iterator[Open]:
    """Open a topic that holds a record a minute in each of its partitions."""
    readers: List[Reader] = []

    def make(records: int, partitions: int = 1) -> Reader:
        name = topic("read")
        make_topic(kafka.bootstrap_servers, name, partitions)
        places = [(number, partition) for partition in range(partitions) for number in range(records)]
        sent = [Outgoing("", None, b"%d" % n, [], p, T0_MS + n * 60_000) for n, p in places]
        send(kafka.bootstrap_servers, name, sent)
        readers.append(Reader(consumer_config({"bootstrap.servers": kafka.bootstrap_servers}, "looks"), name))
        return readers[-1]

    yield make
    for reader in readers:
        reader.__exit__()


def read(reader: Reader, wanted: Range) -> List[Tuple[int, int]]:
    spans = spans_of(reader, wanted)
    return sorted((one.partition, one.offset) for batch in reader.read(spans) for one in batch)


def test_a_range_is_sought_and_not_scanned_for(opened: Open) -> None:
    """Partition, offset and time are turned into offsets before anything is read."""
    reader = opened(60, partitions=2)
    spans = spans_of(reader, Range(frozenset([1]), Position("back", 20), since_ms=T0_MS + 50 * 60_000))

    assert [tuple(span) for span in spans] == [(1, 50, 60)]


def test_who_waits_for_a_partition_is_told_so_once(
    kafka: Any, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long nothing comes, and in the end that it cannot be read."""
    monkeypatch.setattr(orderflow.kafka.reader, "TELL_S", 0.1)
    monkeypatch.setattr(orderflow.kafka.reader, "SILENT_S", 1.0)
    notes: List[str] = []
    config = consumer_config({"bootstrap.servers": kafka.bootstrap_servers}, "looks")
    with Reader(config, opened(3).topic, notes.append) as reader, pytest.raises(Unreadable):
        list(reader.read([Span(0, 0, 5)]))

    assert notes == [f"waiting for partition 0 of {reader.topic}: nothing has come for 0.1 s"]


def test_only_what_its_broker_dated_ends_at_a_time(
    kafka: Any, topic: Callable[[str], str], opened: Open
) -> None:
    """Elsewhere older records may stand behind newer ones, so all that follows is looked at."""
    before_ms = int(time.time() * 1000) - 3_600_000
    name, reader = topic("dated"), opened(60)
    ensure_topics({"bootstrap.servers": kafka.bootstrap_servers}, [dead_letters(name)])
    send(kafka.bootstrap_servers, name, [Outgoing("", None, b"1", [], 0, T0_MS)])

    with Reader(consumer_config({"bootstrap.servers": kafka.bootstrap_servers}, "looks"), name) as dated:
        assert [tuple(span) for span in spans_of(dated, Range(until_ms=before_ms))] == [(0, 0, 0)]
    assert [tuple(span) for span in spans_of(reader, Range(until_ms=T0_MS))] == [(0, 0, 60)]


@pytest.mark.parametrize(
    ("wanted", "offsets"),
    [
        (Range(), range(5)),
        (Range(begin=Position("offset", 3)), [3, 4]),
        (Range(begin=Position("offset", 99)), []),
        (Range(begin=Position("back", 99)), range(5)),
        (Range(end=Position("offset", 2)), [0, 1]),
        (Range(begin=Position("time", T0_MS + 1)), range(1, 5)),
        (Range(begin=Position("time", T0_MS + 999 * 60_000)), []),
        (Range(begin=Position("end")), []),
    ],
)
def test_positions(opened: Open, wanted: Range, offsets: Any) -> None:
    """Positions outside of what there is mean its nearest edge."""
    assert read(opened(5), wanted) == [(0, offset) for offset in offsets]


def test_reading_ends_and_can_be_done_again(opened: Open) -> None:
    """One reader reads several ranges one after the other, and fetches in between."""
    reader = opened(4, partitions=3)
    everything = [(partition, offset) for partition in range(3) for offset in range(4)]

    for _ in range(3):
        assert read(reader, Range()) == everything
        found = reader.fetch(2, 1)
        assert found is not None and (found.partition, found.offset, found.value) == (2, 1, b"1")


def test_fetching_what_is_not_there(opened: Open) -> None:
    """A place beyond the log has no record; those that are there come by their offsets."""
    reader = opened(4)

    assert reader.fetch(0, 4) is None
    assert sorted(reader.fetch_all(0, [3, 1, 77])) == [1, 3]


def test_what_does_not_exist_is_told(kafka: Any, opened: Open) -> None:
    """A missing topic and a missing partition have errors of their own."""
    config = consumer_config({"bootstrap.servers": kafka.bootstrap_servers}, "looks")
    with Reader(config, "no-such-topic") as reader, pytest.raises(TopicMissing):
        reader.partitions()
    with pytest.raises(CommandError, match="has no partition 7: it has 1, from 0"):
        spans_of(opened(1), Range(frozenset([7])))


@pytest.mark.parametrize("all_partitions", [True, False])
def test_a_topic_that_is_deleted_while_it_is_followed_is_told(
    kafka: Any, opened: Open, all_partitions: bool
) -> None:
    """Nothing would come any more, and nobody would know why."""
    reader = opened(1)
    spans, until_s = spans_of(reader, Range()), time.monotonic() + 20
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    admin.delete_topics([reader.topic])[reader.topic].result(10)

    with pytest.raises(CommandError, match=f"{reader.topic} does not exist"):
        for _ in reader.follow(spans, lambda: time.monotonic() > until_s, all_partitions):
            pass
