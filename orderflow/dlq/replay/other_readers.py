"""Says which other groups get what is replayed: whoever reads the topic gets it once more."""

from typing import Collection, Iterator

from confluent_kafka import KafkaException

from orderflow.dlq.desk import Desk
from orderflow.kafka.other_groups import groups_reading
from orderflow.model.text import escape, listed, named

ASK_S = 5.0
MOST_NAMED = 5


def reader_lines(desk: Desk, topics: Collection[str]) -> Iterator[str]:
    """A line for each of these topics that other groups read now."""
    try:
        readers = groups_reading(desk.client, topics, ASK_S) if topics else {}
    except KafkaException as error:
        names = listed([escape(topic) for topic in sorted(topics)], MOST_NAMED)
        yield f"which other groups read {names} cannot be found out: {error.args[0].str()}"
        return
    for topic in sorted(readers):
        others = [escape(group) for group in readers[topic] if group != desk.consumer_group]
        if others:
            reads, gets = ("reads", "gets") if len(others) == 1 else ("read", "get")
            who = named("group", others, MOST_NAMED)
            yield f"{who} {reads} {escape(topic)} too, and {gets} this once more, with the same delivery.id"
