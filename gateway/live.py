"""Live updates put together: the hub, the bus that it hears, and the routes that lead to it.

Made when the settings first ask for it, so that a gateway without it imports none of it. The hub
lives as long as the worker; a reload changes its limits and its paths, and closes its connections
where it turns it off. What the bus was told, subject and stream, holds until a restart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from gateway import __version__
from gateway.bodies import flaw
from gateway.config.realtime import Realtime
from gateway.edge import Edge
from gateway.errors import BadRequest, NotFound, ValidationFailed
from gateway.exchange import Endpoint, Route
from gateway.stores import Bus
from gateway.telemetry.events import EventLog
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.requests import RouteMetrics

if TYPE_CHECKING:
    from gateway.realtime.hub import Hub, Limits

NAME: Final = "gateway.realtime"
STREAM_NAME: Final = "gateway.realtime_stream"


class LiveMeters:
    """Where the hub counts; cells are looked up once."""

    def __init__(self, metrics: Metrics) -> None:
        messages = metrics.websocket_messages
        self.connections = metrics.websocket_connections.child(NAME)
        self.sent = messages.child(NAME, "sent")
        self.received = messages.child(NAME, "received")
        self.dropped = metrics.websocket_dropped.child(NAME)
        self.subscriptions = metrics.realtime_subscriptions.child()
        self.queued = metrics.realtime_queued.child()
        self._events = metrics.realtime_events

    def event(self, result: str) -> None:
        self._events.child(result).inc()


class Live:
    """A worker's live updates, if it has any."""

    def __init__(
        self, edge: Edge, bus: Callable[[], Bus], *, metrics: Metrics, log: EventLog
    ) -> None:
        self._edge = edge
        self._bus_of = bus
        self._metrics = metrics
        self._log = log
        self._hub: Hub | None = None
        self._heard: Realtime | None = None  # what the bus was told
        self._settings: Realtime | None = None
        self._kept: str | None = None  # the stream that the bus was made with, at the start
        self._started = False
        self._described: Callable[[str, bool], dict[str, Any]] | None = None

    async def obey(self, settings: Realtime | None) -> None:
        """Be as these settings say; whoever is connected stays, if there is anything at all."""
        self._settings, self._described = settings, None
        stream = None if settings is None else settings.jetstream
        if not self._started:
            self._started, self._kept = True, stream
        if settings is None:
            if self._hub is not None:
                self._hub.going_away()
            return
        if self._hub is not None and self._heard is not None:
            self._hub.obey(limits_of(settings))
            if bus_settings(settings) != bus_settings(self._heard):
                self._log.warning("restart_needed", settings="realtime.subject, jetstream, history")
            return
        if stream != self._kept:
            self._log.warning("restart_needed", settings="realtime.jetstream")
        from gateway.realtime.hub import Hub

        self._heard = settings
        self._hub = Hub(
            asyncio.get_running_loop(), limits_of(settings), LiveMeters(self._metrics), self._log
        )
        await self._bus_of().listen(settings.subject, self._hub, settings.history)

    def routes(self) -> list[Route]:
        """Those that lead here, as `obey` was told."""
        settings = self._settings
        if settings is None or self._hub is None:
            return []
        from gateway.realtime.session import LiveSocket
        from gateway.realtime.stream import LiveStream

        return [
            self._route(NAME, settings, settings.path, LiveSocket(self._hub)),
            self._route(STREAM_NAME, settings, settings.stream, LiveStream(self._hub)),
        ]

    def _route(self, name: str, settings: Realtime, path: str, endpoint: Endpoint) -> Route:
        route = Route(
            name,
            endpoint,
            RouteMetrics(self._metrics, name),
            path.encode(),
            exact=True,
            methods=frozenset((b"GET",)),
            query_token=True,
        )
        return self._edge.put_on_live(route, settings)

    async def publish(self, data: bytes) -> None:
        """Tell everyone. Raises `BadRequest`, `ValidationFailed` (no event), `StoreDown`."""
        from gateway.realtime.wire import EXPLAINED, BadEvent, Offset, Update, read_event

        if self._heard is None:  # a reload took it away since the request was routed
            raise NotFound
        try:
            Update(*read_event(data), Offset("", 0))
        except BadEvent as error:
            if error.kind == "no_json":
                raise BadRequest("the body is not JSON", closes=False) from None
            what = flaw((), EXPLAINED[error.kind])
            raise ValidationFailed("this is no event", details=[what]) from None
        await self._bus_of().publish(self._heard.subject, data)

    def there(self) -> bool:
        """Whether there are live updates."""
        return self._settings is not None

    def document(self) -> Callable[[str, bool], dict[str, Any]] | None:
        """What describes them, for the host that was asked and whether over TLS."""
        if self._settings is None:
            return None
        if self._described is None:
            from gateway.realtime.asyncapi import AsyncApi

            self._described = AsyncApi(self._settings, __version__).at
        return self._described

    def status(self) -> dict[str, Any] | None:
        """What operators are shown; None where there are no live updates."""
        return self._hub.status() if self._hub is not None and self.there() else None

    def refresh(self) -> None:
        if self._hub is not None:
            self._hub.refresh()

    def close(self) -> None:
        if self._hub is not None:
            self._hub.cancel()


def bus_settings(settings: Realtime) -> tuple[object, ...]:
    """Those that only a restart changes."""
    return settings.subject, settings.jetstream, settings.history


def limits_of(settings: Realtime) -> Limits:
    """What clients of live updates may take."""
    from gateway.realtime.hub import Limits
    from gateway.realtime.subscriber import Pace

    return Limits(
        connections=settings.connections,
        connections_per_address=settings.connections_per_address,
        connections_per_key=settings.connections_per_key,
        max_message=settings.max_message,
        max_symbols=settings.max_symbols,
        wildcard=settings.wildcard,
        ping_interval=settings.ping_interval,
        idle_timeout=settings.idle_timeout,
        message_rate=settings.message_rate,
        deflate=settings.deflate,
        history=settings.history,
        pace=Pace(settings.update_rate, settings.buffer, settings.buffer_bytes, settings.conflate),
    )
