"""A request that the cache makes by itself, to which no client is bound.

Who waits for its answer may leave, and others go on waiting. To whoever forwards it, it looks like
a client's: `Errand` is a client that takes everything, and its exchange's outlet is the flight.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.errors import GatewayError
from gateway.exchange import Answer, Exchange, Outlet, Peer, Piece, Response, Sink


class _Running:
    """What an errand is part of does not end before it."""

    draining = False


class Errand:
    """A `gateway.exchange.Client` without a connection."""

    full = False
    companion: asyncio.Protocol | None = None
    front = _Running()
    received_all = True

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.sink: Sink | None = None
        self.exchange: Exchange | None = None
        self.out: list[Piece] = []  # interim answers, for whom they concern

    @property
    def _outlet(self) -> Outlet:
        assert self.exchange is not None
        assert self.exchange.outlet is not None
        return self.exchange.outlet

    def accompany(self, companion: asyncio.Protocol) -> None:
        """Nothing: there is no transport."""

    def respond(self, response: Response) -> None:
        outlet = self._outlet
        length = b"Content-Length: %d" % len(response.body)
        outlet.begin(Answer(response.status, [*response.lines, length], len(response.body)))
        outlet.write([response.body])
        outlet.end()

    def refuse(self, error: GatewayError) -> None:
        self._outlet.fail(error)

    def flush(self) -> None:
        self._outlet.flush()

    def proceed(self) -> None:
        """Nothing: there is no body."""

    def pause(self) -> None:
        """Nothing: there is no body."""

    def resume(self) -> None:
        """Nothing: there is no body."""

    def finish(self, keep_alive: bool) -> None:
        """Nothing: the flight knows."""

    def tunnel(self) -> bytes:
        return b""  # upgrades are not the cache's

    def writer(self) -> Callable[[bytes], None]:
        return lambda data: None  # nothing is behind a 101 that never was

    def cut(self) -> None:
        """Nothing: the flight fails."""

    def close(self) -> None:
        """Nothing: there is no connection."""


def errand(
    asker: Exchange, outlet: Outlet, withheld: frozenset[bytes], upward: tuple[bytes, ...]
) -> Exchange:
    """A request like the asker's, without these fields of it and with further lines."""
    client = Errand(asker.client.peer)
    exchange = client.exchange = Exchange(client, asker.head, asker.path + asker.query)
    exchange.path, exchange.query, exchange.host = asker.path, asker.query, asker.host
    exchange.client_ip = asker.client_ip
    exchange.request_id = asker.request_id
    exchange.trace_id, exchange.traceparent = asker.trace_id, asker.traceparent
    exchange.route, exchange.principal = asker.route, asker.principal
    exchange.withheld = asker.withheld | withheld
    exchange.upward = (*asker.upward, *upward)
    exchange.outlet = outlet
    return exchange
