"""What is counted of each request: by route, method and status."""

from __future__ import annotations

from gateway.telemetry.instruments import Timed
from gateway.telemetry.metrics import Metrics, method_label


class RouteMetrics:
    """A route's cells, looked up the first time that a method meets a status."""

    __slots__ = ("_cells", "_metrics", "_name")

    def __init__(self, metrics: Metrics, name: str) -> None:
        self._metrics = metrics
        self._name = name
        self._cells: dict[tuple[bytes, int], Timed] = {}

    def finished(self, method: bytes, status: int, seconds: float) -> None:
        cells = self._cells.get((method, status))
        if cells is None:
            cells = self._learn(method, status)
        cells.observe(seconds)

    def _learn(self, method: bytes, status: int) -> Timed:
        label = method_label(method)
        cells = Timed(
            self._metrics.requests.child(self._name, label, status),
            self._metrics.request_duration.child(self._name, label),
        )
        if label != "OTHER":  # unknown methods are the client's to invent: not remembered
            self._cells[(method, status)] = cells
        return cells
