"""What became of replayed orders: processed, waiting, not seen yet, or dead again.

The answer is the group's position in the topic that they were sent to: what it has committed there, and which
orders its commit lists as waiting. No dead letter is needed for it, and no results topic.
"""

from typing import Container, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from orderflow.dlq.output.envelope import Json
from orderflow.kafka.group_view import GroupView
from orderflow.kafka.places import CLOCK_SLACK_MS, spans_of
from orderflow.kafka.positions import Range
from orderflow.kafka.reader import Reader, consumer_config
from orderflow.model.commit_metadata import Commit
from orderflow.model.dead_letter import REPLAY_JOB
from orderflow.model.records import Record

ASK_S = 5.0


class Sent(NamedTuple):
    """A replayed order in the topic that it was sent to."""

    partition: int
    offset: int
    key: Optional[bytes]


class Held(NamedTuple):
    """What a group's commit says of a partition."""

    committed: int
    commit: Optional[Commit]
    """None: it has no metadata of ours, so that everything below the offset is done, and nothing above."""
    keys: Mapping[Optional[bytes], int] = {}
    """The keys of waiting orders that hold up later ones of their key, and where those begin."""


class Fate(NamedTuple):
    """How many replayed orders are where."""

    topic: str
    group: str
    sent: int = 0
    finished: int = 0
    waiting: int = 0
    unseen: int = 0
    unclear: int = 0
    unknown: Optional[str] = None
    """Why it cannot be told."""

    def rows(self, died_again: int) -> Iterator[Tuple[str, str]]:
        """For people: names and what they hold."""
        if self.unknown is not None:
            yield "became", f"cannot tell: {self.unknown}"
            return
        processed = max(0, self.finished - died_again)
        parts = [f"{processed:,} processed"]
        parts += [f"{number:,} {name}" for number, name in self._others(died_again) if number]
        yield "became", f"{', '.join(parts)}, of {self.sent:,} found in {self.topic}"
        yield "told by", f"what group {self.group} has committed on {self.topic}"

    def row(self, died_again: int) -> Json:
        """The same as an object."""
        return {
            **self._asdict(),
            "processed": None if self.unknown else max(0, self.finished - died_again),
            "died_again": died_again,
        }

    def _others(self, died_again: int) -> Iterator[Tuple[int, str]]:
        yield died_again, "dead again"
        yield self.waiting, "waiting for a retry"
        yield self.unseen, "not seen yet"
        yield self.unclear, "processed or waiting"


def where_it_is(one: Sent, held: Optional[Held]) -> str:
    """`finished`, `waiting`, `unseen`, or `unclear` where the list of waiting orders is missing."""
    if held is None or held.commit is None:
        return "finished" if held is not None and one.offset < held.committed else "unseen"
    if one.offset >= held.commit.next:
        return "unseen"
    if not held.commit.is_complete:
        return "finished" if one.offset < held.committed else "unclear"
    if any(entry.offset == one.offset for entry in held.commit.entries):
        return "waiting"
    return "waiting" if one.offset > held.keys.get(one.key, one.offset) else "finished"


def counted(fate: Fate, sent: Sequence[Sent], held: Mapping[int, Held]) -> Fate:
    """The counts of these orders."""
    places = [where_it_is(one, held.get(one.partition)) for one in sent]
    return fate._replace(
        sent=len(places),
        finished=places.count("finished"),
        waiting=places.count("waiting"),
        unseen=places.count("unseen"),
        unclear=places.count("unclear"),
    )


class Asked(NamedTuple):
    """A job, and the time in which it sent."""

    job: str
    begin_ms: int
    end_ms: int


def fates_of(client: Mapping[str, object], group: str, topic: str, asked: Sequence[Asked]) -> Dict[str, Fate]:
    """What became of what these jobs sent to the topic, by job. The group is asked once, the topic read once.

    Raises CommandError where it cannot be read.
    """
    fate = Fate(topic, group)
    view = GroupView(client, group, topic, ASK_S).look()
    unknown = "; ".join(view.unknown) if view.committed is None else ""
    if not view.committed:
        unknown = unknown or f"group {group} has committed nothing on {topic}"
        return {one.job: fate._replace(unknown=unknown) for one in asked}
    with Reader(consumer_config(client, group), topic) as reader:
        sent = _sent(reader, asked)
        held = {
            number: _held(reader, number, one.offset, view.commits.get(number))
            for number, one in view.committed.items()
        }
    return {one.job: counted(fate, sent[one.job], held) for one in asked}


def _sent(reader: Reader, asked: Sequence[Asked]) -> Dict[str, List[Sent]]:
    """What each job sent, by the mark that it left."""
    sent: Dict[str, List[Sent]] = {one.job: [] for one in asked}
    for begin_ms, end_ms in times_together(asked):
        spans = spans_of(reader, Range(since_ms=begin_ms, until_ms=end_ms))
        for batch in reader.read(spans):
            for record in batch:
                for job in jobs_of(record, sent):
                    sent[job].append(Sent(record.partition, record.offset, record.key))
    return sent


def times_together(asked: Sequence[Asked]) -> List[Tuple[int, int]]:
    """When these jobs may have sent, in the order of time: no time twice, and none between them."""
    found: List[Tuple[int, int]] = []
    for _, begin_ms, end_ms in sorted(asked, key=lambda one: one.begin_ms):
        begin_ms, end_ms = max(0, begin_ms - CLOCK_SLACK_MS), end_ms + CLOCK_SLACK_MS
        if found and begin_ms <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end_ms))
        else:
            found.append((begin_ms, end_ms))
    return found


def jobs_of(record: Record, known: Container[str]) -> Set[str]:
    """The jobs that marked the record, each once however often it did."""
    values = (value for name, value in record.headers if name == REPLAY_JOB and value is not None)
    return {job for job in (value.decode("utf-8", "replace") for value in values) if job in known}


def _held(reader: Reader, partition: int, committed: int, commit: Optional[Commit]) -> Held:
    heads: List[int] = [entry.offset for entry in commit.entries if entry.has_followers] if commit else []
    keys: Dict[Optional[bytes], int] = {
        record.key: record.offset for record in reader.fetch_all(partition, heads).values()
    }
    return Held(committed, commit, keys)
