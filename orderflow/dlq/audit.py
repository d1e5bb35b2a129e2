"""What became of each dead letter: the entries of the audit topic, and the states that follow from them.

The topic is compacted, so the newest entry of each key is kept. A dead letter's key is
`partition:offset`, a job's is `job:<id>`.
"""

import json
import re
from functools import lru_cache
from typing import Any, Callable, Dict, FrozenSet, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from orderflow.dlq import letter
from orderflow.model.dead_letter import REPLAY_FROM, REPLAY_JOB
from orderflow.model.records import Place, Record

REPLAYED, DISCARDED, RESTORED = "replayed", "discarded", "restored"
ACTIONS = (REPLAYED, DISCARDED, RESTORED)

RUNNING, DONE, STOPPED, TRIPPED = "running", "done", "stopped", "tripped"
JOB_KEY = "job:"
MOST_REFUSED = 1_000
"""Positions that a job's record keeps: it is written with every transaction."""
MOST = 2**63 - 1
LAST_MS = 253_402_300_799_999
"""The end of the year 9999, after which a time cannot be shown."""
SMALL_BYTES = 4096
"""Up to this an entry is kept while it is read: the entries of a transaction are equal."""
PARTITION = re.compile(r"[0-9]{1,9}")
LETTER_KEY = re.compile(rb"([0-9]{1,9}):([0-9]{1,18})")


class AuditEntry(NamedTuple):
    """What was done to one dead letter, by whom, when and why."""

    partition: int
    offset: int
    action: str
    job: str
    by: str
    at_ms: int
    reason: Optional[str] = None
    target: Optional[str] = None
    """The topic that it was sent to."""
    dlq_id: Optional[str] = None
    """The id of the dead letter topic: a topic that is created again keeps its name and begins at offset 0.
    None in entries of earlier versions, and where brokers give no ids."""

    @property
    def position(self) -> str:
        """Of the dead letter: `partition:offset`."""
        return f"{self.partition}:{self.offset}"


class Job(NamedTuple):
    """One run over many dead letters, as it stood when its last transaction was written."""

    id: str
    action: str
    by: str
    """`user@host`."""
    at_ms: int
    """When it began."""
    changed_ms: int
    status: str
    total: int
    """Dead letters that were confirmed."""
    done: int
    run: str = ""
    """The process that worked on it last, so that a resumed job can be told from its predecessor."""
    canary_passed: bool = False
    request: Mapping[str, Any] = {}
    """Everything that `--resume` needs to go on as it began."""
    reason: Optional[str] = None
    target: Optional[str] = None
    refused: Mapping[str, Sequence[str]] = {}
    """By Kafka's reason, the positions of the first dead letters whose records it refused."""
    gone: int = 0
    """Dead letters that were confirmed, and deleted from their topic before they were sent."""
    canary_out: Mapping[str, Any] = {}
    """The canary of which nobody knows yet what became: before more is sent, that is found out."""

    @property
    def is_finished(self) -> bool:
        """Whether nothing of it is left to do."""
        return self.status == DONE


# --- Written ---


def entry_key(partition: int, offset: int) -> bytes:
    """The key of a dead letter's entries."""
    return b"%d:%d" % (partition, offset)


def entry_value(job: Job, at_ms: int, target: Optional[str], dlq_id: Optional[str]) -> bytes:
    """The value of an entry. It does not hold the position, so one serves a whole transaction."""
    told = {"action": job.action, "job": job.id, "by": job.by, "at": at_ms, "reason": job.reason}
    return _json({**told, "target": target, "dlq_id": dlq_id})


def job_key(job: str) -> bytes:
    """The key of a job's record."""
    return (JOB_KEY + job).encode()


def job_value(job: Job) -> bytes:
    """The value of a job's record."""
    return _json({"action": "job", **job._asdict()})


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


# --- Read ---


def read_entry(key: Optional[bytes], value: Optional[bytes]) -> Optional[AuditEntry]:
    """The entry in a record, or None for anything else, which someone may have written there too."""
    place = LETTER_KEY.fullmatch(key or b"")
    if place is None or value is None:
        return None
    done = _what_was_done(value) if len(value) <= SMALL_BYTES else _read_what_was_done(value)
    return AuditEntry(int(place[1]), int(place[2]), *done) if done else None


