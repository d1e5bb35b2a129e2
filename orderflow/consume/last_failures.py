"""Remembers of each waiting order what its last call failed of, in little memory."""

from typing import Dict

from orderflow.errors import Failure

LONGEST = 120
"""Characters of the message that are kept."""
MOST_SHARED = 500


class LastFailures:
    """Failures as they are kept. Orders that failed alike share one: in an outage most do."""

    def __init__(self) -> None:
        self._shared: Dict[Failure, Failure] = {}

    def kept(self, failure: Failure) -> Failure:
        """What to keep of a failure: no stack, and little of a long message."""
        kept = failure if _is_short(failure) else _shortened(failure)
        if len(self._shared) >= MOST_SHARED:
            self._shared.clear()
        return self._shared.setdefault(kept, kept)


def _is_short(failure: Failure) -> bool:
    """Most are, and this is asked for every call that fails."""
    is_plain = failure.stack is None and failure.after_s is None and not failure.causes
    return is_plain and len(failure.message) <= LONGEST


def _shortened(failure: Failure) -> Failure:
    causes = tuple(cause._replace(message=cause.message[:LONGEST]) for cause in failure.causes[:1])
    return failure._replace(stack=None, after_s=None, message=failure.message[:LONGEST], causes=causes)
