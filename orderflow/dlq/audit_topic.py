"""Reads the audit topic: the states of dead letters, and the jobs that changed them."""

from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Protocol

from orderflow.dlq import audit
from orderflow.dlq.audit import AuditEntry, Job, States
from orderflow.exits import TopicMissing
from orderflow.kafka.positions import Position, Range
from orderflow.kafka.reader import CLOCK_SLACK_MS, Reader, consumer_config
from orderflow.kafka.topics import topic_id
from orderflow.model.records import Record, place_in


class Topics(NamedTuple):
    """Where to read, and as whom."""

    client: Mapping[str, Any]
    group: str
    dlq: str
    audit: str


class Watcher(Protocol):
    """Who wants to know how far the reading has got."""

    def expect(self, records: int) -> None:
        """So many records are to be read, or fewer: compaction leaves holes."""

    def add(self, records: int) -> None:
        """So many more were read."""


def read_states(topics: Topics, job: Optional[str] = None, watcher: Optional[Watcher] = None) -> States:
    """The state of every dead letter now. Where there is no audit topic yet, all are new.

    `job` leaves out what that job did, see `States`. Raises CommandError where the topic cannot be read.
    """
    states = States(job, topic_id(topics.client, topics.dlq))
    for record in _audit_records(topics, watcher):
        entry = audit.read_entry(record.key, record.value)
        if entry is not None:
            states.add(entry)
        elif record.value is not None and _is_broken(record):
            states.leave_out()
    if states.first_replay_ms is not None:
        _mark_returns(topics, states, states.first_replay_ms)
    return states


def _is_broken(record: Record) -> bool:
    """Whether it should be ours by its key, and is not."""
    return audit.is_marked_as_ours(record.key) and audit.read_job(record.key, record.value) is None


def _mark_returns(topics: Topics, states: States, since_ms: int) -> None:
    """Dead letters tell in a header what they were replayed from; none older than the first replay does."""
    begin = Position("time", since_ms - CLOCK_SLACK_MS)
    with Reader(consumer_config(topics.client, topics.group), topics.dlq) as reader:
        for batch in reader.read(reader.spans(Range(begin=begin))):
            for record in batch:
                place = place_in(topics.dlq, audit.replayed_from(record))
                if place is not None:
                    states.came_back(*place)


def read_jobs(topics: Topics, must_exist: bool = False) -> List[Job]:
    """All jobs, the latest first. Raises TopicMissing, if `must_exist`, where there is no audit topic."""
    found: Dict[str, Job] = {}
    for record in _audit_records(topics, must_exist=must_exist):
        job = audit.read_job(record.key, record.value)
        if job is not None:
            found[job.id] = job
    return sorted(found.values(), key=lambda job: job.at_ms, reverse=True)


def taken_over_by(topics: Topics, job: Job) -> Optional[Job]:
    """The job of another process that wrote after this one did; None where nobody has taken over.

    Raises TopicMissing: there is an audit topic since this job began.
    """
    others = [other for other in read_jobs(topics, must_exist=True) if other.run != job.run]
    latest = max(others, key=lambda other: other.changed_ms, default=None)
    return latest if latest is not None and latest.changed_ms >= job.changed_ms else None


def read_entries(topics: Topics) -> Iterator[AuditEntry]:
    """The entries of the dead letters that the topic has now, in the order in which they were written."""
    dlq_id = topic_id(topics.client, topics.dlq)
    for record in _audit_records(topics):
        entry = audit.read_entry(record.key, record.value)
        if entry is not None and entry.dlq_id in (None, dlq_id or entry.dlq_id):
            yield entry


def _audit_records(
    topics: Topics, watcher: Optional[Watcher] = None, must_exist: bool = False
) -> Iterator[Record]:
    with Reader(consumer_config(topics.client, topics.group), topics.audit) as reader:
        try:
            spans = reader.spans(Range())
        except TopicMissing:
            if must_exist:
                raise
            return
        if watcher:
            watcher.expect(sum(span.end - span.begin for span in spans))
        for batch in reader.read(spans):
            yield from batch
            if watcher:
                watcher.add(len(batch))
