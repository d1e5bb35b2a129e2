"""How a command ends: its exit code, and the errors that a person is told in one line.

Owns: the exit codes, and the family of expected failures.
Does not know: who raises them, and how they are written.
Used by: everything that can fail before or beside an order.
"""

OK = 0
FAILED = 1
"""Failed at run time."""
USAGE = 2
"""Wrong flags or settings: nothing was done."""
INCOMPLETE = 3
"""Finished, but some of what was chosen was not sent."""
REFUSED = 4
"""Not confirmed, plan drifted, or preflight refused."""
TRIPPED = 5
"""Outage brake or canary stopped it."""
INTERRUPTED = 130
TERMINATED = 143


class CommandError(Exception):
    """An expected failure: its text is all that the user is told, its exit code is the script's."""

    exit_code = FAILED


class UsageError(CommandError):
    """Flags or settings that cannot be used."""

    exit_code = USAGE


class KafkaUnreachable(CommandError):
    """No broker answers at the address that was given."""


class TopicMissing(CommandError):
    """A topic is not there and may not be created by us."""


class Refused(CommandError):
    """Not done, because it was not confirmed or a check before it said no."""

    exit_code = REFUSED


class Tripped(CommandError):
    """Stopped by the outage brake or a canary."""

    exit_code = TRIPPED
