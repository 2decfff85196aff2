"""The composition root: settings in, the one aiohttp application and the request's path out.

What lives as long as the worker is made here, once: the application with the gateway's own
endpoints, the session that opens upstream connections, the stores, the metrics. What a reload
replaces is a `Generation` (gateway.generation).
"""

from __future__ import annotations

import asyncio
import traceback
from typing import Any, Final

from aiohttp import web

from gateway import __version__, api, headers
from gateway.apis import Services
from gateway.config import Settings
from gateway.described import Described
from gateway.edge import Edge
from gateway.endpoints.asyncapi import AsyncApi
from gateway.endpoints.cache import CachePurge
from gateway.endpoints.docs import Docs
from gateway.endpoints.events import Events
from gateway.endpoints.health import Health
from gateway.endpoints.keys import ManagedKeys
from gateway.endpoints.metrics import Scrape
from gateway.endpoints.status import Status
from gateway.errors import GatewayError, NotFound, UpstreamError
from gateway.exchange import Exchange, Route
from gateway.front import Front, Limits
from gateway.generation import Behind, Dialing, Generation
from gateway.http1.fields import HeadLimits
from gateway.live import Live
from gateway.local import Application, exchange_of, handler_of
from gateway.own import Handler, Own
from gateway.pipeline import Pipeline, error_body
from gateway.shared import Shared
from gateway.storage import Storage
from gateway.telemetry.access_log import AccessLog
from gateway.telemetry.events import EventLog, capture_logging
from gateway.telemetry.exposition import Exposition
from gateway.telemetry.instruments import Registry
from gateway.telemetry.metrics import NO_ROUTE, Metrics
from gateway.telemetry.output import LineWriter
from gateway.telemetry.requests import RouteMetrics

MOST_TOLD: Final = 1000  # balancers that the log complains of, until they are well


