"""Waits for what becomes of the first few replayed orders, before the rest is sent."""

import contextlib
import time
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

from confluent_kafka import Consumer, KafkaException, TopicPartition

from orderflow.cli.terminal import count, duration
from orderflow.dlq.replay.request import Canary, whole
from orderflow.dlq.replay.returned import some_of
from orderflow.exits import CommandError
from orderflow.kafka.answers import committed_told
from orderflow.kafka.client_properties import started
from orderflow.kafka.ledger_pages import Group, read_commits
from orderflow.kafka.reader import Reader, Span, consumer_config
from orderflow.kafka.refusals import missing_right, on_group
from orderflow.kafka.topic_identity import topic_id
from orderflow.model.commit_metadata import Commit
from orderflow.model.dead_letter import REPLAY_JOB
from orderflow.model.records import Record

STEP_S = 0.2
ASK_TIMEOUT_S = 5.0


class SentCanary(NamedTuple):
    """What was sent as a canary, and where to look for what becomes of it."""

    job: str
    size: int
    target: str
    begins: Mapping[int, int]
    """Ends of the target's partitions before it was sent, open transactions included."""
    ends: Mapping[int, int]
    """The same after. A commit is answered before readers see it, so the ends that they see may lag."""
    dlq_topic: str
    dlq_ends: Mapping[int, int]
    """Ends of the dead letter topic before it was sent."""

    @property
    def moved(self) -> Dict[int, int]:
        """The ends of the partitions that got any of it."""
        return {p: end for p, end in self.ends.items() if end > self.begins.get(p, 0)}

    def to_json(self) -> Dict[str, Any]:
        """The same as plain values."""
        return self._asdict()


def sent_canary(plain: Mapping[str, Any], job: str) -> Optional[SentCanary]:
    """The canary of this job in plain values, as its record keeps it; None where they are no canary.

    The record stood in a topic that others may write to.
    """
    try:
        if not (isinstance(plain["target"], str) and isinstance(plain["dlq_topic"], str)):
            return None
        begins, ends, dlq_ends = (_ends(plain[name]) for name in ("begins", "ends", "dlq_ends"))
        size, target, dlq_topic = whole(plain["size"]), plain["target"], plain["dlq_topic"]
        return SentCanary(job, size, target, begins, ends, dlq_topic, dlq_ends)
    except (LookupError, TypeError, AttributeError, ValueError):
        return None


def _ends(plain: Mapping[str, Any]) -> Dict[int, int]:
    return {int(partition): whole(end) for partition, end in plain.items()}


class CanaryResult(NamedTuple):
    """Whether the rest may follow, and what to tell."""

    passed: bool
    told: str
    returned: Tuple[Record, ...] = ()
    """Dead letters that its orders became, if it tripped for that."""
    is_out: bool = False
    """Whether nobody knows yet what becomes of it."""


def await_canary(
    client: Mapping[str, Any], group: str, sent: SentCanary, canary: Canary, stop: Callable[[], bool]
) -> CanaryResult:
    """Wait until the group is done with what was sent, or too much of it came back, or time is up."""
    if not sent.moved:
        return CanaryResult(False, f"the canary tripped: none of it went to {sent.target}, which is watched")
    began_s, back = time.monotonic(), 0
    returned: List[Record] = []
    with Reader(consumer_config(client, group), sent.dlq_topic) as reader, _Group(
        client, group, sent.target
    ) as members:
        marks = dict(sent.dlq_ends)
        while not stop():
            passed = members.has_passed(sent)  # before the count: both stand in one transaction
            again = [record for record in _new_records(reader, marks) if _is_of(record, sent.job)]
            back += len(again)
            some_of(again, returned)
            share = back / max(1, sent.size)
            if back and share >= canary.stop_if_back:
                told = f"the canary tripped: {count(back)} of {count(sent.size)} came back"
                return CanaryResult(False, told, tuple(returned))
            if passed:
                took = duration(time.monotonic() - began_s)
                return CanaryResult(True, f"canary passed in {took}: {back:,} of {sent.size:,} came back")
            if time.monotonic() - began_s > canary.timeout_s:
                told = _too_late(group, canary.timeout_s, members.trouble)
                return CanaryResult(False, told, is_out=True)
            time.sleep(STEP_S)
    return CanaryResult(False, "stopped while the canary was out", is_out=True)


def _too_late(group: str, timeout_s: float, trouble: str) -> str:
    if trouble:
        return f"the canary tripped: cannot tell after {timeout_s:g} s how far group {group} is: {trouble}"
    return f"the canary tripped: group {group} is not past it after {timeout_s:g} s; does a consumer run?"


def _is_of(record: Record, job: str) -> bool:
    return (REPLAY_JOB, job.encode()) in record.headers


def _new_records(reader: Reader, marks: Dict[int, int]) -> List[Record]:
    """What was added since the marks, which are moved."""
    spans = [Span(partition, mark, reader.bounds(partition).high) for partition, mark in marks.items()]
    marks.update({span.partition: span.end for span in spans})
    return [record for batch in reader.read(spans) for record in batch]


class _Group:
    """Asks what a consumer group has committed, without being a member."""

    def __init__(self, client: Mapping[str, Any], group: str, topic: str) -> None:
        self._client = client
        self._group = Group(group, topic)
        with contextlib.suppress(CommandError):  # what is out already has to be watched all the same
            self._group = Group(group, topic, topic_id(client, topic))
        self._consumer: Any = started(Consumer, consumer_config(client, group))
        self.trouble = ""
        """Why the last question was not answered, if it was not."""

    def __enter__(self) -> "_Group":
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def has_passed(self, sent: SentCanary) -> bool:
        """Whether the group is done with all that was written to the target meanwhile."""
        moved = sent.moved
        places = [TopicPartition(sent.target, partition) for partition in moved]
        try:
            found = committed_told(self._consumer, places, ASK_TIMEOUT_S)
            committed = {
                place.partition: (None if place.offset < 0 else place.offset, place.metadata or "")
                for place in found
            }
            commits = read_commits(self._client, self._group, committed, ASK_TIMEOUT_S)
        except KafkaException as error:  # asked again in a moment, until time is up
            reason: Any = error.args[0]
            self.trouble = reason.str() + missing_right(reason, on_group("DESCRIBE", self._group.name))
            return False
        self.trouble = ""
        return bool(found) and all(
            is_past(committed[number][0], commits[number], sent.begins.get(number, 0), end)
            for number, end in moved.items()
        )


def is_past(committed: Optional[int], commit: Optional[Commit], begin: int, end: int) -> bool:
    """Whether every offset from `begin` to `end` is finished, by what a partition's commit says."""
    if committed is not None and committed >= end:
        return True
    if commit is None or commit.next < end or not commit.is_complete:
        return False
    before_end = [entry for entry in commit.entries if entry.offset < end]
    return not any(entry.offset >= begin or entry.has_followers for entry in before_end)
