"""Counters, gauges and histograms in shared memory.

A metric's `child` is its cell for one combination of label values. Whoever counts looks the
child up once and keeps it; counting is then one addition in shared memory (60 ns, a histogram
140 ns: a cached child of prometheus_client takes 300 to 600, in its multi-process mode 1,300
and more). Children hold a slice of the memory rather than memory and index, which measured the
same as closures and ctypes and a little better than two attributes.

Label values come from the configuration and from fixed tables, never from a client: the
number of children is bounded by them. A full region counts what it drops, and says so once.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Sequence
from math import isnan
from typing import Literal

from gateway.telemetry.memory import ABSENT, Region

Merge = Literal["sum", "max", "min"]
Kind = Literal["counter", "gauge", "histogram"]
Labels = tuple[str, ...]


class CounterCell:
    """Only grows; survives the death of its process."""

    __slots__ = ("_cell",)

    def __init__(self, cell: memoryview[float]) -> None:
        self._cell = cell

    def inc(self, n: float = 1.0) -> None:
        self._cell[0] += n


class GaugeCell:
    """Says how things are now, in this process."""

    __slots__ = ("_cell",)

    def __init__(self, cell: memoryview[float]) -> None:
        self._cell = cell

    def inc(self, n: float = 1.0) -> None:
        self._cell[0] += n

    def dec(self, n: float = 1.0) -> None:
        self._cell[0] -= n

    def set(self, value: float) -> None:
        self._cell[0] = value

    def forget(self) -> None:
        """Takes the value out of the answer until `set` is called again: its subject is gone."""
        self._cell[0] = ABSENT


class HistogramCell:
    """A count for each bucket, the last one for what is beyond all bounds, then the sum."""

    __slots__ = ("_bounds", "_cells")

    def __init__(self, cells: memoryview[float], bounds: Sequence[float]) -> None:
        self._cells = cells
        self._bounds = bounds

    def observe(self, value: float) -> None:
        cells = self._cells
        cells[bisect_left(self._bounds, value)] += 1.0
        cells[-1] += value


class Timed:
    """A counter and a histogram that go together: one call counts and times an event."""

    __slots__ = ("_bounds", "_cells", "_count")

    def __init__(self, counter: CounterCell, histogram: HistogramCell) -> None:
        self._count = counter._cell
        self._cells = histogram._cells
        self._bounds = histogram._bounds

    def observe(self, value: float) -> None:
        self._count[0] += 1.0
        cells = self._cells
        cells[bisect_left(self._bounds, value)] += 1.0
        cells[-1] += value


class Metric:
    """What all three have in common: a name, help, label names and children."""

    kind: Kind
    width = 1
    merge: Merge = "sum"

    def __init__(self, registry: Registry, name: str, documentation: str, *labels: str) -> None:
        self.name = name
        self.documentation = documentation
        self.labels = labels
        self._registry = registry
        registry.add(self)

    def _cells(self, values: tuple[str | int, ...]) -> memoryview[float]:
        if len(values) != len(self.labels):
            raise ValueError(f"{self.name} takes the labels {', '.join(self.labels)}")
        return self._registry.cells(self, tuple(map(str, values)))


class Counter(Metric):
    """`name` ends in `_total`."""

    kind = "counter"

    def __init__(self, registry: Registry, name: str, documentation: str, *labels: str) -> None:
        super().__init__(registry, name, documentation, *labels)
        self._children: dict[tuple[str | int, ...], CounterCell] = {}

    def child(self, *values: str | int) -> CounterCell:
        cell = self._children.get(values)
        if cell is None:
            cell = self._children[values] = CounterCell(self._cells(values))
        return cell


class Gauge(Metric):
    """`merge` says what the workers' values make together.

    A child of a summed gauge begins with 0; of the others it says nothing until it is set.
    """

    kind = "gauge"

    def __init__(
        self,
        registry: Registry,
        name: str,
        documentation: str,
        *labels: str,
        merge: Merge = "sum",
    ) -> None:
        super().__init__(registry, name, documentation, *labels)
        self.merge = merge
        self._children: dict[tuple[str | int, ...], GaugeCell] = {}

    def child(self, *values: str | int) -> GaugeCell:
        cell = self._children.get(values)
        if cell is None:
            cells = self._cells(values)
            if self.merge == "sum" and isnan(cells[0]):
                cells[0] = 0.0
            cell = self._children[values] = GaugeCell(cells)
        return cell


class Histogram(Metric):
    """`buckets` are upper bounds, inclusive, ascending, without infinity, in the metric's unit."""

    kind = "histogram"

    def __init__(
        self,
        registry: Registry,
        name: str,
        documentation: str,
        *labels: str,
        buckets: Sequence[float],
    ) -> None:
        self.buckets = tuple(buckets)
        self.width = len(self.buckets) + 2
        super().__init__(registry, name, documentation, *labels)
        self._children: dict[tuple[str | int, ...], HistogramCell] = {}

    def child(self, *values: str | int) -> HistogramCell:
        cell = self._children.get(values)
        if cell is None:
            cell = self._children[values] = HistogramCell(self._cells(values), self.buckets)
        return cell


class Registry:
    """The metrics of one process, and the view over those of all processes."""

    def __init__(
        self,
        region: Region,
        peers: Sequence[Region],
        on_full: Callable[[], None] = lambda: None,
    ) -> None:
        """Takes `region` over from whoever wrote it before: counters go on, gauges begin anew.

        `peers` are the regions of all processes, `region` among them. `on_full` is called
        once, when a label combination finds no room.
        """
        region.clear_gauges()
        self.metrics: dict[str, Metric] = {}
        self._region = region
        self._peers = peers
        self._on_full = on_full
        self._full = False
        self._reading = threading.Lock()  # two scrapes may be in two threads
        self._known = {
            (entry.kind, entry.name, entry.labels, entry.width): entry for entry in region.entries()
        }
        self._dropped = Counter(
            self,
            "gateway_metrics_dropped_total",
            "Label combinations that found no room and are not counted.",
        ).child()

    def add(self, metric: Metric) -> None:
        if metric.name in self.metrics:
            raise ValueError(f"{metric.name} exists already")
        self.metrics[metric.name] = metric

    def cells(self, metric: Metric, labels: Labels) -> memoryview[float]:
        """The cells of a combination: those it had, new ones, or scrap when there is no room."""
        key = (metric.kind, metric.name, labels, metric.width)
        entry = self._known.get(key) or self._region.allocate(*key)
        if entry is None:
            self._dropped.inc()
            if not self._full:
                self._full = True
                self._on_full()
            return memoryview(bytearray(8 * metric.width)).cast("d")
        self._known[key] = entry
        return self._region.cells[entry.index : entry.index + entry.width]

    def merged(self) -> dict[str, dict[Labels, list[float]]]:
        """The values of all processes: by metric, then by label values, in cell order."""
        merged: dict[str, dict[Labels, list[float]]] = {name: {} for name in self.metrics}
        for region in self._peers:
            with self._reading:
                entries = region.entries()
            for entry in entries:
                metric = self.metrics.get(entry.name)
                if metric is None:
                    continue
                values = list(region.cells[entry.index : entry.index + entry.width])
                if isnan(values[0]):
                    continue
                children = merged[entry.name]
                before = children.get(entry.labels)
                children[entry.labels] = (
                    values if before is None else _combined(metric.merge, before, values)
                )
        return merged


def _combined(merge: Merge, before: list[float], values: list[float]) -> list[float]:
    if merge == "sum":
        return [a + b for a, b in zip(before, values, strict=True)]
    choose = max if merge == "max" else min
    return [choose(before[0], values[0])]
