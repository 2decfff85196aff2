"""Bytes of any kind, cut anywhere, against a client's connection: see `wire` for what it checks."""

from __future__ import annotations

from itertools import chain, repeat

from hypothesis import example, given
from hypothesis import strategies as st

from gateway.downstream import Downstream
from gateway.front import Limits
from tests.http1 import grammar
from tests.http1.reading import split_at
from tests.http1.wire import ENDED, FIRST, LATER, NOW, Request, Script, Wire, connect

PLACES = st.lists(st.integers(0, 2000), max_size=12)
EVERYWHERE = range(2001)
STREAMS = st.lists(grammar.requests, min_size=1, max_size=3).map(b"".join)


def arrive(wire: Wire, connection: Downstream, script: Script, parts: list[bytes]) -> None:
    """Hand the parts in as a transport would: not while it is told to wait."""
    for part in parts:
        if not wire.reading:
            assert script.open is not None, "nothing is going on, and nothing is read"
            script.answer()
        if wire.closed:
            break
        assert wire.reading
        connection.data_received(part)
    while script.open is not None and script.open.whole:
        script.answer()


def summed_up(script: Script) -> tuple[list[Request], bool]:
    """What was asked; of the request that was refused its body's beginning may differ."""
    whole = [request for request in script.requests if request.whole]
    return whole, bool(script.refused)


@given(STREAMS | st.binary(max_size=300), PLACES, st.sampled_from([ENDED, LATER, FIRST, NOW]))
def test_bytes_of_any_kind_never_raise(data: bytes, places: list[int], way: str) -> None:
    wire, connection, script = connect(repeat(way))
    arrive(wire, connection, script, split_at(data, places))
    connection.connection_lost(None)
    assert script.current is None
    assert len(script.refused) <= 1


@given(STREAMS, PLACES | st.just(EVERYWHERE))
@example(b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", [2])
def test_bytes_mean_the_same_however_they_are_cut(data: bytes, places: list[int]) -> None:
    seen = []
    for parts in ([data], split_at(data, places)):
        wire, connection, script = connect()
        arrive(wire, connection, script, parts)
        seen.append(summed_up(script))
    assert seen[0] == seen[1]


@st.composite
def exchanges(draw: st.DrawFn) -> tuple[bytes, Request]:
    """A good request and what is to be heard of it."""
    number = draw(st.integers(0, 99))
    body = draw(st.just(b"") | st.binary(max_size=100))
    lines = [b"POST /%d HTTP/1.1" % number, b"Host: a"]
    way = draw(st.sampled_from([ENDED, FIRST, LATER, NOW]))
    framed = body
    if draw(st.booleans()):
        lines.append(b"Content-Length: %d" % len(body))
    elif draw(st.booleans()):
        half = len(body) // 2
        pieces = [piece for piece in (body[:half], body[half:]) if piece]
        framed = b"".join(b"%x;e\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        framed += b"0\r\nT: 1\r\n\r\n"
        lines.append(b"Transfer-Encoding: chunked")
        way = ENDED  # one that is answered before its end closes the connection
    else:
        body = framed = b""
    empty = draw(st.sampled_from([b"", b"\r\n"]))
    data = empty + b"\r\n".join((*lines, b"", framed))
    return data, Request(b"POST", b"/%d" % number, way, body, whole=True, answered=True)


@given(
    st.lists(exchanges(), min_size=1, max_size=6),
    PLACES | st.just(EVERYWHERE),
    st.sampled_from([40, 65536]),
)
def test_requests_that_are_pipelined_are_all_answered_in_their_order(
    asked: list[tuple[bytes, Request]], places: list[int], buffer: int
) -> None:
    expected = [request for _, request in asked]
    ways = chain((request.way for request in expected), repeat(ENDED))
    wire, connection, script = connect(ways, Limits(buffer=buffer))
    arrive(wire, connection, script, split_at(b"".join(data for data, _ in asked), places))
    assert script.refused == []
    assert [request.path for request in script.requests] == [r.path for r in expected]
    assert all(request.answered for request in script.requests)
    for heard, request in zip(script.requests, expected, strict=True):
        if request.way == ENDED:
            assert heard == request
        else:
            assert request.body.startswith(heard.body)
    bodies = [b"\r\n\r\n%d" % (number + 1) for number in range(len(asked))]
    answers = wire.sent.split(b"HTTP/1.1 200 OK")[1:]
    assert [answer[-len(body) :] for answer, body in zip(answers, bodies, strict=True)] == bodies
    assert not wire.closed
    assert wire.reading
