"""The name of a topic, as Kafka allows it."""

import re

TOPIC_NAME = "[A-Za-z0-9._-]{1,249}"
"""The pattern of a name, to be part of others. It lets `.` and `..` through, which Kafka does not."""

INTERNAL_TOPICS = frozenset(("__consumer_offsets", "__transaction_state", "__share_group_state"))
"""Kafka's own topics. It refuses whatever a client sends there, and the whole transaction with it."""

_match = re.compile(TOPIC_NAME).fullmatch


def is_topic_name(text: str) -> bool:
    """Whether a topic can have this name."""
    return _match(text) is not None and text not in (".", "..")
