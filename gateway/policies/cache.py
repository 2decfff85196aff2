"""A shared cache in front of a route's endpoint (RFC 9111).

A fresh answer that lies in front goes out at once. Anything else is looked up behind, decided, and
asked upstream where need be, once for all who want the same. A request that changes something goes
through, and what is stored of its target is forgotten.

What is private stays so: `private` and `no-store` are not kept, nor is an answer to a request with
credentials (an Authorization field, or a principal that a policy found) that does not say it may
be shared (RFC 9111, 3.5), nor one that sets a cookie, unless the route says that it may be.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Iterator, Sequence
from hashlib import blake2b
from time import monotonic, time
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from gateway.caching import status as cache_status
from gateway.caching.directives import fields_of
from gateway.caching.flight import Flight
from gateway.caching.serving import send, serve
from gateway.caching.shelves import Shelves
from gateway.caching.stored import Stored
from gateway.caching.vary import key_of, sent_up
from gateway.caching.wishes import Wishes, wishes_of
from gateway.delivery import Delivery
from gateway.errors import ClientError, GatewayError
from gateway.exchange import Answer, Endpoint, Exchange, Head, Outlet, Piece
from gateway.http1.fields import name_of, value_of
from gateway.http1.request import RequestHead
from gateway.waiting import Waiting

READING: Final = frozenset((b"GET", b"HEAD"))
SAFE: Final = READING | {b"OPTIONS", b"TRACE"}
UNSHARED: Final = 30.0
"""s for which nobody waits for another's answer, once an answer was not for sharing."""

MOST_UNSHARED: Final = 4096  # keys; beyond that all are forgotten

SCHEMES: Final = (b"http", b"https")
OF_THE_TARGET: Final = re.compile(rb"(?i)\b(?:host|proto)[ \t]*=[^,;]*")  # in Forwarded (RFC 7239)

RESULTS: Final = ("hit", "miss", "stale", "revalidated", "collapsed", "bypass")

Count = Callable[[], None]


class NotStored(ClientError):
    """The client wanted nothing but a stored answer (RFC 9111, 5.2.1.7)."""

    status, code, message = 504, "gateway_timeout", "nothing is stored that could answer this"


