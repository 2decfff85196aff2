"""A request on its way to an upstream and the answer on its way back.

A relay makes attempts: it chooses a target, takes a connection to it, sends the request and
passes on what comes. What the client sends goes up piece by piece as it arrives; what the
upstream sends comes down likewise; when one side takes no more, the other is not read. Nothing
is joined and nothing is stored, but for the first `replay` bytes of a body, in case a second
attempt has to be made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import Final

from gateway import headers
from gateway.delivery import LAST_CHUNK, Delivery
from gateway.errors import (
    GatewayError,
    UpstreamBusy,
    UpstreamClosed,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from gateway.exchange import Answer, Exchange, Outlet, Piece
from gateway.http1.chunked import chunked
from gateway.http1.fields import CHUNKED, without
from gateway.http1.response import ResponseHead
from gateway.proxy.dial import is_safe_to_repeat
from gateway.proxy.service import Forwarding
from gateway.proxy.transport import Connection
from gateway.proxy.websocket import Tunnel
from gateway.upstreams.retry import RETRYABLE_STATUS, Reach
from gateway.upstreams.target import Target

TE_LINES: Final = b"Connection: TE\r\nTE: trailers"


class Relay(Delivery):
    """One exchange with an upstream, over all its attempts.

    It delivers the answer itself, unless the exchange has an outlet for it.
    """

    __slots__ = (
        "_attempt",
        "_begun",
        "_connection",
        "_ended",
        "_fresh",
        "_kept",
        "_kept_size",
        "_muted",
        "_outlet",
        "_service",
        "_since",
        "_target",
        "_task",
        "_tried",
        "_way",
        "method",
    )

    def __init__(self, forwarding: Forwarding, exchange: Exchange) -> None:
        head = exchange.head
        self._way = forwarding
        self._service = forwarding.service
        self._exchange = exchange
        self._client = exchange.client
        self.method = head.method
        self._attempt = 1
        self._tried: tuple[Target[Connection], ...] = ()
        self._target: Target[Connection] | None = None
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._begun = self._chunks = self._fresh = False
        self._outlet: Outlet | None = exchange.outlet  # in place of itself
        self._kept: list[Piece] | None = None
        self._ended = True
        if head.length:
            self._ended = self._muted = False
            self._kept = []
            self._kept_size = 0
        exchange.client.sink = self
        budget = self._service.budget
        if budget is not None:
            budget.deposit(exchange.started)
        self.attempt(exchange.started)

    # ------------------------------------------------------------------------------- attempts

    def attempt(self, now: float) -> None:
        """Choose a target and send it the request, as soon as there is a connection."""
        service = self._service
        key = service.key(self._exchange) if service.key is not None else b""
        target = service.upstream.choose(key, now, self._tried)
        if target is None:
            self._give_up(UpstreamUnavailable())
            return
        target.started(now)
        self._target = target
        self._since = now
        connection = target.pool.take()
        if connection is not None and connection.usable and not self._fresh:
            self._send(target, connection)
            return
        if connection is not None:
            connection.discard()
            target.pool.release_slot()
        self._task = self._way.loop.create_task(self._dial(target))

    async def _dial(self, target: Target[Connection]) -> None:
        try:
            connection = await self._service.dialers[target].connection(fresh=self._fresh)
        except UpstreamError as error:
            self._task = None
            self.failed(error)
            return
        self._task = None
        self._send(target, connection)

    def _send(self, target: Target[Connection], connection: Connection) -> None:
        way, exchange, address = self._way, self._exchange, target.address
        self._connection = connection
        path = exchange.path
        if way.moves:
            path = way.path(path)
        exchange.target_fields = target.label
        exchange.sent_path = path
        host = exchange.host
        if host is None or not way.preserve_host:
            host = address.authority
        extra = way.via if exchange.head.plain else self._extra()
        connection.send(self, headers.upward(exchange, path, host, extra))
        if not exchange.head.length:
            connection.sent_all = True
            way.silence.start(self)
            return
        self._send_body(connection)

    def _extra(self) -> Sequence[bytes]:
        head, lines = self._exchange.head, list(self._way.via)
        if head.length == CHUNKED:
            lines.append(headers.CHUNKED_LINE)
        if head.upgrade and self._way.websocket is not None:
            lines.append(headers.UPGRADE_LINES)
        elif head.te_trailers:
            lines.append(TE_LINES)
        return lines

    def _send_body(self, connection: Connection) -> None:
        """What has come of the body so far; the rest as it comes."""
        if self._kept:
            connection.write(self._framed(self._kept))
            if self._kept_size > self._way.replay:
                self._kept = None
        if self._ended:
            self._finish_request(connection)
        else:
            self._client.proceed()
        if not connection.blocked:
            self._client.resume()

    def _finish_request(self, connection: Connection) -> None:
        if self._exchange.head.length == CHUNKED:
            connection.write([LAST_CHUNK])
        connection.sent_all = True
        if not self._client.full:
            self._way.silence.start(self)

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
            if self._kept_size > self._way.replay:
                self._client.pause()  # until there is a connection to send it on
            return
        if self._kept_size > self._way.replay:
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
            self._way.silence.stop(self)

    def unblocked(self) -> None:
        if self._connection is not None:
            self._connection.resume()
            if self._ended:
                self._way.silence.start(self)

    def abandoned(self) -> None:
        if self._target is not None and self._target.breaker is not None:
            self._target.breaker.abandoned(monotonic(), self._since)
        self._end_attempt()

    def going_away(self) -> None:
        """Nothing: an exchange is let finish, and its deadline is the drain's."""

    # --------------------------------------------------------------------- the upstream's part

    def upstream_blocked(self) -> None:
        self._client.pause()
        self._way.silence.start(self)

    def upstream_unblocked(self) -> None:
        self._client.resume()
        if not self._ended:  # while the client's body flows, its own rate is what counts
            self._way.silence.stop(self)

    def informed(self, head: ResponseHead) -> None:
        if self._exchange.head.minor and not self._begun:
            self._client.out.append(head.text + b"\r\n")

    def answered(self, head: ResponseHead) -> None:
        service, target = self._service, self._target
        assert target is not None
        now = monotonic()
        service.observe(now - self._since)
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
        if self._outlet is not None or head.edge:
            (self._outlet or self).begin(self._changeable(head))
        else:
            self.begin(head)
        if status >= 400 and not (self._ended or head.keep_alive):
            self._muted = True  # it wants no more of this request (RFC 9112, 9.5)

    def _changeable(self, head: ResponseHead) -> Answer:
        """A copy for policies to change, without what the route's own say better."""
        route, lines = self._exchange.route, list(head.lines)
        if head.edge and route is not None and route.replaces:
            lines = without(lines, route.replaces)
        return Answer(head.status, lines, head.length, head.trailer, head.first)

    def switched(self, head: ResponseHead, rest: bytes) -> None:
        way, exchange, connection = self._way, self._exchange, self._connection
        assert connection is not None
        asked = exchange.head.upgrade and head.upgrade == b"websocket"
        if way.websocket is None or not asked:
            connection.release()
            self.failed(UpstreamProtocolError("the upstream switched to what was not asked for"))
            return
        way.silence.stop(self)
        target = self._target
        if target is not None and target.breaker is not None:
            target.breaker.succeeded(monotonic(), self._since)
        exchange.status = 101
        self._client.out.append(headers.downward(exchange, head, headers.UPGRADE_LINES))
        self._client.flush()
        tunnel = Tunnel(
            exchange, self._client, connection, way.websocket, way.websocket_idle,
            self._close_target,
        )  # fmt: skip
        tunnel.open(rest)

    def carried(self, data: bytes) -> None:
        """Nothing: a tunnel's bytes go to the tunnel."""

    def delivered(self, pieces: list[Piece]) -> None:
        (self._outlet or self).write(pieces)

    def paused(self) -> None:
        (self._outlet or self).flush()
        if self._begun and self._ended and not self._client.full:
            self._way.silence.start(self)

    def completed(self, trailers: Sequence[bytes]) -> None:
        self._way.silence.stop(self)
        self._connection = None
        target, self._target = self._target, None
        if target is not None:
            target.ended()
        (self._outlet or self).end(trailers)

    def failed(self, error: UpstreamError) -> None:
        """The attempt has failed: make another, or tell the client."""
        connection = self._connection
        reach, stale = Reach.SENT, False
        if is_safe_to_repeat(error):
            reach = Reach.UNSENT
        elif connection is not None and connection.started:
            reach = Reach.ANSWERED
        elif connection is not None and connection.served and isinstance(error, UpstreamClosed):
            stale = True  # closed just as it was used again: no sign of trouble
        if not stale:
            self._service.metrics.errors(error.kind).inc()
            if not isinstance(error, UpstreamBusy):
                self._tell_breaker(error.message)
        if not self._begun and self._may_retry(reach, stale):
            self._try_again(stale)
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
        replayable = (self._ended and self._exchange.head.length == 0) or self._kept is not None
        if not retries.may_retry(result, self.method, self._attempt, replayable, stale):
            return False
        return stale or retries.affordable(monotonic())

    def _try_again(self, stale: bool = False) -> None:
        target = self._target
        self._attempt += 1
        self._service.metrics.retries.inc()
        self._end_attempt()
        if stale:  # the next idle one may be as stale: this time, a new one
            self._fresh = True
        elif target is not None:
            self._tried = (*self._tried, target)
        self.attempt(monotonic())

    def _tell_breaker(self, why: str) -> None:
        target = self._target
        if target is not None and target.breaker is not None:
            target.breaker.failed(monotonic(), self._since, why)

    def _end_attempt(self) -> None:
        self._way.silence.stop(self)
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
        (self._outlet or self).fail(error)
