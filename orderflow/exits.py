"""Exit codes, and the errors that end a command with a message instead of a traceback."""

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
    """An expected failure: the user sees only its text, and the script ends with its exit code."""

    exit_code = FAILED


class UsageError(CommandError):
    """Flags or settings are invalid."""

    exit_code = USAGE


class KafkaUnreachable(CommandError):
    """No broker answers at the given address."""


class TopicMissing(CommandError):
    """A topic does not exist, and we may not create it."""


class Refused(CommandError):
    """Not done, because it was not confirmed or a preflight check refused it."""

    exit_code = REFUSED


class Tripped(CommandError):
    """Stopped by the outage brake or a canary."""

    exit_code = TRIPPED
