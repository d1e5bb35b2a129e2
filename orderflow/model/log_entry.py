"""What a script logs: an event with a name and fields for machines, and a line for people."""

from typing import Any, Callable, Mapping, NamedTuple

LEVELS = ("debug", "info", "warning", "error")
"""From the least to the gravest."""

WORD_LEVELS: Mapping[str, str] = {
    "debug": "debug",
    "retry": "info",
    "dead": "warning",
    "info": "info",
    "warn": "warning",
    "ERROR": "error",
}
"""The words that lines begin with, and their levels. Two say more than their level would."""


class Event(NamedTuple):
    """A kind of event: its severity, its meaning, and how to build its line from its fields."""

    severity: str
    """One of WORD_LEVELS."""
    meaning: str
    line: Callable[..., str]


class LogEntry(NamedTuple):
    """One thing to log."""

    event: str
    """Stable: alert on it."""
    word: str
    """One of WORD_LEVELS."""
    line: str
    fields: Mapping[str, Any] = {}

    @property
    def level(self) -> str:
        """One of LEVELS."""
        return WORD_LEVELS[self.word]
