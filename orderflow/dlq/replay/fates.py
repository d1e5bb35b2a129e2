"""What became of each job: where its orders are, and how many of them are dead letters again."""

from typing import Dict, List, Sequence, Tuple

from orderflow.dlq.audit import Job
from orderflow.dlq.audit_topic import History
from orderflow.dlq.desk import Desk
from orderflow.dlq.letter import FAILED_AGAIN
from orderflow.dlq.replay.fate import Asked, Fate, fates_of
from orderflow.exits import CommandError


class Fates:
    """What became of these jobs: the group is asked once for each topic that they sent to."""

    def __init__(self, desk: Desk, jobs: Sequence[Job], history: History) -> None:
        self._back = {job.id: _back(history, job.id) for job in jobs}
        topics = {topic for back in self._back.values() for topic in back}
        self._fates = {topic: self._fates_in(desk, topic, jobs) for topic in topics}

    def came_back(self, job: Job) -> int:
        """How many of what it sent are dead letters again."""
        return sum(self._back[job.id].values())

    def of(self, job: Job) -> List[Tuple[Fate, int]]:
        """What became of it in each topic that it sent to, and how many died again."""
        back = sorted(self._back[job.id].items())
        return [(self._fates[topic][job.id], number) for topic, number in back]

    def _fates_in(self, desk: Desk, topic: str, jobs: Sequence[Job]) -> Dict[str, Fate]:
        asked = [Asked(job.id, job.at_ms, job.changed_ms) for job in jobs if topic in self._back[job.id]]
        try:
            return fates_of(desk.client, desk.consumer_group, topic, asked)
        except CommandError as error:  # what was done is told all the same
            unknown = Fate(topic, desk.consumer_group, unknown=str(error))
            return {one.job: unknown for one in asked}


def _back(history: History, job: str) -> Dict[str, int]:
    """By topic, how many of what a job sent there are dead letters again."""
    return {
        target: sum(history.states.of(*place) == FAILED_AGAIN for place in history.sent.by(job, target))
        for target in history.sent.targets(job)
    }
