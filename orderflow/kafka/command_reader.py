"""Hears the commands of operators in the ledger topic, and tells why orders wait, in a thread of its own.

There is a client only while something waits that a command could be about. It reads from a minute before it
was asked to, so that a consumer that starts hears what was said just before.
"""

import threading
import time
from collections import deque
from contextlib import suppress
from typing import Any, Deque, Dict, FrozenSet, List, Mapping, NamedTuple, Optional, Sequence

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from orderflow.exits import CommandError
from orderflow.kafka.answers import partitions_of
from orderflow.kafka.client_properties import started
from orderflow.kafka.delivery import deliver
from orderflow.kafka.leaders import bounds_of, first_offsets_at
from orderflow.kafka.ledger_pages import Group
from orderflow.kafka.reader import consumer_config, passes
from orderflow.kafka.refusals import NO_SUCH_TOPIC, Right, missing_right, on_group, on_topic
from orderflow.model.command import VALID_S, Command, partition_of, read_command
from orderflow.model.reasons import reasons_key

BEAT_S = 0.5
IDLE_S = 60.0
"""A client that has nothing to listen to is kept for so long: something may wait again in a moment."""
AWAY_AGAIN_S, MISSING_AGAIN_S, DENIED_AGAIN_S = 5.0, 10.0, 60.0
"""When to try again while Kafka is away, while there is no such topic, and where something is refused."""
AT_ONCE = 4
"""Records at a time: a page between the commands may have megabytes (with 100, a start took 100 MiB more)."""
MOST_KEPT = 1_000
"""Commands that nobody has taken yet. With more of them the oldest are forgotten: whoever asked sees that."""
TIMEOUT_S = 5.0
CLOSE_S = 2.0
LIGHT: Mapping[str, Any] = {
    "fetch.wait.max.ms": 500,
    "fetch.message.max.bytes": 65_536,
    "queued.min.messages": 10,
    "queued.max.messages.kbytes": 1_024,
    "enable.partition.eof": False,
}
"""Pages of megabytes may stand between the commands. None is looked at, so few need to be fetched ahead."""
SENDING: Mapping[str, Any] = {"acks": 1, "enable.idempotence": False, "message.timeout.ms": 5_000}
"""What is sent may get lost."""


class Received(NamedTuple):
    """What was heard for one partition of the orders topic."""

    partition: int
    command: Optional[Command]
    """None: it is none that we write."""
    expires_s: float
    """Until when it may be taken up, on the monotonic clock."""


class CommandReader:
    """Reads commands while there is something to read them for. None of its methods waits for Kafka."""

    def __init__(self, client: Mapping[str, Any], group: Group, ledger_topic: str) -> None:
        self._client = client
        self._config = {**consumer_config(client, group.name), **LIGHT}
        self._group = group
        self._topic = ledger_topic
        self._needed = (on_topic("READ", ledger_topic), on_group("READ", group.name))
        self._wanted: FrozenSet[int] = frozenset()
        self._heard: Deque[Received] = deque(maxlen=MOST_KEPT)
        self._problem: Optional[str] = None
        self._to_tell: Dict[int, bytes] = {}
        self._wake = threading.Event()
        self._is_closing = False
        self._thread: Optional[threading.Thread] = None

    # --- the owner's side ------------------------------------------------------------------------

    def listen(self, partitions: FrozenSet[int]) -> None:
        """Hear commands for these partitions of the orders topic, and for no others."""
        if partitions == self._wanted:
            return
        self._wanted = partitions
        self._wake.set()
        if self._thread is None and partitions:
            self._thread = threading.Thread(target=self._run, name="commands", daemon=True)
            self._thread.start()

    def take(self) -> List[Received]:
        """What was heard since the last call."""
        return [self._heard.popleft() for _ in range(len(self._heard))]

    def take_problem(self) -> Optional[str]:
        """Why nothing can be heard; told once for each reason."""
        problem, self._problem = self._problem, None
        return problem

    def tell(self, partition: int, reasons: bytes) -> None:
        """Write why orders of a partition wait into the topic, for whoever looks. It may get lost."""
        self._to_tell[partition] = reasons

    def close(self) -> None:
        """End the thread and its client."""
        self._is_closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(CLOSE_S)

    # --- the thread's side -----------------------------------------------------------------------

    def _run(self) -> None:
        told = ""
        while not self._is_closing:
            if not self._wanted:
                self._pause(None)
                continue
            try:
                self._serve()
                told = ""
            except (KafkaException, CommandError) as error:
                trouble = trouble_of(error, self._needed)
                if trouble.words and trouble.words != told:
                    self._problem = told = trouble.words
                self._rest(trouble.again_s)

    def _rest(self, seconds: float) -> None:
        until_s = time.monotonic() + seconds
        while not self._is_closing and time.monotonic() < until_s:
            self._pause(until_s - time.monotonic())

    def _pause(self, timeout_s: Optional[float]) -> None:
        """Wait until the owner wants something else."""
        self._wake.wait(timeout_s)
        self._wake.clear()

    def _serve(self) -> None:
        """Read until nothing has been wanted for a while. Raises KafkaException, CommandError."""
        listening = Listening(started(Consumer, self._config), self._topic)
        telling = _Telling(self._client, self._group, self._topic)
        try:
            idle_since_s = time.monotonic()
            while not self._is_closing and time.monotonic() - idle_since_s < IDLE_S:
                if self._wanted:
                    idle_since_s = time.monotonic()
                listening.go_to(self._wanted)
                while self._to_tell and listening.count:
                    telling.tell(*self._to_tell.popitem(), listening.count)
                for message in listening.poll():
                    self._hear(message, listening)
        finally:
            listening.close()
            telling.close()

    def _hear(self, message: Any, listening: "Listening") -> None:
        number = partition_of(self._group.name, self._group.topic, message.key())
        if number is None or message.value() is None:
            return
        left_s = VALID_S - listening.age_s(message)
        if left_s > 0.0:
            command = read_command(number, message.value())
            self._heard.append(Received(number, command, time.monotonic() + left_s))


