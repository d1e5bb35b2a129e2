"""During an outage, keeps the fresh orders of held partitions and tries one now and then."""

from collections import deque
from typing import Deque, Dict, List, Mapping, Optional, Set

from orderflow.consume.outage_brake import OutageBrake
from orderflow.consume.partition import Partition
from orderflow.consume.world import World
from orderflow.model.records import Message

PROBE_S = 1.0
"""How often a fresh order of a held partition is tried."""
PROBE_PAUSE = 2.0
"""Pause after a failed probe while other partitions flow, as a multiple of the probe's duration.

A call to a service that is down may run until it times out, at the expense of the other partitions.
"""


class Probing:
    """Keeps the orders of held partitions and says which may be tried."""

    def __init__(self, ready: Mapping[int, Partition], brake: OutageBrake, world: World) -> None:
        self._ready = ready
        self._brake = brake
        self._world = world
        self._kept: Dict[int, Deque[Message]] = {}
        self._next_probe_s = 0.0

    def __bool__(self) -> bool:
        return bool(self._kept)

    @property
    def is_on(self) -> bool:
        """Whether any partition is held."""
        return self._brake.is_on

    # --- keeping ---------------------------------------------------------------------------------

    def set_aside(self, records: List[Message]) -> List[Message]:
        """Keep the records of held partitions; returns the others."""
        held = {number for number in self._ready if self._brake.holds(number)}
        flowing = []
        for message in records:
            if message.partition() in held:
                self._kept.setdefault(message.partition(), deque()).append(message)
            else:
                flowing.append(message)
        return flowing

    def take_released(self) -> List[Message]:
        """Take the records of partitions that are no longer held."""
        free = [number for number in self._kept if not self._brake.holds(number)]
        return [message for number in free for message in self._kept.pop(number)]

    def first_offsets(self) -> Dict[int, int]:
        """By partition, the first offset kept here."""
        return {number: kept[0].offset() for number, kept in self._kept.items()}

    def is_sure_of(self, number: int) -> bool:
        """Whether this partition's orders wait because of an outage that this process has seen itself."""
        return self._brake.is_sure_of(number)

    def forget(self, numbers: Set[int]) -> None:
        """Partitions were revoked: their failures are no longer evidence."""
        for number in numbers:
            self._brake.forget(number)

    def drop(self, number: int) -> None:
        """The partition is given up, or admits no more of this batch: its orders stay in Kafka."""
        self._kept.pop(number, None)

    # --- trying ----------------------------------------------------------------------------------

    def due(self) -> List[int]:
        """The partitions where an order may be tried now."""
        now_s = self._world.clock()
        return [number for number in self._kept if now_s >= self._due_s(number)]

    def dues_s(self) -> List[float]:
        """When each held partition may next try an order."""
        return [self._due_s(number) for number in self._kept]

    def _due_s(self, number: int) -> float:
        return max(self._next_probe_s, self._brake.probe_at_s(number))

    def take(self, number: int) -> Optional[Message]:
        """Take the first order kept of this partition; None if none is left."""
        kept = self._kept.get(number)
        if not kept:
            return None
        message = kept.popleft()
        if not kept:
            del self._kept[number]
        return message

    def begin(self, number: int) -> None:
        """An order of this partition is tried now."""
        self._brake.probing(number, self._world.clock() + PROBE_S)

    def ended(self, number: int, began_s: float) -> None:
        """The probe is over, unless a worker is still making it."""
        if self._brake.holds(number) and len(self._brake.held()) < len(self._ready):
            now_s = self._world.clock()
            self._next_probe_s = now_s + PROBE_PAUSE * (now_s - began_s)

    def waits(self, number: int) -> bool:
        """Whether fetching is pointless now: the partition is held, and its next probe is kept or not due."""
        if not self._brake.is_on or not self._brake.holds(number):
            return False
        return number in self._kept or self._world.clock() < self._brake.probe_at_s(number)
