"""Calls still running for partitions that were given up: what they did will not count."""

from typing import Dict, Set

from orderflow.consume.partition import Partition


class Orphans:
    """Counts them by partition. Until the last has ended, a partition must not be restored."""

    def __init__(self) -> None:
        self._running: Dict[int, int] = {}

    @property
    def partitions(self) -> Set[int]:
        """The partitions that have some."""
        return set(self._running)

    def give_up(self, partition: Partition) -> None:
        """A partition is given up: its running calls become orphans."""
        if partition.in_flight:
            self._running[partition.number] = self._running.get(partition.number, 0) + partition.in_flight

    def ended(self, number: int) -> None:
        """One of a partition's orphans has ended."""
        left = self._running.get(number, 0) - 1
        if left > 0:
            self._running[number] = left
        else:
            self._running.pop(number, None)
