"""The composition root: settings in, the one aiohttp application and the request's path out.

What lives as long as the worker is made once, in `Gateway`: the application with the gateway's
own endpoints, the session whose connector opens upstream connections, the stores, the metrics.
What a reload replaces is a `Generation`: the routing table and the upstreams behind it. An
upstream whose settings did not change goes on with its connections and what it knows of its
targets; exchanges in flight finish in the generation that they began in.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Sequence
from time import monotonic
from typing import Any

import aiohttp
from aiohttp import web

from gateway import __version__, api, headers
from gateway.config import Settings
from gateway.config.model import Route as RouteSettings
from gateway.config.model import Stores as StoreSettings
from gateway.config.model import Upstream as UpstreamSettings
from gateway.deadline import Deadline
from gateway.downstream import Front, Limits
from gateway.endpoints.health import Health, Store
from gateway.endpoints.metrics import Scrape
from gateway.endpoints.status import Status
from gateway.errors import GatewayError, NotFound, UpstreamError
from gateway.exchange import Exchange, Route
from gateway.http1.fields import HeadLimits
from gateway.local import Application, Handler
from gateway.pipeline import Pipeline, error_body
from gateway.proxy.dial import Dialer
from gateway.proxy.http import Proxy, Service, UpstreamMetrics
from gateway.proxy.transport import Connection
from gateway.proxy.websocket import Tunnel, TunnelMetrics
from gateway.routing import Table
from gateway.telemetry.access_log import AccessLog, target_fields
from gateway.telemetry.events import EventLog, capture_logging
from gateway.telemetry.exposition import Exposition
from gateway.telemetry.instruments import Registry
from gateway.telemetry.memory import Region
from gateway.telemetry.metrics import NO_ROUTE, Metrics
from gateway.telemetry.output import LineWriter
from gateway.telemetry.requests import RouteMetrics
from gateway.upstreams import upstream as upstreams
from gateway.upstreams import health
from gateway.upstreams.target import Target


class Behind:
    """An upstream at work, with what was made for it."""

    def __init__(self, settings: UpstreamSettings, service: Service) -> None:
        self.settings = settings
        self.service = service
        self.watches: list[asyncio.Task[None]] = []

    def expire(self) -> None:
        for dialer in self.service.dialers.values():
            dialer.expire()

    def close(self) -> None:
        for watch in self.watches:
            watch.cancel()
        for dialer in self.service.dialers.values():
            dialer.close()


class Generation:
    """One configuration at work."""

    def __init__(self, pipeline: Pipeline, behind: dict[str, Behind]) -> None:
        self.pipeline = pipeline
        self.behind = behind


class Gateway:
    """A worker's gateway: everything between the listening sockets and the upstreams."""

    def __init__(self, settings: Settings, regions: Sequence[Region], slot: int) -> None:
        self.settings = settings
        self.registry = Registry(regions[slot], regions, self._metrics_full)
        self.metrics = Metrics(self.registry)
        self.metrics.build_info.child(__version__).set(1)
        self._writer = LineWriter(dropped=self.metrics.log_lines_dropped.child().inc)
        self.log = EventLog(self._writer.write, settings.log_level)
        self._access_log = AccessLog(self._writer.write)
        self._unrouted = RouteMetrics(self.metrics, NO_ROUTE)
        self._retired: list[Behind] = []
        self._stores: list[Any] = []

    def _metrics_full(self) -> None:
        self.log.warning("metrics_full", problem="no room for further label combinations")

    # ------------------------------------------------------------------------------- opening

    async def open(self) -> None:
        loop = self._loop = asyncio.get_running_loop()
        capture_logging(self.log)
        settings = self.settings
        self._connector = aiohttp.TCPConnector(limit=0, force_close=True)
        self._session = aiohttp.ClientSession(
            connector=self._connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        )
        self._unix: dict[str, aiohttp.UnixConnector] = {}
        self._stores = open_stores(settings.stores)
        self.application = self._application()
        self._runner = web.AppRunner(self.application, access_log=None, handler_cancellation=True)
        await self._runner.setup()
        assert self._runner.server is not None
        endpoint = Application(self._runner.server, loop)
        self._own = [
            Route(
                own.name,
                endpoint,
                RouteMetrics(self.metrics, own.name),
                own.path.encode(),
                exact=True,
                methods=frozenset((b"GET", b"HEAD") if own.method == "GET" else (own.method.encode(),)),
                max_body=settings.max_body_size,
            )
            for own in self._table
        ]
        self._generation = self._generate(settings, {})
        limits = settings.limits
        self.front = Front(
            loop,
            self._generation.pipeline,
            Limits(
                head=HeadLimits(
                    limits.request_line, limits.header_field, limits.header_bytes, limits.header_count
                ),
                head_timeout=limits.head_timeout,
                body_min_rate=limits.body_min_rate,
                keepalive_timeout=limits.keepalive_timeout,
                send_timeout=limits.send_timeout,
                chunk_extension=limits.chunk_extension,
                buffer=limits.buffer,
            ),
        )

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[self._answer_errors], client_max_size=0)
        application.on_response_prepare.append(self._prepare)
        self._table = api.table(
            Health(__version__, lambda: self._stores, lambda: not self.front.draining),
            Status(__version__, self._services),
            Scrape(Exposition(self.registry), self.refresh),
        )
        for own in self._table:
            application.router.add_route(own.method, own.path, own.handler)
            if own.method == "GET":
                application.router.add_route("HEAD", own.path, own.handler)
        return application

    @web.middleware
    async def _answer_errors(
        self, request: web.Request, handler: api.Handler
    ) -> web.StreamResponse:
        try:
            return await handler(request)
        except GatewayError as error:
            return self._error(request, error)
        except web.HTTPException as error:
            if error.status == 404:
                return self._error(request, NotFound())
            raise
        except Exception:
            logging_exchange = exchange_of(request)
            self.log.error("internal_error", request_id=logging_exchange.request_id.decode(),
                           exception=trace())
            return self._error(request, GatewayError())

    def _error(self, request: web.Request, error: GatewayError) -> web.Response:
        return web.Response(
            status=error.status,
            body=error_body(exchange_of(request), error),
            content_type="application/json",
        )

    async def _prepare(self, request: web.Request, response: web.StreamResponse) -> None:
        response.headers["X-Request-ID"] = exchange_of(request).request_id.decode()
        response.headers["Server"] = "gateway"
        if self.front.draining:
            response.force_close()

    # ---------------------------------------------------------------------------- generations

    async def apply(self, settings: Settings) -> None:
        """Put other settings to work. What was bound at the start stays as it is."""
        old = self._generation
        new = self._generate(settings, old.behind)
        self.settings = settings
        self._generation = new
        self.front.pipeline = new.pipeline
        self.log.set_level(settings.log_level)
        for name, behind in old.behind.items():
            if new.behind.get(name) is not behind:
                behind.close()
                self._retired.append(behind)

    def _generate(self, settings: Settings, old: dict[str, Behind]) -> Generation:
        behind: dict[str, Behind] = {}
        routes = [self._route(settings, route, old, behind) for route in settings.routes]
        pipeline = Pipeline(
            Table(self._own, routes),
            trusted=settings.trusted_proxies,
            unrouted=self._unrouted,
            record=self._access_log.record if settings.access_log else None,
            report=self._report,
        )
        return Generation(pipeline, behind)

    def _route(
        self,
        settings: Settings,
        route: RouteSettings,
        old: dict[str, Behind],
        behind: dict[str, Behind],
    ) -> Route:
        name, upstream = settings.upstream_of(route)
        if name not in behind:
            kept = old.get(name)
            reused = kept is not None and kept.settings == upstream
            behind[name] = kept if reused and kept else self._behind(settings, name, upstream)
        path = (route.path or route.prefix or "/").encode()
        if route.path is None:
            path = path.rstrip(b"/")
        endpoint = Proxy(
            behind[name].service,
            self._loop,
            timeout=route.timeout or settings.timeout,
            replay=settings.limits.replay,
            refuse=lambda exchange, error: self.front.pipeline.refuse(exchange, error),
            cut=len(path),
            rewrite=(route.rewrite or "").encode() if route.strip_prefix else None,
            preserve_host=route.preserve_host,
            via=route.via,
            websocket=self._tunnel_metrics(route.name) if route.websocket else None,
            websocket_idle=self._websocket_idle(settings, route),
        )
        limit = settings.max_body_size if route.max_body_size is None else route.max_body_size
        return Route(
            route.name,
            endpoint,
            RouteMetrics(self.metrics, route.name),
            path,
            exact=route.path is not None,
            hosts=tuple(host.lower().encode() for host in route.hosts),
            methods=frozenset(m.encode() for m in route.methods) if route.methods else None,
            max_body=limit,
        )

    def _tunnel_metrics(self, route: str) -> TunnelMetrics:
        messages = self.metrics.websocket_messages
        return TunnelMetrics(
            self.metrics.websocket_connections.child(route),
            sent=messages.child(route, "sent"),
            received=messages.child(route, "received"),
        )

    def _websocket_idle(self, settings: Settings, route: RouteSettings) -> Deadline[Tunnel] | None:
        seconds = route.websocket_idle_timeout
        if seconds is None:
            seconds = settings.websocket_idle_timeout
        return Deadline(self._loop, seconds, Tunnel.expired) if seconds else None

    def _behind(self, settings: Settings, name: str, table: UpstreamSettings) -> Behind:
        upstream = upstreams.build(name, table, random.random, monotonic())
        tls = tls_context(table)
        limits = settings.limits
        dialers: dict[Target[Connection], Dialer] = {}
        for target in upstream.targets:
            dialer = dialers[target] = Dialer(
                target,
                self._session,
                self._connector_for(target),
                connect_timeout=settings.connect_timeout,
                buffer=limits.buffer,
                limits=HeadLimits(
                    limits.response_header_bytes,
                    limits.response_header_bytes,
                    limits.response_header_bytes,
                    limits.response_header_count,
                ),
                tls=tls,
                server_name=table.tls.server_name if table.tls else None,
            )
            target.label = target_fields(name, dialer.origin)
            self.metrics.target_up.child(name, target.name).set(1)
        metrics = UpstreamMetrics(
            self.metrics.upstream_duration.child(name),
            self.metrics.retries.child(name),
            lambda kind: self.metrics.upstream_errors.child(name, kind),
        )
        key = key_of(table.hash_on) if table.balance == "hash" else None
        behind = Behind(table, Service(upstream, dialers, metrics, key))
        if table.health_check is not None:
            for target in upstream.targets:
                behind.watches.append(self._watch(name, target, dialers[target], table, tls))
        return behind

    def _connector_for(self, target: Target[Connection]) -> aiohttp.BaseConnector:
        if target.address.scheme != "unix":
            return self._connector
        path = target.address.host
        if path not in self._unix:
            self._unix[path] = aiohttp.UnixConnector(path, limit=0, force_close=True)
        return self._unix[path]

    def _watch(
        self,
        name: str,
        target: Target[Connection],
        dialer: Dialer,
        table: UpstreamSettings,
        tls: ssl.SSLContext | None,
    ) -> asyncio.Task[None]:
        check = table.health_check
        assert check is not None
        up = self.metrics.target_up.child(name, target.name)
        session = self._session
        if target.address.scheme == "unix":
            session = aiohttp.ClientSession(
                connector=self._connector_for(target), connector_owner=False
            )
        url = dialer.url.with_path(target.address.base_path.decode() + check.path)

        async def ask(_: Target[Connection]) -> bool:
            async with session.get(
                url,
                allow_redirects=False,
                ssl=tls if tls is not None else True,
                server_hostname=table.tls.server_name if table.tls else None,
            ) as answer:
                return answer.status < 400

        def changed(_: Target[Connection], why: str) -> None:
            up.set(target.healthy)
            log = self.log.info if target.healthy else self.log.warning
            log("target_up" if target.healthy else "target_down", upstream=name,
                target=target.name, reason=why)

        async def watch() -> None:
            try:
                await health.watch(target, ask, check, changed, random.random)
            finally:
                if session is not self._session:
                    await session.close()

        return self._loop.create_task(watch(), name=f"health {name} {target.name}")

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
        settings = self.settings
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
        for behind in (*self._generation.behind.values(), *self._retired):
            behind.expire()
        self._retired = [
            b for b in self._retired if any(t.pool.open for t in b.service.upstream.targets)
        ]
        self.refresh()

    def refresh(self) -> None:
        self.metrics.open_connections.child().set(len(self.front.connections))
        gauge = self.metrics.upstream_connections
        for name, behind in self._generation.behind.items():
            pools = [target.pool for target in behind.service.upstream.targets]
            for state in ("idle", "active", "waiting"):
                gauge.child(name, state).set(sum(getattr(pool, state) for pool in pools))

    # --------------------------------------------------------------- what the acceptors notice

    def paused(self, reason: str) -> None:
        self.metrics.accept_paused.child().inc()
        self.log.warning("accept_paused", reason=reason, connections=len(self.front.connections))

    def resumed(self) -> None:
        self.log.info("accept_resumed")

    def turned_away(self, address: str) -> None:
        self.log.debug("connection_refused", client_ip=address, reason="connections_per_address")

    async def close(self) -> None:
        self.front.cancel()
        for behind in (*self._generation.behind.values(), *self._retired):
            behind.close()
        await asyncio.gather(
            *(w for b in self._generation.behind.values() for w in b.watches),
            return_exceptions=True,
        )
        await self._runner.cleanup()
        await self._session.close()
        for connector in self._unix.values():
            await connector.close()
        for store in self._stores:
            await store.close()
        await asyncio.sleep(0)  # for transports that were closed to say so
        self._writer.close()


