"""Watches the ledger topic of a running consumer. One that was deleted is created again, as at the start."""

from typing import Callable, Optional

from orderflow.consume.ledger_topic import Look
from orderflow.consume.world import Report
from orderflow.exits import CommandError, NotReady
from orderflow.kafka.topic_identity import Identity

ASK_AGAIN_S = 10.0
SAY_EVERY_S = 60.0
LEARN_TIMEOUT_S = 2.0


class LedgerWatch:
    """Finds out whether the topic of the lists is another one by now, and whether it can keep them."""

    def __init__(
        self,
        identify: Callable[[], Identity],
        ask: Callable[[], Look],
        clock: Callable[[], float],
        report: Report,
    ) -> None:
        """`identify` begins to watch the topic that is there by then. `ask` creates a missing one."""
        self._identify = identify
        self._ask = ask
        self._clock = clock
        self._report = report
        self._identity: Optional[Identity] = None
        """None: there is no such topic that we could use."""
        self._name = ""
        self._is_unfit = False
        self._ask_at_s = 0.0
        self._say_at_s = 0.0

    def begin(self) -> Look:
        """Look at the topic at the start. Raises CommandError: see `ledger_topic`."""
        found = self._ask()
        if found.topic is not None:
            self._name = found.topic.name
            self._identity = self._learnt()
        return found

    def made_anew(self) -> Optional[int]:
        """How many partitions it has, if it was created again: the lists that were in it are gone.

        None if it was not. Waits for an answer only where something is wrong.
        """
        identity = self._identity
        if identity is None:
            return None
        is_another, is_missing = identity.has_changed(), identity.missing_s is not None
        if not (is_another or is_missing or self._is_unfit) or self._clock() < self._ask_at_s:
            return None
        self._ask_at_s = self._clock() + ASK_AGAIN_S
        try:
            self._look()
            if not is_another and (self._is_unfit or not is_missing):
                return None
            self._identity = self._learnt()
        except CommandError:  # asked again in a moment
            return None
        self._report("ledger_topic_anew", topic=self._name)
        return self._identity.partitions

    def _look(self) -> None:
        """Create the topic if it is missing, and say what is wrong with it. Raises NotReady."""
        problem = self._problem()
        self._is_unfit = problem is not None
        if problem is not None and self._clock() >= self._say_at_s:
            self._say_at_s = self._clock() + SAY_EVERY_S
            self._report("ledger_topic_unfit", detail=problem)

    def _problem(self) -> Optional[str]:
        """Why the topic cannot keep the lists, None if it can. Raises NotReady."""
        try:
            return self._ask().problem
        except NotReady:
            raise
        except CommandError as error:
            return str(error)

    def _learnt(self) -> Identity:
        identity = self._identify()
        identity.learn(LEARN_TIMEOUT_S)
        return identity
