"""What became of each dead letter: the entries of the audit topic, and the states that follow from them.

The topic is compacted, so the newest entry of each key is kept. A dead letter's key is
`partition:offset`, a job's is `job:<id>`.
"""

import json
import re
from functools import lru_cache
from typing import Any, Dict, Mapping, NamedTuple, Optional, Tuple

from orderflow.dlq import letter

REPLAYED, DISCARDED, RESTORED = "replayed", "discarded", "restored"
ACTIONS = (REPLAYED, DISCARDED, RESTORED)

RUNNING, DONE, STOPPED, TRIPPED = "running", "done", "stopped", "tripped"
JOB_KEY = "job:"
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

    @property
    def is_finished(self) -> bool:
        """Whether nothing of it is left to do."""
        return self.status == DONE


# --- Written ---


def entry_key(partition: int, offset: int) -> bytes:
    """The key of a dead letter's entries."""
    return b"%d:%d" % (partition, offset)


def entry_value(
    action: str, job: str, by: str, at_ms: int, reason: Optional[str], target: Optional[str]
) -> bytes:
    """The value of an entry. It does not hold the position, so one serves a whole transaction."""
    return _json({"action": action, "job": job, "by": by, "at": at_ms, "reason": reason, "target": target})


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
    done = _what_was_done(value) if place else None
    return AuditEntry(int(place[1]), int(place[2]), *done) if place and done else None


@lru_cache(maxsize=1024)
def _what_was_done(value: Optional[bytes]) -> Any:
    """An entry but for its place, which all of a transaction have in common; None where it is no entry."""
    told = _object(value)
    if told is None or told.get("action") not in ACTIONS:
        return None
    try:
        action, job, by, at_ms = told["action"], str(told["job"]), str(told["by"]), int(told["at"])
        return str(action), job, by, at_ms, told.get("reason"), told.get("target")
    except (LookupError, TypeError, ValueError):
        return None


def read_job(key: Optional[bytes], value: Optional[bytes]) -> Optional[Job]:
    """The job in a record, or None for anything else."""
    told = _object(value) if (key or b"").startswith(JOB_KEY.encode()) else None
    if told is None or told.get("action") is None:
        return None
    try:
        job = Job(**{name: told[name] for name in Job._fields if name in told})
    except TypeError:
        return None
    return job if isinstance(job.id, str) and isinstance(job.request, dict) else None


def _object(value: Optional[bytes]) -> Optional[Dict[str, Any]]:
    try:
        told = json.loads(value or b"null")
    except ValueError:
        return None
    return told if isinstance(told, dict) else None


# --- States ---

_STATES = letter.STATES
_NEW, _REPLAYED, _FAILED_AGAIN, _DISCARDED = range(len(_STATES))
_CODE_OF = {REPLAYED: _REPLAYED, DISCARDED: _DISCARDED, RESTORED: _NEW}
CHUNK = 4096


class Marks:
    """One small number for each (partition, offset): a byte each, where any is set, so millions fit."""

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
            chunk = self._chunks[place] = bytearray(CHUNK)
        self.count += (mark != 0) - (chunk[offset % CHUNK] != 0)
        chunk[offset % CHUNK] = mark


class States:
    """The state of every dead letter, as the audit topic and later dead letters tell it.

    With `job` given, the states are those without what this job did, which `done` then tells: a resumed
    job chooses as it chose at its start.
    """

    def __init__(self, job: Optional[str] = None) -> None:
        self.done = Marks()
        """What the job did already."""
        self.first_replay_ms: Optional[int] = None
        """Before this no dead letter can have failed again; None where nothing was replayed."""
        self._job = job
        self._marks = Marks()

    def of(self, partition: int, offset: int) -> str:
        """The state of the dead letter there: one of `letters.STATES`."""
        return _STATES[self._marks.get(partition, offset)]

    def add(self, entry: AuditEntry) -> None:
        """Take an entry in; a later one of the same dead letter wins."""
        if entry.action == REPLAYED and (self.first_replay_ms is None or entry.at_ms < self.first_replay_ms):
            self.first_replay_ms = entry.at_ms
        is_own = entry.job == self._job
        self.done.set(entry.partition, entry.offset, int(is_own))
        if not is_own:
            self._marks.set(entry.partition, entry.offset, _CODE_OF[entry.action])

    def came_back(self, partition: int, offset: int) -> None:
        """A later dead letter names this one as what it was replayed from."""
        if self._marks.get(partition, offset) == _REPLAYED:
            self._marks.set(partition, offset, _FAILED_AGAIN)
