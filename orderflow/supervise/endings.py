"""How a consumer's process ended: in words, and what follows from it."""

import signal
from enum import Enum
from typing import NamedTuple, Sequence

from orderflow import exits
from orderflow.model.text import listed, named
from orderflow.supervise.report import ENDED, Place, Report

STOPPED = tuple(128 + number for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
"""The exit codes of a process that was asked to stop, and did."""
MOST_LISTED = 8
"""The most partitions or offsets that a line lists."""
HINTS = {
    "SIGKILL": "kill -9, or the system for want of memory",
    "SIGSEGV": "native code read or wrote where it must not",
    "SIGABRT": "native code gave up",
    "SIGBUS": "native code read or wrote where it must not",
}


class Ending(NamedTuple):
    """The end of one process."""

    code: int
    """The exit code; negative: the signal that killed it."""
    report: Report
    """The last one that it sent."""

    @property
    def had_begun(self) -> bool:
        """Whether its settings were good and it had joined the group."""
        return bool(self.report.state)

    @property
    def is_done(self) -> bool:
        """Whether nothing was left to do, or only what an outage holds back.

        The exit code alone does not tell: a handler may end the process with any.
        """
        return self.report.state == ENDED and self.code in (exits.OK, exits.TRIPPED)

    @property
    def was_stopped(self) -> bool:
        """Whether a request to stop ended it."""
        return self.code in STOPPED


class Verdict(Enum):
    """What follows from the end of a process that nobody asked to stop."""

    DONE = "it is not needed any more"
    RESTART = "start its successor"
    GIVE_UP = "a successor would end in the same way"


def judge(ending: Ending, is_first: bool) -> Verdict:
    """What follows. `is_first`: no process of this run has begun yet, so what it lacks is lacking to all."""
    if ending.is_done:
        return Verdict.DONE
    if not ending.had_begun and (is_first or ending.code == exits.USAGE):
        return Verdict.GIVE_UP
    return Verdict.RESTART


def clean_code(ending: Ending, stopped: int) -> int:
    """What a process that was asked to stop contributes to our exit code; `stopped` if it did as asked."""
    if ending.was_stopped or not ending.had_begun:
        return stopped
    return max(stopped, ending.code, key=_badness) if ending.is_done else exits.FAILED


_FROM_GOOD_TO_BAD = (exits.OK, *STOPPED, exits.TRIPPED, exits.FAILED, exits.USAGE)


def worst(codes: Sequence[int]) -> int:
    """The exit code that tells the most of what went wrong."""
    return max(codes, key=_badness, default=exits.OK)


def as_exit_code(code: int) -> int:
    """A process's code as one of ours: whatever killed it, it failed."""
    return code if code in _FROM_GOOD_TO_BAD else exits.FAILED


def _badness(code: int) -> int:
    return _FROM_GOOD_TO_BAD.index(as_exit_code(code))


# --- in words ---


def obituary(ending: Ending) -> str:
    """Why the process ended, and what was in its hands."""
    return f"{_cause(ending)}{_hands(ending.report)}"


def _cause(ending: Ending) -> str:
    if ending.code >= 0:
        if ending.was_stopped:
            return "was asked to stop by somebody else"
        return f"ended with exit code {ending.code}"
    try:
        name = signal.Signals(-ending.code).name
    except ValueError:
        name = f"signal {-ending.code}"
    hint = HINTS.get(name)
    return f"was killed by {name}" + (f" ({hint})" if hint else "")


def _hands(report: Report) -> str:
    """Offsets are those of the last report, which may be a moment older than the end."""
    if report.state == ENDED:
        return ""
    if report.suspects:
        return f" while it called {_suspects(report.suspects)}"
    if report.partitions:
        places = [f"{number} (from offset {at})" for number, (at, _) in sorted(report.partitions.items())]
        return f"; it had {named('partition', places, MOST_LISTED)}"
    return "; it had no partition" if report.state else "; it had not begun"


def _suspects(places: Sequence[Place]) -> str:
    named = [f"{number}-{offset}" for number, offset in sorted(places)]
    return f"order{'' if len(named) == 1 else 's'} {listed(named, MOST_LISTED)} and nothing else"
