"""Tracks what keeps failing and reports it once a minute, however many tries come between."""

from typing import Any, Callable, Dict, NamedTuple

LOUD_AFTER_S = 60.0
"""A step that has failed this long is reported, and again after each such period."""


class _Since(NamedTuple):
    began_s: float
    loud_at_s: float


class Failing:
    """The steps that are failing."""

    def __init__(self, clock: Callable[[], float], report: Callable[..., Any]) -> None:
        self._clock = clock
        self._report = report
        self._steps: Dict[str, _Since] = {}

    def failed(self, step: str, detail: str) -> None:
        """Another try of this step failed; `detail` is Kafka's answer."""
        now_s = self._clock()
        since = self._steps.setdefault(step, _Since(now_s, now_s + LOUD_AFTER_S))
        if now_s < since.loud_at_s:
            return
        self._steps[step] = since._replace(loud_at_s=now_s + LOUD_AFTER_S)
        self._report("failing", step=step, detail=detail, for_s=now_s - since.began_s)

    def succeeded(self, step: str) -> None:
        """The step succeeded, or is no longer tried."""
        self._steps.pop(step, None)
