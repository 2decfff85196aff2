"""The cache's endpoint by itself: what it remembers, what it passes on, what its errand does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from gateway.caching import epochs
from gateway.caching.epochs import Epochs
from gateway.caching.errand import Errand, errand
from gateway.caching.freshness import Terms
from gateway.caching.front import Front
from gateway.caching.serving import SENT
from gateway.caching.shelves import Shelves
from gateway.caching.stored import Stored
from gateway.caching.wishes import Wishes
from gateway.errors import GatewayError, UpstreamUnavailable
from gateway.exchange import Exchange, Head, Peer, Piece, Response
from gateway.http1.request import RequestHead
from gateway.policies import cache
from gateway.policies.cache import Cached, may_use, may_use_meanwhile, named
from gateway.stores.shared_cache import Memory, SharedCache


class Record:
    """An outlet that remembers what it was given."""

    def __init__(self) -> None:
        self.got: list[Any] = []

    def begin(self, head: Head) -> None:
        self.got.append((head.status, head.length))

    def write(self, pieces: list[Piece]) -> None:
        self.got.append(b"".join(pieces))

    def flush(self) -> None:
        self.got.append("flush")

    def end(self, trailers: Sequence[bytes] = ()) -> None:
        self.got.append("end")

    def fail(self, error: GatewayError) -> None:
        self.got.append(error.status)


def asked(outlet: Record, method: bytes = b"GET") -> Exchange:
    """A request of somebody, with this outlet."""
    exchange = Exchange(Errand(Peer("127.0.0.1")), RequestHead(method, 1, b"Host: a"), b"/x?q")
    exchange.outlet = outlet
    return exchange


class Refuses:
    """An endpoint that raises before anything is sent."""

    def handle(self, exchange: Exchange) -> None:
        raise UpstreamUnavailable


def cached(counted: list[str]) -> Cached:
    memory = Memory(1 << 16)
    shelves = Shelves(Front(1 << 16), SharedCache(memory), memory.epochs)
    return Cached(Refuses(), shelves, lambda result: lambda: counted.append(result))


def test_endpoint_that_raises_is_an_answer() -> None:
    outlet, counted = Record(), list[str]()
    exchange = asked(outlet)
    cached(counted).handle(exchange)
    assert outlet.got == [503]
    assert exchange.lines == (b"Cache-Status: gateway; fwd=uri-miss; fwd-status=503",)
    assert counted == ["miss"]


def test_keys_that_are_not_for_sharing_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MOST_UNSHARED", 2)
    now = 0.0
    monkeypatch.setattr(cache, "monotonic", lambda: now)
    route = cached([])
    for name in (b"a", b"b"):
        route.unshared(name)
    assert route._is_unshared(b"a")
    now = cache.UNSHARED + 1
    assert not route._is_unshared(b"a")
    assert not route._is_unshared(b"a")
    route.unshared(b"c")
    route.unshared(b"d")
    assert list(route._unshared) == [b"d"]


@pytest.mark.parametrize(
    ("reference", "key"),
    [
        ("/y", b"http://a/y"),
        ("y?z", b"http://a/y?z"),
        ("//b", b"http://b/"),
        ("http://[", b""),
        ("/\u20ac", b""),
    ],
)
def test_reference(reference: str, key: bytes) -> None:
    assert named("http://a/x", reference) == key


def stored(**terms: Any) -> Stored:
    return Stored(200, b"", [], b"", born=0, terms=Terms(10, 0, **terms))


@pytest.mark.parametrize(
    ("terms", "wishes", "now", "usable"),
    [
        ({}, Wishes(), 9, True),
        ({}, Wishes(), 10, False),
        ({}, Wishes(max_stale=5), 12, True),
        ({"strict": True}, Wishes(max_stale=5), 12, False),
        ({"strict": True}, Wishes(), 9, True),
        ({"asks": True}, Wishes(), 9, False),
    ],
)
def test_use_without_the_origin(
    terms: dict[str, Any], wishes: Wishes, now: float, usable: bool
) -> None:
    assert may_use(stored(**terms), wishes, now) is usable


@pytest.mark.parametrize(
    ("terms", "wishes", "now", "usable"),
    [
        ({"while_revalidating": 5}, Wishes(), 14, True),
        ({"while_revalidating": 5}, Wishes(), 15, False),
        ({"while_revalidating": 5}, Wishes(no_cache=True), 12, False),
        ({"while_revalidating": 5}, Wishes(max_age=5), 12, False),
        ({"while_revalidating": 5}, Wishes(min_fresh=5), 12, False),
        ({"while_revalidating": 5, "strict": True}, Wishes(), 12, False),
        ({"while_revalidating": 5, "asks": True}, Wishes(), 12, False),
        ({}, Wishes(), 12, False),
    ],
)
def test_use_while_the_origin_is_asked(
    terms: dict[str, Any], wishes: Wishes, now: float, usable: bool
) -> None:
    assert may_use_meanwhile(stored(**terms), wishes, now) is usable


def test_errand_is_like_its_asker_and_hands_everything_to_its_outlet() -> None:
    outlet = Record()
    asker = asked(Record())
    asker.upward = (b"X-User: anna",)
    exchange = errand(asker, outlet, frozenset((b"range",)), (b"If-None-Match: x",))
    assert (exchange.path, exchange.query, exchange.host) == (b"/x", b"?q", asker.host)
    assert exchange.upward == (b"X-User: anna", b"If-None-Match: x")
    assert exchange.withheld == {b"range"}
    client = exchange.client
    client.respond(Response(200, b"body", (b"A: 1",)))
    client.flush()
    client.refuse(UpstreamUnavailable())
    assert outlet.got == [(200, 4), b"body", "end", "flush", 503]


def test_errand_has_no_connection() -> None:
    client = Errand(Peer("127.0.0.1"))
    for act in (client.proceed, client.pause, client.resume, client.cut, client.close):
        act()
    client.accompany(None)  # type: ignore[arg-type]  # not looked at
    client.finish(keep_alive=True)
    assert client.tunnel() == b""
    assert client.received_all
    assert not client.full
    assert not client.front.draining


def test_sink_of_what_is_sent_does_nothing() -> None:
    SENT.received([b"x"])
    for act in (SENT.ended, SENT.blocked, SENT.unblocked, SENT.abandoned, SENT.going_away):
        act()


def test_epochs_are_told_apart() -> None:
    cells = Epochs(memoryview(bytearray(epochs.BYTES)))
    before = cells.stamp(b"a")
    cells.void(b"a")
    assert cells.stamp(b"a") != before
    assert cells.stamp(b"a")[1] == before[1]
    cells.purged()
    assert cells.stamp(b"a")[1] == cells.purges != before[1]
