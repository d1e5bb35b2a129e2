"""What became of a settlement: settled, dropped or refused, and which of Kafka's errors means which."""

import enum
from typing import Dict, FrozenSet, Mapping, NamedTuple, Tuple

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

EXPULSIONS = (KafkaError.UNKNOWN_MEMBER_ID, KafkaError.FENCED_INSTANCE_ID, KafkaError.FENCED_MEMBER_EPOCH)
"""The group has dropped this member, and may have given its partitions to others."""
NO_MEMBERS = (KafkaError.INVALID_SESSION_TIMEOUT, KafkaError.INCONSISTENT_GROUP_PROTOCOL)
"""Why the group never lets us in: the client itself would go on asking without a word."""

Offsets = Mapping[int, Tuple[int, str]]
"""By partition: the offset to commit, and its metadata."""


class SessionLost(Exception):
    """The member cannot go on. What is committed stays; a new process goes on from there."""


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


OUTCOMES: Dict[Outcome, Tuple[int, ...]] = {
    Outcome.TOO_LARGE: TOO_LARGE,
    Outcome.MOVED_ON: NEW_GENERATION,
    Outcome.EXPELLED: EXPULSIONS,
    Outcome.METADATA_TOO_LARGE: (KafkaError.OFFSET_METADATA_TOO_LARGE,),
    # Where the time of several records in a batch is refused, Kafka only says "invalid record" (measured).
    Outcome.TIME_REFUSED: (KafkaError.INVALID_TIMESTAMP, KafkaError.INVALID_RECORD),
    Outcome.REFUSED: REFUSALS,
}
"""What Kafka's answers mean. Every other one is "not committed", so we need not know all of them."""


def outcome_of(error: KafkaError) -> Outcome:
    """What an error means for a settlement of which nothing was committed."""
    for outcome, codes in OUTCOMES.items():
        if error.code() in codes:
            return outcome
    return Outcome.NOT_COMMITTED


SETTLED = Settlement(Outcome.SETTLED)
DROPPED = Settlement(Outcome.EXPELLED, "the group has dropped this consumer")
