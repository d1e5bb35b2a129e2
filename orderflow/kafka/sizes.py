"""How large records and their batches may be, of a client that writes to topics with limits of their own.

Kafka applies a topic's `max.message.bytes` to a batch and refuses it whole, and the client fills batches up
to one size for all topics. So that size follows the smallest limit, and the largest record the largest one.
"""

from typing import Any, Dict, Iterable, Mapping, Optional

CLIENT_BYTES = 1_000_000
"""The client's own `batch.size` and `message.max.bytes`."""
MOST_BYTES = 1_000_000_000
"""The most that the client takes for `message.max.bytes`; a topic's limit may be twice that."""
FRAME_BYTES = 4096
"""More than what goes around a record in a request."""
LOG_FRAME_BYTES = 12
"""Of each batch in the log, which count against `max.message.bytes`."""


def record_limit(max_message_bytes: Optional[int]) -> Optional[int]:
    """The largest record for a topic with this limit; None if the limit may not be read."""
    return None if max_message_bytes is None else max(1, max_message_bytes - LOG_FRAME_BYTES)


def sizes_for(accepted_bytes: Iterable[int], batch_bytes: int = CLIENT_BYTES) -> Dict[str, int]:
    """The client's properties for topics that accept so much; batches of `batch_bytes` at most."""
    accepted = tuple(accepted_bytes)
    return {
        "batch.size": max(1, min((batch_bytes, *accepted))),
        "message.max.bytes": min(max((CLIENT_BYTES, *accepted)) + FRAME_BYTES, MOST_BYTES),
    }


def fitted(conf: Mapping[str, Any], accepted_bytes: Iterable[int]) -> Dict[str, Any]:
    """A client's properties, fitted to topics that accept so much.

    A `batch.size` that is smaller stays, as does any `message.max.bytes`.
    """
    sizes = sizes_for(accepted_bytes, int(conf.get("batch.size", CLIENT_BYTES)))
    return {**sizes, **conf, "batch.size": sizes["batch.size"]}
