"""The gateway's own endpoints: requests handed to the aiohttp application, and back.

A connection that asks for one of them gets an aiohttp `RequestHandler` beside its own
protocol, on the same transport. It is fed exactly the bytes of such a request, checked and
routed already, and writes its answer itself; what it needs from aiohttp beyond public names
(`finish_response` to learn when an answer is complete) stays in this module.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from aiohttp import web

from gateway.exchange import Exchange, Piece
from gateway.http1.chunked import chunked
from gateway.http1.fields import CHUNKED

# Idle connections are the front's to close: aiohttp's own timer never fires before it.
FOREVER: Final = 10 * 365 * 86400.0


class Handler(web.RequestHandler):
    """aiohttp's side of a client's connection; one for all its requests."""

    __slots__ = ("local",)

    local: Local

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        resp, reset = await super().finish_response(request, resp, start_time)
        self.local.finished(resp, reset)
        return resp, reset


class Local:
    """One exchange that aiohttp answers."""

    __slots__ = ("_client", "_handler", "exchange")

    def __init__(self, exchange: Exchange, handler: Handler) -> None:
        self.exchange = exchange
        self._client = exchange.client
        self._handler = handler

    def begin(self) -> None:
        exchange = self.exchange
        head = exchange.head
        self._handler.local = self
        self._client.sink = self
        line = b"%b %b%b HTTP/1.%d" % (head.method, exchange.path, exchange.query, head.minor)
        self._handler.data_received(b"\r\n".join((line, *head.received, b"\r\n")))

    def received(self, pieces: Sequence[Piece]) -> None:
        if self.exchange.head.length == CHUNKED:
            pieces = chunked(pieces)
        for piece in pieces:
            self._handler.data_received(bytes(piece))

    def ended(self) -> None:
        if self.exchange.head.length == CHUNKED:
            self._handler.data_received(b"0\r\n\r\n")

    def blocked(self) -> None:
        self._handler.pause_writing()

    def unblocked(self) -> None:
        self._handler.resume_writing()

    def abandoned(self) -> None:
        """aiohttp hears of the loss with the connection's."""

    def going_away(self) -> None:
        """Nothing: an answer is let finish."""

    def finished(self, response: web.StreamResponse, reset: bool) -> None:
        exchange = self.exchange
        if self._client.exchange is not exchange:
            return  # the client has left
        exchange.status = response.status
        length = response.content_length
        exchange.body_sent = response.body_length if length is None else length
        # A body that is still to come would go to a handler that has ended.
        keep = bool(response.keep_alive) and not reset and self._client.received_all
        self._client.finish(keep)


class Application:
    """A route's endpoint: a handler of the aiohttp application."""

    def __init__(
        self,
        server: web.Server,
        loop: asyncio.AbstractEventLoop,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> None:
        self._server = server
        self._loop = loop
        self.handler = handler

    def handle(self, exchange: Exchange) -> None:
        client = exchange.client
        if client.companion is None:
            handler = Handler(
                self._server,
                loop=self._loop,
                keepalive_timeout=FOREVER,
                access_log=None,  # type: ignore[arg-type]
            )
            client.accompany(handler)
        Local(exchange, client.companion).begin()  # type: ignore[arg-type]


def exchange_of(request: web.Request) -> Exchange:
    """The exchange that an aiohttp request came from."""
    handler = request.protocol
    assert isinstance(handler, Handler)
    return handler.local.exchange


def handler_of(request: web.Request) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """What answers the request: its route was found before aiohttp saw it."""
    route = exchange_of(request).route
    assert route is not None
    assert isinstance(route.endpoint, Application)
    return route.endpoint.handler
