"""What has been failing, and for how long: one loud line a minute, however many tries come between."""

from typing import Any, Callable, Dict, NamedTuple

LOUD_AFTER_S = 60.0
"""What has failed for so long is no hiccup, and is repeated as often."""


class _Since(NamedTuple):
    began_s: float
    loud_at_s: float


class Failing:
    """Steps that do not succeed."""

    def __init__(self, clock: Callable[[], float], report: Callable[..., Any]) -> None:
        self._clock = clock
        self._report = report
        self._steps: Dict[str, _Since] = {}

    def failed(self, step: str, detail: str) -> None:
        """One more try of this step failed; `detail` is what Kafka answered."""
        now_s = self._clock()
        since = self._steps.setdefault(step, _Since(now_s, now_s + LOUD_AFTER_S))
        if now_s < since.loud_at_s:
            return
        self._steps[step] = since._replace(loud_at_s=now_s + LOUD_AFTER_S)
        self._report("failing", step=step, detail=detail, for_s=now_s - since.began_s)

    def succeeded(self, step: str) -> None:
        """It works, or is not tried any more."""
        self._steps.pop(step, None)
