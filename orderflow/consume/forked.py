"""Ends a child process that a handler forked, which would otherwise act as a copy of the consumer."""

import os
import sys

from orderflow import exits


def end_if_forked(pid: int, crash: BaseException) -> None:
    """End this process with the exit code of `crash`, unless it is the consumer's own (`pid`).

    Except for its memory, everything a child has is its parent's: connections, membership, terminal.
    """
    if os.getpid() == pid:
        return
    sys.stdout.flush()
    code = crash.code if isinstance(crash, SystemExit) else exits.FAILED
    os._exit(code if isinstance(code, int) else exits.FAILED if code else exits.OK)
