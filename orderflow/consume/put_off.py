"""What of restoring has to be tried again later: of one partition, or of all that are being restored.

One partition's leader may be away while others have theirs, so what fails of one puts off no other.
"""

from contextlib import contextmanager
from typing import Dict, Iterator, Optional, Set, Tuple

from confluent_kafka import KafkaError, KafkaException

from orderflow.consume.client_errors import why_delayed
from orderflow.consume.failing import Failing
from orderflow.consume.seeking import Seeking
from orderflow.consume.world import World

ALL_AGAIN_S = 0.25, 1.0
"""All are tried again after the first of these, then after twice the time, up to the second."""
LOOK_AGAIN_S = 1.0
AGAIN_S, MOST_AGAIN_S = 2.0, 10.0
"""As long as a try may have blocked, or the partitions that are ready would starve; longer where it lasts."""
SHARE = 0.25
"""Of the time for which a partition has failed: the rest until it is tried again."""
TELL_AGAIN_S = 30.0
STEP = "restoring what is committed"


class PutOff:
    """When to go on with each partition, and with all; tells what keeps them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._all_again_at_s = 0.0
        self._first_rest_s, self._most_rest_s = ALL_AGAIN_S
        self._all_rest_s = self._first_rest_s
        self._again_at_s: Dict[int, float] = {}
        self._since_s: Dict[int, float] = {}
        """By partition that is put off, when it failed first."""
        self._told: Dict[Optional[int], Tuple[str, float]] = {}
        """By partition, None for all: what was told last, and when to tell it again."""
        self._failing = Failing(world.clock, world.report)
        self._seeking = Seeking(world.clock)

    @property
    def has_all(self) -> bool:
        """Whether all have to wait for now."""
        return self._world.clock() < self._all_again_at_s

    def due(self, numbers: Set[int]) -> Set[int]:
        """Those of these partitions that may be tried now."""
        now_s = self._world.clock()
        return {number for number in numbers if self._again_at_s.get(number, now_s) <= now_s}

    def put_off_all(self, delay_s: float, detail: str) -> None:
        """Kafka does not tell now, of whichever partition."""
        self._all_again_at_s = self._world.clock() + delay_s
        self._tell(None, detail)
        self._failing.failed(STEP, detail)

    @contextmanager
    def all_together(self) -> Iterator[None]:
        """What Kafka does not tell within puts off all. Raises SessionLost where only a new client helps.

        The first time-out is not told: it was a short one (FIRST_ASK_S), and the next may be answered.
        """
        try:
            yield
        except KafkaException as error:
            reason, rest_s = error.args[0], self._all_rest_s
            self._all_rest_s = min(self._most_rest_s, 2 * rest_s)
            if reason.code() == KafkaError._TIMED_OUT and rest_s == self._first_rest_s:
                self._all_again_at_s = self._world.clock() + rest_s
            else:
                self.put_off_all(rest_s, why_delayed(reason))
            self._seeking.refused(reason)

    @contextmanager
    def alone(self, number: int) -> Iterator[None]:
        """What Kafka does not tell within puts off this partition. Raises SessionLost as `all_together`."""
        try:
            yield
        except KafkaException as error:
            self.put_off(number, error.args[0])

    def put_off(self, number: int, error: KafkaError) -> None:
        """Try this partition again later. Raises SessionLost as `all_together`."""
        detail = f"partition {number}: {why_delayed(error)}"
        self._again_at_s[number] = self._world.clock() + self._rest_s(number)
        self._tell(number, detail)
        self._failing.failed(STEP, detail)
        self._seeking.refused(error)

    def _rest_s(self, number: int) -> float:
        now_s = self._world.clock()
        return min(MOST_AGAIN_S, max(AGAIN_S, SHARE * (now_s - self._since_s.setdefault(number, now_s))))

    def look_again(self, number: int) -> None:
        """What was told of this partition may be different in a moment."""
        self._again_at_s[number] = self._world.clock() + LOOK_AGAIN_S

    def _tell(self, number: Optional[int], detail: str) -> None:
        """Unless it was told lately."""
        told, again_at_s = self._told.get(number, ("", 0.0))
        if detail != told or self._world.clock() >= again_at_s:
            self._told[number] = (detail, self._world.clock() + TELL_AGAIN_S)
            self._world.report("restore_delayed", detail=detail)

    def succeeded(self, number: int) -> None:
        """The partition is ready, and fetched from where we want it."""
        self._failing.succeeded(STEP)
        self._seeking.succeeded()
        self._told.pop(None, None)
        self._all_rest_s = self._first_rest_s
        self.forget({number})

    def forget(self, numbers: Set[int]) -> None:
        """These are ready, or no longer ours."""
        for number in numbers:
            self._again_at_s.pop(number, None)
            self._since_s.pop(number, None)
            self._told.pop(number, None)
