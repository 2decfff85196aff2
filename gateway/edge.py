"""The policies of every route, put together from the settings.

What the policies of all routes share (keys, counters, key sets, the cache) lives as long as the
worker and is made here, once; the policies themselves are made anew by every reload. A route
gets those that it asks for and no other, in one order: CORS first, so that whatever answers
early carries its headers; then who may at all, then how often, then what is asked.
"""

from __future__ import annotations

from collections.abc import Iterator

from gateway.config import Settings
from gateway.config.model import Route as RouteSettings
from gateway.exchange import Endpoint, Policy, Route
from gateway.shared import Shared
from gateway.telemetry.events import EventLog
from gateway.telemetry.metrics import Metrics


class Edge:
    """What a worker's policies share, and the maker of policies."""

    def __init__(
        self, settings: Settings, *, metrics: Metrics, log: EventLog, shared: Shared
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._log = log
        self._shared = shared

    async def open(self) -> None:
        """Open what needs a server or a file. A server that is down is no reason not to start."""

    async def close(self) -> None:
        """Close what `open` opened."""

    def apply(self, settings: Settings) -> None:
        """Have policies that are made from here on obey these settings."""
        self._settings = settings

    # ------------------------------------------------------------------------------ for a route

    def put_on(self, route: Route, settings: RouteSettings) -> Route:
        """The route with its policies."""
        route.policies = tuple(self._policies(settings))
        route.endpoint = self._endpoint(settings, route.endpoint)
        return route

    def put_on_own(self, route: Route) -> Route:
        """One of the gateway's own endpoints with its policies."""
        route.policies = tuple(self._own_policies(route))
        return route

    def unrouted(self) -> tuple[Policy, ...]:
        """What an error carries where no route matched."""
        return ()

    def _policies(self, settings: RouteSettings) -> Iterator[Policy]:
        """In the order in which a request meets them."""
        return iter(())

    def _own_policies(self, route: Route) -> Iterator[Policy]:
        return iter(())

    def _endpoint(self, settings: RouteSettings, endpoint: Endpoint) -> Endpoint:
        """What answers: the endpoint, or a cache in front of it."""
        return endpoint
