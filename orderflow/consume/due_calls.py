"""Calls the orders whose retry is due."""

from typing import Iterator, List, Mapping

from orderflow.consume.calls import Calls
from orderflow.consume.careful import CarefulCalls
from orderflow.consume.partition import FIRST_CHUNK, Partition, Task
from orderflow.consume.slices import Slices
from orderflow.consume.world import World

DUE_SHARE = 0.3
"""The share of handler time that retries may take while there are fresh orders."""


class DueCalls:
    """Takes due orders, one from each partition in turn."""

    def __init__(
        self,
        ready: Mapping[int, Partition],
        calls: Calls,
        careful: CarefulCalls,
        slices: Slices,
        world: World,
    ) -> None:
        self._ready = ready
        self._calls = calls
        self._careful = careful
        self._slices = slices
        self._world = world

    def call(self, has_fresh: bool) -> None:
        """Call due orders, for only a share of a slice if there are fresh orders as well."""
        self._slices.begin(DUE_SHARE if has_fresh else 1.0)
        guarded: List[Task] = []
        for task in self._due():
            if task.head.careful:
                guarded.append(task)
            else:
                self._calls.start(*task)
        if guarded:
            room = min(FIRST_CHUNK, self._calls.free_workers)
            self._careful.postpone(guarded[room:])
            self._careful.call_announced(guarded[:room])

    def _due(self) -> Iterator[Task]:
        waiting = [partition for partition in self._ready.values() if partition.ledger.heads]
        while waiting and self._calls.has_free_worker:
            now_s, still = self._world.clock(), []
            if now_s >= self._calls.until_s:
                return
            for partition in waiting:
                head = partition.ledger.take_due(now_s)
                if head is not None:
                    still.append(partition)
                    yield Task(partition, head)
            waiting = still

    def dues_s(self) -> List[float]:
        """When each partition's first waiting order is due."""
        dues = (partition.ledger.next_due_s() for partition in self._ready.values())
        return [due_s for due_s in dues if due_s is not None]
