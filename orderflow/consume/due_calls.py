"""Calls the orders whose retry is due."""

from collections import deque
from typing import Iterator, List, Mapping

from orderflow.consume.calls import Calls
from orderflow.consume.careful import CarefulCalls
from orderflow.consume.due_share import DUE_SHARE, LATELY_S, LONGEST_S, Rest
from orderflow.consume.partition import FIRST_CHUNK, Partition, Task
from orderflow.consume.slices import Slices
from orderflow.consume.world import World


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
        self._rest = Rest()
        self._shares_until_s = 0.0
        """Until then workers keep some of their time for fresh orders."""
        self._last = -1
        """The partition whose turn was last."""

    def call(self, has_fresh: bool) -> None:
        """Call due orders, for only a share of the time if there are fresh orders as well."""
        began_s = self._world.clock()
        if not has_fresh:
            self._slices.begin(longest_s=LONGEST_S)
            return self._call_due()
        self._shares_until_s = began_s + LATELY_S
        if not self._rest.is_over(began_s):
            return None
        self._slices.begin(DUE_SHARE)
        self._call_due()
        now_s = self._world.clock()
        return self._rest.begin(now_s - began_s, now_s)

    def _call_due(self) -> None:
        room = min(FIRST_CHUNK, self._calls.free_workers)
        if self._calls.keeps_one_free and not room:
            return
        guarded: List[Task] = []
        for task in self._due():
            if not task.head.careful:
                self._calls.retry(*task)
                continue
            guarded.append(task)
            if len(guarded) >= room:
                break
        # Orders are announced only where they start at once, and busy workers are given orders ahead.
        self._calls.keep_one_free(bool(guarded) and not room)
        self._careful.postpone(guarded[room:])
        if guarded[:room]:
            self._careful.call_announced(guarded[:room])

    def _due(self) -> Iterator[Task]:
        turns = deque(self._in_turn())
        while turns:
            now_s = self._world.clock()
            if now_s >= self._calls.until_s or not self._calls.may_retry(now_s < self._shares_until_s):
                return
            partition = turns.popleft()
            head = partition.ledger.take_due(now_s)
            if head is not None:
                turns.append(partition)
                self._last = partition.number
                yield Task(partition, head)

    def _in_turn(self) -> List[Partition]:
        """Where orders wait, first the partitions after the one whose turn was last."""
        waiting = [partition for partition in self._ready.values() if partition.ledger.heads]
        return sorted(waiting, key=lambda partition: (partition.number <= self._last, partition.number))

    def dues_s(self) -> List[float]:
        """When each partition's first waiting order is due."""
        dues = (partition.ledger.next_due_s() for partition in self._ready.values())
        return [due_s for due_s in dues if due_s is not None]
