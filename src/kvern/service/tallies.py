"""Counters and histograms for what happens with every call, as `prometheus_client` shows them.

Its own take a lock and walk through five functions for each addition; these are whole numbers. Each series is added to
by one thread only, which is what makes that right.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from math import isinf
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Metric

S = TypeVar("S")


class Count:
    """One series of a counter."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def inc(self, amount: int = 1) -> None:
        """Add to it."""
        self.value += amount


class Spread:
    """One series of a histogram: how many values lie up to each bound, and their sum."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Add a value."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value


class _Family(Generic[S]):
    """A metric with its series, by the values of its labels."""

    kind = ""

    def __init__(self, name: str, text: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        self.name = name
        self.label_names = tuple(labels)
        self._text = text
        self._series: dict[tuple[str, ...], S] = {}
        if not labels:
            self.labels()  # shown from the beginning
        registry.register(self)

    def _new(self) -> S:
        raise NotImplementedError

    def labels(self, *values: str) -> S:
        """The series with these values; it is there from now on."""
        found = self._series.get(values)
        if found is None:
            if len(values) != len(self.label_names):
                raise ValueError(f"expected values for {self.label_names}, given {values}")
            found = self._series[values] = self._new()
        return found

    def describe(self) -> Iterable[Metric]:
        """The metric, without its figures."""
        return (Metric(self.name, self._text, self.kind),)

    def collect(self) -> Iterable[Metric]:
        """The metric as it is now."""
        metric = Metric(self.name, self._text, self.kind)
        for values, series in list(self._series.items()):
            self._show(metric, dict(zip(self.label_names, values, strict=True)), series)
        return (metric,)

    def _show(self, metric: Metric, labels: dict[str, str], series: S) -> None:
        raise NotImplementedError


class Counter(_Family[Count]):
    """What only grows."""

    kind = "counter"

    def _new(self) -> Count:
        return Count()

    def _show(self, metric: Metric, labels: dict[str, str], series: Count) -> None:
        metric.add_sample(f"{self.name}_total", labels, series.value)


class Histogram(_Family[Spread]):
    """How values are spread.

    Args:
        bounds: of its buckets, ascending; the last one has none.
    """

    kind = "histogram"

    def __init__(
        self, name: str, text: str, bounds: Sequence[float], labels: Sequence[str], registry: CollectorRegistry
    ) -> None:
        self._bounds = tuple(map(float, bounds))
        super().__init__(name, text, labels, registry)

    def _new(self) -> Spread:
        return Spread(self._bounds)

    def _show(self, metric: Metric, labels: dict[str, str], series: Spread) -> None:
        count = 0
        for bound, more in zip((*self._bounds, float("inf")), series.counts, strict=True):
            count += more
            metric.add_sample(f"{self.name}_bucket", {**labels, "le": "+Inf" if isinf(bound) else repr(bound)}, count)
        metric.add_sample(f"{self.name}_count", labels, count)
        metric.add_sample(f"{self.name}_sum", labels, series.total)
