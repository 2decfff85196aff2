"""One configuration at work: the routing table, and the upstreams behind it.

A reload makes another generation. An upstream whose settings did not change goes on with its
connections and with what it knows of its targets; exchanges in flight finish in the generation
that they began in.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable, Sequence
from time import monotonic

import aiohttp

from gateway import headers
from gateway.config import Settings
from gateway.config.model import Route as RouteSettings
from gateway.config.model import Upstream as UpstreamSettings
from gateway.deadline import Deadline
from gateway.edge import Edge
from gateway.exchange import Exchange, Route
from gateway.http1.fields import HeadLimits
from gateway.proxy.dial import Connector, Dialer
from gateway.proxy.http import Proxy
from gateway.proxy.probe import probe
from gateway.proxy.service import Forwarding, Service, UpstreamMetrics
from gateway.proxy.transport import Connection
from gateway.proxy.websocket import Tunnel, TunnelMetrics
from gateway.routing import Table
from gateway.telemetry.access_log import target_fields
from gateway.telemetry.events import EventLog
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.requests import RouteMetrics
from gateway.upstreams import upstream as upstreams
from gateway.upstreams.target import Target


class Dialing:
    """What opens connections for a worker: one session, and a connector for each Unix socket."""

    def __init__(self) -> None:
        # `force_close`: the pools are ours (gateway.upstreams.pool), the connector's stays empty.
        self._connector = Connector(limit=0, force_close=True)
        self.session = aiohttp.ClientSession(
            connector=self._connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        )
        self._unix: dict[str, aiohttp.UnixConnector] = {}

    def connector(self, target: Target[Connection]) -> aiohttp.BaseConnector:
        socket = target.address.socket
        if socket is None:
            return self._connector
        if socket not in self._unix:
            self._unix[socket] = aiohttp.UnixConnector(socket, limit=0, force_close=True)
        return self._unix[socket]

    async def close(self) -> None:
        await self.session.close()
        for connector in self._unix.values():
            await connector.close()


class Behind:
    """An upstream at work, with what was made for it."""

    def __init__(self, made_from: object, service: Service) -> None:
        self.made_from = made_from  # settings: equal ones make an equal upstream
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

    def open_connections(self) -> int:
        return sum(target.pool.open for target in self.service.upstream.targets)


class Generation:
    """Made from settings, and from what the one before it can leave it."""

    def __init__(
        self,
        settings: Settings,
        before: Generation | None,
        *,
        own: Sequence[Route],
        dialing: Dialing,
        metrics: Metrics,
        log: EventLog,
        edge: Edge,
    ) -> None:
        self.settings = settings
        self._before = before.behind if before is not None else {}
        self._loop = asyncio.get_running_loop()
        self._dialing = dialing
        self._metrics = metrics
        self._log = log
        self._edge = edge
        self.behind: dict[str, Behind] = {}
        self.table = Table(own, [self._route(route) for route in settings.routes])
        self._before = {}

    def left_over(self, after: Generation) -> list[Behind]:
        """What the generation after this one does not use any more: closed, but not yet empty."""
        gone = [b for name, b in self.behind.items() if after.behind.get(name) is not b]
        for behind in gone:
            behind.close()
            for target in behind.service.upstream.targets:
                if target not in after.targets():
                    self._metrics.target_up.child(behind.service.name, target.name).forget()
        return gone

    def targets(self) -> set[Target[Connection]]:
        return {t for b in self.behind.values() for t in b.service.upstream.targets}

    def _route(self, route: RouteSettings) -> Route:
        settings, behind = self.settings, self.behind
        name, upstream = settings.upstream_of(route)
        if name not in behind:
            kept = self._before.get(name)
            if kept is None or kept.made_from != (upstream, wire_settings(settings)):
                kept = self._behind(name, upstream)
            behind[name] = kept
        path = (route.path or route.prefix or "/").encode()
        if route.path is None:
            path = path.rstrip(b"/")
        forwarding = Forwarding(
            behind[name].service,
            self._loop,
            timeout=route.timeout or settings.timeout,
            replay=settings.limits.replay,
            cut=len(path),
            rewrite=(route.rewrite or "").encode() if route.strip_prefix else None,
            preserve_host=route.preserve_host,
            via=route.via,
            websocket=self._tunnel_metrics(route.name) if route.websocket else None,
            websocket_idle=self._websocket_idle(route),
        )
        limit = settings.max_body_size if route.max_body_size is None else route.max_body_size
        made = Route(
            route.name,
            Proxy(forwarding),
            RouteMetrics(self._metrics, route.name),
            path,
            exact=route.path is not None,
            hosts=tuple(host.lower().encode() for host in route.hosts),
            methods=frozenset(m.encode() for m in route.methods) if route.methods else None,
            max_body=limit,
        )
        return self._edge.put_on(made, route)

    def _tunnel_metrics(self, route: str) -> TunnelMetrics:
        messages = self._metrics.websocket_messages
        return TunnelMetrics(
            self._metrics.websocket_connections.child(route),
            sent=messages.child(route, "sent"),
            received=messages.child(route, "received"),
        )

    def _websocket_idle(self, route: RouteSettings) -> Deadline[Tunnel] | None:
        seconds = route.websocket_idle_timeout
        if seconds is None:
            seconds = self.settings.websocket_idle_timeout
        return Deadline(self._loop, seconds, Tunnel.expired) if seconds else None

    def _behind(self, name: str, table: UpstreamSettings) -> Behind:
        upstream = upstreams.build(name, table, random.random, monotonic())
        tls = tls_context(table)
        settings, limits = self.settings, self.settings.limits
        dialers: dict[Target[Connection], Dialer] = {}
        for target in upstream.targets:
            dialer = dialers[target] = Dialer(
                target,
                self._dialing.session,
                self._dialing.connector(target),
                connect_timeout=settings.connect_timeout,
                buffer=limits.buffer,
                limits=HeadLimits(
                    limits.response_header_bytes,
                    limits.response_header_bytes,
                    limits.response_header_bytes,
                    limits.response_header_count,
                ),
                seconds=self._metrics.connect_duration.child(name),
                tls=tls,
                server_name=table.tls.server_name if table.tls else None,
            )
            target.label = target_fields(name, dialer.origin)
            self._metrics.target_up.child(name, target.name).set(1)
        errors = self._metrics.upstream_errors  # an upstream may outlive its generation
        metrics = UpstreamMetrics(
            self._metrics.upstream_duration.child(name),
            self._metrics.retries.child(name),
            lambda kind: errors.child(name, kind),
        )
        key = key_of(table.hash_on) if table.balance == "hash" else None
        behind = Behind((table, wire_settings(settings)), Service(upstream, dialers, metrics, key))
        if table.health_check is not None:
            behind.watches += [self._watch(name, d, table, tls) for d in dialers.values()]
        return behind

    def _watch(
        self, name: str, dialer: Dialer, table: UpstreamSettings, tls: ssl.SSLContext | None
    ) -> asyncio.Task[None]:
        assert table.health_check is not None
        up, log = self._metrics.target_up.child(name, dialer.target.name), self._log

        def changed(target: Target[Connection], why: str) -> None:
            up.set(target.healthy)
            event = "target_up" if target.healthy else "target_down"
            log.warning(event, upstream=name, target=target.name, reason=why or None)

        watch = probe(
            dialer,
            self._dialing.connector(dialer.target),
            table.health_check,
            tls=tls,
            server_name=table.tls.server_name if table.tls else None,
            changed=changed,
        )
        return self._loop.create_task(watch, name=f"health {name} {dialer.target.name}")


def wire_settings(settings: Settings) -> tuple[float, int, int, int]:
    """What an upstream's connections are made with beside its own settings."""
    limits = settings.limits
    return (
        settings.connect_timeout,
        limits.buffer,
        limits.response_header_bytes,
        limits.response_header_count,
    )


def tls_context(table: UpstreamSettings) -> ssl.SSLContext | None:
    """How an upstream's certificate is checked; None stands for the library's own way."""
    if table.tls is None:
        return None
    context = ssl.create_default_context(cafile=table.tls.ca)
    if not table.tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def key_of(hash_on: str) -> Callable[[Exchange], bytes]:
    """What `balance: hash` looks at in an exchange."""
    kind, _, name = hash_on.partition(":")
    wanted = name.lower().encode()
    if kind == "header":
        return lambda exchange: b",".join(exchange.head.values(wanted))
    if kind == "cookie":
        return lambda exchange: headers.cookie(exchange.head, name.encode())
    return lambda exchange: exchange.client_ip
