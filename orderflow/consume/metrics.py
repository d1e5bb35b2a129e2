"""Serves a running consumer's figures to Prometheus, at `http://HOST:PORT/metrics`."""

from typing import Any, Dict, NamedTuple

PREFIX = "orders_"


class Figures(NamedTuple):
    """The consumer's figures, updated about once a second."""

    processed: int
    dead_lettered: int
    retries: int
    waiting: int
    lag: int
    outage: bool


MEANINGS: Dict[str, str] = {
    "processed": "orders processed since the start, counted when they are settled",
    "dead_lettered": "orders forwarded to the dead letter topic since the start",
    "retries": "calls that failed and will be made again, since the start",
    "waiting": "orders that wait for a retry now, those behind them included",
    "lag": "records that this consumer's partitions hold and that were not taken in yet",
    "outage": "1 while the outage brake holds any partition",
}
"""The help text of each metric, by its field in `Figures`."""
COUNTERS = ("processed", "dead_lettered", "retries")


class Metrics:
    """The metrics endpoint. The loop supplies figures; a thread of the library answers requests."""

    def __init__(self, port: int) -> None:
        """Raises OSError if the port is not available."""
        from prometheus_client import CollectorRegistry, start_http_server
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        self._families = (CounterMetricFamily, GaugeMetricFamily)
        self._figures = Figures(0, 0, 0, 0, 0, False)
        registry = CollectorRegistry()
        registry.register(self)
        start_http_server(port, registry=registry)

    def show(self, figures: Figures) -> None:
        """Serve these figures from now on."""
        self._figures = figures

    def collect(self) -> Any:
        """The figures as metric families; the library calls this for each request."""
        counter, gauge = self._families
        figures = self._figures
        for name, meaning in MEANINGS.items():
            family = counter if name in COUNTERS else gauge
            yield family(PREFIX + name, meaning, value=float(getattr(figures, name)))
