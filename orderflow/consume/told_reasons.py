"""Tells whoever looks why orders wait: now and then, while some do, and off the road of any order."""

from itertools import islice
from typing import Dict, List, Mapping, Tuple

from orderflow.consume.inbox import Inbox
from orderflow.consume.partition import Partition
from orderflow.consume.world import World
from orderflow.errors import Failure
from orderflow.model.reasons import MOST_ORDERS, write_reasons

EVERY_S = 10.0
AGAIN_S = 60.0
"""What has not changed is told again after so long, so that it stands near the end of the topic."""

Listed = List[Tuple[int, int, Failure]]


class ToldReasons:
    """What was told of each partition, and when."""

    def __init__(self, inbox: Inbox, ready: Mapping[int, Partition], world: World) -> None:
        self._inbox = inbox
        self._ready = ready
        self._world = world
        self._told: Dict[int, Tuple[float, Listed]] = {}
        self._look_at_s = 0.0

    def tell(self, now_s: float) -> None:
        """Tell it, if it is time."""
        if now_s < self._look_at_s:
            return
        for number, partition in self._ready.items():
            listed = _listed(partition)
            if listed or len(partition.ledger.heads) > MOST_ORDERS:
                self._look_at_s = now_s + EVERY_S  # a long list is not looked through twice a second
            if listed:
                self._tell_of(number, listed, now_s)

    def _tell_of(self, number: int, listed: Listed, now_s: float) -> None:
        told_at_s, before = self._told.get(number, (-AGAIN_S, []))
        if listed != before or now_s >= told_at_s + AGAIN_S:
            self._told[number] = (now_s, listed)
            self._inbox.tell(number, write_reasons(listed, self._world.now_ms()))


def _listed(partition: Partition) -> Listed:
    """Of the orders that have failed in this process and wait, the first ones, as many as are told of.

    Many more may stand before them that failed in another process.
    """
    heads = partition.ledger.heads.values()
    failed = ((head.offset, head.attempts, head.failure) for head in heads if head.failure is not None)
    return list(islice(failed, MOST_ORDERS))
