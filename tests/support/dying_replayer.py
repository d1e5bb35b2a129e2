"""dlq_handler.py, dying as by kill -9 at a named gap: `dying_replayer.py GAP NUMBER -- ARGUMENTS`."""

import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

import dlq_handler
from orderflow.cli.run import run
from orderflow.dlq.replay import rate, sending

TRANSACTION_S = 0.1
SETTLE_S = 0.3
"""Longer than the producer waits before it sends what it was given."""


def main(gap: str, number: int) -> int:
    """Run the script, up to its death."""
    passed = 0

    def at_gap(name: str) -> None:
        nonlocal passed
        passed += name == gap.replace("flushed, ", "")
        if passed == number and name == gap.replace("flushed, ", ""):
            if gap.startswith("flushed"):
                time.sleep(SETTLE_S)
            os.kill(os.getpid(), signal.SIGKILL)

    sending.at_gap = at_gap
    rate.TRANSACTION_S = TRANSACTION_S
    # By number only, however slow the machine.
    setattr(rate.Pace, "is_over", lambda self: False)  # noqa: B010 (mypy lets no method be assigned)
    return run(dlq_handler.main)


if __name__ == "__main__":
    gap, number = sys.argv[1], int(sys.argv[2])
    sys.argv = ["dlq_handler.py", *sys.argv[4:]]
    sys.exit(main(gap, number))
