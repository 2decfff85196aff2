"""A request on its way to an upstream and the answer on its way back.

Three lifetimes, three objects: `Proxy` lives as long as its route, a `Relay` as long as one
exchange, a `Connection` (gateway.proxy.transport) for many of them. A relay makes attempts: it
chooses a target, takes a connection to it, sends the request and passes on what comes. What the
client sends goes up piece by piece as it arrives; what the upstream sends comes down likewise;
when one side takes no more, the other is not read. Nothing is joined and nothing is stored, but
for the first `replay` bytes of a body, in case a second attempt has to be made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Final

from gateway import headers
from gateway.deadline import Deadline
from gateway.errors import (
    GatewayError,
    UpstreamBusy,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from gateway.exchange import Exchange, Piece
from gateway.http1.chunked import chunked
from gateway.http1.fields import CHUNKED, PLAIN, name_of
from gateway.http1.response import ResponseHead
from gateway.http1.response import kind_of as response_kind
from gateway.proxy.dial import Dialer, is_safe_to_repeat
from gateway.proxy.transport import Connection
from gateway.proxy.websocket import Tunnel, TunnelMetrics
from gateway.telemetry.instruments import CounterCell, HistogramCell
from gateway.upstreams.retry import RETRYABLE_STATUS, Reach
from gateway.upstreams.target import Target
from gateway.upstreams.upstream import Upstream

if TYPE_CHECKING:
    from gateway.downstream import Downstream

TE_LINES: Final = b"Connection: TE\r\nTE: trailers"
LAST_CHUNK: Final = b"0\r\n\r\n"


class UpstreamMetrics:
    """An upstream's cells, looked up once."""

    def __init__(
        self,
        duration: HistogramCell,
        retries: CounterCell,
        errors: Callable[[str], CounterCell],
    ) -> None:
        self.duration = duration
        self.retries = retries
        self.errors = errors


class Service:
    """An upstream as a worker speaks to it: its targets, their dialers, its cells."""

    def __init__(
        self,
        upstream: Upstream[Connection],
        dialers: dict[Target[Connection], Dialer],
        metrics: UpstreamMetrics,
        key: Callable[[Exchange], bytes] | None,
    ) -> None:
        self.name = upstream.name
        self.upstream = upstream
        self.dialers = dialers
        self.metrics = metrics
        self.key = key


class Proxy:
    """A route's endpoint: what answers is an upstream."""

    def __init__(
        self,
        service: Service,
        loop: asyncio.AbstractEventLoop,
        *,
        timeout: float,
        replay: int,
        refuse: Callable[[Exchange, GatewayError], None],
        cut: int = 0,
        rewrite: bytes | None = None,
        preserve_host: bool = True,
        via: bool = False,
        websocket: TunnelMetrics | None = None,
        websocket_idle: Deadline[Tunnel] | None = None,
    ) -> None:
        """`cut` bytes of the path give way to `rewrite`; `refuse` answers with an error."""
        self.service = service
        self.loop = loop
        self.replay = replay
        self.refuse = refuse
        self.preserve_host = preserve_host
        self.websocket = websocket
        self.websocket_idle = websocket_idle
        self.via = (b"Via: 1.1 gateway",) if via else ()
        self.silence = Deadline(loop, timeout, Relay.expired)
        self.moves = rewrite is not None
        self._cut = cut
        self._rewrite = rewrite

    def handle(self, exchange: Exchange) -> None:
        Relay(self, exchange).begin()

    def path(self, path: bytes, base: bytes) -> bytes:
        """What the upstream is asked for: the bytes that chose the route, but for its prefix."""
        if self._rewrite is None:
            return base + path
        return base + self._rewrite + path[self._cut :] or b"/"


