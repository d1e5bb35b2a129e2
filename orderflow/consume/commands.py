"""Does what operators ask of waiting orders: try them now, or give them up.

A command names orders by offset and attempts, and is carried out for those that still wait like that. One
that has been called meanwhile, that is being called, or that is done, is left alone.
"""

import weakref
from collections import deque
from datetime import datetime, timezone
from typing import Callable, Deque, List, Mapping, NamedTuple, Optional

from orderflow.consume.head import Head
from orderflow.consume.inbox import Inbox
from orderflow.consume.outcomes import Outcomes
from orderflow.consume.partition import Partition
from orderflow.consume.told_reasons import ToldReasons
from orderflow.consume.world import World
from orderflow.errors import Failure
from orderflow.kafka.command_reader import Received
from orderflow.model.command import RETRY_NOW, Command

LOOK_EVERY_S = 0.5
MOST_KEPT = 1_000
"""Commands that are kept until they expire, for partitions that are being restored or will be."""
TELL_AGAIN_S = 60.0
GIVEN_UP = "process.given_up"


class _Kept(NamedTuple):
    """A command until it expires."""

    received: Received
    by: Callable[[], Optional[Partition]]
    """The partition that has carried it out, if that is still here. One that is restored does so again."""


def _by_nobody() -> None:
    return None


class Commands:
    """Carries commands out, one in a round of the loop."""

    def __init__(
        self, inbox: Inbox, ready: Mapping[int, Partition], outcomes: Outcomes, world: World
    ) -> None:
        self._inbox = inbox
        self._ready = ready
        self._outcomes = outcomes
        self._world = world
        self._reasons = ToldReasons(inbox, ready, world)
        self._kept: Deque[_Kept] = deque(maxlen=MOST_KEPT)
        self._look_at_s = 0.0
        self._tell_at_s = 0.0

    def carry_out(self) -> None:
        """Carry out the next command, if there is one. Mostly this costs a look at the clock."""
        now_s = self._world.clock()
        if now_s < self._look_at_s:
            return
        self._look(now_s)
        if not self._obey_next():
            self._look_at_s = now_s + LOOK_EVERY_S

    def _look(self, now_s: float) -> None:
        """Listen where something waits, and nowhere else."""
        waiting = (number for number, partition in self._ready.items() if partition.ledger.heads)
        self._inbox.listen(frozenset(waiting))
        self._reasons.tell(now_s)
        problem = self._inbox.take_problem()
        if problem is not None:
            self._world.report("commands_unheard", detail=problem)
        for received in self._inbox.take():
            if received.command is None:
                self._tell_of_foreign(received.partition, now_s)
            else:
                self._kept.append(_Kept(received, _by_nobody))
        while self._kept and self._kept[0].received.expires_s < now_s:
            self._kept.popleft()

    def _tell_of_foreign(self, number: int, now_s: float) -> None:
        if now_s >= self._tell_at_s:
            self._tell_at_s = now_s + TELL_AGAIN_S
            self._world.report("command_foreign", partition=number)

    def _obey_next(self) -> bool:
        for place, (received, by) in enumerate(self._kept):
            partition, command = self._ready.get(received.partition), received.command
            if partition is None or command is None or by() is partition:
                continue  # it is being restored, or another owner's; or this is done
            self._kept[place] = _Kept(received, weakref.ref(partition))
            self._obey(partition, command, is_again=by is not _by_nobody)
            return True
        return False

    def _obey(self, partition: Partition, command: Command, is_again: bool) -> None:
        heads = partition.ledger.heads
        named = [(heads.get(offset), attempts) for offset, attempts in command.orders]
        meant = [head for head, attempts in named if head and _waits(head) and head.attempts == attempts]
        if command.do == RETRY_NOW:
            self._retry_now(partition, meant)
        else:
            self._give_up(partition, meant, command)
        if is_again and not meant:
            return  # what was done had been committed before the partition was restored
        self._world.report(
            "command",
            partition=partition.number,
            do=command.do,
            orders=len(meant),
            asked=len(command.orders),
            by=command.by,
        )

    def _retry_now(self, partition: Partition, heads: List[Head]) -> None:
        """Have them due now. They are called as any that are due: within their share, a suspect with care."""
        for head in heads:
            partition.ledger.wait(head, self._world.clock())

    def _give_up(self, partition: Partition, heads: List[Head], command: Command) -> None:
        for head in heads:
            following = self._outcomes.put_away(partition, head, given_up(command, head.failure))
            if following is not None:
                partition.ledger.postpone(following, self._world.clock())


def _waits(head: Head) -> bool:
    return head.due_s is not None


def given_up(command: Command, last: Optional[Failure]) -> Failure:
    """What the dead letter of an order tells that an operator gives up, and what it failed of last."""
    at = datetime.fromtimestamp(command.at_ms // 1000, timezone.utc)
    why = "" if command.why is None else f": {command.why}"
    message = f"given up by {command.by} at {at:%Y-%m-%dT%H:%M:%SZ}{why}"
    if last is None:
        return Failure(GIVEN_UP, "process", "GivenUp", message, retryable=True)
    return last._replace(
        reason=GIVEN_UP,
        stage="process",
        message=f"{last.message} ({message})",
        retryable=True,
        asked_for=False,
    )
