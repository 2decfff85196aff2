"""Predictions over HTTP: one, or up to a hundred. Who may ask is the route's business.

Answered on the spine: a prediction that is cached costs no task and no aiohttp request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from time import time
from typing import Final
from zlib import crc32

import orjson

from gateway import headers
from gateway.caching import conditional
from gateway.caching.serving import SENT
from gateway.delivery import Delivery
from gateway.errors import GatewayError, NotFound
from gateway.exchange import Answer, Exchange, Piece, Response
from gateway.predictions.asked import read_query, read_symbol, read_symbols, wants_features
from gateway.predictions.loader import Loader, Results
from gateway.predictions.prediction import shown, tag

TYPE: Final = b"Content-Type: application/json"
NO_STORE: Final = b"Cache-Control: no-store"
IF_NONE_MATCH: Final = b"if-none-match"

Reply = Callable[[Results], None]


class Predictions:
    """What both endpoints share."""

    def __init__(
        self,
        loader: Loader,
        *,
        ttl: float,
        stale_after: float,
        private: bool,
        clock: Callable[[], float] = time,
    ) -> None:
        """`ttl` is for how long clients may keep an answer, in whole s.

        `private`: whether no cache that several clients share may.
        """
        self.loader = loader
        self.stale_after = stale_after
        self.clock = clock
        self._fresh = b"Cache-Control: %bmax-age=%d" % (b"private, " if private else b"", ttl)

    def answer(self, exchange: Exchange, body: bytes, etag: bytes) -> None:
        """200, or 304 for who has it already (RFC 9110, 13.1.2)."""
        fields = (self._fresh, b"ETag: " + etag)
        asked = exchange.head.once.get(IF_NONE_MATCH)
        if asked is not None and conditional.matches(asked, etag):
            exchange.client.sink = SENT
            delivery = Delivery(exchange)
            delivery.begin(Answer(304, list(fields)))
            delivery.end()
            return
        respond(exchange, body, fields)


def respond(exchange: Exchange, body: bytes, fields: Sequence[bytes]) -> None:
    name = b"X-Request-ID: " + exchange.request_id
    last = (name, headers.date_line(), headers.SERVER_LINE)
    exchange.client.respond(Response(200, body, (TYPE, *fields, *exchange.lines, *last)))


class One:
    """`GET /api/prediction/{symbol}`."""

    def __init__(self, predictions: Predictions) -> None:
        self._predictions = predictions

    def handle(self, exchange: Exchange) -> None:
        symbol = read_symbol(exchange.parameter)
        features = bool(exchange.query) and wants_features(read_query(exchange.query))
        waiting = Waiting(exchange, partial(self._reply, exchange, symbol, features))
        self._predictions.loader.load((symbol,), features, waiting.done)

    def _reply(self, exchange: Exchange, symbol: str, features: bool, results: Results) -> None:
        found = results.found.get(symbol)
        if found is None:
            error = results.errors.get(symbol)
            exchange.client.refuse(error or NotFound("there is no prediction for this symbol"))
            return
        shared = self._predictions
        body = shown(found, shared.clock(), shared.stale_after, features)
        shared.answer(exchange, body, tag(found))


class Many:
    """`GET /api/predictions?symbols=A,B`."""

    def __init__(self, predictions: Predictions) -> None:
        self._predictions = predictions

    def handle(self, exchange: Exchange) -> None:
        query = read_query(exchange.query)
        symbols, features = read_symbols(query), wants_features(query)
        waiting = Waiting(exchange, partial(self._reply, exchange, symbols, features))
        self._predictions.loader.load(symbols, features, waiting.done)

    def _reply(
        self, exchange: Exchange, symbols: Sequence[str], features: bool, results: Results
    ) -> None:
        """What there is; where nothing can be said of any of them, why."""
        errors = results.errors
        if len(errors) == len(symbols):
            exchange.client.refuse(errors[symbols[0]])
            return
        shared, now = self._predictions, self._predictions.clock()
        found = [(s, results.found[s]) for s in symbols if s in results.found]
        parts = [
            b'"%b":%b' % (symbol.encode(), shown(one, now, shared.stale_after, features))
            for symbol, one in found
        ]
        missing = orjson.dumps(results.missing)
        body = b'{"predictions":{%b},"missing":%b' % (b",".join(parts), missing)
        if errors:
            body = b'%b,"unavailable":%b}' % (body, orjson.dumps(list(errors)))
            respond(exchange, body, (NO_STORE,))
            return
        marks = b",".join((*(b"%b=%b" % (s.encode(), tag(one)) for s, one in found), missing))
        shared.answer(exchange, body + b"}", b'W/"%x"' % crc32(marks))


class Waiting:
    """The client's sink until it is answered."""

    __slots__ = ("_exchange", "_reply")

    def __init__(self, exchange: Exchange, reply: Reply) -> None:
        self._exchange = exchange
        self._reply = reply
        exchange.client.sink = self

    def done(self, results: Results) -> None:
        client = self._exchange.client
        if client.exchange is not self._exchange or client.sink is not self:
            return  # the client has left
        client.sink = None
        try:
            self._reply(results)
        except Exception as error:  # noqa: BLE001 - others wait for the same results
            # Through asyncio's own logging, with its stack.
            context = {"message": "a prediction was not answered", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)
            client.refuse(GatewayError(closes=True))

    def received(self, pieces: Sequence[Piece]) -> None:
        """Nothing: a body of a GET says nothing (RFC 9110, 9.3.1)."""

    def ended(self) -> None:
        """Nothing."""

    def blocked(self) -> None:
        """Nothing is sent yet."""

    def unblocked(self) -> None:
        """Nothing waits to be sent."""

    def abandoned(self) -> None:
        """What is asked for is asked for others, too."""

    def going_away(self) -> None:
        """Nothing: an exchange is let finish."""
