"""Says which other groups get what is replayed: whoever reads the topic gets it once more."""

from typing import Iterable, Iterator

from confluent_kafka import KafkaException

from orderflow.dlq.desk import Desk
from orderflow.kafka.other_groups import groups_reading
from orderflow.model.text import escape, named

ASK_S = 5.0
MOST_NAMED = 5


def reader_lines(desk: Desk, topics: Iterable[str]) -> Iterator[str]:
    """A line for each of these topics that other groups read now."""
    for topic in sorted(topics):
        try:
            groups = groups_reading(desk.client, topic, ASK_S)
        except KafkaException as error:
            yield f"which other groups read {escape(topic)} cannot be found out: {error.args[0].str()}"
            continue
        others = [escape(group) for group in groups if group != desk.consumer_group]
        if others:
            reads, gets = ("reads", "gets") if len(others) == 1 else ("read", "get")
            who = named("group", others, MOST_NAMED)
            yield f"{who} {reads} {escape(topic)} too, and {gets} this once more, with the same delivery.id"
