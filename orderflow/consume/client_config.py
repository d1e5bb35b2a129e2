"""How the engine configures its Kafka clients: our defaults, and the properties it requires."""

import re
from typing import Any, Dict, Mapping, NamedTuple, Optional

from orderflow.exits import UsageError
from orderflow.model.commit_metadata import is_writable
from orderflow.model.records import PARTITIONER

CONSUMER_DEFAULTS: Dict[str, Any] = {
    "auto.offset.reset": "earliest",
    # A dead member's partitions must be processed again soon: it is missed after 8 s. Its open transaction
    # hides the committed offset for longer, unless a successor ends it: see `Transaction.end_left_over`.
    "session.timeout.ms": 8000,
    "heartbeat.interval.ms": 2000,
    "partition.assignment.strategy": "cooperative-sticky",
    # Measured: the defaults (1000 ms, 100,000 messages) stall a fast consumer and swell a slow one.
    "fetch.queue.backoff.ms": 5,
    # After a seek or resume, a partition waits for the running fetch, which may wait this long for data.
    "fetch.wait.max.ms": 100,
    "queued.min.messages": 20000,
    # A silent broker must not hold up a commit, and with it the end of the process, for long.
    "socket.timeout.ms": 10_000,
    "queued.max.messages.kbytes": 32768,
}
CONSUMER_REQUIRED: Dict[str, Any] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "isolation.level": "read_committed",
    "enable.partition.eof": True,
}
CLASSIC_GROUP_ONLY = ("session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy")

PRODUCER_DEFAULTS: Dict[str, Any] = {
    # A settlement is already a batch, and the loop waits for it.
    "linger.ms": 0,
    # A result lands in its order's partition number if both topics have the same number of partitions.
    "partitioner": PARTITIONER,
    # The broker answers "concurrent transactions" until the previous one has completed; at the default
    # of 100 ms each transaction with offsets takes 104 ms, at 2 ms it takes 5 (measured).
    "retry.backoff.ms": 2,
    "retry.backoff.max.ms": 1000,
    "queue.buffering.max.messages": 500_000,
    "transaction.timeout.ms": 10_000,
    # The topics exist before any producer does, so a missing one was deleted. At the default of 30 s,
    # every send to it times out before that is reported, which looks like a lost connection.
    "topic.metadata.propagation.max.ms": 1000,
}
PRODUCER_REQUIRED: Dict[str, Any] = {
    "enable.idempotence": True,
    "acks": "all",
    "delivery.report.only.error": True,
}

NAMES_OF_A_MEMBER = ("group.id", "group.instance.id", "client.id")
"""What a transaction says of the member that commits in it; the broker makes its id of the last two."""
_PLAIN = re.compile("[ -~]*")


def require_plain_names(consumer: Mapping[str, Any]) -> None:
    """Raise UsageError for names of a member with which the client never sends offsets to a transaction.

    It refuses all but printable ASCII ("not safe", librdkafka 2.16), and only then: the group itself takes
    such names, and with at-least-once they work.
    """
    for name in NAMES_OF_A_MEMBER:
        given = str(consumer.get(name, ""))
        if not _PLAIN.fullmatch(given):
            called = "CONSUMER_GROUP" if name == "group.id" else name
            raise UsageError(
                f"{called} {given}: with GUARANTEE=exactly-once the Kafka client takes printable "
                "ASCII characters only; choose another name, or GUARANTEE=at-least-once"
            )


def transactional_id(group: str, owner: str) -> str:
    """What a producer of this owner is known by. It begins with the group, by which the right is granted."""
    return f"{group}.{owner}"


class Clients(NamedTuple):
    """The properties of both clients, and whether offsets are committed in a transaction with the records."""

    consumer: Mapping[str, Any]
    producer: Mapping[str, Any]
    exactly_once: bool
    has_predecessor: bool = False
    """Whether a process before us may have had our transactional id, and left a transaction open."""

    @property
    def group(self) -> str:
        """The consumer group."""
        return str(self.consumer["group.id"])

    @property
    def owner(self) -> Optional[str]:
        """What tells our transactions from those of others of the group; None without transactions.

        None too for a name that commits have no room for.
        """
        prefix, name = transactional_id(self.group, ""), self.transactional_id
        if not self.exactly_once or not name.startswith(prefix):
            return None
        owner = name[len(prefix) :]
        return owner if is_writable(owner) else None

    def of_owner(self, owner: str) -> Mapping[str, Any]:
        """The properties of a producer that ends what this owner of a partition may have left open."""
        return {**self.producer, "transactional.id": transactional_id(self.group, owner)}

    @property
    def transactional_id(self) -> str:
        """How the broker recognises each of our producers as the successor of the last one."""
        return str(self.producer["transactional.id"])


def as_member(client: Mapping[str, Any], number: int) -> Dict[str, Any]:
    """The properties for one of several processes: a static member's name is given to one of them only."""
    name = client.get("group.instance.id")
    return dict(client) if name is None else {**client, "group.instance.id": f"{name}-{number}"}


def lasting_name(client: Mapping[str, Any], place: Optional[str]) -> Optional[str]:
    """The name that this process shares with those before and after it; None: it shares it with nobody.

    `place` is where a supervisor has put it. Two processes of one name would fence each other for ever, so it
    has to be one that only one process has at a time: a supervisor starts a successor when its process has
    ended, and a group has one member of each `group.instance.id`. Host names are no such names.
    """
    static = client.get("group.instance.id")
    return place if static is None else str(static)


def consumer_config(client: Mapping[str, Any], group: str, max_poll_interval_s: float) -> Dict[str, Any]:
    """The consumer's properties: our defaults, overridden by the user's, overridden by the required ones."""
    defaults = dict(CONSUMER_DEFAULTS)
    defaults["max.poll.interval.ms"] = int(max_poll_interval_s * 1000)
    if client.get("group.protocol") == "consumer":
        for name in CLASSIC_GROUP_ONLY:
            del defaults[name]
    return {**defaults, **client, **CONSUMER_REQUIRED, "group.id": group}


def producer_config(client: Mapping[str, Any], transactional_id: str) -> Dict[str, Any]:
    """The producer's properties, with the same precedence."""
    return {**PRODUCER_DEFAULTS, **client, **PRODUCER_REQUIRED, "transactional.id": transactional_id}
