"""Serves a running consumer's figures: `/metrics` to Prometheus, `/livez` and `/readyz` to probes."""

import time
from typing import Callable, Optional, Tuple

from orderflow.cli.port import OK_STATUS, UNAVAILABLE, Page, Port
from orderflow.consume.catalogue import METRICS
from orderflow.consume.figures import Figures, Health

STALE_S = 5.0
"""Figures are shown every second. If none are for this long, whoever shows them hangs."""


class Metrics(Port):
    """The port. Somebody shows figures, and whoever asks is given the latest."""

    def __init__(
        self, port: int, address: str = "127.0.0.1", clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Raises OSError if the port is not available."""
        from orderflow.cli.exposition import Exposition

        self._clock = clock
        self._figures = Figures()
        self._shown_at_s: Optional[float] = None
        exposition = Exposition(METRICS, lambda: self._figures)
        pages = {
            "/metrics": lambda: Page(OK_STATUS, exposition.page()),
            "/livez": lambda: _liveness(self.health),
            "/readyz": lambda: _readiness(self.health),
        }
        super().__init__(port, address, pages)

    def show(self, figures: Figures) -> None:
        """Serve these figures from now on."""
        self._figures, self._shown_at_s = figures, self._clock()

    @property
    def health(self) -> Health:
        """Whether the consumer is alive and ready, as far as the latest figures say."""
        if self._shown_at_s is None:
            return Health(not_ready=("starting",))
        silent_s = self._clock() - self._shown_at_s
        if silent_s > STALE_S:
            return Health((f"nothing has watched over the consumer for {silent_s:.0f} s",))
        return self._figures.health


def _liveness(health: Health) -> Page:
    if health.hangs:
        return Page(UNAVAILABLE, _lines("hangs", health.hangs))
    return Page(OK_STATUS, b"alive\n")


def _readiness(health: Health) -> Page:
    why = (*health.hangs, *health.not_ready)
    if why:
        return Page(UNAVAILABLE, _lines("not ready", (*why, *health.notes)))
    return Page(OK_STATUS, _lines("ready", health.notes))


def _lines(head: str, details: Tuple[str, ...]) -> bytes:
    """The verdict, and a line for each detail."""
    return "".join(f"{line}\n" for line in (head, *details)).encode()
