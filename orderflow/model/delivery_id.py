"""The delivery id: an order's name, unchanged through every retry, crash, replay, export and import.

The id is the order's original position, `orders-2-1047@pQN7jRtwTZa3dtQ9AFfR2w`. The part after the @ is the
topic's id, so that a recreated topic never repeats an id. Brokers before Kafka 2.8 have no topic ids; there
the delivery id ends before the @.
"""

import re
from typing import Optional, Tuple

from orderflow.model.records import Headers, read_position

REPLAY_ID = "orders.replay.id"
"""Written by a replay: the order's original delivery id."""
MAX_BYTES = 400
"""The longest id of ours has 303 bytes: a topic's name may have 249."""
FORM = re.compile(rb"[!-~]{1,%d}" % MAX_BYTES)


def delivery_id(
    topic: str, partition: int, offset: int, headers: Headers, topic_id: Optional[str] = None
) -> str:
    """The order's delivery id: the one in its headers, else the one made from its position."""
    return claimed_id(headers) or place_id(topic, partition, offset, topic_id)


def place_id(topic: str, partition: int, offset: int, epoch: Optional[object] = None) -> str:
    """The id made from a position; `epoch` tells topics of the same name apart."""
    place = f"{topic}-{partition}-{offset}"
    return place if epoch is None else f"{place}@{epoch}"


def claimed_id(headers: Headers) -> Optional[str]:
    """The id in a record's headers; None if there is none, several, or a malformed one."""
    claims = [value for name, value in headers if name == REPLAY_ID]
    return id_of(claims[0]) if len(claims) == 1 else None


def id_of(value: Optional[bytes]) -> Optional[str]:
    """The id in a header's value: printable ASCII without spaces; None for anything else."""
    return value.decode("ascii") if value is not None and FORM.fullmatch(value) else None


def place_named(delivery_id: Optional[str]) -> Optional[Tuple[str, int, int]]:
    """Topic, partition and offset that an id was made from; None for an id of somebody else's."""
    place = (delivery_id or "").partition("@")[0]
    try:
        topic, partition, offset = read_position(place)
    except ValueError:
        return None
    if topic is None or place != place_id(topic, partition, offset):
        return None  # a position, but in no form of ours
    return topic, partition, offset
