"""The ends of a log as a script: what `LogEnds` would answer, and when."""

from typing import Dict, Iterable, List, Set

from tests.support.scripted_session import Topic


class ScriptedEnds:
    """Answers at once, unless told to keep silent."""

    def __init__(self, topic: Topic) -> None:
        self.is_silent = False
        self.leaderless: Set[int] = set()
        """Partitions for which nobody answers."""
        self.asked: List[Set[int]] = []
        """Every request."""
        self._topic = topic
        self._answers: Dict[int, int] = {}

    @property
    def is_asking(self) -> bool:
        """Whether the last request has not been answered yet."""
        return self.is_silent and bool(self.asked)

    def ask(self, partitions: Iterable[int]) -> None:
        """Ask for these."""
        self.asked.append(set(partitions))
        led = set(partitions) - self.leaderless
        self._answers = {number: self._topic.high[number] for number in led}

    def take(self) -> Dict[int, int]:
        """The answers since the last call."""
        answers, self._answers = self._answers, {}
        return {} if self.is_silent else answers
