"""During an outage: fresh orders of the partitions that are held are kept, and one is tried now and then."""

from collections import deque
from typing import Deque, Dict, List, Mapping, Optional, Set

from orderflow.consume.brakes import OutageBrake
from orderflow.consume.partition import Partition
from orderflow.consume.world import World
from orderflow.model.records import Message

PROBE_S = 1.0
"""While the outage brake holds a partition, a fresh order of it is tried this often."""
PROBE_PAUSE = 2.0
"""How long no other probe is made after one that failed while other partitions flow, by its length.

A call to what is down may take until its time-out, and would take their time.
"""


class Probing:
    """Keeps the orders of held partitions, and says which may be tried."""

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
        """Keep the records of partitions that are held; those of partitions that flow."""
        held = {number for number in self._ready if self._brake.holds(number)}
        flowing = []
        for message in records:
            if message.partition() in held:
                self._kept.setdefault(message.partition(), deque()).append(message)
            else:
                flowing.append(message)
        return flowing

    def take_released(self) -> List[Message]:
        """What was kept of partitions that are not held any more."""
        free = [number for number in self._kept if not self._brake.holds(number)]
        return [message for number in free for message in self._kept.pop(number)]

    def first_offsets(self) -> Dict[int, int]:
        """By partition: the first offset that is kept here."""
        return {number: kept[0].offset() for number, kept in self._kept.items()}

    def holds(self, number: int) -> bool:
        """Whether an outage keeps the orders of this partition waiting."""
        return self._brake.holds(number)

    def forget(self, numbers: Set[int]) -> None:
        """Partitions were taken away: what failed in them is no evidence any more."""
        for number in numbers:
            self._brake.forget(number)

    def drop(self, number: int) -> None:
        """The partition is given up, or takes no more of this batch: Kafka keeps its orders."""
        self._kept.pop(number, None)

    # --- trying ----------------------------------------------------------------------------------

    def due(self) -> List[int]:
        """Partitions of which an order may be tried now."""
        now_s = self._world.clock()
        return [number for number in self._kept if now_s >= self._due_s(number)]

    def dues_s(self) -> List[float]:
        """When an order of each held partition may be tried."""
        return [self._due_s(number) for number in self._kept]

    def _due_s(self, number: int) -> float:
        return max(self._next_probe_s, self._brake.probe_at_s(number))

    def take(self, number: int) -> Optional[Message]:
        """The first order that is kept of this partition; None where none is left."""
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
        """The try is over, unless a worker makes it."""
        if self._brake.holds(number) and len(self._brake.held()) < len(self._ready):
            now_s = self._world.clock()
            self._next_probe_s = now_s + PROBE_PAUSE * (now_s - began_s)

    def waits(self, number: int) -> bool:
        """Whether nothing of this partition need be fetched now: it is held, and the next to try is there."""
        if not self._brake.is_on or not self._brake.holds(number):
            return False
        return number in self._kept or self._world.clock() < self._brake.probe_at_s(number)
