"""The answer of `/metrics`: Prometheus text, OpenMetrics, or JSON.

The only importer of prometheus_client. prometheus_async's `server_stats` answers for the global
registry only, so its few lines stand here again, over a registry of our own: several gateways
can live in one process, and nothing that describes a single worker slips in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import Any, Final

import orjson
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.utils import floatToGoString

from gateway.telemetry.instruments import Histogram, Metric, Registry

JSON_TYPE: Final = "application/json"
TEXT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
OPENMETRICS_TYPE: Final = openmetrics.CONTENT_TYPE_LATEST

_CHOICES: Final = {
    JSON_TYPE: JSON_TYPE,
    "application/openmetrics-text": OPENMETRICS_TYPE,
    "text/plain": TEXT_TYPE,
}


class _Merged:
    """A collector: the regions of all workers as families of prometheus_client."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Family]:
        for name, children in self._registry.merged().items():
            if children:
                yield _family(self._registry.metrics[name], children.items())


def _family(metric: Metric, children: Iterable[tuple[tuple[str, ...], list[float]]]) -> Family:
    if isinstance(metric, Histogram):
        histogram = HistogramMetricFamily(metric.name, metric.documentation, labels=metric.labels)
        bounds = [*map(floatToGoString, metric.buckets), "+Inf"]
        for labels, values in children:
            counts = accumulate(values[:-1])
            histogram.add_metric(labels, list(zip(bounds, counts, strict=True)), values[-1])
        return histogram
    family = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    simple = family(metric.name, metric.documentation, labels=metric.labels)
    for labels, values in children:
        simple.add_metric(labels, values[0])
    return simple


class Exposition:
    """Renders what all workers counted."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self.collectors = CollectorRegistry(auto_describe=False)
        """For collectors of an extension's own; they answer for the worker that is asked only."""
        self.collectors.register(_Merged(registry))
        self._renderers: dict[str, Callable[[], bytes]] = {
            JSON_TYPE: self.json,
            OPENMETRICS_TYPE: self._openmetrics,
            TEXT_TYPE: lambda: generate_latest(self.collectors),
        }

    async def answer(self, accept: str | None) -> tuple[bytes, str]:
        """Body and Content-Type for an Accept header.

        Rendered in a thread: thousands of children take tens of milliseconds, which the
        loop has not got.
        """
        content_type = chosen_type(accept)
        body = await asyncio.to_thread(self._renderers[content_type])
        return body, content_type

    def _openmetrics(self) -> bytes:
        # The library types all its functions but this one.
        text: bytes = openmetrics.generate_latest(self.collectors)  # type: ignore[no-untyped-call]
        return text

    def json(self) -> bytes:
        """`{"metrics": [{name, type, help, samples: [{labels, value}]}]}`.

        A histogram's sample has `count`, `sum` and `buckets` (cumulative, by upper bound)
        in place of `value`.
        """
        return orjson.dumps(
            {
                "metrics": [
                    {
                        "name": name,
                        "type": metric.kind,
                        "help": metric.documentation,
                        "samples": [
                            {
                                "labels": dict(zip(metric.labels, labels, strict=True)),
                                **_json_value(metric, values),
                            }
                            for labels, values in children.items()
                        ],
                    }
                    for name, children in self._registry.merged().items()
                    for metric in (self._registry.metrics[name],)
                ]
            }
        )


def _json_value(metric: Metric, values: list[float]) -> dict[str, Any]:
    if not isinstance(metric, Histogram):
        return {"value": values[0]}
    counts = list(accumulate(values[:-1]))
    bounds = [*map(floatToGoString, metric.buckets), "+Inf"]
    return {
        "count": counts[-1],
        "sum": values[-1],
        "buckets": dict(zip(bounds, counts, strict=True)),
    }


def chosen_type(accept: str | None) -> str:
    """The Content-Type for an Accept header: the best-liked we have, else Prometheus text.

    Equal weights go to the first named (RFC 9110, section 12.5.1, leaves that open).
    """
    best, liking = TEXT_TYPE, 0.0
    for element in (accept or "").split(","):
        media, *parameters = (part.strip().lower() for part in element.split(";"))
        offered = _CHOICES.get(media)
        weight = _weight(parameters)
        if offered is not None and weight > liking:
            best, liking = offered, weight
    return best


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return float(parameter[2:])
            except ValueError:
                return 0.0
    return 1.0
