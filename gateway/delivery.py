"""An answer on its last step: framed for the client, and sent.

What an upstream sends comes here piece by piece and is passed on by reference. An answer whose
length is not known goes out in chunks, or to the connection's end where the client speaks
HTTP/1.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway import headers
from gateway.errors import GatewayError
from gateway.exchange import Exchange, Head, Piece
from gateway.http1.chunked import chunked
from gateway.http1.fields import PLAIN, name_of
from gateway.http1.response import kind_of

LAST_CHUNK: Final = b"0\r\n\r\n"


class Delivery:
    """The end of every answer's way that is not made up whole (`Client.respond`)."""

    __slots__ = ("_chunks", "_client", "_exchange", "_keep", "_trailers")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._client = exchange.client
        self._chunks = False

    def begin(self, head: Head) -> None:
        exchange, client = self._exchange, self._client
        request = exchange.head
        exchange.status = head.status
        keep = request.keep_alive and not client.front.draining
        more: tuple[bytes, ...] = ()
        if head.length < 0:
            keep = keep and request.minor == 1  # RFC 9112, 6.3: to HTTP/1.0 only the end is one
            more = self._frame(head)
        self._keep = keep
        if not keep:
            more = (*more, headers.CLOSE_LINE)
        elif not request.minor:
            more = (*more, headers.KEEP_ALIVE_LINE)
        client.out.append(headers.downward(exchange, head, *more))

    def _frame(self, head: Head) -> tuple[bytes, ...]:
        """Frame a body whose length is not known: the lines that say how."""
        request = self._exchange.head
        if not request.minor:
            return ()
        self._chunks = True
        self._trailers = head.trailer is not None or request.te_trailers
        return (headers.CHUNKED_LINE, *((head.trailer,) if head.trailer is not None else ()))

    def write(self, pieces: list[Piece]) -> None:
        exchange = self._exchange
        for piece in pieces:
            exchange.body_sent += len(piece)
        self._client.out += chunked(pieces) if self._chunks else pieces

    def flush(self) -> None:
        self._client.flush()

    def end(self, trailers: Sequence[bytes] = ()) -> None:
        if self._chunks:
            self._client.out.append(self._last_chunk(trailers))
        self._client.finish(self._keep)

    def _last_chunk(self, trailers: Sequence[bytes]) -> bytes:
        if not (trailers and self._trailers):
            return LAST_CHUNK
        # RFC 9110, 6.5.1: no trailer may frame, route or authenticate.
        lines = [line for line in trailers if kind_of(name_of(line)) == PLAIN]
        return b"\r\n".join((b"0", *lines, b"\r\n"))

    def fail(self, error: GatewayError) -> None:
        self._client.refuse(error)
