"""What became of each job: where its orders are, and how many of them are dead letters again."""

from typing import Dict, List, Tuple

from orderflow.dlq.audit import Job
from orderflow.dlq.audit_topic import read_entries
from orderflow.dlq.desk import Desk
from orderflow.dlq.letter import FAILED_AGAIN
from orderflow.dlq.replay.fate import Fate, fate_of
from orderflow.dlq.topic import audit_topics, states_now
from orderflow.exits import CommandError


class Fates:
    """Reads what was done once, for any number of jobs. Raises CommandError."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._back: Dict[str, Dict[str, int]] = {}
        states = states_now(desk)
        for entry in read_entries(audit_topics(desk)):
            if entry.target is not None:
                of_job = self._back.setdefault(entry.job, {})
                again = states.of(entry.partition, entry.offset) == FAILED_AGAIN
                of_job[entry.target] = of_job.get(entry.target, 0) + again

    def came_back(self, job: Job) -> int:
        """How many of what it sent are dead letters again."""
        return sum(self._back.get(job.id, {}).values())

    def of(self, job: Job) -> List[Tuple[Fate, int]]:
        """What became of it in each topic that it sent to, and how many died again."""
        return [(self._fate(job, topic), back) for topic, back in sorted(self._back.get(job.id, {}).items())]

    def _fate(self, job: Job, topic: str) -> Fate:
        desk = self._desk
        try:
            return fate_of(desk.client, desk.consumer_group, topic, job.id, job.at_ms, job.changed_ms)
        except CommandError as error:  # what was done is told all the same
            return Fate(topic, desk.consumer_group, unknown=str(error))