def is_marked_as_ours(key: Optional[bytes]) -> bool:
    """Whether the key is that of an entry or a job, so that a value that is none is worth a word."""
    return key is not None and (key.startswith(JOB_KEY.encode()) or LETTER_KEY.fullmatch(key) is not None)


def _read_what_was_done(value: bytes) -> Any:
    """An entry but for its place, which all of a transaction have in common; None where it is no entry."""
    told = _object(value) or {}
    done = tuple(told.get(name) for name in ("action", "job", "by", "at", "reason", "target", "dlq_id"))
    return done if done[0] in ACTIONS and _fits(done, _ENTRY_KINDS) else None


_what_was_done = lru_cache(maxsize=1024)(_read_what_was_done)


def read_job(key: Optional[bytes], value: Optional[bytes]) -> Optional[Job]:
    """The job in a record, or None for anything else."""
    told = _object(value) if (key or b"").startswith(JOB_KEY.encode()) else None
    if told is None:
        return None
    try:
        job = Job(**{name: told[name] for name in Job._fields if name in told})
    except TypeError:  # something that every job has is missing
        return None
    return job if _fits(job, _JOB_KINDS) else None


def _object(value: Optional[bytes]) -> Optional[Dict[str, Any]]:
    try:
        told = json.loads(value or b"null")
    except (ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) else None


def with_refused(job: Job, reasons: Mapping[str, str]) -> Job:
    """The job with more that Kafka refused, by position."""
    refused = {reason: list(places) for reason, places in job.refused.items()}
    room = MOST_REFUSED - refused_count(job)
    for place, reason in list(reasons.items())[: max(0, room)]:
        refused.setdefault(reason, []).append(place)
    return job._replace(refused=refused)


def refused_count(job: Job) -> int:
    """How many Kafka refused, as far as the job's record keeps them."""
    return sum(map(len, job.refused.values()))


def refused_places(job: Job) -> FrozenSet[Place]:
    """Where the dead letters stand that a job goes past, because Kafka refused their records."""
    told = [text.encode("utf-8", "replace") for places in job.refused.values() for text in places]
    matches = [LETTER_KEY.fullmatch(each) for each in told]
    return frozenset((int(match[1]), int(match[2])) for match in matches if match)


def ends_at_start(job: Job, topic: str) -> Optional[Dict[int, int]]:
    """Where the partitions of a topic ended when the job began; None where its record does not say."""
    ends = job.request.get("ends")
    told = ends.get(topic) if isinstance(ends, dict) else None
    if not isinstance(told, dict):
        return None
    return {int(p): end for p, end in told.items() if PARTITION.fullmatch(p) and _is_number(end)}


def replayed_from(record: Record) -> Optional[str]:
    """The dead letter that this one was before its replay; None where it was never replayed."""
    return _last_text(record, REPLAY_FROM)


def replayed_by(record: Record) -> Optional[str]:
    """The job that replayed it, as it says; None where it was never replayed."""
    return _last_text(record, REPLAY_JOB)


def _last_text(record: Record, wanted: str) -> Optional[str]:
    for name, value in reversed(record.headers):
        if name == wanted and value is not None:
            return value.decode("utf-8", "replace")
    return None


