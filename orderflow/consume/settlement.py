"""The possible outcomes of a settlement, and which Kafka error means which."""

import enum
from typing import Dict, FrozenSet, Mapping, NamedTuple, Optional, Tuple

from confluent_kafka import KafkaError

from orderflow.kafka.refusals import NO_SUCH_TOPIC

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
    *NO_SUCH_TOPIC,
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
"""Reasons why the group never admits us: the client itself would keep trying silently."""

Offsets = Mapping[int, Tuple[int, str]]
"""By partition, the offset to commit and its metadata."""


class SessionLost(Exception):
    """The member cannot continue. Commits stand, and a new process continues from there."""


class Outcome(enum.Enum):
    """The outcome of a settlement."""

    SETTLED = "everything is committed"
    SENT = "every record is confirmed; the offsets have yet to be committed"
    NOT_COMMITTED = "certainly not committed, for whatever reason: send it again"
    UNKNOWN = "may or may not be committed: `find_out` before settling anything else"
    EXPELLED = "not committed: the group has dropped this member, and its unsettled work is void"
    MOVED_ON = "not committed: the group is in a new generation, in which we may still be the owner"
    TOO_LARGE = "a record is larger than its topic accepts"
    METADATA_TOO_LARGE = "the offset metadata is larger than the broker accepts"
    TIME_REFUSED = "a record is invalid, most likely because its timestamp is far from the broker's clock"
    REFUSED = "Kafka refuses the records until somebody fixes the cause"


class Settlement(NamedTuple):
    """An outcome and Kafka's answer."""

    outcome: Outcome
    detail: str = ""
    confirmed: FrozenSet[int] = frozenset()
    """Places of the records that are in Kafka even if the rest failed (at-least-once)."""
    topic: Optional[str] = None
    """Of TOO_LARGE: the topic that does not accept a record, if that is known."""


OUTCOMES: Dict[Outcome, Tuple[int, ...]] = {
    Outcome.TOO_LARGE: TOO_LARGE,
    Outcome.MOVED_ON: NEW_GENERATION,
    Outcome.EXPELLED: EXPULSIONS,
    Outcome.METADATA_TOO_LARGE: (KafkaError.OFFSET_METADATA_TOO_LARGE,),
    # If it refuses the timestamps of several records in a batch, Kafka only says "invalid record" (measured).
    Outcome.TIME_REFUSED: (KafkaError.INVALID_TIMESTAMP, KafkaError.INVALID_RECORD),
    Outcome.REFUSED: REFUSALS,
}
"""What Kafka's errors mean. Any other means "not committed", so the list need not be complete."""


def outcome_of(error: KafkaError) -> Outcome:
    """The outcome an error means for a settlement that committed nothing."""
    for outcome, codes in OUTCOMES.items():
        if error.code() in codes:
            return outcome
    return Outcome.NOT_COMMITTED


SETTLED = Settlement(Outcome.SETTLED)
DROPPED = Settlement(Outcome.EXPELLED, "the group has dropped this consumer")
