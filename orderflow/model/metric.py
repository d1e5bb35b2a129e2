"""A metric: its name, its kind and its meaning, and how to read it off the figures of whoever has it."""

from typing import Any, Callable, Iterable, NamedTuple, Tuple, Union

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"

BOUNDS_S: Tuple[float, ...] = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0),
)
"""Upper bounds of the buckets of every histogram; one more bucket holds what is longer than all of them."""


class Histogram(NamedTuple):
    """How long something took."""

    counts: Tuple[int, ...] = (0,) * (len(BOUNDS_S) + 1)
    """By bucket, not cumulated."""
    sum_s: float = 0.0

    def plus(self, other: "Histogram") -> "Histogram":
        """Both together."""
        return Histogram(tuple(map(sum, zip(self.counts, other.counts))), self.sum_s + other.sum_s)


Labels = Tuple[str, ...]
Sample = Tuple[Labels, Union[float, Histogram]]
"""The values of the labels, and the value that they have."""


class Metric(NamedTuple):
    """One metric."""

    name: str
    kind: str
    meaning: str
    read: Callable[[Any], Iterable[Sample]]
    """Reads its samples off the figures."""
    labels: Labels = ()
