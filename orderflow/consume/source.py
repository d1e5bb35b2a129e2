"""The topic of the orders as one consumer sees it: its records, its ends, and what is committed for it."""

from typing import Any, Dict, List, Optional, Sequence, Set, Tuple

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as Fetched

from orderflow.consume.client_errors import RAISED, error_of, is_fatal
from orderflow.consume.settlement import NO_MEMBERS, REFUSALS, SessionLost
from orderflow.kafka.refusals import missing_right
from orderflow.model.records import Message


class Reports:
    """What the clients report of themselves, kept until somebody takes it."""

    def __init__(self) -> None:
        self.errors: List[KafkaError] = []
        self.faults: List[KafkaError] = []
        """Why records could not be read."""
        self.fatal: Optional[KafkaError] = None
        self.last_word = ""
        """What the consumer reported last, other than that it finds no broker."""

    def of_consumer(self, error: KafkaError) -> None:
        """The consumer reports something."""
        self.errors.append(error)
        if is_fatal(error):
            self.fatal = error
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            self.last_word = error.str()

    def of_producer(self, error: KafkaError) -> None:
        """A producer reports something. It is never the end: a broken producer is replaced."""
        self.errors.append(error)

    def of_reading(self, fault: KafkaError) -> None:
        """A record could not be read."""
        self.last_word = fault.str()
        self.faults.append(fault)

    def take_errors(self) -> List[KafkaError]:
        """What the clients reported since the last call."""
        errors, self.errors = self.errors, []
        return errors

    def take_faults(self) -> List[KafkaError]:
        """Why records could not be read, since the last call."""
        faults, self.faults = self.faults, []
        return faults


class Source:
    """The consumer's side of a topic, without the group."""

    def __init__(self, topic: str, consumer: Consumer, reports: Reports) -> None:
        self.topic = topic
        self._consumer = consumer
        self._reports = reports
        self._ends: Dict[int, int] = {}
        """Where the consumer has read to the end of a partition, by partition."""

    # --- records ---------------------------------------------------------------------------------

    def poll(self, max_records: int, timeout_s: float) -> List[Message]:
        """The next records, in order of each partition. Rebalances take effect in here only."""
        messages = self._consume(max_records, timeout_s)
        if self._reports.fatal is not None:
            raise SessionLost(self._words_of(self._reports.fatal))
        if not any(map(Fetched.error, messages)):
            return messages
        for fault in messages:
            if fault.error() is not None:
                self._note(fault)
        return [message for message in messages if message.error() is None]

    def _consume(self, max_records: int, timeout_s: float) -> List[Any]:
        try:
            messages: List[Any] = self._consumer.consume(1, timeout_s)
            if messages and max_records > 1:
                # What is there already, without waiting for more: the batch is as large as the load.
                messages += self._consumer.consume(max_records - 1, 0)
            return messages
        except RAISED as raised:
            self._reports.of_consumer(error_of(raised))
            return []

    def _note(self, fault: Any) -> None:
        error: Any = fault.error()
        if error.code() == KafkaError._PARTITION_EOF:
            self._ends[fault.partition()] = fault.offset()
            return
        if is_fatal(error) or error.code() in (*REFUSALS, *NO_MEMBERS):
            raise SessionLost(self._words_of(error))
        self._reports.of_reading(error)

    def _words_of(self, error: KafkaError) -> str:
        """Kafka's words, and the right that is missing where that is what they mean."""
        return error.str() + missing_right(error, "READ", self.topic)

    def seek(self, partition: int, offset: int) -> None:
        """Go on at `offset`. Raises KafkaException while the assignment is still settling."""
        self._ends.pop(partition, None)
        self._consumer.seek(TopicPartition(self.topic, partition, offset))

    def pause(self, partitions: Sequence[int]) -> None:
        """Fetch nothing of these partitions for now."""
        self._consumer.pause(self._named(partitions))

    def resume_at(self, partition: int, offset: int) -> None:
        """Fetch this partition again, from `offset` on. Raises KafkaException as `seek` does.

        The thread that fetches sleeps for up to a second when all is paused, and a resume leaves it asleep;
        the seek after it wakes it (measured). And it says where to go on: left to itself the client has
        been seen to go on at a stale offset.
        """
        self._consumer.resume([TopicPartition(self.topic, partition)])
        self.seek(partition, offset)

    # --- what Kafka says -------------------------------------------------------------------------

    def partitions(self, timeout_s: float) -> List[int]:
        """Every partition of the topic, whoever owns it. Raises KafkaException."""
        found = self._consumer.list_topics(self.topic, timeout=timeout_s).topics[self.topic]
        if found.error is not None:
            raise KafkaException(found.error)
        return sorted(found.partitions)

    def answers(self, timeout_s: float) -> bool:
        """Whether a broker answers now."""
        try:
            self._consumer.list_topics(self.topic, timeout=timeout_s)
            return True
        except KafkaException:
            return False

    def committed(self, partitions: Sequence[int], timeout_s: float) -> Dict[int, Tuple[Optional[int], str]]:
        """What is committed: offset (None where nothing is) and metadata. Raises KafkaException."""
        found = self._consumer.committed(self._named(partitions), timeout=timeout_s)
        for place in found:
            if place.error is not None:
                raise KafkaException(place.error)
        return {
            place.partition: (place.offset if place.offset != OFFSET_INVALID else None, place.metadata or "")
            for place in found
        }

    def bounds(self, partition: int, timeout_s: float) -> Tuple[int, int]:
        """The first offset of the log and the one after its last stable. Raises KafkaException."""
        place = TopicPartition(self.topic, partition)
        low, high = self._consumer.get_watermark_offsets(place, timeout=timeout_s)
        return low, high

    def known_end(self, partition: int) -> Optional[int]:
        """The end of the log as the last fetch saw it; costs nothing."""
        place = TopicPartition(self.topic, partition)
        _, high = self._consumer.get_watermark_offsets(place, cached=True)
        return high if high >= 0 else None

    def positions(self, partitions: Sequence[int]) -> Dict[int, int]:
        """The next offset of each partition that something was read from, past markers and holes."""
        found = self._consumer.position(self._named(partitions))
        places = {place.partition: place.offset for place in found if place.offset >= 0}
        # After a seek to where only markers are left, nothing but the end itself tells the position.
        for partition in partitions:
            if self._ends.get(partition, -1) > places.get(partition, -1):
                places[partition] = self._ends[partition]
        return places

    def _named(self, partitions: Sequence[int]) -> List[TopicPartition]:
        return [TopicPartition(self.topic, partition) for partition in partitions]

    def _forget_ends(self, partitions: Set[int]) -> None:
        for partition in partitions:
            self._ends.pop(partition, None)

    # --- what the clients report -----------------------------------------------------------------

    def take_errors(self) -> List[KafkaError]:
        """What the clients reported since the last call, for instance that no broker answers."""
        return self._reports.take_errors()

    def take_faults(self) -> List[KafkaError]:
        """Why records could not be read, since the last call."""
        return self._reports.take_faults()

    @property
    def last_word(self) -> str:
        """What the consumer reported last, other than that it finds no broker."""
        return self._reports.last_word
