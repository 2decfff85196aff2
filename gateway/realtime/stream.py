"""The same updates as Server-Sent Events (HTML, 9.2), for clients that only listen."""

from __future__ import annotations

from collections.abc import Sequence
from secrets import token_hex
from time import monotonic
from typing import Final
from urllib.parse import parse_qs

from gateway.delivery import Delivery
from gateway.errors import BadRequest
from gateway.exchange import Answer, Exchange, Piece
from gateway.http1.fields import CHUNKED
from gateway.realtime import wire
from gateway.realtime.hub import Hub, Member
from gateway.realtime.wire import Offset, Refused, Update

LINES: Final = [
    b"Content-Type: text/event-stream",
    b"Cache-Control: no-store",
    b"X-Accel-Buffering: no",  # nginx, if there is one before us, is to pass events on at once
]
COMMENT: Final = b": ping\n\n"
MOST_FIELDS: Final = 200


class Stream(Member):
    """A client's end of the hub, over an answer that does not end."""

    __slots__ = ("_client", "_delivery", "_hub", "_id", "_open", "_since")

    def __init__(self, hub: Hub, exchange: Exchange) -> None:
        super().__init__(hub, hub.limits.pace)
        self.exchange = exchange
        self._hub = hub
        self._client = exchange.client
        self._delivery = Delivery(exchange)
        self._id = token_hex(8)
        self._since = monotonic()
        self._open = True

    def open(self, symbols: tuple[str, ...], since: Offset | None) -> None:
        hub, exchange = self._hub, self.exchange
        self._client.sink = self
        self._delivery.begin(Answer(200, LINES, CHUNKED))
        hub.enter(self)
        hub.log.info(
            "stream_opened",
            connection_id=self._id,
            request_id=exchange.request_id.decode(),
            client_ip=exchange.client_ip.decode(),
            principal=None if exchange.principal is None else exchange.principal.id,
        )
        self.tell("welcome", connection_id=self._id)
        hub.subscribe(self, symbols)
        if since is not None:
            hub.recover(self, list(symbols), since)
        if self._client.front.draining:
            self.leave()

    @property
    def full(self) -> bool:
        return self._client.full or not self._open

    def write(self, update: Update) -> None:
        self._send(update.event)

    def tell(self, kind: str, **fields: object) -> None:
        if self._open:
            self._send(wire.event(kind, wire.message(kind, **fields)))

    def _send(self, data: bytes) -> None:
        self._delivery.write([data])
        self._delivery.flush()

    def ping(self) -> None:
        """A comment: proxies on the way see that the answer goes on; a lost client is noticed."""
        if not self._client.full:
            self._send(COMMENT)
        self._hub.pings.start(self)

    def leave(self) -> None:
        """End the answer: the client comes back, to another gateway, and says where it was."""
        if self._open:
            self._open = False
            self._closed("going away")
            self._delivery.end()

    def dismiss(self) -> None:
        self.leave()

    # --------------------------------------------------------------- what the connection says

    def received(self, pieces: Sequence[Piece]) -> None:
        """Nothing: there is no body."""

    def ended(self) -> None:
        """Nothing: there is no body."""

    def blocked(self) -> None:
        self._ready = False

    def unblocked(self) -> None:
        if self._open:
            self.release()

    def going_away(self) -> None:
        self.leave()

    def abandoned(self) -> None:
        if self._open:
            self._open = False
            self._closed("left")

    def _closed(self, reason: str) -> None:
        self._hub.leave(self)
        self._hub.log.info(
            "stream_closed",
            connection_id=self._id,
            request_id=self.exchange.request_id.decode(),
            reason=reason,
            seconds=round(monotonic() - self._since, 3),
            sent=self.sent,
            dropped=self.dropped,
        )


class LiveStream:
    """A route's endpoint: `?symbols=A,B`, and where it was for who comes back.

    That is in `Last-Event-ID`, which browsers send when they connect again, or in `?since=`, which
    a page can say when it connects anew.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def handle(self, exchange: Exchange) -> None:
        limits = self._hub.limits
        try:
            query = parse_qs(exchange.query[1:].decode("ascii"), max_num_fields=MOST_FIELDS)
        except ValueError:
            raise BadRequest("the query cannot be read", closes=False) from None
        named = [s for value in query.get("symbols", ()) for s in value.split(",") if s]
        last = [value.decode("latin-1") for value in exchange.head.values(b"last-event-id")]
        known = [offset for offset in (*query.get("since", ()), *last) if offset]
        try:
            symbols = wire.read_symbols(named, limits.max_symbols, limits.wildcard)
            since = wire.read_offset(known[-1]) if known else None
        except Refused as refused:
            raise BadRequest(refused.message, closes=False) from None
        self._hub.admit(exchange)
        Stream(self._hub, exchange).open(symbols, since)
