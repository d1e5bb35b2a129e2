"""What a replay has to know of the topics that dead letters came from and go to."""

from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple

from confluent_kafka import KafkaException

from orderflow.dlq.audit import REPLAYED, replayed_from
from orderflow.dlq.letter import Letter
from orderflow.dlq.replay.origin import first_offset
from orderflow.dlq.replay.request import Ends
from orderflow.dlq.replay.staleness import NewestByKey
from orderflow.exits import Refused, TopicMissing
from orderflow.kafka.reader import Reader, Span, Unreadable
from orderflow.kafka.topics import DEFAULT_MAX_BYTES, ends_of_log, settings_of
from orderflow.model.records import Record

Places = Mapping[int, int]
"""An offset in each partition."""


class SourceTopics:
    """Confirmed topics, each opened when it is first asked for. Use as a context manager."""

    def __init__(self, client: Mapping[str, Any], opened: Callable[[str], Reader]) -> None:
        self._client = client
        self._opened = opened
        self._readers: Dict[str, Reader] = {}
        self._partitions: Dict[str, List[int]] = {}
        self._settings: Dict[str, Dict[str, str]] = {}
        self._fetched: Tuple[Any, Optional[Record]] = (None, None)

    def __enter__(self) -> "SourceTopics":
        return self

    def __exit__(self, *_: object) -> None:
        for reader in self._readers.values():
            reader.__exit__()

    def partitions(self, topic: str) -> int:
        """How many partitions the topic has. Raises Refused where it does not exist."""
        return len(self._known_partitions(topic))

    def ends(self, topic: str) -> Dict[int, int]:
        """The end of each partition now."""
        reader = self._reader(topic)
        return {partition: reader.bounds(partition).high for partition in self._known_partitions(topic)}

    def log_ends(self, topic: str) -> Dict[int, int]:
        """The same with records of open transactions: all that was sent is counted, committed or not yet."""
        self._known_partitions(topic)
        try:
            return ends_of_log(self._client, topic)
        except KafkaException as error:
            raise Unreadable(f"cannot read the ends of topic {topic}: {error.args[0].str()}") from error

    def fetch(self, topic: str, partition: int, offset: int) -> Optional[Record]:
        """The record at this place; None where the topic does not hold it any more."""
        place = (topic, partition, offset)
        if self._fetched[0] != place:
            known = partition in self._known_partitions(topic)
            self._fetched = (place, self._reader(topic).fetch(partition, offset) if known else None)
        return self._fetched[1]

    def room(self, topic: str) -> int:
        """Bytes that a record may take there; the broker's usual limit where the settings cannot be read."""
        room = self._setting(topic, "max.message.bytes")
        return int(room) if room.isdigit() else DEFAULT_MAX_BYTES

    def needs_key(self, topic: str) -> bool:
        """Whether it takes no record without a key, as it is compacted; False where that cannot be known."""
        return "compact" in self._setting(topic, "cleanup.policy").split(",")

    def _setting(self, topic: str, name: str) -> str:
        if topic not in self._settings:
            self._settings[topic] = settings_of(self._client, topic)
        return self._settings[topic].get(name, "")

    def _known_partitions(self, topic: str) -> List[int]:
        if topic not in self._partitions:
            try:
                self._partitions[topic] = self._reader(topic).partitions()
            except TopicMissing as error:
                raise Refused(f"nothing was sent: topic {topic}, the target, does not exist") from error
        return self._partitions[topic]

    def _reader(self, topic: str) -> Reader:
        if topic not in self._readers:
            self._readers[topic] = self._opened(topic)
        return self._readers[topic]

    def read(
        self, topic: str, begins: Places, ends: Places, stop: Callable[[], bool]
    ) -> Iterator[List[Record]]:
        """The records of a topic between these offsets, in order of each partition that has both."""
        spans = [
            Span(partition, begins[partition], ends[partition]) for partition in begins if partition in ends
        ]
        return self._reader(topic).read(spans, stop)

    def read_newer(self, newest: NewestByKey, begins: Ends, ends: Ends, stop: Callable[[], bool]) -> None:
        """Show `newest` the orders of all source topics from these places on."""
        for topic, places in begins.items():
            for batch in self.read(topic, places, ends.get(topic, {}), stop):
                for record in batch:
                    newest.saw(topic, record)


class Candidates:
    """Notes what must be known of the source topics, from a pass over all dead letters."""

    def __init__(self, newest: NewestByKey, ends: Ends) -> None:
        """`ends` of the topics where a newer order may stand."""
        self.begins: Dict[str, Dict[int, int]] = {}
        """By topic and partition: the lowest offset that one of the chosen came from."""
        self._newest = newest
        self._ends = ends

    def add(self, letter: Letter, is_chosen: bool) -> None:
        """Take a dead letter in."""
        topic, (_, partition, offset) = letter.kind.topic, letter.detail
        if topic not in self._ends or topic is None or partition is None or offset is None:
            return
        if min(partition, offset) < 0:  # to Kafka's client a command: -2001 is the last record
            return
        key, has_key = letter.record.key, letter.carries_key
        if has_key and key is None:  # nothing is newer than an order without a key, nor does it supersede any
            return
        self._newest.died(topic, partition, offset, key if has_key else None, letter.source_ms)
        if is_chosen and has_key and key is not None:
            self._newest.expect(topic, partition, key)
        elif is_chosen:
            self._newest.expect_at(topic, partition, offset)
        if is_chosen:
            self._begin(topic, partition, first_offset(letter, partition, offset))

    def note_replayed(self, letter: Letter) -> None:
        """If a replay has sent it, the order that it sent is no newer than it was before it died.

        What was sent is told by its content, since a producer may pass its headers on. Only of an order that
        died at its first place: one that was replayed before counts as new with each replay.
        """
        record = letter.record
        if letter.state != REPLAYED or record.key is None or not letter.carries_key:
            return
        _, partition, offset = letter.detail
        if partition is None or offset is None or replayed_from(record) is not None:
            return
        self._newest.moved(record, (letter.kind.topic or "", partition, offset))

    def _begin(self, topic: str, partition: int, offset: int) -> None:
        begin = max(0, offset_in_log(offset, self._ends[topic].get(partition, 0)))
        places = self.begins.setdefault(topic, {})
        places[partition] = min(begin, places.get(partition, begin))


def offset_in_log(offset: int, end: int) -> int:
    """The offset, or -1 where the log has not come so far.

    Then the topic was created again, and whatever is in it is newer.
    """
    return offset if offset < end else -1
