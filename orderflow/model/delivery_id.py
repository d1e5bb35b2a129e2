"""What an order is called from its first call on, through every retry, crash, replay, export and import.

Owns: the form of a delivery's id, the header that keeps it over returns, and which claims of it count.
Does not know: who asks, what a topic's id looks like, how a replay or a dead letter is written.
Used by: handler, calling, dead_letters, replay.

The id names the place where the order first stood: `orders-2-1047@pQN7jRtwTZa3dtQ9AFfR2w`. What follows the @
is the topic's id, so that a topic that is created again gives no id a second time. Brokers before Kafka 2.8
have none; there the id ends before the @.
"""

import re
from typing import Optional

from orderflow.model.records import Headers

REPLAY_ID = "orders.replay.id"
"""Written by a replay: the id under which the order was called when it first came."""
MAX_BYTES = 400
"""The longest of ours has 303: a topic's name may have 249."""
FORM = re.compile(rb"[!-~]{1,%d}" % MAX_BYTES)


def delivery_id(
    topic: str, partition: int, offset: int, headers: Headers, topic_id: Optional[str] = None
) -> str:
    """The id of the order at this place: the one that it brings along, else the one that its place gives."""
    return claimed_id(headers) or place_id(topic, partition, offset, topic_id)


def place_id(topic: str, partition: int, offset: int, epoch: Optional[object] = None) -> str:
    """The id of whatever first stood at this place; `epoch` tells topics of one name apart."""
    place = f"{topic}-{partition}-{offset}"
    return place if epoch is None else f"{place}@{epoch}"


def claimed_id(headers: Headers) -> Optional[str]:
    """The id that a record brings along. None where it has none, or several, or one of another form."""
    claims = [value for name, value in headers if name == REPLAY_ID]
    return id_of(claims[0]) if len(claims) == 1 else None


def id_of(value: Optional[bytes]) -> Optional[str]:
    """The id in a header's value: printable ASCII without blanks. None for anything else."""
    return value.decode("ascii") if value is not None and FORM.fullmatch(value) else None