class Cached:
    """An endpoint that asks another one only if it has to."""

    def __init__(
        self,
        endpoint: Endpoint,
        shelves: Shelves,
        counter: Callable[[str], Count],
        *,
        ttl: float = 0.0,
        most: int = 1 << 20,
        cookies: bool = False,
        disconnected: float = 3600.0,
    ) -> None:
        """`counter` gives what counts a result.

        `ttl` (s) is given to answers that state no lifetime; bodies of more than `most` bytes
        stream past; `cookies` lets answers that set one be kept if they state their lifetime;
        `disconnected` (s) of staleness are better than no answer.
        """
        self.endpoint = endpoint
        self.ttl = ttl
        self.most = most
        self.cookies = cookies
        self.disconnected = disconnected
        self._shelves = shelves
        self._counts = {result: counter(result) for result in RESULTS}
        self._hit = self._counts["hit"]
        self._flights: dict[bytes, Flight] = {}
        self._unshared: dict[bytes, float] = {}

    def handle(self, exchange: Exchange) -> None:
        head = exchange.head
        if head.upgrade:
            self.endpoint.handle(exchange)
            return
        if head.method not in READING or head.length:
            self._pass(exchange)
            return
        key = key_for(exchange)
        wishes = wishes_of(head)
        entry = self._shelves.held(key)
        if wishes.plain and isinstance(entry, Stored) and exchange.outlet is None:
            now = time()
            if now < entry.until and not entry.asks:
                self._hit()
                send(exchange, entry, now)
                return
        if wishes.no_store or wishes.handed_on:
            self._pass(exchange)
            return
        found = self._shelves.look(key, sent_up(exchange))
        if found is None or isinstance(found, Stored):
            self._decide(exchange, wishes, key, found)
        else:
            self._wait(exchange, wishes, key, found)

    def _wait(
        self,
        exchange: Exchange,
        wishes: Wishes,
        key: bytes,
        found: Coroutine[Any, Any, Stored | None],
    ) -> None:
        def then(task: asyncio.Task[Stored | None]) -> None:
            try:
                self._decide(exchange, wishes, key, task.result())
            except GatewayError as error:
                exchange.client.refuse(error)

        Waiting(exchange, found, then)

    def _decide(
        self, exchange: Exchange, wishes: Wishes, key: bytes, stored: Stored | None
    ) -> None:
        """Answer with what is stored, or ask for it (RFC 9111, 4)."""
        now = time()
        if stored is not None and may_use(stored, wishes, now):
            self._hit()
            serve(exchange, stored, wishes, now)
            return
        if wishes.only_if_cached:
            raise NotStored
        if stored is not None and may_use_meanwhile(stored, wishes, now):
            self._counts["stale"]()
            self._renew(exchange, key, stored)
            serve(exchange, stored, wishes, now)
            return
        self._ask(exchange, wishes, key, stored)

    def _renew(self, exchange: Exchange, key: bytes, stored: Stored) -> None:
        """Have the origin asked behind the clients' backs (RFC 5861, 3)."""
        name = self._shelves.selected(key, sent_up(exchange))
        if name in self._flights or exchange.head.method != b"GET":
            return
        stamp = self._shelves.stamp(key)
        flight = Flight(self, key, name, exchange, stamp, stored=stored, reason=b"stale")
        self._flights[name] = flight
        flight.start()

    def _ask(self, exchange: Exchange, wishes: Wishes, key: bytes, stored: Stored | None) -> None:
        name = self._shelves.selected(key, sent_up(exchange))
        shared = exchange.head.method == b"GET" and not self._is_unshared(name)
        if shared and stored is None and wishes.range is not None:
            shared = False  # a part of what may be large
        flight = self._flights.get(name)
        if shared and flight is not None and flight.open and not wishes.no_cache:
            flight.board(exchange, wishes)
            return
        if not shared and stored is None:
            self.alone(exchange, wishes, key)
            return
        reason = b"uri-miss"
        if stored is not None:
            reason = b"request" if now_fresh(stored) else b"stale"
        flight = Flight(
            self,
            key,
            name,
            exchange,
            self._shelves.stamp(key),
            stored=stored,
            reason=reason,
            whole=exchange.head.method == b"GET",
        )
        if shared and name not in self._flights:
            self._flights[name] = flight
        flight.board(exchange, wishes)
        flight.start()

    def alone(self, exchange: Exchange, wishes: Wishes, key: bytes) -> None:
        flight = Flight(self, key, key, exchange, self._shelves.stamp(key), whole=False)
        flight.board(exchange, wishes)
        flight.start()

    # --------------------------------------------------------------------- what flights tell

    def keep(self, flight: Flight, stored: Stored, names: tuple[bytes, ...]) -> None:
        self._unshared.pop(flight.name, None)
        lines = sent_up(flight.asker)
        self._shelves.keep(flight.key, flight.stamp, stored, names, lines)

    def landed(self, flight: Flight) -> None:
        if self._flights.get(flight.name) is flight:
            del self._flights[flight.name]

    def forget(self, key: bytes) -> None:
        self._shelves.drop(key)

    def unshared(self, name: bytes) -> None:
        if len(self._unshared) >= MOST_UNSHARED:
            self._unshared.clear()
        self._unshared[name] = monotonic() + UNSHARED

    def _is_unshared(self, name: bytes) -> bool:
        until = self._unshared.get(name)
        if until is None:
            return False
        if until > monotonic():
            return True
        del self._unshared[name]
        return False

    def count(self, result: str) -> None:
        self._counts[result]()

    # --------------------------------------------------------------------- what goes through

    def _pass(self, exchange: Exchange) -> None:
        """To the endpoint, the cache looking on."""
        self._counts["bypass"]()
        exchange.lines = (*exchange.lines, cache_status.BYPASS)
        if exchange.head.method not in SAFE:
            outlet = exchange.outlet or Delivery(exchange)
            exchange.outlet = Witness(outlet, exchange, self._shelves)
        self.endpoint.handle(exchange)


