"""The calls of an async handler: what one is, and the workers and the watch over their event loop."""

import inspect
import threading
import time
from typing import Sequence

from orderflow.consume.event_loop import EventLoop
from orderflow.consume.handler import delivery_of, wants_delivery
from orderflow.consume.head import Head
from orderflow.consume.loop_watch import LoopWatch
from orderflow.consume.loop_workers import LoopWorkers, Turn
from orderflow.consume.outcomes import Business, Destination
from orderflow.consume.partition import Partition, Task
from orderflow.consume.watchdog import Watchdog
from orderflow.consume.world import World
from orderflow.model.records import Outgoing

LOOK_S = 0.1
"""How often to look at the event loop while waiting for it."""


class LoopCalls:
    """Makes calls on an event loop."""

    def __init__(
        self, loop: EventLoop, business: Business, destination: Destination, watchdog: Watchdog, world: World
    ) -> None:
        self.workers = LoopWorkers(business.workers, self._attempt, loop, watchdog.timeout_s)
        self._business = business
        self._wants_delivery = wants_delivery(business.handler)
        self._targets = destination.targets
        self._watchdog = watchdog
        self._loop = loop
        self._loop_watch = LoopWatch(loop, world)

    async def _attempt(self, task: Task) -> Sequence[Outgoing]:
        """Decode, check and handle one order; returns its results to send. Raises whatever went wrong."""
        partition, head = task
        order = self._business.read(head.record.value())
        if self._wants_delivery:
            delivery = delivery_of(head.record, partition.attempt_of(head), self._business.topic_id)
            result = self._business.handler(order, delivery)
        else:
            result = self._business.handler(order)
        if inspect.isawaitable(result):
            result = await result
        return self._targets.records_of(head.record, result)

    def note_in_flight(self, partition: Partition, head: Head) -> Task:
        """A call that was not handed to a worker waits for something."""
        partition.call_begins()
        self.workers.waits()
        return Task(partition, head)

    def run_turn(self, turn: Turn) -> None:
        """Have a worker run this before anything else. Call it in the loop's thread."""
        self.workers.run_turn(turn)

    def run_turns(self, turn: Turn, is_done: threading.Event) -> None:
        """Have a worker run this and all turns that it leads to, and wait until the last is done.

        Until then the loop's thread alone touches the engine's state.
        """
        began_s = time.monotonic()
        self._watchdog.busy_since(began_s)
        self._loop.call_soon(lambda: self.workers.run_turn(turn))
        while not is_done.wait(LOOK_S):
            oldest_s = self.workers.oldest_start_s()
            self._watchdog.busy_since(began_s if oldest_s is None else min(began_s, oldest_s))
            self.look()

    def look(self) -> None:
        """Look whether the loop still turns."""
        self._loop_watch.look()
