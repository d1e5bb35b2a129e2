"""What a group has committed for each partition of the orders, asked again and again by the same clients."""

import time
from typing import Any, Collection, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from confluent_kafka import Consumer, KafkaException, TopicPartition

from orderflow.dlq.desk import Desk
from orderflow.exits import CommandError
from orderflow.kafka.answers import committed_told
from orderflow.kafka.client_properties import started
from orderflow.kafka.ledger_pages import Group, LedgerPages, is_of_another_topic, read_with
from orderflow.kafka.reader import TIMEOUT_S, Bounds, Reader, consumer_config
from orderflow.kafka.refusals import MOVING, ask_again, missing_right, on_group
from orderflow.kafka.topic_identity import topic_id
from orderflow.model.commit_metadata import Commit

_Committed = Dict[int, Tuple[Optional[int], str]]
"""By partition, the offset and its metadata."""


class Held(NamedTuple):
    """What one partition's commit says, and what the partition holds."""

    partition: int
    bounds: Bounds
    committed: Optional[int]
    """None: the group has committed nothing here."""
    commit: Optional[Commit]
    """None: it has no metadata of ours."""
    of_another: bool = False
    """Its metadata was written for another topic of this name."""


class Commits:
    """The group's commits. Any machine that may describe the group can ask. Use as a context manager."""

    def __init__(self, desk: Desk, reader: Reader) -> None:
        """`reader` reads the orders' topic. Raises CommandError where that cannot be asked."""
        self._desk = desk
        self._reader = reader
        self._group = Group(desk.consumer_group, desk.orders_topic, topic_id(desk.client, desk.orders_topic))
        config = consumer_config(desk.client, desk.consumer_group)
        # With read_committed the broker lets us wait for the open transaction of the consumer.
        self._consumer: Any = started(Consumer, {**config, "isolation.level": "read_uncommitted"})
        self._pages = LedgerPages(desk.client, desk.consumer_group)

    def __enter__(self) -> "Commits":
        return self

    def __exit__(self, *_: object) -> None:
        self._pages.close()
        self._consumer.close()

    def read(self, chosen: Collection[int] = ()) -> List[Held]:
        """What is committed now, for these partitions or for all. Raises CommandError."""
        partitions = self._reader.chosen(chosen)
        committed = self._committed(partitions)
        commits = self._with_pages(committed)
        return [
            Held(
                number,
                self._reader.bounds(number),
                committed[number][0],
                commits[number],
                is_of_another_topic(*committed[number], self._group.topic_id),
            )
            for number in partitions
        ]

    def _committed(self, partitions: Sequence[int]) -> _Committed:
        asked = [TopicPartition(self._group.topic, partition) for partition in partitions]
        try:
            found = self._ask(asked)
        except KafkaException as error:
            reason: Any = error.args[0]
            missing = missing_right(reason, on_group("DESCRIBE", self._group.name))
            raise CommandError(
                f"cannot read what {self._group.name} has committed: {reason.str()}{missing}"
            ) from error
        return {p.partition: (p.offset if p.offset >= 0 else None, p.metadata or "") for p in found}

    def _ask(self, asked: List[TopicPartition]) -> Any:
        """Ask again while the group's coordinator is moving. Raises KafkaException after TIMEOUT_S."""
        until_s = time.monotonic() + TIMEOUT_S
        return ask_again(lambda: committed_told(self._consumer, asked, TIMEOUT_S), MOVING, until_s)

    def _with_pages(self, committed: Mapping[int, Tuple[Optional[int], str]]) -> Dict[int, Optional[Commit]]:
        try:
            return read_with(self._pages, self._group, committed, TIMEOUT_S)
        except KafkaException as error:
            reason: Any = error.args[0]
            raise CommandError(f"cannot read the list of waiting orders: {reason.str()}") from error