class Witness:
    """An outlet that sees what became of a request, and has what it changed forgotten."""

    def __init__(self, outlet: Outlet, exchange: Exchange, shelves: Shelves) -> None:
        self._outlet = outlet
        self._exchange = exchange
        self._shelves = shelves

    def begin(self, head: Head) -> None:
        if head.status < 400:
            lines = head.lines if isinstance(head, Answer) else ()
            for key in changed(self._exchange, lines):
                self._shelves.drop(key)
        self._outlet.begin(head)

    def write(self, pieces: list[Piece]) -> None:
        self._outlet.write(pieces)

    def flush(self) -> None:
        self._outlet.flush()

    def end(self, trailers: Sequence[bytes] = ()) -> None:
        self._outlet.end(trailers)

    def fail(self, error: GatewayError) -> None:
        self._outlet.fail(error)


def key_for(exchange: Exchange) -> bytes:
    """The key of a request's target. What a trusted proxy says of it counts, too.

    `<` and `>` are in no host's name.
    """
    peer = exchange.client.peer
    scheme, host = peer.scheme, exchange.host
    if host is None:  # who names none is not who names an empty one: the origin hears its own
        host = b"<>"
    if peer.trusted:
        scheme = exchange.head.forwarded_proto or scheme
        said = b"\n".join(said_of_target(exchange.head))
        if scheme not in SCHEMES:
            said, scheme = b"%b\n%b" % (said, scheme), peer.scheme
        if said:
            host = b"%b<%b>" % (host, blake2b(said, digest_size=16).hexdigest().encode())
    return key_of(scheme, host, exchange.path, exchange.query)


def said_of_target(head: RequestHead) -> Iterator[bytes]:
    """What an origin might make links of. Who asked is told beside it, and is no part of it."""
    if head.forwarded_host is not None:
        yield head.forwarded_host
    for line in head.forwarded or ():
        name, value = name_of(line), value_of(line)
        if name == b"forwarded":
            yield from OF_THE_TARGET.findall(value)
        elif name != b"x-real-ip":
            yield b"%b: %b" % (name, value)


def changed(exchange: Exchange, lines: Sequence[bytes]) -> set[bytes]:
    """The keys that an unsafe request may have changed (RFC 9111, 4.4): none of other origins."""
    own = key_for(exchange)
    keys = {own}
    fields = fields_of(lines)
    base = own.decode("latin-1")
    origin = base[: base.index("/", base.index("://") + 3) + 1].encode("latin-1")
    for name in (b"location", b"content-location"):
        for value in fields.get(name, ()):
            key = named(base, value.decode("latin-1"))
            if key.startswith(origin):
                keys.add(key)
    return keys


def named(base: str, reference: str) -> bytes:
    """The key of what is referred to; empty for what is no reference (RFC 3986, 5)."""
    try:
        parts = urlsplit(urljoin(base, reference))
        scheme, host, path, query = (part.encode("latin-1") for part in parts[:4])
    except ValueError:
        return b""
    return key_of(scheme, host, path or b"/", b"?" + query if query else b"")


def may_use(stored: Stored, wishes: Wishes, now: float) -> bool:
    """Whether it answers a request without its origin."""
    if stored.asks:
        return False
    if stored.strict and now >= stored.until:
        return False
    return wishes.accept(now - stored.born, stored.lifetime)


def may_use_meanwhile(stored: Stored, wishes: Wishes, now: float) -> bool:
    """Whether it answers a request while its origin is asked (RFC 5861, 3)."""
    if stored.asks or stored.strict or not stored.while_revalidating:
        return False
    if wishes.no_cache or wishes.max_age is not None or wishes.min_fresh:
        return False
    return stored.until <= now < stored.until + stored.while_revalidating


def now_fresh(stored: Stored) -> bool:
    return time() < stored.until
