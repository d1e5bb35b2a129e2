"""Ends a script's process without taking the interpreter apart.

All is done and written by then. What would follow is of no use, and not safe: clients that are still at work
in threads of their own are destroyed (librdkafka 2.16 has been seen to free memory twice there, so that a
verb whose answer was complete ended by a signal).
"""

import atexit
import contextlib
import os
import sys
from typing import Optional


class QuickEnd:
    """Make it before any code of users is loaded: what that registers with atexit is called before this."""

    def __init__(self) -> None:
        self._code: Optional[int] = None
        self._pid = os.getpid()
        atexit.register(self._end)

    def coded(self, code: int) -> int:
        """The script has ended with this exit code. Without one, the interpreter ends as it always does."""
        self._code = code
        return code

    def _end(self) -> None:
        if self._code is None or os.getpid() != self._pid:  # a child that a handler forked ends on its own
            return
        flush_printed()
        os._exit(self._code)


def flush_printed() -> None:
    """Write out what users' code and libraries have printed, as the interpreter would."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # full, closed, or none
            stream.flush()
