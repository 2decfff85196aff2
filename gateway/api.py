"""The gateway's own endpoints, all of them: nothing registers itself elsewhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from gateway.endpoints.health import Health
from gateway.endpoints.metrics import Scrape
from gateway.endpoints.status import Status

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Own:
    """One endpoint. `name` is its route in logs and metrics. GET stands for HEAD, too."""

    name: str
    method: str
    path: str
    handler: Handler

    @property
    def methods(self) -> tuple[bytes, ...]:
        return (b"GET", b"HEAD") if self.method == "GET" else (self.method.encode(),)


def table(health: Health, status: Status, scrape: Scrape) -> tuple[Own, ...]:
    return (
        Own("gateway.health", "GET", "/health", health.answer),
        Own("gateway.live", "GET", "/health/live", health.live),
        Own("gateway.ready", "GET", "/health/ready", health.ready),
        Own("gateway.metrics", "GET", "/metrics", scrape.negotiated),
        Own("gateway.metrics_prom", "GET", "/metrics_prom", scrape.text),
        Own("gateway.status", "GET", "/api/gateway/status", status.answer),
        Own("gateway.services", "GET", "/api/gateway/services", status.services),
    )
