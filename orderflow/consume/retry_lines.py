"""Which retries get a line of their own in the log. Pure: the time is an argument.

An incident at full speed makes thousands a second, which nobody reads and which crowd out what matters: a log
service drops lines of any kind from whoever sends too many. systemd's takes 10,000 in 30 s by default
(`RateLimitBurst` in journald.conf(5)).
"""

from typing import Dict, NamedTuple, Optional

from orderflow.consume.event_counts import count
from orderflow.errors import Failure

MOST_A_SECOND = 100
"""Three processes of one service stay within what its log takes, and leave room for dead letters."""
MOST_KINDS = 50
"""Handlers choose reasons of their own. Beyond this many in a second, the rest is counted as one."""
OTHERS = "others"


class Untold(NamedTuple):
    """Retries of one second that got no line."""

    retries: int
    kinds: Dict[str, int]
    """How many of each kind of failure."""


class RetryLines:
    """Lets the first retries of each second have a line, and counts the others."""

    def __init__(self, most_a_second: int = MOST_A_SECOND) -> None:
        self._most = most_a_second
        self._second = -1
        self._seen = 0
        self._is_awaited = False
        self._kinds: Dict[str, int] = {}

    def await_next(self) -> None:
        """The next one gets a line in any case: it names the order of what was just shown."""
        self._is_awaited = True

    def take(self, failure: Failure, now_s: float) -> bool:
        """Whether this one gets a line; if not, it is counted."""
        if int(now_s) != self._second:
            self._second, self._seen = int(now_s), 0
        self._seen += 1
        is_awaited, self._is_awaited = self._is_awaited, False
        if is_awaited or self._seen <= self._most:
            return True
        kind = failure.reason if failure.stage != "process" else f"{failure.reason}: {failure.error_class}"
        count(self._kinds, kind, MOST_KINDS, OTHERS)
        return False

    def take_untold(self, now_s: Optional[float] = None) -> Optional[Untold]:
        """What got no line, once: None while there is nothing, or while its second lasts.

        `now_s` None: the run is over, so no more of that second will come.
        """
        if not self._kinds or (now_s is not None and int(now_s) == self._second):
            return None
        kinds, self._kinds = self._kinds, {}
        return Untold(sum(kinds.values()), kinds)
