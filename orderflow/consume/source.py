"""The orders topic as one consumer sees it: records, log ends and committed offsets."""

from typing import Any, Dict, List, Optional, Sequence, Set, Tuple

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as Fetched

from orderflow.consume.client_errors import RAISED, error_of, is_fatal
from orderflow.consume.settlement import NO_MEMBERS, REFUSALS, SessionLost
from orderflow.kafka.answers import committed_for, partitions_of
from orderflow.kafka.leaders import bounds_of, first_offsets_at
from orderflow.kafka.refusals import missing_right, on_topic
from orderflow.model.records import Message


class Reports:
    """Errors reported by the clients, kept until somebody takes them."""

    def __init__(self) -> None:
        self.errors: List[KafkaError] = []
        self.faults: List[KafkaError] = []
        """Read errors."""
        self.fatal: Optional[KafkaError] = None
        self.last_word = ""
        """What the consumer reported last, apart from finding no broker."""

    def of_consumer(self, error: KafkaError) -> None:
        """Keep an error from the consumer."""
        self.errors.append(error)
        if is_fatal(error):
            self.fatal = error
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            self.last_word = error.str()

    def of_producer(self, error: KafkaError) -> None:
        """Keep an error from a producer. None is fatal, since a broken producer is replaced."""
        self.errors.append(error)

    def of_reading(self, fault: KafkaError) -> None:
        """Keep an error from reading a record."""
        self.last_word = fault.str()
        self.faults.append(fault)

    def take_errors(self) -> List[KafkaError]:
        """Errors the clients have reported since the last call."""
        errors, self.errors = self.errors, []
        return errors

    def take_faults(self) -> List[KafkaError]:
        """Read errors since the last call."""
        faults, self.faults = self.faults, []
        return faults


class Source:
    """The consumer's view of a topic, without the group."""

    def __init__(self, topic: str, consumer: Consumer, reports: Reports) -> None:
        self.topic = topic
        self._consumer = consumer
        self._reports = reports
        self._ends: Dict[int, int] = {}
        """By partition, the end offset that the consumer has reached."""

    # --- records ---------------------------------------------------------------------------------

    def poll(self, max_records: int, timeout_s: float) -> List[Message]:
        """The next records, in order within each partition. Rebalances take effect only in here."""
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
                # Take what is already there without waiting: the batch size follows the load.
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
        return error.str() + missing_right(error, on_topic("READ", self.topic))

    def seek(self, partition: int, offset: int) -> None:
        """Continue at `offset`. Raises KafkaException while the assignment is still changing."""
        self._ends.pop(partition, None)
        self._consumer.seek(TopicPartition(self.topic, partition, offset))

    def pause(self, partitions: Sequence[int]) -> None:
        """Stop fetching these partitions for now."""
        self._consumer.pause(self._named(partitions))

    def resume_at(self, partition: int, offset: int) -> None:
        """Fetch this partition again from `offset`. Raises KafkaException as `seek` does.

        When everything is paused, the fetching thread sleeps for up to a second, and a resume alone does not
        wake it; the seek does (measured). The seek also fixes the position: otherwise the client has been
        seen to continue at a stale offset.
        """
        self._consumer.resume([TopicPartition(self.topic, partition)])
        self.seek(partition, offset)

    # --- queries ---------------------------------------------------------------------------------

    def partitions(self, timeout_s: float) -> List[int]:
        """All partitions of the topic, whoever owns them. Raises KafkaException."""
        return partitions_of(self._consumer, self.topic, timeout_s)

    def answers(self, timeout_s: float) -> bool:
        """Whether a broker answers."""
        try:
            self._consumer.list_topics(self.topic, timeout=timeout_s)
            return True
        except KafkaException:
            return False

    def committed(self, partitions: Sequence[int], timeout_s: float) -> Dict[int, Tuple[Optional[int], str]]:
        """By partition, the committed offset (None if there is none) and metadata. Raises KafkaException."""
        found = committed_for(self._consumer, self._named(partitions), timeout_s)
        return {
            place.partition: (place.offset if place.offset != OFFSET_INVALID else None, place.metadata or "")
            for place in found
        }

    def bounds(self, partition: int, timeout_s: float) -> Tuple[int, int]:
        """The log's first offset and its last stable offset. Raises KafkaException.

        At once where no broker leads the partition: the calls of all others are made in between.
        """
        return bounds_of(self._consumer, TopicPartition(self.topic, partition), timeout_s, leaderless_s=0.0)

    def first_since(self, partition: int, since_ms: int, timeout_s: float) -> Optional[int]:
        """The first offset whose record was published then or later; None if there is none.

        Raises KafkaException.
        """
        first = first_offsets_at(self._consumer, self.topic, {partition: since_ms}, timeout_s)[partition]
        return first if first >= 0 else None

    def known_end(self, partition: int) -> Optional[int]:
        """The end of the log as of the last fetch; costs nothing."""
        place = TopicPartition(self.topic, partition)
        _, high = self._consumer.get_watermark_offsets(place, cached=True)
        return high if high >= 0 else None

    def positions(self, partitions: Sequence[int]) -> Dict[int, int]:
        """The next offset of each partition read from so far, past markers and gaps."""
        found = self._consumer.position(self._named(partitions))
        places = {place.partition: place.offset for place in found if place.offset >= 0}
        # After a seek to where only markers are left, only the end itself gives the position.
        for partition in partitions:
            if self._ends.get(partition, -1) > places.get(partition, -1):
                places[partition] = self._ends[partition]
        return places

    def _named(self, partitions: Sequence[int]) -> List[TopicPartition]:
        return [TopicPartition(self.topic, partition) for partition in partitions]

    def _forget_ends(self, partitions: Set[int]) -> None:
        for partition in partitions:
            self._ends.pop(partition, None)

    # --- reported errors -------------------------------------------------------------------------

    def take_errors(self) -> List[KafkaError]:
        """Errors the clients have reported since the last call, such as no broker answering."""
        return self._reports.take_errors()

    def take_faults(self) -> List[KafkaError]:
        """Read errors since the last call."""
        return self._reports.take_faults()

    @property
    def last_word(self) -> str:
        """What the consumer reported last, apart from finding no broker."""
        return self._reports.last_word
