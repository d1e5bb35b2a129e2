"""Reads the audit topic: the states of dead letters, and the jobs that changed them."""

import time
from array import array
from typing import (
    AbstractSet,
    Any,
    Callable,
    Collection,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Protocol,
    Sequence,
    Tuple,
)

from orderflow.dlq import audit, job_marks
from orderflow.dlq.audit import AuditEntry, Job, States
from orderflow.exits import CommandError, TopicMissing
from orderflow.kafka.places import spans_of
from orderflow.kafka.positions import Range
from orderflow.kafka.reader import Reader, Span, consumer_config
from orderflow.kafka.topic_identity import topic_id
from orderflow.model.records import Place, Record, place_in

Ends = Mapping[int, int]
"""By partition, the offset that is the next one to be written."""


NOWHERE: Place = (-1, -1)


class Topics(NamedTuple):
    """Where to read, and as whom."""

    client: Mapping[str, Any]
    group: str
    dlq: str
    audit: str
    note: Callable[[str], None] = lambda line: None
    """Is told what has to be waited for."""

    def reader(self, topic: str) -> Reader:
        """One of them, to be opened for reading."""
        return Reader(consumer_config(self.client, self.group), topic, self.note)


class Sent:
    """The dead letters that each job sent to each topic, in 8 bytes each."""

    def __init__(self) -> None:
        self._places: Dict[str, Dict[str, Dict[int, array[int]]]] = {}

    def add(self, entry: AuditEntry) -> None:
        """Take an entry in, if it is of one that was sent."""
        if entry.target is not None:
            of_target = self._places.setdefault(entry.job, {}).setdefault(entry.target, {})
            of_target.setdefault(entry.partition, array("q")).append(entry.offset)

    def targets(self, job: str) -> List[str]:
        """The topics that a job sent to."""
        return sorted(self._places.get(job, ()))

    def by(self, job: str, target: str) -> Iterator[Tuple[int, int]]:
        """The places of the dead letters that a job sent to a topic."""
        for partition, offsets in self._places.get(job, {}).get(target, {}).items():
            yield from ((partition, offset) for offset in offsets)


class History(NamedTuple):
    """All that one reading of the audit topic told."""

    states: States
    jobs: List[Job]
    """The latest first."""
    sent: Sent


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
    states, _ = _read(topics, States(job, topic_id(topics.client, topics.dlq)), watcher, lambda entry: None)
    return states


def read_history(topics: Topics, watcher: Optional[Watcher] = None) -> History:
    """The states now, the jobs and what they sent, from one reading. Raises CommandError."""
    sent = Sent()
    states, jobs = _read(topics, States(None, topic_id(topics.client, topics.dlq)), watcher, sent.add)
    return History(states, jobs, sent)


def _read(
    topics: Topics, states: States, watcher: Optional[Watcher], take: Callable[[AuditEntry], None]
) -> Tuple[States, List[Job]]:
    """The states, filled, and the jobs, the latest first; the entries that apply are taken one by one."""
    written: Dict[str, Written] = {}
    for record in _audit_records(topics, watcher):
        entry = audit.read_entry(record.key, record.value)
        if entry is not None:
            if states.add(entry):
                take(entry)
        elif job_marks.is_of(states.job, record.key):
            _add_own_marks(states, record)
        elif record.value is not None and audit.is_marked_as_ours(record.key):
            found = audit.read_job(record.key, record.value)
            if found is None:
                states.leave_out()
            else:
                written[found.id] = Written(found, (record.partition, record.offset))
    jobs = _latest_first(written.values())
    if states.replay_jobs:
        replays = {job.id: job for job in jobs if job.action == audit.REPLAYED}
        ends = {name: audit.ends_at_start(job, topics.dlq) for name, job in replays.items()}
        begins = _earliest([ends.get(each) for each in states.replay_jobs])
        _mark_returns(topics, states, begins, states.replay_jobs.union(ends))
    return states, jobs


def _add_own_marks(states: States, record: Record) -> None:
    marks = job_marks.read(record.key, record.value)
    if marks is not None and marks.dlq_id in (None, states.dlq_id or marks.dlq_id):
        for place in marks.places():
            states.add_done(*place)


