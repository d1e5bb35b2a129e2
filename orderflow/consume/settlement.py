"""What became of a settlement: settled, dropped or refused, as values.

Owns: the outcomes, and which of Kafka's errors means which.
Does not know: transactions, the consumer, who asks.
Used by: session, settling, assignment.
"""

import enum
from typing import FrozenSet, NamedTuple

from confluent_kafka import KafkaError

TOO_LARGE = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG_SIZE)
NEW_GENERATION = (
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.STALE_MEMBER_EPOCH,
)
REFUSALS = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError.TOPIC_EXCEPTION,
    KafkaError.NOT_ENOUGH_REPLICAS,
    KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    KafkaError.POLICY_VIOLATION,
    KafkaError.INVALID_RECORD,
    KafkaError.UNSUPPORTED_FOR_MESSAGE_FORMAT,
    KafkaError.INVALID_TRANSACTION_TIMEOUT,
)

NO_MEMBERS = (KafkaError.INVALID_SESSION_TIMEOUT, KafkaError.INCONSISTENT_GROUP_PROTOCOL)
"""Why the group does not let us in, whenever we ask: the client itself would ask for ever, in silence."""


class SessionLost(Exception):
    """The member cannot go on. The committed offsets stand; a new process takes over from them."""


class Outcome(enum.Enum):
    """What became of a settlement."""

    SETTLED = "committed, all of it"
    SENT = "confirmed, all of it; the offsets are still to be committed"
    NOT_COMMITTED = "certainly not committed, for whatever reason: send it again"
    UNKNOWN = "not known to be committed or not: `find_out` before anything else is settled"
    EXPELLED = "not committed: the group has dropped this member, and what it did is void"
    MOVED_ON = "not committed: the group is in a new generation, in which we may still be the owner"
    TOO_LARGE = "a record is larger than its topic takes"
    METADATA_TOO_LARGE = "the broker takes less offset metadata than was sent"
    TIME_REFUSED = "a record is not valid, and most likely since its timestamp is far from the broker's clock"
    REFUSED = "Kafka refuses the records: somebody has to repair something"


class Settlement(NamedTuple):
    """An outcome and what Kafka said."""

    outcome: Outcome
    detail: str = ""
    confirmed: FrozenSet[int] = frozenset()
    """Of the records to send, by place: those that are in Kafka although the rest failed (at-least-once)."""


SETTLED = Settlement(Outcome.SETTLED)
DROPPED = Settlement(Outcome.EXPELLED, "the group has dropped this consumer")
