"""A handler in a process whose client never leaves its group, and holds the GIL meanwhile."""

import ctypes
from typing import Any

from confluent_kafka import Consumer

from orderflow.consume import session


class NeverLeaves(Consumer):
    """Closing it takes longer than anyone waits."""

    def close(self) -> None:
        """What librdkafka does if the group's side of it has ended before the last rebalance callback."""
        ctypes.PyDLL(None).sleep(600)


setattr(session, "Consumer", NeverLeaves)  # noqa: B010 - the client that a session makes


def works(order: Any) -> None:
    """Every order can be processed."""
