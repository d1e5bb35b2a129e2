"""What a consumer tells its supervisor, as lines of JSON."""

import json
from typing import Any, Dict, Mapping, NamedTuple, Optional, Sequence, Tuple

BEGAN, WORKING, ENDED = "began", "working", "ended"
"""Its settings are good and it joins the group; how it is now; it has ended in its own time."""
Place = Tuple[int, int]
"""A partition and an offset in it."""


class Report(NamedTuple):
    """How a consumer is."""

    state: str = ""
    """Empty until it has begun."""
    figures: str = ""
    """As its own text, which the supervisor passes on unread; empty until it has begun."""
    partitions: Mapping[int, Tuple[int, int]] = {}
    """By partition: the offset from which another owner would continue, and how many orders wait."""
    suspects: Sequence[Place] = ()
    """Orders being called with nothing else in flight, because one of them may have ended a process."""


NOTHING = Report()
"""Before a consumer has told anything."""


def written(report: Report) -> bytes:
    """The report as one line."""
    return json.dumps(report._asdict(), separators=(",", ":")).encode() + b"\n"


def read(line: bytes) -> Optional[Report]:
    """The report that a line holds, or None: a handler may have written into our socket."""
    try:
        said: Dict[str, Any] = json.loads(line)
        return Report(
            str(said["state"]),
            str(said["figures"]),
            {int(number): (int(offset), int(wait)) for number, (offset, wait) in said["partitions"].items()},
            [(int(number), int(offset)) for number, offset in said["suspects"]],
        )
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
