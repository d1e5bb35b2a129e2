"""Writes figures in Prometheus's text format."""

import platform
from itertools import accumulate
from typing import Any, Callable, Dict, Iterator, List, Sequence, Tuple

from confluent_kafka import libversion
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)

from orderflow.model.metric import BOUNDS_S, COUNTER, GAUGE, HISTOGRAM, Histogram, Metric
from orderflow.version import VERSION

BUILD_INFO = "orders_build"
BUILD_MEANING = "always 1; its labels are the versions of the toolkit, of Python and of librdkafka"
_FAMILIES: Dict[str, Any] = {
    COUNTER: CounterMetricFamily,
    GAUGE: GaugeMetricFamily,
    HISTOGRAM: HistogramMetricFamily,
}


class Exposition:
    """The page that Prometheus reads."""

    def __init__(self, metrics: Sequence[Metric], figures: Callable[[], Any]) -> None:
        """`figures` gives the latest ones, off which the metrics are read."""
        self._metrics = metrics
        self._figures = figures
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def page(self) -> bytes:
        """The figures of now."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Any]:
        """What the library asks for: the figures as metric families."""
        figures = self._figures()
        for metric in self._metrics:
            yield _family(metric, figures)
        build = {"version": VERSION, "python": platform.python_version(), "librdkafka": libversion()[0]}
        yield InfoMetricFamily(BUILD_INFO, BUILD_MEANING, value=build)

    def describe(self) -> List[Any]:
        """Nothing: the library would otherwise collect once, to learn the names."""
        return []


def _family(metric: Metric, figures: Any) -> Any:
    family = _FAMILIES[metric.kind](metric.name, metric.meaning, labels=metric.labels)
    for labels, value in metric.read(figures):
        if isinstance(value, Histogram):
            family.add_metric(labels, *_cumulated(value))
        else:
            family.add_metric(labels, float(value))
    return family


def _cumulated(histogram: Histogram) -> Tuple[List[Tuple[str, float]], float]:
    bounds = [*map(repr, BOUNDS_S), "+Inf"]
    return list(zip(bounds, map(float, accumulate(histogram.counts)))), histogram.sum_s
