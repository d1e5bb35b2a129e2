"""Counts the engine's events, as far as metrics tell of them. Pure: it is given every event."""

from typing import Any, Dict

MOST_REASONS = 60
"""Handlers choose reason codes of their own. Beyond this many different ones, the rest is counted as one."""
OTHER = "other"


class EventCounts:
    """How often things have happened since the start."""

    def __init__(self) -> None:
        self.retries: Dict[str, int] = {}
        """By reason code."""
        self.dead_lettered: Dict[str, int] = {}
        """The same."""
        self.restarts = 0

    def note(self, event: str, fields: Dict[str, Any]) -> None:
        """An event of the engine."""
        if event == "retry":
            count(self.retries, fields["failure"].reason, MOST_REASONS, OTHER)
        elif event == "dead_lettered":
            count(self.dead_lettered, fields["failure"].reason, MOST_REASONS, OTHER)
        elif event == "start_again":
            self.restarts += 1


def count(counts: Dict[str, int], name: str, most: int, others: str) -> None:
    """Count one more of this name. Beyond `most` different names, the rest is counted as `others`."""
    if name not in counts and len(counts) >= most:
        name = others
    counts[name] = counts.get(name, 0) + 1