class Gateway:
    """A worker's gateway: everything between the listening sockets and the upstreams."""

    def __init__(self, settings: Settings, shared: Shared, slot: int) -> None:
        self.settings = settings
        self._shared = shared
        self._slot = slot
        regions = shared.regions
        self.registry = Registry(regions[slot], regions, self._metrics_full)
        self.metrics = Metrics(self.registry)
        self.metrics.build_info.child(__version__).set(1)
        self._writer = LineWriter(dropped=self.metrics.log_lines_dropped.child().inc)
        self.log = EventLog(self._writer.write, settings.log_level)
        self._access_log = AccessLog(self._writer.write)
        self._unrouted = RouteMetrics(self.metrics, NO_ROUTE)
        self._edge = Edge(settings, metrics=self.metrics, log=self.log, shared=shared)
        self._retired: list[Behind] = []
        self._unannounced: set[str] = set()  # balancers whose last PROXY header was none

    def _metrics_full(self) -> None:
        self.log.warning("metrics_full", problem="no room for further label combinations")

    # ------------------------------------------------------------------------------- opening

    async def open(self) -> None:
        loop = self._loop = asyncio.get_running_loop()
        capture_logging(self.log)
        settings = self.settings
        self._dialing = Dialing()
        self._storage = Storage(
            settings, self._shared, self._slot, metrics=self.metrics, log=self.log
        )
        self._edge.limiter = self._storage.limiter()
        self._edge.redis = self._storage.named("redis")
        self._edge.database = self._storage.database
        self._edge.session = self._dialing.session
        self._edge.exchange_of = exchange_of
        await self._edge.open()
        self._live = Live(self._edge, self._storage.bus, metrics=self.metrics, log=self.log)
        await self._live.obey(settings.realtime)
        self._apis = Services(
            self._storage,
            exchange_of=exchange_of,
            pools=self._pools,
            metrics=self.metrics,
            log=self.log,
        )
        await self._apis.obey(settings)
        self._docs = settings.docs
        self._described = Described(lambda: self.generation, self._own, self._dialing, self.log)
        self.application = self._application()
        self._runner = web.AppRunner(self.application, access_log=None, handler_cancellation=True)
        await self._runner.setup()
        self.generation = self._generate(settings, None)
        self.front = Front(
            loop,
            self._pipeline(self.generation),
            limits_of(settings),
        )

    def _own(self) -> list[Own]:
        return [one for one in (*self._table, *self._apis.table()) if one.there()]

    def _own_routes(self, settings: Settings) -> list[Route]:
        self._docs = settings.docs
        own = [self._own_route(one, settings) for one in self._own()]
        return own + self._live.routes()

    def _own_route(self, own: Own, settings: Settings) -> Route:
        assert self._runner.server is not None
        route = Route(
            own.name,
            own.endpoint or Application(self._runner.server, self._loop, own.handler),
            RouteMetrics(self.metrics, own.name),
            own.fixed.encode(),
            exact=True,
            parameter=own.parameter,
            methods=frozenset(own.methods),
            max_body=settings.max_body_size,
        )
        return self._edge.put_on_own(route, own)

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[self._answer_errors], client_max_size=0)
        application.on_response_prepare.append(self._prepare)
        self._table = api.table(
            Health(__version__, lambda: self._storage.configured, lambda: not self.front.draining),
            Status(__version__, self._services, self._live.status),
            Scrape(Exposition(self.registry), self.refresh),
            self._edge.sign_in,
            ManagedKeys(
                self._edge.keyring,
                tiers=lambda: self.generation.settings.tiers,
                exchange_of=exchange_of,
                log=self.log,
            ),
            self._edge.keeps_keys,
            CachePurge(lambda wanted: self._edge.shelves().purge(wanted)),
            self._edge.caches,
            AsyncApi(self._live.document, exchange_of),
            Events(self._live.publish),
            self._live.there,
            Docs(self._described.document),
            lambda: self._docs,
        )
        application.router.add_route("*", r"/{path:[\s\S]*}", _dispatch)  # line ends, too
        return application

    @web.middleware
    async def _answer_errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except GatewayError as error:
            return self._error(request, error)
        except web.HTTPException as error:
            if error.status == 404:
                return self._error(request, NotFound())
            raise
        except Exception as error:  # noqa: BLE001 - the client is told no more than that
            self._report("internal_error", exchange_of(request), error)
            return self._error(request, GatewayError())

    def _error(self, request: web.Request, error: GatewayError) -> web.Response:
        return web.Response(
            status=error.status,
            body=error_body(exchange_of(request), error),
            content_type="application/json",
            headers=[field_of(line) for line in error.fields],
        )

    async def _prepare(self, request: web.Request, response: web.StreamResponse) -> None:
        exchange = exchange_of(request)
        for name, value in map(field_of, headers.separate(exchange.lines)):
            if name != "Vary":  # several of them are one list
                response.headers.popall(name, None)
            response.headers.add(name, value)
        response.headers["X-Request-ID"] = exchange.request_id.decode()
        response.headers["Server"] = "gateway"
        if self.front.draining or not exchange.client.received_all:
            response.force_close()
            response.headers["Connection"] = "close"  # the hook comes after aiohttp wrote its own

    async def apply(self, settings: Settings) -> None:
        """Put other settings to work. What was bound at the start stays as it is."""
        before = self.generation
        self._edge.apply(settings)
        await self._live.obey(settings.realtime)
        await self._apis.obey(settings)
        try:
            after = self._generate(settings, before)
        except BaseException:
            self._edge.apply(before.settings)
            await self._live.obey(before.settings.realtime)
            await self._apis.obey(before.settings)
            await self._edge.settle()
            raise
        self.generation = after
        self._described.forget()
        self.front.pipeline = self._pipeline(after)
        self.front.obey(limits_of(settings))
        self.log.set_level(settings.log_level)
        self._retired += before.left_over(after)
        await self._edge.settle()

    def _generate(self, settings: Settings, before: Generation | None) -> Generation:
        return Generation(
            settings,
            before,
            own=self._own_routes(settings),
            edge=self._edge,
            dialing=self._dialing,
            metrics=self.metrics,
            log=self.log,
        )

    def _pipeline(self, generation: Generation) -> Pipeline:
        settings = generation.settings
        return Pipeline(
            generation.table,
            trusted=settings.trusted_proxies,
            unrouted=self._unrouted,
            record=self._access_log.record if settings.access_log else None,
            report=self._report,
            unrouted_policies=self._edge.unrouted(),
        )

    # ------------------------------------------------------------------------------ telemetry

    def _report(self, event: str, exchange: Exchange, error: BaseException | None) -> None:
        fields: dict[str, object] = {
            "request_id": exchange.request_id.decode(),
            "route": exchange.route.name if exchange.route is not None else None,
            "problem": exchange.error,
        }
        if error is not None and not isinstance(error, UpstreamError):
            fields["exception"] = trace(error)
        self.log.error(event, **fields)

    def _services(self) -> list[dict[str, Any]]:
        settings = self.generation.settings
        return [
            {
                "name": route.name,
                "prefix": route.prefix or route.path,
                "status": "configured",
                "targets": [target.url for target in settings.upstream_of(route)[1].targets],
            }
            for route in settings.routes
        ]

    def tick(self, lag: float) -> None:
        """Once a second: what grows old is let go, and the gauges are set."""
        self.metrics.event_loop_lag.child().set(lag)
        for behind in (*self.generation.behind.values(), *self._retired):
            behind.expire()
        self._retired = [behind for behind in self._retired if behind.open_connections()]
        self.refresh()

    def refresh(self) -> None:
        self._live.refresh()
        self.metrics.open_connections.child().set(len(self.front.connections))
        gauge = self.metrics.upstream_connections
        for name, states in self._pools().items():
            for state, count in states.items():
                gauge.child(name, state).set(count)

    def _pools(self) -> dict[str, dict[str, int]]:
        """Connections to each upstream, by state."""
        found = {}
        for name, behind in self.generation.behind.items():
            pools = [target.pool for target in behind.service.upstream.targets]
            states = ("idle", "active", "waiting")
            found[name] = {state: sum(getattr(pool, state) for pool in pools) for state in states}
        return found

    # --------------------------------------------------------------- what the acceptors notice

    def paused(self, reason: str) -> None:
        self.metrics.accept_paused.child().inc()
        self.log.warning("accept_paused", reason=reason, connections=len(self.front.connections))

    def resumed(self) -> None:
        self.log.info("accept_resumed")

    def turned_away(self, address: str) -> None:
        self.log.debug("connection_refused", client_ip=address, reason="connections_per_address")

    def announced(self, address: str, problem: str) -> None:
        """A balancer sent its PROXY header, or something else: told once, until it is well."""
        if not problem:
            self._unannounced.discard(address)
        elif address not in self._unannounced and len(self._unannounced) < MOST_TOLD:
            self._unannounced.add(address)
            self.log.warning("proxy_header_refused", balancer=address, problem=problem)

    async def close(self) -> None:
        self.front.cancel()
        self._live.close()
        for behind in (*self.generation.behind.values(), *self._retired):
            behind.close()
        await asyncio.gather(
            *(w for b in self.generation.behind.values() for w in b.watches),
            return_exceptions=True,
        )
        await self._runner.cleanup()
        await self._described.close()
        await self._edge.close()
        await self._dialing.close()
        await self._apis.close()
        await self._storage.close()
        await asyncio.sleep(0)  # for transports that were closed to say so
        self._writer.close()


def limits_of(settings: Settings) -> Limits:
    """What a client's connection may do."""
    limits = settings.limits
    return Limits(
        head=HeadLimits(
            limits.request_line, limits.header_field, limits.header_bytes, limits.header_count
        ),
        head_timeout=limits.head_timeout,
        body_min_rate=limits.body_min_rate,
        keepalive_timeout=limits.keepalive_timeout,
        send_timeout=limits.send_timeout,
        chunk_extension=limits.chunk_extension,
        buffer=limits.buffer,
    )


def field_of(line: bytes) -> tuple[str, str]:
    """A header line's name and value."""
    name, _, value = line.decode("latin-1").partition(":")
    return name, value.strip()


async def _dispatch(request: web.Request) -> web.StreamResponse:
    return await handler_of(request)(request)


def trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))