# --- What the parts of a record may be ---


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_text_or_none(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_number(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MOST


def _is_time(value: Any) -> bool:
    return type(value) is int and 0 <= value <= LAST_MS


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_lists_of_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(each, list) and all(isinstance(text, str) for text in each) for each in value.values()
    )


Is = Callable[[Any], bool]
_ENTRY_KINDS: Tuple[Is, ...] = (_is_text,) * 3 + (_is_time,) + (_is_text_or_none,) * 3
_JOB_KINDS: Tuple[Is, ...] = (
    *(_is_text, _is_text, _is_text, _is_time, _is_time, _is_text, _is_number, _is_number),
    *(_is_text, _is_flag, _is_object, _is_text_or_none, _is_text_or_none, _is_lists_of_texts, _is_number),
    _is_object,
)


def _fits(values: Sequence[Any], kinds: Sequence[Is]) -> bool:
    return all(is_right(value) for is_right, value in zip(kinds, values))


# --- States ---

_STATES = letter.STATES
_NEW, _REPLAYED, _FAILED_AGAIN, _DISCARDED = range(len(_STATES))
_CODE_OF = {REPLAYED: _REPLAYED, DISCARDED: _DISCARDED, RESTORED: _NEW}
CHUNK = 256


class Marks:
    """One small number for each (partition, offset): millions fit.

    It takes some two bytes each where they lie close, half a kilobyte each where they lie far apart.
    """

    def __init__(self) -> None:
        self._chunks: Dict[Tuple[int, int], bytearray] = {}
        self.count = 0
        """Places whose mark is not 0."""

    def get(self, partition: int, offset: int) -> int:
        """The mark; 0 where none was set."""
        chunk = self._chunks.get((partition, offset // CHUNK))
        return 0 if chunk is None else chunk[offset % CHUNK]

    def set(self, partition: int, offset: int, mark: int) -> None:
        """Set the mark."""
        place = (partition, offset // CHUNK)
        chunk = self._chunks.get(place)
        if chunk is None:
            if not mark:
                return
            chunk = self._chunks[place] = bytearray(CHUNK)
        self.count += (mark != 0) - (chunk[offset % CHUNK] != 0)
        chunk[offset % CHUNK] = mark

    def bits(self, partition: int, begin: int) -> int:
        """Which of the `CHUNK` places from a multiple of it have a mark: bit 0 is the first of them."""
        chunk = self._chunks.get((partition, begin // CHUNK))
        return sum(1 << place for place, mark in enumerate(chunk or b"") if mark)


class States:
    """The state of every dead letter, as the audit topic and later dead letters tell it.

    With `job` given, the states are those without what this job did, which `done` then tells: a resumed
    job chooses as it chose at its start.
    """

    def __init__(self, job: Optional[str] = None, dlq_id: Optional[str] = None) -> None:
        self.dlq_id = dlq_id
        """The dead letter topic that they are about; entries of one that is gone do not apply."""
        self.others: Set[str] = set()
        """The ids of other topics of which there are entries too: gone, or sharing the audit topic."""
        self.left_out = 0
        """Records of the audit topic that should be ours and cannot be read."""
        self.done = Marks()
        """What the job did already, whatever others did with the same dead letters since."""
        self.replay_jobs: Set[str] = set()
        """The jobs that replayed any: what failed again lies behind where the first of them began."""
        self.job = job
        self._marks = Marks()

    def of(self, partition: int, offset: int) -> str:
        """The state of the dead letter there: one of `letters.STATES`."""
        return _STATES[self._marks.get(partition, offset)] if self._marks.count else letter.NEW

    def add(self, entry: AuditEntry) -> bool:
        """Take an entry in; a later one of a dead letter wins. False: it is of another topic."""
        if entry.dlq_id is not None and self.dlq_id is not None and entry.dlq_id != self.dlq_id:
            self.others.add(entry.dlq_id)
            return False
        if entry.action == REPLAYED:
            self.replay_jobs.add(entry.job)
        if entry.job == self.job:
            self.add_done(entry.partition, entry.offset)
        else:
            self._marks.set(entry.partition, entry.offset, _CODE_OF[entry.action])
        return True

    def add_done(self, partition: int, offset: int) -> None:
        """The job has done the dead letter there. No entry of another job takes that back."""
        self.done.set(partition, offset, 1)

    def was_acted_on(self, partition: int, offset: int) -> bool:
        """Whether anything was done to the dead letter there that was not taken back."""
        return self._marks.get(partition, offset) != _NEW

    def leave_out(self) -> None:
        """Count a record that cannot be read."""
        self.left_out += 1

    def came_back(self, partition: int, offset: int) -> None:
        """A later dead letter names this one as what it was replayed from."""
        if self._marks.get(partition, offset) == _REPLAYED:
            self._marks.set(partition, offset, _FAILED_AGAIN)