class Relay:
    """One exchange with an upstream, over all its attempts."""

    __slots__ = (
        "_attempt",
        "_begun",
        "_chunks",
        "_client",
        "_connection",
        "_ended",
        "_exchange",
        "_keep",
        "_kept",
        "_kept_size",
        "_muted",
        "_proxy",
        "_service",
        "_since",
        "_target",
        "_task",
        "_trailers",
        "_tried",
        "method",
    )

    def __init__(self, proxy: Proxy, exchange: Exchange) -> None:
        self._proxy = proxy
        self._service = proxy.service
        self._exchange = exchange
        self._client: Downstream = exchange.client  # type: ignore[assignment]
        self.method = exchange.head.method
        self._attempt = 0
        self._tried: tuple[Target[Connection], ...] = ()
        self._target: Target[Connection] | None = None
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._since = 0.0
        self._ended = not exchange.head.length
        self._kept: list[Piece] | None = None if self._ended else []
        self._kept_size = 0
        self._begun = self._chunks = self._muted = False
        self._keep = False
        self._trailers = False

    def begin(self) -> None:
        budget = self._service.upstream.retries.budget
        if budget is not None:
            budget.deposit(self._exchange.started)
        self._client.sink = self
        self._try(self._exchange.started)

    # ------------------------------------------------------------------------------- attempts

    def _try(self, now: float) -> None:
        service = self._service
        key = service.key(self._exchange) if service.key is not None else b""
        target = service.upstream.choose(key, now, self._tried)
        if target is None:
            self._give_up(UpstreamUnavailable())
            return
        target.started(now)
        self._target = target
        self._since = now
        self._attempt += 1
        connection = target.pool.take()
        if connection is not None and connection.usable:
            self._send(target, connection)
            return
        if connection is not None:
            connection.discard()
        self._task = self._proxy.loop.create_task(self._dial(target, connection is not None))

    async def _dial(self, target: Target[Connection], slot: bool) -> None:
        try:
            connection = await self._service.dialers[target].connection(slot)
        except UpstreamError as error:
            self._task = None
            self.failed(error)
            return
        self._task = None
        self._send(target, connection)

    def _send(self, target: Target[Connection], connection: Connection) -> None:
        proxy, exchange, address = self._proxy, self._exchange, target.address
        self._connection = connection
        path = exchange.path
        if proxy.moves or address.base_path:
            path = proxy.path(path, address.base_path)
        exchange.target_fields = target.label
        exchange.sent_path = path
        host = exchange.host
        if host is None or not proxy.preserve_host:
            host = address.authority
        extra = proxy.via if exchange.head.plain else self._extra()
        connection.send(self, headers.upward(exchange, path, host, extra))
        if self._ended and not self._kept:
            connection.sent_all = True
            proxy.silence.start(self)
            return
        self._send_body(connection)

    def _extra(self) -> Sequence[bytes]:
        head, lines = self._exchange.head, list(self._proxy.via)
        if head.length == CHUNKED:
            lines.append(headers.CHUNKED_LINE)
        if head.upgrade and self._proxy.websocket is not None:
            lines.append(headers.UPGRADE_LINES)
        elif head.te_trailers:
            lines.append(TE_LINES)
        return lines

    def _send_body(self, connection: Connection) -> None:
        """What has come of the body so far; the rest as it comes."""
        if self._kept:
            connection.write(self._framed(self._kept))
            if self._kept_size > self._proxy.replay:
                self._kept = None
        if self._ended:
            self._finish_request(connection)
            return
        self._client.proceed()
        if not connection.blocked:
            self._client.resume()

    def _finish_request(self, connection: Connection) -> None:
        if self._exchange.head.length == CHUNKED:
            connection.write([LAST_CHUNK])
        connection.sent_all = True
        if not self._begun:
            self._proxy.silence.start(self)

    def _framed(self, pieces: Sequence[Piece]) -> list[Piece]:
        if self._exchange.head.length != CHUNKED:
            return list(pieces)
        return chunked(pieces)

    # ----------------------------------------------------------------------- the client's part

    def received(self, pieces: Sequence[Piece]) -> None:
        if self._kept is not None:
            self._kept.extend(pieces)
            self._kept_size += sum(map(len, pieces))
        connection = self._connection
        if connection is None:
            self._client.pause()  # until there is a connection to send it on
            return
        if self._kept_size > self._proxy.replay:
            self._kept = None
        if not self._muted:
            connection.write(self._framed(pieces))

    def ended(self) -> None:
        self._ended = True
        if self._connection is not None and not self._muted:
            self._finish_request(self._connection)

    def blocked(self) -> None:
        if self._connection is not None:
            self._connection.pause()
            self._proxy.silence.stop(self)

    def unblocked(self) -> None:
        if self._connection is not None:
            self._connection.resume()
            if self._begun:
                self._proxy.silence.start(self)

    def abandoned(self) -> None:
        if self._target is not None and self._target.breaker is not None:
            self._target.breaker.abandoned(monotonic(), self._since)
        self._end_attempt()

    def going_away(self) -> None:
        """Nothing: an exchange is let finish, and its deadline is the drain's."""

    # --------------------------------------------------------------------- the upstream's part

    def upstream_blocked(self) -> None:
        self._client.pause()
        self._proxy.silence.start(self)

    def upstream_unblocked(self) -> None:
        self._client.resume()
        if not self._ended and not self._begun:
            self._proxy.silence.stop(self)

    def informed(self, head: ResponseHead) -> None:
        if self._exchange.head.minor and not self._begun:
            lines = (head.first, *head.lines, b"\r\n")
            self._client.write(b"\r\n".join(lines))

    def answered(self, head: ResponseHead) -> None:
        service, exchange, target = self._service, self._exchange, self._target
        assert target is not None
        now = monotonic()
        service.metrics.duration.observe(now - self._since)
        status = head.status
        if status in RETRYABLE_STATUS:
            self._tell_breaker(f"status {status}")
            if self._may_retry(status):
                self._try_again()
                return
        elif target.breaker is not None:
            target.breaker.succeeded(now, self._since)
        self._begun = True
        self._kept = None
        exchange.status = status
        lines = headers.downward(exchange, head)
        request, client = exchange.head, self._client
        keep = request.keep_alive and not client.front.draining
        if head.length < 0:
            keep = self._frame(head, lines) and keep
        self._keep = keep
        if not keep:
            lines.append(headers.CLOSE_LINE)
        elif not request.minor:
            lines.append(headers.KEEP_ALIVE_LINE)
        lines.append(b"\r\n")
        client.write(b"\r\n".join(lines))
        if not (self._ended or head.keep_alive):
            self._muted = True  # it has said that it will read no more of this request

    def _frame(self, head: ResponseHead, lines: list[bytes]) -> bool:
        """Frame a body whose length is not known; whether the connection outlives it."""
        request = self._exchange.head
        if not request.minor:
            return False  # RFC 9112, 6.3: to HTTP/1.0, only the connection's end is one
        self._chunks = True
        lines.append(headers.CHUNKED_LINE)
        if head.trailer is not None:
            lines.append(head.trailer)
        self._trailers = head.trailer is not None or request.te_trailers
        return True

    def switched(self, head: ResponseHead, rest: bytes) -> None:
        proxy, exchange, connection = self._proxy, self._exchange, self._connection
        assert connection is not None
        asked = exchange.head.upgrade and head.upgrade == b"websocket"
        if proxy.websocket is None or not asked:
            connection.release()
            self.failed(UpstreamProtocolError("the upstream switched to what was not asked for"))
            return
        proxy.silence.stop(self)
        target = self._target
        if target is not None and target.breaker is not None:
            target.breaker.succeeded(monotonic(), self._since)
        exchange.status = 101
        lines = (*headers.downward(exchange, head), headers.UPGRADE_LINES, b"\r\n")
        self._client.write(b"\r\n".join(lines))
        self._client.flush()
        tunnel = Tunnel(
            exchange, self._client, connection, proxy.websocket, proxy.websocket_idle,
            self._close_target,
        )  # fmt: skip
        tunnel.open(rest)

    def carried(self, data: bytes) -> None:
        """Nothing: a tunnel's bytes go to the tunnel."""

    def delivered(self, pieces: list[Piece]) -> None:
        exchange = self._exchange
        for piece in pieces:
            exchange.body_sent += len(piece)
        self._client.write(*(chunked(pieces) if self._chunks else pieces))

    def paused(self) -> None:
        client = self._client
        client.flush()
        if self._begun and not client.full:
            self._proxy.silence.start(self)

    def completed(self, trailers: Sequence[bytes]) -> None:
        self._proxy.silence.stop(self)
        self._connection = None
        self._close_target()
        if self._chunks:
            self._client.write(self._last_chunk(trailers))
        self._client.finish(self._keep)

    def _last_chunk(self, trailers: Sequence[bytes]) -> bytes:
        if not (trailers and self._trailers):
            return LAST_CHUNK
        # RFC 9110, 6.5.1: no trailer may frame, route or authenticate.
        lines = [line for line in trailers if response_kind(name_of(line)) == PLAIN]
        return b"\r\n".join((b"0", *lines, b"\r\n"))

    def failed(self, error: UpstreamError) -> None:
        """The attempt has failed: make another, or tell the client."""
        proxy, connection = self._proxy, self._connection
        self._service.metrics.errors(error.kind).inc()
        if not isinstance(error, UpstreamBusy):
            self._tell_breaker(error.message)
        stale = connection is not None and connection.served > 0 and not connection.started
        reach = Reach.UNSENT if is_safe_to_repeat(error) else Reach.SENT
        if connection is not None and connection.started:
            reach = Reach.ANSWERED
        if not self._begun and self._may_retry(reach, stale and error.kind == "closed"):
            self._try_again()
            return
        self._end_attempt()
        self._give_up(error)

    def expired(self) -> None:
        """The upstream was silent for longer than the route allows."""
        if self._connection is not None:
            self._connection.release()
        self.failed(UpstreamTimeout())

    # ---------------------------------------------------------------------------------- ends

    def _may_retry(self, result: Reach | int, stale: bool = False) -> bool:
        retries = self._service.upstream.retries
        replayable = self._ended and self._exchange.head.length == 0 or self._kept is not None
        if not retries.may_retry(result, self.method, self._attempt, replayable, stale):
            return False
        return stale or retries.affordable(monotonic())

    def _try_again(self) -> None:
        target = self._target
        assert target is not None
        stale = self._connection is not None and self._connection.served > 0
        self._service.metrics.retries.inc()
        self._end_attempt()
        if not stale:
            self._tried = (*self._tried, target)
        self._try(monotonic())

    def _tell_breaker(self, why: str) -> None:
        target = self._target
        if target is not None and target.breaker is not None:
            target.breaker.failed(monotonic(), self._since, why)

    def _end_attempt(self) -> None:
        self._proxy.silence.stop(self)
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.release()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
        self._close_target()

    def _close_target(self) -> None:
        target, self._target = self._target, None
        if target is not None:
            target.ended()

    def _give_up(self, error: GatewayError) -> None:
        self._exchange.error = error.message
        if self._begun:
            self._client.cut()
            return
        self._client.sink = None
        self._proxy.refuse(self._exchange, error)

