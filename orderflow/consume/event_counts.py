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
            _count(self.retries, fields["failure"].reason)
        elif event == "dead_lettered":
            _count(self.dead_lettered, fields["failure"].reason)
        elif event == "start_again":
            self.restarts += 1


def _count(counts: Dict[str, int], reason: str) -> None:
    if reason not in counts and len(counts) >= MOST_REASONS:
        reason = OTHER
    counts[reason] = counts.get(reason, 0) + 1
