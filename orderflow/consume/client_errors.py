"""Interprets the errors of the Kafka client: the cause, and whether the client is still usable."""

from typing import Optional

from confluent_kafka import KafkaError, KafkaException

from orderflow.kafka.leaders import LEADERLESS

FATAL = (KafkaError._FATAL, KafkaError._FENCED, KafkaError.FENCED_INSTANCE_ID)
"""Fatal whatever `fatal()` says: for a message's error it says False (measured)."""

RAISED = (KafkaException, SystemError)
"""What client calls raise.

A fatal error is raised inside the error callback. Where more of our code runs before the client returns, it
comes out as a SystemError, or is lost, and all that is left says "returned NULL" (both measured).
"""
LOST = "returned NULL"


def is_fatal(error: KafkaError) -> bool:
    """Whether a client that reported this is no longer usable."""
    return bool(error.fatal()) or error.code() in FATAL


def why_delayed(error: KafkaError) -> str:
    """What keeps us from restoring a partition, and what to do where it lasts."""
    if error.code() in LEADERLESS:
        return "no broker leads it; is one away?"
    if error.code() != KafkaError.UNSTABLE_OFFSET_COMMIT:
        return str(error.str())
    return (
        "an open transaction hides what is committed. Kafka ends it after its transaction.timeout.ms; "
        "where that takes minutes, a person has to (kafka-transactions.sh find-hanging; see the runbook)"
    )


def error_of(raised: BaseException) -> KafkaError:
    """The client's error behind an exception; re-raises any other exception."""
    cause: Optional[BaseException] = raised
    while cause is not None:
        if isinstance(cause, KafkaException):
            error: KafkaError = cause.args[0]
            return error
        cause = cause.__cause__ or cause.__context__
    if isinstance(raised, SystemError) and LOST in str(raised):
        return KafkaError(KafkaError._FATAL, f"the client failed without saying why: {raised}")
    raise raised
