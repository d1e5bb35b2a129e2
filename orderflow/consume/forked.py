"""Ends a child process that a handler forked: it has a copy of the consumer's memory, and is not it."""

import os
import sys

from orderflow import exits


def end_if_forked(pid: int, crash: BaseException) -> None:
    """End this process with the exit code of `crash` unless it is the consumer's own, which is `pid`.

    All that a child has except its memory is its parent's: the connections, the membership, the terminal.
    """
    if os.getpid() == pid:
        return
    sys.stdout.flush()
    code = crash.code if isinstance(crash, SystemExit) else exits.FAILED
    os._exit(code if isinstance(code, int) else exits.FAILED if code else exits.OK)
