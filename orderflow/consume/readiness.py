"""Waits at the start for what a cluster cannot do while one of its nodes is away."""

import time
from typing import Callable, TypeVar

from orderflow.consume.world import Report
from orderflow.exits import NotReady

LONGEST_S = 60.0
"""More than a cluster takes to elect new leaders, and less than a supervisor takes for hung."""
PAUSE_S = 1.0

Answer = TypeVar("Answer")


def until_ready(
    ask: Callable[[], Answer],
    tell: Callable[[str], object],
    is_over: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], object] = time.sleep,
) -> Answer:
    """Ask again until Kafka can do it; every new reason is told.

    Raises NotReady after a minute, or once it `is_over`, as after Ctrl-C. Other errors are raised at once.
    """
    until_s, told = clock() + LONGEST_S, ""
    while True:
        try:
            return ask()
        except NotReady as error:
            if clock() >= until_s or is_over():
                raise
            if str(error) != told:
                told = str(error)
                tell(told)
        pause(PAUSE_S)


def delay_of_start(report: Report) -> Callable[[str], None]:
    """How to tell a run's log what its start waits for."""
    return lambda detail: report("start_delayed", detail=detail)
