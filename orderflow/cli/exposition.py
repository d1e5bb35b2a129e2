"""Writes figures in Prometheus's text format.

The library writes it. What it wrote is kept as far as it stays the same from one scrape to the next, which is
all but the numbers: a page is made while the loop wants the interpreter too, so it has to take little time.
"""

import platform
from functools import lru_cache
from itertools import accumulate
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Sequence, Tuple

from confluent_kafka import libversion
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.utils import floatToGoString

from orderflow.model.metric import BOUNDS_S, COUNTER, GAUGE, HISTOGRAM, Histogram, Labels, Metric, Sample
from orderflow.version import VERSION

BUILD_INFO = "orders_build"
BUILD_MEANING = "always 1; its labels are the versions of the toolkit, of Python and of librdkafka"
_FAMILIES: Dict[str, Any] = {
    COUNTER: CounterMetricFamily,
    GAUGE: GaugeMetricFamily,
    HISTOGRAM: HistogramMetricFamily,
}


_number = lru_cache(maxsize=1024)(floatToGoString)
"""A number as the library writes it. Most are what they were, or 0."""


class Exposition:
    """The page that Prometheus reads."""

    def __init__(self, metrics: Sequence[Metric], figures: Callable[[], Any]) -> None:
        """`figures` gives the latest ones, off which the metrics are read."""
        self._metrics = metrics
        self._figures = figures
        self._forms: Dict[str, _Form] = {}
        """By metric, that of the last page."""
        build = {"version": VERSION, "python": platform.python_version(), "librdkafka": libversion()[0]}
        self._build = _written(InfoMetricFamily(BUILD_INFO, BUILD_MEANING, value=build))

    def page(self) -> bytes:
        """The figures of now."""
        figures = self._figures()
        parts: List[str] = []
        for metric in self._metrics:
            parts += self._lines(metric, list(metric.read(figures)))
        return "".join([*parts, self._build]).encode()

    def _lines(self, metric: Metric, samples: Sequence[Sample]) -> List[str]:
        labels = [labels for labels, _ in samples]
        form = self._forms.get(metric.name)
        if form is None or form.labels != labels:  # threads may both make it, and make the same
            form = self._forms[metric.name] = _form_of(metric, samples)
        numbers = map(_number, _numbers(samples))
        return [form.head, *(f"{start}{number}\n" for start, number in zip(form.starts, numbers))]


class _Form(NamedTuple):
    """A metric as the library writes it, without its numbers."""

    labels: List[Labels]
    """Those of the samples that it was made of."""
    head: str
    starts: List[str]
    """What stands before the number in each line."""


def _form_of(metric: Metric, samples: Sequence[Sample]) -> _Form:
    lines = _written(_family(metric, samples)).rstrip("\n").split("\n")
    head = [line for line in lines if line.startswith("#")]
    starts = [f"{line.rpartition(' ')[0]} " for line in lines[len(head) :]]
    return _Form([labels for labels, _ in samples], "".join(f"{line}\n" for line in head), starts)


def _numbers(samples: Sequence[Sample]) -> Iterator[float]:
    """In the order of the library's lines."""
    for _, value in samples:
        if isinstance(value, Histogram):
            counts = [*map(float, accumulate(value.counts))]
            yield from (*counts, counts[-1], value.sum_s)
        else:
            yield float(value)


class _Alone:
    """One family, as the library asks for it."""

    def __init__(self, family: Any) -> None:
        self._family = family

    def collect(self) -> Iterator[Any]:
        """The one."""
        yield self._family

    def describe(self) -> List[Any]:
        """Nothing: the library would otherwise collect once, to learn the names."""
        return []


def _written(family: Any) -> str:
    """A family as the library writes it."""
    registry = CollectorRegistry()
    registry.register(_Alone(family))
    return generate_latest(registry).decode()


def _family(metric: Metric, samples: Sequence[Sample]) -> Any:
    family = _FAMILIES[metric.kind](metric.name, metric.meaning, labels=metric.labels)
    for labels, value in samples:
        if isinstance(value, Histogram):
            family.add_metric(labels, *_cumulated(value))
        else:
            family.add_metric(labels, float(value))
    return family


def _cumulated(histogram: Histogram) -> Tuple[List[Tuple[str, float]], float]:
    bounds = [*map(repr, BOUNDS_S), "+Inf"]
    return list(zip(bounds, map(float, accumulate(histogram.counts)))), histogram.sum_s
