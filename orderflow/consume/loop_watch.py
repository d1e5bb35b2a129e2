"""Reports an event loop that the handler blocks: all its calls stand still."""

from orderflow.consume.event_loop import EventLoop
from orderflow.consume.world import World

BLOCKED_S = 1.0
TOLD_EVERY_S = 60.0


class LoopWatch:
    """Looks now and then whether the loop still turns."""

    def __init__(self, loop: EventLoop, world: World) -> None:
        self._loop = loop
        self._world = world
        self._quiet_until_s = 0.0

    def look(self) -> None:
        """Report a loop that has been blocked for a second, once a minute at most."""
        blocked_s = self._loop.blocked_s()
        if blocked_s < BLOCKED_S or self._world.clock() < self._quiet_until_s:
            return
        where = self._loop.where()
        if where is None:  # the whole process stood still, or the codec waits for the registry
            return
        self._quiet_until_s = self._world.clock() + TOLD_EVERY_S
        self._world.report("loop_blocked", for_s=blocked_s, where=where)
