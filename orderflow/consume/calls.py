"""Makes handler calls, inline or in worker threads, and continues with the followers of each key."""

from typing import Collection, Iterable, Mapping, Optional, Sequence, Set, Union

from orderflow.consume.due_share import WorkerShare
from orderflow.consume.forked import Forks
from orderflow.consume.handler import delivery_of, wants_delivery
from orderflow.consume.head import Head
from orderflow.consume.key_runs import KeyRuns
from orderflow.consume.loop_calls import LoopCalls
from orderflow.consume.loop_workers import LoopWorkers
from orderflow.consume.orphans import Orphans
from orderflow.consume.outcomes import Business, Destination, Outcomes
from orderflow.consume.partition import Partition, Task
from orderflow.consume.watchdog import Watchdog
from orderflow.consume.workers import Finished, Workers
from orderflow.consume.world import World
from orderflow.model.records import Outgoing

UNBOUNDED = 1_000_000


class Calls:
    """Calls heads and passes on each outcome. Worker threads run `attempt`, which changes no state."""

    def __init__(
        self,
        ready: Mapping[int, Partition],
        outcomes: Outcomes,
        business: Business,
        destination: Destination,
        watchdog: Watchdog,
        world: World,
    ) -> None:
        self.until_s = 0.0
        """When the current slice of calls ends."""
        self.orphans = Orphans()
        self.keeps_one_free = False
        """An order waits for a worker that is free, so none is given orders ahead."""
        self._is_stopping = False
        self._key_runs = KeyRuns()
        self._ready = ready
        self._outcomes = outcomes
        self._business = business
        self._wants_delivery = wants_delivery(business.handler)
        self._targets = destination.targets
        self._watchdog = watchdog
        self._world = world
        self._workers: Union[Workers, LoopWorkers, None] = None
        self._on_loop: Optional[LoopCalls] = None
        self._forks = Forks()
        if business.loop is not None:
            self._on_loop = LoopCalls(business.loop, business, destination, watchdog, world)
            self._workers = self._on_loop.workers
        elif business.workers > 1:
            self._workers = Workers(business.workers, self.attempt)
        self._retries: Set[Head] = set()
        """Those that workers were given because they were due, and what runs on behind them."""
        self._share = WorkerShare(business.workers, 0 if self._workers is None else self._workers.most)

    # --- limits ----------------------------------------------------------------------------------

    def begin_slice(self, until_s: float) -> None:
        """Start a slice of calls that ends then."""
        self.until_s = until_s

    @property
    def slice_is_over(self) -> bool:
        """Whether the time for calls is up."""
        return self._world.clock() >= self.until_s

    def stop(self) -> None:
        """Let running calls finish, and start no more."""
        self._is_stopping = True
        self._withdraw(self._ready.values())

    def give_up(self, partitions: Collection[Partition]) -> None:
        """They are given up: their running calls become orphans, and those to come are not made."""
        self._withdraw(partitions)
        for partition in partitions:
            self.orphans.give_up(partition)

    def _withdraw(self, partitions: Iterable[Partition]) -> None:
        """Take back the orders that workers were given ahead. One that was announced starts at once."""
        if self._workers is None:
            return
        theirs = frozenset(partitions)
        withdrawn = self._workers.withdraw(lambda task: task.partition in theirs and not task.head.announced)
        for partition, head in withdrawn:
            partition.call_ends()
            self._retries.discard(head)
            if self._is_ours(partition):
                partition.ledger.postpone(head, self._world.clock())

    def settled(self) -> None:
        """Results are settled or being settled: every key may run on."""
        for partition, head in self._key_runs.settled():
            if self._is_ours(partition):
                partition.ledger.postpone(head, self._world.clock())

    @property
    def waits_for_settlement(self) -> bool:
        """Whether any key has run as far as it may before a settlement."""
        return bool(self._key_runs)

    # --- making calls ----------------------------------------------------------------------------

    def start(self, partition: Partition, head: Head) -> None:
        """Have a head called: by a worker, or inline together with the followers it releases."""
        if not self._is_ours(partition):
            return
        if self._workers is None:
            self.follow(partition, self._call(partition, head))
            return
        partition.call_begins()
        self._workers.submit(Task(partition, head))

    def retry(self, partition: Partition, head: Head) -> None:
        """Have a head called that was due."""
        if self._workers is not None and self._is_ours(partition):
            self._retries.add(head)
        self.start(partition, head)

    def follow(self, partition: Partition, following: Optional[Head], is_retry: bool = False) -> None:
        """Continue with the followers that a head releases one by one, until the slice ends."""
        while following is not None:
            if not self._may_follow(following):
                return partition.ledger.postpone(following, self._world.clock())
            # Without workers, the next owner is careful with any number of followers: they share commits.
            if self._workers is not None and self._key_runs.hold_back(Task(partition, following)):
                return None
            if following.careful:
                # It runs on behind an announced order, and may be to blame if the process dies.
                following.announce()
            if self._workers is not None:
                return self.retry(partition, following) if is_retry else self.start(partition, following)
            following = self._call(partition, following)
        return None

    def _is_ours(self, partition: Partition) -> bool:
        return self._ready.get(partition.number) is partition

    def _may_follow(self, head: Head) -> bool:
        if head.suspect or self._is_stopping or (head.careful and not head.run):
            return False
        return self._workers is not None or not self.slice_is_over

    def _call(self, partition: Partition, head: Head) -> Optional[Head]:
        self._watchdog.busy()
        began_s = self._world.clock()
        try:
            records = self.attempt(Task(partition, head))
        except SystemExit:  # the handler ends the process, which does not count as a failure of its order yet
            raise
        except BaseException as error:  # noqa: BLE001 - whatever codec, rules or handler raise
            self._forks.end_child(error)
            self._outcomes.call_times.failed(error, self._world.clock() - began_s)
            return self._outcomes.failed(partition, head, error)
        self._forks.end_child()
        self._outcomes.call_times.succeeded(1, self._world.clock() - began_s)
        return self._outcomes.succeeded(partition, head, records)

    def attempt(self, task: Task) -> Sequence[Outgoing]:
        """Decode, check and handle one order; returns its results to send. Raises whatever went wrong."""
        partition, head = task
        order = self._business.read(head.record.value())
        if self._wants_delivery:
            delivery = delivery_of(head.record, partition.attempt_of(head), self._business.topic_id)
            return self._targets.records_of(head.record, self._business.handler(order, delivery))
        return self._targets.records_of(head.record, self._business.handler(order))

    # --- worker threads --------------------------------------------------------------------------

    @property
    def has_workers(self) -> bool:
        """Whether calls are made by worker threads."""
        return self._workers is not None

    @property
    def in_flight(self) -> int:
        """Calls handed to worker threads and not collected yet."""
        return 0 if self._workers is None else self._workers.in_flight

    @property
    def oldest_call_at_s(self) -> Optional[float]:
        """When the longest of the calls that worker threads run began; None if none runs."""
        return None if self._workers is None else self._workers.oldest_start_s()

    @property
    def free_workers(self) -> int:
        """How many calls would start at once; without workers, more than are ever announced."""
        return UNBOUNDED if self._workers is None else max(0, self._workers.count - self._workers.in_flight)

    @property
    def has_free_worker(self) -> bool:
        """Whether a call submitted now would start soon."""
        workers = self._workers
        return workers is None or (workers.in_flight < workers.most and not self.keeps_one_free)

    def keep_one_free(self, wanted: bool) -> None:
        """Give out nothing until a worker is free, or no longer."""
        self.keeps_one_free = wanted

    def may_retry(self, shares: bool) -> bool:
        """Whether another order that is due may be called; `shares`: there are fresh orders as well."""
        if self._workers is None:
            return True
        has_turn = not shares or len(self._retries) < self._share.most_retries
        return has_turn and self._workers.in_flight < self._workers.most

    def collect(self, timeout_s: float) -> None:
        """Process the calls the workers have finished, waiting up to `timeout_s` for the first."""
        if self._workers is None:
            return self._watchdog.busy()
        for finished in self._workers.collect(timeout_s):
            self._take(finished)
        self._watchdog.busy_since(self._workers.oldest_start_s())
        if self._on_loop is not None:
            self._on_loop.look()
        return None

    @property
    def on_loop(self) -> LoopCalls:
        """The calls of an async handler. There are none of another."""
        assert self._on_loop is not None
        return self._on_loop

    def _take(self, finished: Finished) -> None:
        partition, head = finished.task
        partition.call_ends()
        is_retry = head in self._retries
        self._retries.discard(head)
        self._share.took(is_retry, finished.took_s)
        if not self._is_ours(partition):
            self.orphans.ended(partition.number)
        elif finished.error is not None:
            self._outcomes.call_times.failed(finished.error, finished.took_s)
            self.follow(partition, self._outcomes.failed(partition, head, finished.error), is_retry)
        else:
            self._outcomes.call_times.succeeded(1, finished.took_s)
            self.follow(partition, self._outcomes.succeeded(partition, head, finished.result), is_retry)

    def abandon(self) -> None:
        """Cancel the calls of an async handler that are still running; threads cannot be stopped."""
        if self._on_loop is not None:
            self._on_loop.workers.cancel()
