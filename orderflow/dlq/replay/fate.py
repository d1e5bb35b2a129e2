"""What became of replayed orders: processed, waiting, not seen yet, or dead again.

The answer is the group's position in the topic that they were sent to: what it has committed there, and which
orders its commit lists as waiting. No dead letter is needed for it, and no results topic.
"""

from typing import Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from orderflow.dlq.output.envelope import Json
from orderflow.kafka.group_view import GroupView
from orderflow.kafka.positions import Range
from orderflow.kafka.reader import CLOCK_SLACK_MS, Reader, consumer_config
from orderflow.model.commit_metadata import Commit
from orderflow.model.dead_letter import REPLAY_JOB

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


def fate_of(
    client: Mapping[str, object], group: str, topic: str, job: str, begin_ms: int, end_ms: int
) -> Fate:
    """What became of what this job sent to the topic. Raises CommandError where it cannot be read."""
    fate = Fate(topic, group)
    view = GroupView(client, group, topic, ASK_S).look()
    if view.committed is None:
        return fate._replace(unknown="; ".join(view.unknown))
    if not view.committed:
        return fate._replace(unknown=f"group {group} has committed nothing on {topic}")
    with Reader(consumer_config(client, group), topic) as reader:
        span = Range(since_ms=max(0, begin_ms - CLOCK_SLACK_MS), until_ms=end_ms + CLOCK_SLACK_MS)
        mark = (REPLAY_JOB, job.encode())
        sent = [
            Sent(record.partition, record.offset, record.key)
            for batch in reader.read(reader.spans(span))
            for record in batch
            if mark in record.headers
        ]
        held = {
            number: _held(reader, number, one.offset, view.commits.get(number))
            for number, one in view.committed.items()
        }
    return counted(fate, sent, held)


def _held(reader: Reader, partition: int, committed: int, commit: Optional[Commit]) -> Held:
    heads: List[int] = [entry.offset for entry in commit.entries if entry.has_followers] if commit else []
    keys: Dict[Optional[bytes], int] = {
        record.key: record.offset for record in reader.fetch_all(partition, heads).values()
    }
    return Held(committed, commit, keys)
