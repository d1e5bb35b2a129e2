"""Ends a child process that a handler forked, which would otherwise act as a copy of the consumer.

A child that a handler forks leaves the handler as its parent does, by a return or an error, unless it ends
itself before. Everything it has, except for its memory, is its parent's: connections, membership, terminal.
Left alone, it would call the orders that its parent calls as well, and then wait for ever for the threads of
a Kafka client that it does not have.
"""

import contextlib
import os
import sys
from typing import List, Optional
from weakref import WeakSet

from orderflow import exits
from orderflow.consume.tracebacks import traceback_of
from orderflow.errors import is_a


class Forks:
    """Tells whether this process is the one that made this, or was forked from it since."""

    def __init__(self) -> None:
        self.marks: List[int] = []
        """Empty in the process that made this. The cheapest thing to look at once for each order."""
        _ALL.add(self)

    def end_child(self, error: Optional[BaseException] = None) -> None:
        """End this process if it is such a child: the handler has returned in it, or raised `error`.

        With the exit code of `sys.exit` if that was it, else with 1 and the traceback of an error.
        """
        if not self.marks:
            return
        with contextlib.suppress(Exception):
            if error is not None and not is_a(error, SystemExit):
                print(*traceback_of(error), sep="\n", file=sys.stderr)
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(_exit_code(error))


def _exit_code(error: Optional[BaseException]) -> int:
    if error is None:
        return exits.OK
    code = error.code if isinstance(error, SystemExit) else exits.FAILED
    return code if isinstance(code, int) else exits.FAILED if code else exits.OK


_ALL: "WeakSet[Forks]" = WeakSet()


def _mark_child() -> None:
    for forks in list(_ALL):
        forks.marks.append(os.getpid())


os.register_at_fork(after_in_child=_mark_child)
