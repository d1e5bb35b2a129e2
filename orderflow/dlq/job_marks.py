"""What a job has sent, in records of its own beside the entries of the audit topic.

Of a dead letter the audit topic keeps the newest entry, whichever job wrote it. A job that goes on has to
know what it sent itself, whatever others did since. So it also keeps a bit for each dead letter that it sent,
under keys that no other job writes: `sent:<job>:<partition>:<offset>`, one for `audit.CHUNK` neighbours.
Versions that do not know these records pass over them.
"""

import json
import re
from typing import Dict, Iterable, Iterator, NamedTuple, Optional, Tuple

from orderflow.dlq.audit import CHUNK, LETTER_KEY, Marks
from orderflow.model.json_text import read_json
from orderflow.model.records import Place

SENT_KEY = "sent:"
_KEY = re.compile(rb"sent:.+:([0-9]{1,9}):([0-9]{1,18})", re.DOTALL)
_BITS = re.compile(r"[0-9a-f]{1,1024}")


class SentMarks(NamedTuple):
    """Which of some neighbouring dead letters a job has sent."""

    partition: int
    begin: int
    """The offset that bit 0 stands for."""
    bits: int
    dlq_id: Optional[str]
    """The id of the dead letter topic, as in an entry."""

    def places(self) -> Iterator[Place]:
        """Of the dead letters that were sent."""
        for place in range(self.bits.bit_length()):
            if self.bits >> place & 1:
                yield self.partition, self.begin + place


def records(
    job: str, before: Marks, places: Iterable[Place], dlq_id: Optional[str]
) -> Iterator[Tuple[bytes, bytes]]:
    """Keys and values that add these places to what the job had sent `before`."""
    added: Dict[Place, int] = {}
    for partition, offset in places:
        begin = offset - offset % CHUNK
        added[partition, begin] = added.get((partition, begin), 0) | 1 << (offset - begin)
    for (partition, begin), bits in added.items():
        value = {"action": "sent", "bits": f"{bits | before.bits(partition, begin):x}", "dlq_id": dlq_id}
        yield _prefix(job) + b"%d:%d" % (partition, begin), json.dumps(value, separators=(",", ":")).encode()


def is_of(job: Optional[str], key: Optional[bytes]) -> bool:
    """Whether a record with this key tells what this job has sent."""
    if job is None or key is None or not key.startswith(_prefix(job)):
        return False
    return LETTER_KEY.fullmatch(key, len(_prefix(job))) is not None


def read(key: Optional[bytes], value: Optional[bytes]) -> Optional[SentMarks]:
    """The marks in a record, or None for anything else, which someone may have written there too."""
    place = _KEY.fullmatch(key or b"")
    try:
        told = read_json((value or b"").decode())
        bits, dlq_id = told["bits"], told["dlq_id"]
    except (ValueError, LookupError, TypeError):
        return None
    if place is None or not isinstance(bits, str) or not _BITS.fullmatch(bits):
        return None
    if dlq_id is not None and not isinstance(dlq_id, str):
        return None
    return SentMarks(int(place[1]), int(place[2]), int(bits, 16), dlq_id)


def _prefix(job: str) -> bytes:
    return f"{SENT_KEY}{job}:".encode()
