"""Measures how much of the machine other processes used: a figure is only as good as its quiet."""

import os
import resource
import time
from typing import Optional


class Neighbours:
    """Counts from its creation on. Processes of ours count once they have ended and were waited for."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._busy_s = _machine_s()
        self._ours_s = _ours_s()

    def share(self) -> Optional[float]:
        """Processors that others kept busy on the mean, or None where the system does not tell."""
        busy_s = _machine_s()
        if busy_s is None or self._busy_s is None:
            return None
        others_s = busy_s - self._busy_s - (_ours_s() - self._ours_s)
        return max(0.0, others_s / (time.monotonic() - self._began_s))


def _ours_s() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _machine_s() -> Optional[float]:
    """Processor seconds that were not idle since the machine started."""
    try:
        with open("/proc/stat", encoding="utf-8") as stream:
            user, nice, system, _idle, _waiting, *rest = map(int, stream.readline().split()[1:9])
    except (OSError, ValueError):
        return None
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")
