"""Exit codes, and the errors that end a command with a message instead of a traceback."""

from typing import Mapping, Sequence, Type

OK = 0
FAILED = 1
"""Failed at run time."""
USAGE = 2
"""Wrong flags or settings: nothing was done."""
INCOMPLETE = 3
"""Finished, but some of what was selected was not sent."""
REFUSED = 4
"""Not confirmed, the plan no longer matches, or a preflight check refused."""
TRIPPED = 5
"""Stopped by the outage brake or a canary, or a person is needed."""
INTERRUPTED = 130
TERMINATED = 143


class CommandError(Exception):
    """An expected failure: the user sees only its text, and the script ends with its exit code.

    Each argument is a line. Line breaks within one are data, and shown as such: what a topic, a file or a
    server says cannot begin a line of its own.
    """

    exit_code = FAILED
    traceback: Sequence[str] = ()
    """The lines of one, where a user's code is to blame."""

    def __init__(self, *lines: str) -> None:
        super().__init__(*lines)
        self.lines = lines

    def __str__(self) -> str:
        return "\n".join(self.lines)

    @classmethod
    def because(cls, what: str, error: Exception) -> "CommandError":
        """What failed, and the error's own words, with as many lines as it has."""
        first, *others = error.lines if isinstance(error, CommandError) else (str(error),)
        return cls(f"{what}: {first}", *others)


class UsageError(CommandError):
    """Flags or settings are invalid."""

    exit_code = USAGE


class CodeUnusable(UsageError):
    """A user's code that a setting names cannot be loaded or called."""

    def __init__(self, line: str, traceback: Sequence[str] = ()) -> None:
        super().__init__(line)
        self.traceback = traceback


class KafkaUnreachable(CommandError):
    """No broker answers at the given address."""


class NotReady(CommandError):
    """Kafka cannot do it now, and may in a moment: a partition has no leader, or a broker is away."""


class TopicMissing(CommandError):
    """A topic does not exist, and we may not create it."""


class Refused(CommandError):
    """Not done, because it was not confirmed or a preflight check refused it."""

    exit_code = REFUSED


class Tripped(CommandError):
    """Stopped by the outage brake or a canary."""

    exit_code = TRIPPED


def fault_of(error: OSError) -> str:
    """What is wrong with a file, to stand behind its name: `orders.csv: no such file`."""
    for kind, fault in _FAULTS.items():
        if isinstance(error, kind):
            return fault
    return error.strerror or str(error)


_FAULTS: Mapping[Type[OSError], str] = {
    FileNotFoundError: "no such file",
    NotADirectoryError: "no such file",
    IsADirectoryError: "is a folder",
    PermissionError: "permission denied",
}
