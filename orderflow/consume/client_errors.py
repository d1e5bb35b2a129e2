"""What the Kafka client reports or raises, and whether the client is of any use after it."""

from typing import Optional

from confluent_kafka import KafkaError, KafkaException

FATAL = (KafkaError._FATAL, KafkaError._FENCED, KafkaError.FENCED_INSTANCE_ID)
"""What ends a client whatever `fatal()` says: of a message's error it says False (measured)."""

RAISED = (KafkaException, SystemError)
"""What a call of the client raises.

A fatal error is raised inside the error callback, which Python reports as an error of its own (measured).
"""


def is_fatal(error: KafkaError) -> bool:
    """Whether a client that reported this is of no use any more."""
    return bool(error.fatal()) or error.code() in FATAL


def error_of(raised: BaseException) -> KafkaError:
    """The client's error behind what it raised; whatever else was raised is raised again."""
    cause: Optional[BaseException] = raised
    while cause is not None:
        if isinstance(cause, KafkaException):
            error: KafkaError = cause.args[0]
            return error
        cause = cause.__cause__ or cause.__context__
    raise raised
