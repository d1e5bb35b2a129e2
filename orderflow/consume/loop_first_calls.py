"""The fast path of an async handler: first calls on its event loop, in batches.

A call that never waits for anything costs as little as that of a plain handler: no object, no ledger entry.
One that waits becomes a head like any order that a worker was given, and the next worker continues the batch.
"""

import asyncio
import inspect
import threading
from types import CoroutineType
from typing import Any, Dict, Iterator, List, Optional, Tuple

from orderflow.consume.first_calls import FirstCalls
from orderflow.consume.handler import delivery_of
from orderflow.consume.partition import Partition, Task
from orderflow.consume.results import is_plain
from orderflow.consume.successes import Successes
from orderflow.consume.workers import Finished
from orderflow.errors import Failure, is_a, is_permanent
from orderflow.model.records import Message

AT_ONCE = 16
"""Turns that are begun together once a call was found waiting: the next ones mostly wait as well."""


class LoopFirstCalls(FirstCalls):
    """Makes the first call of each order on the event loop, one batch at a time.

    A batch is called in turns: each ends with the batch, or with a call that waits.
    """

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._left: Iterator[Message] = iter(())
        """What has not been called of the batch; turns share it."""
        self._taken = 0
        self._undone = 0
        self._permanent: List[Tuple[Message, Failure]] = []
        self._called: Optional[Message] = None
        """The order whose call has begun, and has neither ended nor been found waiting."""
        self._waiting: Dict[int, Task] = {}
        """The calls that wait for something, by the order's place in the batch."""
        self._is_watched = False
        """Whether the loop is going to look for a call that waits."""
        self._lap = self._outcomes.call_times.lap(self._world.clock())
        self._call_began_s = 0.0
        """The beginning of the call that began last."""
        self._crash: Optional[BaseException] = None
        self._is_over = threading.Event()
        """No order of the batch is called any more. Until then the loop's thread may touch the engine."""
        self._is_over.set()

    def call(self, records: List[Message]) -> List[Message]:
        """Call these in order until the slice ends or all workers wait; returns the records not admitted."""
        if not self._calls.free_workers:
            return self._hand_out(records)
        self._begin(records)
        self._calls.on_loop.run_turns(self._turn, self._is_over)
        if self._crash is not None:
            raise self._crash
        self._successes.end_at(self._taken)
        self._lap.passed(self._done, self._world.clock())
        self._outcomes.processed(self._done)
        self._outcomes.reject(self._permanent)
        self._pace.gave_out(self._taken)
        left = records[self._taken :]
        return left if self._calls.free_workers else self._hand_out(left)

    def _begin(self, records: List[Message]) -> None:
        self._left = iter(records[: self._pace.may_give_out])
        self._taken = self._undone = 0
        self._permanent, self._waiting = [], {}  # calls of the last batch that still wait keep theirs
        self._crash = None
        self._successes = Successes(records)
        self._lap = self._outcomes.call_times.lap(self._world.clock())
        self._is_over.clear()

    @property
    def _done(self) -> int:
        """The calls of the batch that have succeeded, while none runs that has not been found waiting."""
        return self._taken - self._undone - len(self._permanent)

    # --- in the loop's thread, while the polling thread waits ------------------------------------

    def _end(self, crash: Optional[BaseException] = None) -> None:
        """Call no more orders of this batch."""
        self._crash = self._crash or crash
        self._called = None
        self._is_over.set()

    def _look(self) -> None:
        """Runs once the turn's call waits for something, or once the turn has ended."""
        self._is_watched = False
        if self._called is None:
            return
        try:
            if self._may_go_on(self._note_waiting(self._called)):
                for _ in range(min(AT_ONCE, self._calls.free_workers)):
                    self._calls.on_loop.run_turn(self._turn)
            else:
                self._end()
        except BaseException as crash:  # noqa: BLE001 - raised again in the polling thread
            self._end(crash)

    def _may_go_on(self, partition: Partition) -> bool:
        if self._intake.stopped or self._calls.slice_is_over or not self._calls.free_workers:
            return False
        # A ledger that is full of running calls has room again in a moment: no need to pause and read again.
        return partition.ledger.room > 1 or partition.in_flight < partition.ledger.unfinished // 2

    def _note_waiting(self, message: Message) -> Partition:
        partition = self._intake.partition_of(message)
        head = partition.admit(message)
        self._called = None
        self._undone += 1
        self._lap.passed(self._done, self._call_began_s)
        self._lap.skip(self._world.clock())
        self._waiting[self._taken] = self._calls.on_loop.note_in_flight(partition, head)
        self._successes.others.add(self._taken)
        self._intake.stop_if_full(partition, message)
        return partition

    async def _turn(self) -> Optional[Finished]:
        """Call one order after the other. Returns the outcome of a call that had to wait."""
        try:
            # If the last turn's call has not ended, it waits for something.
            if self._called is not None and not self._may_go_on(self._note_waiting(self._called)):
                self._end()
            return None if self._is_over.is_set() else await self._call_in_turn()
        except BaseException as crash:  # noqa: BLE001 - raised again in the polling thread
            self._end(crash)
            return None

    async def _call_in_turn(self) -> Optional[Finished]:  # noqa: C901, PLR0912, PLR0915 - as in FirstCalls
        read, handler, wants_delivery = self._business.read, self._business.handler, self._wants_delivery
        topic_id, queue, stopped = self._business.topic_id, self._intake.queue, self._intake.stopped
        busy, failing = self._intake.busy, self._outcomes.key_brake.failing
        publish, publishes = self._outcomes.publish, self._outcomes.publishes
        tells_each, report = self._business.tells_each, self._world.report
        clock, until_s, waiting = self._world.clock, self._calls.until_s, self._waiting
        call_soon, forked = asyncio.get_event_loop().call_soon, self._forks.marks
        now_s, look_at_s = clock(), 0.0
        for message in self._left:
            self._taken = place = self._taken + 1
            if busy and message.key() in busy and queue(message):
                self._undone += 1
                self._successes.others.add(place)
                if stopped:
                    break
                continue
            self._called = message
            began_s = self._call_began_s = now_s
            if not self._is_watched:
                self._is_watched = True
                call_soon(self._look)
            try:
                order = read(message.value())
                result = (
                    handler(order, delivery_of(message, 1, topic_id)) if wants_delivery else handler(order)
                )
                if type(result) is CoroutineType or inspect.isawaitable(result):
                    result = await result
                if forked:
                    self._forks.end_child()
                if waiting and place in waiting:
                    took_s = clock() - began_s
                    return Finished(waiting[place], self._outcomes.records_of(message, result), None, took_s)
                if result is not None and (publishes or not is_plain(result)):
                    publish(message, result)
            except BaseException as error:
                if forked:
                    self._forks.end_child(error)
                if waiting and place in waiting:
                    return Finished(waiting[place], None, error, clock() - began_s)
                self._called = None
                if is_a(error, SystemExit):  # the handler ends the process
                    raise
                self._lap.failed(error, clock())
                if is_permanent(error):
                    self._permanent.append((message, self._rejected(error, place)))
                else:
                    self._undone += 1
                    self._successes.others.add(place)
                    if self._failed(message, error, place) or stopped:
                        break
            else:
                if tells_each:
                    report("order_done", record=message)
                if failing and message.key() in failing:
                    self._outcomes.key_brake.succeeded(message.key())
            now_s = clock()
            if now_s >= look_at_s:
                look_at_s = min(until_s, self._lap.passed(self._done, now_s))
                if now_s >= until_s:
                    break
        self._end()
        return None
