"""Questions to Kafka within a time limit, and what was left unanswered."""

import math
import time
from typing import Callable, Iterable, List, Optional, TypeVar

from confluent_kafka import KafkaError, KafkaException

from orderflow.kafka.refusals import MOVING, Right, ask_again, missing_right

_LEAST_S = 0.02
"""For a question that comes when the time is over: its answer is unknown then, with Kafka's reason."""
_Answer = TypeVar("_Answer")


class Questions:
    """Asks, and keeps why a question has no answer, so that one missing right does not hide the rest."""

    def __init__(self, timeout_s: float, until_s: float = math.inf) -> None:
        """An answer may take `timeout_s`; none is waited for after `until_s`, on the monotonic clock."""
        self._timeout_s = timeout_s
        self.until_s = until_s
        self.unknown: List[str] = []
        """What could not be found out, and why, so far."""

    @property
    def left_s(self) -> float:
        """For the next answer."""
        return max(_LEAST_S, min(self._timeout_s, self.until_s - time.monotonic()))

    def answer(self, what: str, needed: Optional[Right], ask: Callable[[], _Answer]) -> Optional[_Answer]:
        """The answer; None if Kafka gives none.

        `needed`: the right that may be missing; None: the error names the right that it is about.
        """
        try:
            return ask()
        except KafkaException as error:
            reason = error.args[0]
            right = "" if needed is None else missing_right(reason, needed)
            self.unknown.append(f"{what}: {told(reason)}{right}")
            return None

    def leave_unknown(self, reasons: Iterable[str]) -> None:
        """Keep what else could not be found out."""
        self.unknown += reasons

    def while_moving(self, ask: Callable[[], _Answer]) -> _Answer:
        """Ask again while the group's coordinator is moving. Raises KafkaException."""
        return ask_again(ask, MOVING, min(self.until_s, time.monotonic() + self._timeout_s))


def told(error: KafkaError) -> str:
    """The error as the client words it, with its name where it has no words: `ConsumerGroupDescribe: `."""
    text = error.str().strip()
    return f"{text} {error.name()}" if text.endswith(":") else text
