"""What the operating system says of this process."""

import os
import time

from orderflow.consume.figures import ProcessFigures

STARTED_AT_S = time.time()
STATUS, OPEN_FILES = "/proc/self/status", "/proc/self/fd"


def process_figures() -> ProcessFigures:
    """The figures of now; 0 for what this system does not tell."""
    return ProcessFigures(
        time.process_time(), _status("VmRSS:") * 1024, _open_files(), _status("Threads:"), STARTED_AT_S
    )


def _status(name: str) -> int:
    try:
        with open(STATUS, encoding="ascii") as lines:
            return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)
    except OSError:
        return 0


def _open_files() -> int:
    try:
        return len(os.listdir(OPEN_FILES))
    except OSError:
        return 0