def exchange_of(request: web.Request) -> Exchange:
    handler = request.protocol
    assert isinstance(handler, Handler)
    return handler.local.exchange


def open_stores(settings: StoreSettings) -> list[Store]:
    """Those that are configured; a client library is imported when it is needed."""
    stores: list[Store] = []
    if settings.redis is not None:
        from gateway.stores.redis import Redis

        stores.append(Redis(settings.redis.get_secret_value()))
    if settings.postgres is not None:
        from gateway.stores.postgres import Postgres

        stores.append(Postgres(settings.postgres.get_secret_value()))
    if settings.nats is not None:
        from gateway.stores.nats import Nats

        stores.append(Nats(settings.nats.get_secret_value()))
    if settings.sqlite is not None:
        from gateway.stores.sqlite import Sqlite

        stores.append(Sqlite(settings.sqlite))
    return stores


def tls_context(table: UpstreamSettings) -> ssl.SSLContext | None:
    """How an upstream's certificate is checked; None stands for the library's own way."""
    if table.tls is None:
        return None
    context = ssl.create_default_context(cafile=table.tls.ca)
    if not table.tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def key_of(hash_on: str) -> Any:
    """What `balance: hash` looks at in an exchange."""
    kind, _, name = hash_on.partition(":")
    wanted = name.lower().encode()
    if kind == "header":
        return lambda exchange: b",".join(exchange.head.values(wanted))
    if kind == "cookie":
        return lambda exchange: headers.cookie(exchange.head, name.encode())
    return lambda exchange: exchange.client_ip.encode()


def trace(error: BaseException | None = None) -> str:
    import traceback

    return "".join(traceback.format_exception(error)) if error else traceback.format_exc()