class Listening:
    """A client and the partitions of the ledger topic that it reads."""

    def __init__(self, consumer: Any, topic: str) -> None:
        self._consumer = consumer
        self._topic = topic
        self.count = 0
        """Partitions of the ledger topic; 0: not known yet."""
        self._ends: Dict[int, int] = {}
        """By partition that is read: where it ended when that began. What stands behind is new."""

    def go_to(self, numbers: FrozenSet[int]) -> None:
        """Read what is about these partitions of the orders topic. Raises KafkaException."""
        if numbers and not self.count:
            self.count = len(partitions_of(self._consumer, self._topic, TIMEOUT_S))
        wanted = {number % self.count for number in numbers}
        for partition in wanted - set(self._ends):
            self._begin(partition)
        gone = set(self._ends) - wanted
        if gone:
            self._consumer.incremental_unassign([TopicPartition(self._topic, each) for each in gone])
        for partition in gone:
            del self._ends[partition]

    def _begin(self, partition: int) -> None:
        """From the first record of the last minute on."""
        place = TopicPartition(self._topic, partition)
        _, end = bounds_of(self._consumer, place, TIMEOUT_S)
        since_ms = int((time.time() - VALID_S) * 1000)
        first = first_offsets_at(self._consumer, self._topic, {partition: since_ms}, TIMEOUT_S)[partition]
        begin = first if 0 <= first < end else end
        self._consumer.incremental_assign([TopicPartition(self._topic, partition, begin)])
        self._ends[partition] = end

    def poll(self) -> List[Any]:
        """The next records, after a moment. Raises KafkaException for what does not pass by itself."""
        found = []
        for message in self._consumer.consume(AT_ONCE, BEAT_S):
            fault = message.error()
            if fault is None:
                found.append(message)
            elif not passes(fault):
                raise KafkaException(fault)
        return found

    def age_s(self, message: Any) -> float:
        """How old a record may be that stood there already; what came since is new, whatever clocks say."""
        if message.offset() >= self._ends.get(message.partition(), 0):
            return 0.0
        written_ms: int = message.timestamp()[1]
        return max(0.0, time.time() - written_ms / 1000)

    def close(self) -> None:
        """End the client."""
        self._consumer.close()


class _Telling:
    """Sends what nothing depends on, without waiting and without a second try."""

    def __init__(self, client: Mapping[str, Any], group: Group, topic: str) -> None:
        self._config = {**client, **SENDING}
        self._group = group
        self._topic = topic
        self._producer: Any = None

    def tell(self, partition: int, reasons: bytes, count: int) -> None:
        """Of a partition of the orders topic, into one of `count` partitions."""
        if self._producer is None:
            self._producer = started(Producer, self._config)
        key = reasons_key(self._group.name, self._group.topic, partition)
        with suppress(BufferError, KafkaException):
            self._producer.produce(self._topic, reasons, key, partition=partition % count)
        self._producer.poll(0)

    def close(self) -> None:
        """Send what is left, for a moment."""
        if self._producer is not None:
            deliver(self._producer, CLOSE_S / 2)


class Trouble(NamedTuple):
    """What to tell of an error, and when to try again."""

    words: str
    """Empty where there is nothing to tell: others say that Kafka is away, and a topic may not be needed."""
    again_s: float


def trouble_of(error: Exception, needed: Sequence[Right]) -> Trouble:
    """What is wrong with reading the topic, which needs these rights."""
    if not isinstance(error, KafkaException):
        return Trouble(str(error), DENIED_AGAIN_S)
    reason: Any = error.args[0]
    if reason.code() in NO_SUCH_TOPIC:
        return Trouble("", MISSING_AGAIN_S)
    if passes(reason):
        return Trouble("", AWAY_AGAIN_S)
    return Trouble(f"{reason.str()}{missing_right(reason, *needed)}", DENIED_AGAIN_S)
