"""What became of each job: where its orders are, and how many of them are dead letters again."""

from typing import Dict, List, Sequence, Tuple

from orderflow.dlq.audit import Job
from orderflow.dlq.audit_topic import read_entries
from orderflow.dlq.desk import Desk
from orderflow.dlq.letter import FAILED_AGAIN
from orderflow.dlq.replay.fate import Asked, Fate, fates_of
from orderflow.dlq.topic import audit_topics, states_now
from orderflow.exits import CommandError


class Fates:
    """What became of these jobs: the group is asked once for each topic that they sent to.

    Raises CommandError.
    """

    def __init__(self, desk: Desk, jobs: Sequence[Job]) -> None:
        self._back: Dict[str, Dict[str, int]] = {}
        states = states_now(desk)
        for entry in read_entries(audit_topics(desk)):
            if entry.target is not None:
                of_job = self._back.setdefault(entry.job, {})
                again = states.of(entry.partition, entry.offset) == FAILED_AGAIN
                of_job[entry.target] = of_job.get(entry.target, 0) + again
        topics = {topic for job in jobs for topic in self._back.get(job.id, ())}
        self._fates = {topic: self._fates_in(desk, topic, jobs) for topic in topics}

    def came_back(self, job: Job) -> int:
        """How many of what it sent are dead letters again."""
        return sum(self._back.get(job.id, {}).values())

    def of(self, job: Job) -> List[Tuple[Fate, int]]:
        """What became of it in each topic that it sent to, and how many died again."""
        back = sorted(self._back.get(job.id, {}).items())
        return [(self._fates[topic][job.id], number) for topic, number in back]

    def _fates_in(self, desk: Desk, topic: str, jobs: Sequence[Job]) -> Dict[str, Fate]:
        asked = [
            Asked(job.id, job.at_ms, job.changed_ms) for job in jobs if topic in self._back.get(job.id, ())
        ]
        try:
            return fates_of(desk.client, desk.consumer_group, topic, asked)
        except CommandError as error:  # what was done is told all the same
            unknown = Fate(topic, desk.consumer_group, unknown=str(error))
            return {one.job: unknown for one in asked}