def _earliest(ends: Sequence[Optional[Ends]]) -> Ends:
    """The first of these ends in each partition; none where any is not known."""
    known = [each for each in ends if each is not None]
    if len(known) < len(ends):
        return {}
    return {p: min(each.get(p, 0) for each in known) for p in {p for each in known for p in each}}


def _mark_returns(topics: Topics, states: States, begins: Ends, jobs: AbstractSet[str]) -> None:
    """Dead letters tell in headers what they were replayed from, and by which job; none before the first.

    Before is a matter of offsets. Times would not do: a dead letter may have any, or none. An order's
    producer can write these headers as well, so the job has to be one of those that are known.
    """
    with topics.reader(topics.dlq) as reader:
        spans = spans_of(reader, Range())
        later = [span._replace(begin=max(span.begin, begins.get(span.partition, 0))) for span in spans]
        for batch in reader.read(later):
            for record in batch:
                place = place_in(topics.dlq, audit.replayed_from(record))
                if place is not None and audit.replayed_by(record) in jobs:
                    states.came_back(*place)


def read_jobs(topics: Topics, must_exist: bool = False) -> List[Job]:
    """All jobs, the latest first. Raises TopicMissing, if `must_exist`, where there is no audit topic."""
    written: Dict[str, Written] = {}
    for record in _audit_records(topics, must_exist=must_exist):
        job = audit.read_job(record.key, record.value)
        if job is not None:
            written[job.id] = Written(job, (record.partition, record.offset))
    return _latest_first(written.values())


class Written(NamedTuple):
    """The last record of a job, or of one process's part of it, and where it stands."""

    job: Job
    place: Place

    def is_later(self, other: "Written") -> bool:
        """Whether it was written after the other.

        By the log, as far as it has an order: the clocks of two machines may differ by any time.
        """
        if self.place[0] == other.place[0]:
            return self.place[1] > other.place[1]
        return self.job.changed_ms >= other.job.changed_ms


def _latest_first(written: Collection[Written]) -> List[Job]:
    return sorted((_as_it_is(one, written) for one in written), key=lambda job: job.at_ms, reverse=True)


def _as_it_is(one: Written, written: Collection[Written]) -> Job:
    """A job that ran when another began was stopped by that: one at a time can write. It could not say so."""
    job = one.job
    if job.status != audit.RUNNING or not any(other.is_later(one) for other in written if other is not one):
        return job
    return job._replace(status=audit.STOPPED)


def taken_over_by(topics: Topics, job: Job) -> Optional[Job]:
    """The job of another process that wrote after this one did; None where nobody has taken over.

    Raises TopicMissing: there is an audit topic since this job began.
    """
    last: Dict[Tuple[str, str], Written] = {}
    for record in _audit_records(topics, must_exist=True):
        found = audit.read_job(record.key, record.value)
        if found is not None:
            last[found.id, found.run] = Written(found, (record.partition, record.offset))
    ours = last.pop((job.id, job.run), Written(job, NOWHERE))
    later = [other.job for other in last.values() if other.is_later(ours)]
    return max(later, key=lambda other: other.changed_ms, default=None)


def read_entries(topics: Topics) -> Iterator[AuditEntry]:
    """The entries of the dead letters that the topic has now, in the order in which they were written."""
    return _entries(_audit_records(topics), topic_id(topics.client, topics.dlq))


def entries_in(
    topics: Topics, dlq_id: Optional[str], spans: Sequence[Span], until_s: float
) -> Iterator[AuditEntry]:
    """The same of these spans. Raises CommandError where they cannot be read until then (monotonic clock)."""
    with topics.reader(topics.audit) as reader:
        for batch in reader.read(spans, lambda: time.monotonic() > until_s):
            yield from _entries(batch, dlq_id)
    if time.monotonic() > until_s:
        raise CommandError(f"{topics.audit} cannot be read in time")


def _entries(records: Iterable[Record], dlq_id: Optional[str]) -> Iterator[AuditEntry]:
    for record in records:
        entry = audit.read_entry(record.key, record.value)
        if entry is not None and entry.dlq_id in (None, dlq_id or entry.dlq_id):
            yield entry


def _audit_records(
    topics: Topics, watcher: Optional[Watcher] = None, must_exist: bool = False
) -> Iterator[Record]:
    with topics.reader(topics.audit) as reader:
        try:
            spans = spans_of(reader, Range())
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
