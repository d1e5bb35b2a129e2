"""How long the dead letter topic keeps records, as far as its settings may be read."""

from typing import Mapping, NamedTuple, Optional


class Retention(NamedTuple):
    """Both limits of a topic. None: not known."""

    time_ms: Optional[int]
    """-1: for ever."""
    bytes: Optional[int]
    """A partition; -1: no limit."""

    @classmethod
    def of(cls, settings: Mapping[str, int]) -> "Retention":
        """From those of the topic's settings that may be read."""
        return cls(settings.get("retention.ms"), settings.get("retention.bytes"))

    def first_expiry_ms(self, oldest_ms: Optional[int]) -> Optional[int]:
        """When the oldest may be deleted at the earliest; None where nothing is known or it never is."""
        if self.time_ms is None or self.time_ms < 0 or oldest_ms is None:
            return None
        return oldest_ms + self.time_ms
