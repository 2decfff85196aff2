"""The vocabulary of one request: who asks, what for, by which route, and how it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from gateway.http1.request import RequestHead

Piece = bytes | memoryview
"""A part of a body as it arrived: passed on by reference, never copied."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a client's connection, worked out once when it is accepted."""

    address: str
    trusted: bool = False
    scheme: bytes = b"http"
    address_bytes: bytes = b""
    forwarded: bytes = b""  # what goes upstream of it, up to the host's name

    def __post_init__(self) -> None:
        address = self.address.encode()
        object.__setattr__(self, "address_bytes", address)
        object.__setattr__(self, "forwarded", forwarded_lines(address, self.scheme))


def forwarded_lines(address: bytes, scheme: bytes) -> bytes:
    """Who asks, over what, and (the host's name is to follow) by what name."""
    return b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Host: " % (
        address,
        scheme,
    )


@dataclass(frozen=True, slots=True)
class Response:
    """An answer made here, whole: `lines` are header lines without their line ends."""

    status: int
    body: bytes = b""
    lines: tuple[bytes, ...] = ()
    closes: bool = False


class Sink(Protocol):
    """Where a client's connection delivers what comes after a request's head."""

    def received(self, pieces: Sequence[Piece]) -> None:
        """Parts of the request's body, or of the tunnel's bytes."""

    def ended(self) -> None:
        """The body is complete."""

    def blocked(self) -> None:
        """The client takes no more for now: stop sending to it."""

    def unblocked(self) -> None:
        """The client takes bytes again."""

    def abandoned(self) -> None:
        """The client is gone: stop everything."""

    def going_away(self) -> None:
        """The gateway is shutting down: what would go on for ever ends now."""


class Drains(Protocol):
    """Whoever knows whether the gateway is shutting down."""

    draining: bool


class Client(Protocol):
    """A client's connection, as those who answer on it see it."""

    peer: Peer
    sink: Sink | None
    exchange: Exchange | None
    full: bool  # it takes no more for now
    out: list[Piece]  # bytes of an answer, framed already, that the next `flush` sends
    companion: asyncio.Protocol | None  # another protocol on the same transport

    @property
    def front(self) -> Drains: ...

    @property
    def received_all(self) -> bool:
        """Whether the request's body has been read to its end."""

    def accompany(self, companion: asyncio.Protocol) -> None:
        """Let another protocol write to the same transport; it hears of the connection's end."""

    def respond(self, response: Response) -> None:
        """Send a whole answer and end the exchange."""

    def flush(self) -> None:
        """Send what is in `out`, in one system call."""

    def proceed(self) -> None:
        """Tell a client that expects `100 Continue` to send its body."""

    def pause(self) -> None:
        """Read no more from the client for now."""

    def resume(self) -> None:
        """Read from it again."""

    def finish(self, keep_alive: bool) -> None:
        """The answer is complete."""

    def tunnel(self) -> bytes:
        """From here on bytes go through unread; gives those that came already."""

    def cut(self) -> None:
        """End the connection so that what was sent cannot pass for a whole answer."""

    def close(self) -> None:
        """End the connection when what was written is sent."""


class Meter(Protocol):
    """Counts a route's requests."""

    def finished(self, method: bytes, status: int, seconds: float) -> None: ...


class Endpoint(Protocol):
    """What answers a route's requests: an upstream behind a proxy, or the gateway itself."""

    def handle(self, exchange: Exchange) -> None:
        """Take the exchange and answer it, now or later.

        Raises a `GatewayError` only before anything was sent.
        """


@dataclass(slots=True, eq=False)
class Route:
    """One line of the routing table, ready for use: nothing of it is worked out per request."""

    name: str
    endpoint: Endpoint
    metrics: Meter
    path: bytes
    exact: bool = False
    hosts: tuple[bytes, ...] = ()
    methods: frozenset[bytes] | None = None
    max_body: int = 0


class Exchange:
    """One request and its answer, from the first byte to the log line."""

    __slots__ = (
        "body_sent",
        "client",
        "client_ip",
        "closes",
        "error",
        "head",
        "host",
        "path",
        "query",
        "request_id",
        "route",
        "sent_path",
        "started",
        "status",
        "target_fields",
        "trace_id",
        "traceparent",
    )

    def __init__(self, client: Client, head: RequestHead, target: bytes) -> None:
        self.started = monotonic()
        self.client = client
        self.head = head
        self.path, mark, query = target.partition(b"?")
        self.query = mark + query  # with its question mark: an empty query is one, too
        self.host = head.host
        self.traceparent = b""
        self.client_ip = client.peer.address_bytes
        self.route: Route | None = None
        self.status = 0
        self.body_sent = 0
        self.error = ""
        self.closes = False
        self.request_id = b""
        self.trace_id = b""
        self.target_fields = b""  # the target as the log line has it
        self.sent_path = b""
