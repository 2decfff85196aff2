"""The vocabulary of one request: who asks, what for, by which route, and how it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from json.encoder import encode_basestring_ascii
from time import monotonic
from typing import Any, Final, Protocol
from urllib.parse import unquote

from gateway.errors import BadRequest, GatewayError
from gateway.http1.request import RequestHead
from gateway.http1.status import reason

NOTHING: Final[frozenset[bytes]] = frozenset()

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


class Head(Protocol):
    """An answer's head: an upstream's as it was read, or one that was made up (`Answer`)."""

    @property
    def status(self) -> int: ...
    @property
    def length(self) -> int: ...
    @property
    def text(self) -> bytes: ...
    @property
    def dated(self) -> bool: ...
    @property
    def named(self) -> bool: ...
    @property
    def trailer(self) -> bytes | None: ...


@dataclass(slots=True)
class Answer:
    """An answer's head, for those who change it or keep it.

    `lines` are its header lines without their line ends: no hop-by-hop ones, but with its
    Content-Length. `length` counts the body's bytes, or is `CHUNKED` or `UNTIL_CLOSE` where it is
    not known; it is 0 where there is none, as for HEAD.
    """

    status: int
    lines: list[bytes]
    length: int = 0
    trailer: bytes | None = None
    first: bytes = b""  # the status line, if it is not the usual one

    @property
    def text(self) -> bytes:
        """The status line and those lines, each with its line end."""
        first = self.first or b"HTTP/1.1 %d %b" % (self.status, reason(self.status))
        return b"\r\n".join((first, *self.lines, b""))

    @property
    def dated(self) -> bool:
        return any(line[:5].lower() == b"date:" for line in self.lines)

    @property
    def named(self) -> bool:
        return any(line[:7].lower() == b"server:" for line in self.lines)


class Outlet(Protocol):
    """Takes an answer, part by part, on its way to the client."""

    def begin(self, head: Head) -> None:
        """Its head; once, and first."""

    def write(self, pieces: list[Piece]) -> None:
        """Parts of its body."""

    def flush(self) -> None:
        """There is nothing more for now: what came so far should reach the client."""

    def end(self, trailers: Sequence[bytes] = ()) -> None:
        """It is whole."""

    def fail(self, error: GatewayError) -> None:
        """It will not be whole: an error is the answer, or the connection is cut."""


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

    def refuse(self, error: GatewayError) -> None:
        """Answer with an error, or cut when an answer has begun already."""

    def flush(self) -> None:
        """Send what is in `out`, in one system call."""

    def writer(self) -> Callable[[bytes], None]:
        """What sends at once, for who has whole messages behind a 101."""

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


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks, once a policy has found out. `id` names the key or the user, and is no secret."""

    kind: str  # "token", "api_key" or "jwt"
    id: str
    tier: str = "free"
    scopes: frozenset[str] = frozenset()
    owner: str = ""
    claims: Mapping[str, Any] = field(default_factory=dict)
    counted: bytes = field(init=False, repr=False, compare=False)  # what its requests count as
    logged: bytes = field(init=False, repr=False, compare=False)  # what a log line says of it

    def __post_init__(self) -> None:
        # With the owner: two issuers of tokens may each have a user of this name. As it is, even
        # if it is no text: an id comes from a token.
        who = f"{self.kind} {self.owner} {self.id}"
        object.__setattr__(self, "counted", who.encode("utf-8", "surrogatepass"))
        text = encode_basestring_ascii(f"{self.kind}:{self.id}")
        object.__setattr__(self, "logged", f',"principal":{text}'.encode())


Verdict = Response | Coroutine[Any, Any, Response | None] | None
"""What a policy says: go on (None), this is the answer, or wait for what this gives."""


class Policy(Protocol):
    """One thing that a route asks of its requests."""

    def enter(self, exchange: Exchange) -> Verdict:
        """Let the request in, or raise the `GatewayError` that is its answer.

        What needs no input or output is decided at once. A coroutine is run while the request's
        body is held back, and cancelled when the client leaves.
        """


class Body(Protocol):
    """A request that waits for a policy's verdict, body and all."""

    async def body(self, limit: int) -> bytes:
        """The whole body; whoever answers gets it, too. Raises `PayloadTooLarge`."""


@dataclass(slots=True, eq=False)
class Route:
    """One line of the routing table, ready for use: nothing of it is worked out per request."""

    name: str
    endpoint: Endpoint
    metrics: Meter
    path: bytes
    exact: bool = False
    parameter: bool = False  # one of the gateway's own, with one more segment behind its path
    hosts: tuple[bytes, ...] = ()
    methods: frozenset[bytes] | None = None
    max_body: int = 0
    policies: tuple[Policy, ...] = ()
    query_token: bool = False  # a token may come in the query, as for every WebSocket
    still: Callable[[Exchange], bool | Coroutine[Any, Any, bool]] | None = None  # would it get in
    preflight: bool = False  # a policy answers CORS preflights, whatever `methods` says
    replaces: frozenset[bytes] = frozenset()  # lower-case names: ours, whatever an upstream says


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
        "lines",
        "outlet",
        "path",
        "principal",
        "query",
        "request_id",
        "route",
        "sent_path",
        "started",
        "status",
        "target_fields",
        "trace_id",
        "traceparent",
        "upward",
        "waiting",
        "withheld",
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
        self.principal: Principal | None = None
        # For the client, whatever the answer is. One may be several, with line ends between them.
        self.lines: tuple[bytes, ...] = ()
        self.upward: tuple[bytes, ...] = ()  # for the upstream
        self.withheld: frozenset[bytes] = NOTHING  # names of fields that do not go upstream
        self.outlet: Outlet | None = None  # what the answer goes through, if not straight out
        self.waiting: Body | None = None

    @property
    def parameter(self) -> str:
        """The path's last segment, decoded (RFC 3986, 2.1). Raises `BadRequest` for no UTF-8."""
        try:
            return unquote(self.path.rpartition(b"/")[2].decode("ascii"), errors="strict")
        except ValueError:
            raise BadRequest("the path is not UTF-8", closes=False) from None
