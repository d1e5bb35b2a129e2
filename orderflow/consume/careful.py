"""Careful calls after a process died: the orders about to be called are committed first.

If the process dies again, that list names the suspects, which are then called a few at a time and finally
alone. caution.py chooses the next suspects; this file calls them.
"""

from typing import List, Optional, Sequence, Tuple

from orderflow.consume import caution
from orderflow.consume.assignment import Assignment
from orderflow.consume.calls import Calls
from orderflow.consume.intake import Intake
from orderflow.consume.outcomes import Outcomes
from orderflow.consume.pace import Pace
from orderflow.consume.partition import FIRST_CHUNK, LARGEST_CHUNK, Partition, Task
from orderflow.consume.slices import Slices
from orderflow.consume.world import World
from orderflow.model.records import Message


class CarefulCalls:
    """Announces orders before calling them, and calls the suspects."""

    def __init__(
        self,
        assignment: Assignment,
        calls: Calls,
        outcomes: Outcomes,
        slices: Slices,
        pace: Pace,
        world: World,
    ) -> None:
        self._ready = assignment.ready
        self._calls = calls
        self._outcomes = outcomes
        self._slices = slices
        self._pace = pace
        self._world = world
        self._clears_suspects = False
        """A suspect is being called, or the outcome of its call is not settled yet."""
        self.suspects_in_flight: List[Tuple[int, int]] = []
        """Partition and offset of the suspects that are being called, or whose outcome is not settled yet."""

    @property
    def is_on(self) -> bool:
        """Whether fresh orders are called with care."""
        return any(partition.careful_left for partition in self._ready.values())

    @property
    def waits_for_suspects(self) -> bool:
        """Whether a suspect is being called, or the outcome of its call is not settled yet."""
        return self._clears_suspects

    # --- announcing ------------------------------------------------------------------------------

    def call_announced(self, chunk: Sequence[Task]) -> bool:
        """Commit the list of orders about to be called, so that a second death names them, then call them.

        Without workers, followers may run on behind them. False if the list could not be committed, and
        nothing was called.
        """
        if not self._announce(chunk):
            return False
        for task in chunk:
            task.head.let_run(0 if self._calls.has_workers else caution.KEY_RUN)
        self._call_all(chunk)
        return True

    def _announce(self, chunk: Sequence[Task]) -> bool:
        for partition, head in chunk:
            head.announce()
            partition.ledger.touch()
        if not chunk or self._slices.settle_now():
            return True
        self.postpone(chunk)
        for partition, _ in chunk:
            partition.ledger.touch()  # it may have been committed after all
        return False

    def postpone(self, tasks: Sequence[Task]) -> None:
        """Make them due again at once, for the next round; nothing else would ever call them."""
        for partition, head in tasks:
            partition.ledger.postpone(head, self._world.clock())

    def _call_all(self, chunk: Sequence[Task]) -> None:
        """Call these, settling whenever a slice ends."""
        self._slices.begin()
        begun, began_s = 0, self._world.clock()
        for partition, head in chunk:
            self._calls.start(partition, head)
            begun += 1
            if self._calls.slice_is_over:
                self._pace.calls_took(begun, self._world.clock() - began_s)
                self._slices.settle_if_time(polled=0, leftover=0)
                self._slices.begin()
                begun, began_s = 0, self._world.clock()

    # --- a chunk of fresh orders -----------------------------------------------------------------

    def admit_chunk(self, intake: Intake, records: List[Message]) -> Tuple[List[Task], List[Message]]:
        """Heads to announce, and the records not admitted since their chunk or the worker pool is full.

        Workers get no more than they can start: an order waiting for one would be suspected needlessly.
        """
        most = min(LARGEST_CHUNK, self._calls.free_workers)
        room = {number: partition.chunk for number, partition in self._ready.items()}
        chunk: List[Task] = []
        rest: List[Message] = []
        for message in records:
            number = message.partition()
            if not room[number] or len(chunk) >= most:
                room[number] = 0
                rest.append(message)
            elif not intake.is_stopped(number):
                room[number] -= 1
                chunk += self.admit(intake, self._ready[number], message)
        return chunk, rest

    def admit(self, intake: Intake, partition: Partition, message: Message) -> List[Task]:
        """The record as a head, or nothing if it queues behind one. Queued orders get the same care."""
        careful = partition.admit_carefully()
        if intake.queues(message):
            return []
        head = partition.admit(message)
        head.call_carefully(careful)
        intake.stop_if_full(partition, message)
        return [Task(partition, head)]

    def chunk_survived(self, chunk: Sequence[Task]) -> None:
        """Let the next chunks of these partitions be larger."""
        largest = LARGEST_CHUNK if caution.may_share(self._outcomes.policy.max_retries) else FIRST_CHUNK
        for partition in {task.partition for task in chunk}:
            partition.chunk_survived(largest)

    # --- suspects --------------------------------------------------------------------------------

    def call_suspects(self) -> bool:
        """Call the orders that may have killed the last process. True while nothing else may be called."""
        if not self._clears_suspects and not any(part.ledger.suspects for part in self._ready.values()):
            return False
        self._slices.begin()
        while not self._calls.in_flight:
            # Commit that survivors are cleared before anything is called without care.
            if self._clears_suspects and not self._slices.settle_now():
                return True
            self._clears_suspects, self.suspects_in_flight = False, []
            chosen = self._next_suspects()
            if chosen is None:
                return False
            if not self._call_chosen(chosen) or self._calls.slice_is_over:
                return True
        return True

    def _next_suspects(self) -> Optional[caution.Next]:
        ledgers = {number: partition.ledger for number, partition in self._ready.items()}
        return caution.choose(ledgers, self._world.clock(), self._outcomes.policy.max_retries)

    def _call_chosen(self, chosen: caution.Next) -> bool:
        """Announce these suspects and call them with nothing else in flight."""
        pairs = zip(chosen.partitions, chosen.heads)
        tasks = [Task(self._ready[number], head) for number, head in pairs]
        for task in tasks:
            task.head.take_off()
        return self._call_alone(tasks[0]) if chosen.alone else self._call_in_doubt(tasks)

    def _call_alone(self, task: Task) -> bool:
        """Call a suspect, its attempt committed first; or give it up if it has killed too many processes."""
        partition, head = task
        if self._outcomes.is_guilty(head):
            self._calls.follow(partition, self._outcomes.condemn(partition, head))
            self._clears_suspects = True
            return True
        before = partition.alone
        head.count_call()
        partition.mark_alone(head.offset)
        if self._call_in_doubt([task]):
            return True
        head.uncount_call()
        partition.mark_alone(before)
        return False

    def _call_in_doubt(self, tasks: Sequence[Task]) -> bool:
        if not self._announce(tasks):
            return False
        self._clears_suspects = True
        self.suspects_in_flight = [(partition.number, head.offset) for partition, head in tasks]
        if len(tasks) == 1:
            self._world.report("called_alone", suspects=self.suspects_in_flight)
        else:
            self._world.report("called_in_company", suspects=self.suspects_in_flight)
        self._call_all(tasks)
        return True
