"""What a request's head is when it reaches the upstream: the client's lines, byte for byte and in
order, without those that stop here, and behind them what the gateway adds."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.e2e.policy import SMUGGLED, own, passes, sent_up, told, values
from tests.e2e.stage import OK, field, stage

TRUSTED: dict[str, Any] = {"trusted_proxies": ["127.0.0.0/8", "10.0.0.0/8"]}
NEW_ID = re.compile(rb"[0-9a-f]{32}")
NEW_TRACE = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-01")
PARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def head_of(*lines: bytes, **settings: Any) -> bytes:
    """The head that goes up of a request with these lines."""
    async with stage(**settings) as scene:
        data = b"\r\n".join((b"GET /api/x HTTP/1.1", b"Host: a:81", *lines, b"", b""))
        return (await sent_up(scene, data))[2]


async def left_of(*lines: bytes, **settings: Any) -> list[bytes]:
    """Those of these lines that go up."""
    async with stage(**settings) as scene:
        return await passes(scene, *lines)


# ------------------------------------------------------------------------------ what goes through


async def test_nothing_is_invented() -> None:
    head = await head_of()
    assert re.fullmatch(
        rb"GET /api/x HTTP/1.1\r\nHost: a:81\r\nX-Forwarded-For: 127\.0\.0\.1\r\n"
        rb"X-Forwarded-Proto: http\r\nX-Forwarded-Host: a:81\r\nX-Request-ID: [0-9a-f]{32}\r\n"
        rb"traceparent: 00-[0-9a-f]{32}-[0-9a-f]{16}-01\r\n\r\n",
        head,
    )


@pytest.mark.parametrize(
    "lines",
    [
        [b"User-Agent: x/1 (a; b)", b"Accept: */*", b"accept-encoding: gzip, br;q=0.5"],
        [b"x-lower: a", b"X-UPPER: B", b"X-MiXeD: cC"],
        [b"A: 1", b"B: 2", b"A: 3", b"C: 4", b"a: 5"],
        [b"Accept: a", b"Accept: b", b"accept: a"],
        [b"Content-Type: a/b", b"Content-Type: c/d"],
        [b"A:", b"B: ", b"C:\t", b"D:x", b"E:  x  ", b"F:\tx\ty\t"],
        [b"A: \x80\xff", b"B: \xc3\xa4\xe2\x82\xac", b"C: caf\xe9"],
        [b"A: :b", b"B: c:d", b"C: http://a:80/#?", b'D: "a, b\\"', b"E: a;b=c,,d"],
        [b"!#$%&'*+-.^_`|~: a", b"1: b", b"a_b: c", b"A.B: d"],
        [b"Authorization: Basic a:b", b"Range: bytes=0-1", b'If-Match: "a"', b"If-Range: b"],
        [b"Via: 1.0 a", b"Via: 1.1 b", b"Max-Forwards: 3", b"Warning: 199 - a"],
        [b"Origin: null", b"Referer: http://a/?b#c", b"DNT: 1", b"Sec-Fetch-Mode: cors"],
        [b"Content_Length: 5", b"Transfer_Encoding: chunked", b"Content-Lengths: 5"],
        [b"X-Accel-Redirect: /a", b"Set-Cookie: a=b", b"Date: a", b"Server: b"],
        [b"X-Forward: a", b"X-Forwarded: b", b"Forwarde: c", b"X-Real: d", b"X-RealIP: e"],
        [b"baggage: a=b", b"b3: 0", b"uber-trace-id: c"],
        [b"A: " + b"b" * 8000],
    ],
)
async def test_other_lines_go_up_as_they_came(lines: list[bytes]) -> None:
    assert await left_of(*lines) == lines


async def test_lines_keep_their_order_round_those_that_stop_here() -> None:
    lines = [b"A: 1", b"Keep-Alive: 5", b"B: 2", b"Connection: x", b"A: 3", b"X: y", b"c: 4"]
    assert await left_of(*lines) == [b"A: 1", b"B: 2", b"A: 3", b"c: 4"]


@pytest.mark.parametrize(
    ("lines", "joined"),
    [
        ([b"Cookie: a=b", b"Cookie: c=d"], [b"Cookie: a=b; c=d"]),
        ([b"A: 1", b"cookie: a", b"B: 2", b"COOKIE:  b\t", b"Cookie: c"],
         [b"A: 1", b"cookie: a; b; c", b"B: 2"]),
        ([b"Cookie: a=b; c=d,e"], [b"Cookie: a=b; c=d,e"]),
        ([b"Cookie: a=\xc3\xa4", b"Cookie: b=\xff"], [b"Cookie: a=\xc3\xa4; b=\xff"]),
    ],
)  # fmt: skip
async def test_cookies_are_joined(lines: list[bytes], joined: list[bytes]) -> None:
    assert await left_of(*lines) == joined


async def test_the_second_request_on_a_connection_is_read_like_the_first() -> None:
    async with stage() as scene:
        lines = (
            b"Host: a\r\nCookie: a\r\nCookie: b\r\nConnection: c\r\nC: d\r\nX-Real-IP: e\r\n\r\n"
        )
        client, target, first = await sent_up(scene, b"GET /api/x HTTP/1.1\r\n" + lines)
        await target.send(OK)
        await told(client)
        await client.send(b"GET /api/y?z HTTP/1.1\r\n" + lines)
        second = await target.head()
        assert own(first) == b"GET /api/x HTTP/1.1\r\nHost: a\r\nCookie: a; b\r\n"
        assert own(second) == b"GET /api/y?z HTTP/1.1\r\nHost: a\r\nCookie: a; b\r\n"
        assert field(first, b"x-request-id") != field(second, b"x-request-id")
        assert field(first, b"traceparent") != field(second, b"traceparent")


# --------------------------------------------------------------------------------- hop by hop


@pytest.mark.parametrize(
    "line",
    [
        b"Keep-Alive: timeout=5", b"Proxy-Connection: keep-alive", b"Proxy-Authorization: Basic a",
        b"proxy-authorization: Basic a", b"TE: gzip", b"TE: deflate;q=0.5", b"TE:", b"Trailer: A",
        b"Upgrade: h2c", b"Upgrade: websocket", b"Upgrade: TLS/1.0, HTTP/1.1",
        b"HTTP2-Settings: AAMAAABkAAQAAP__", b"http2-settings:", b"Connection: close",
        b"Connection: keep-alive", b"connection:", b"Connection: ,,", b"CONNECTION: Upgrade",
    ],
)  # fmt: skip
async def test_hop_by_hop_lines_stop_here(line: bytes) -> None:
    assert await left_of(b"A: b", line, b"C: d") == [b"A: b", b"C: d"]


@pytest.mark.parametrize(
    "names",
    [
        [b"Connection: X-Named"], [b"connection: x-NAMED"], [b"Connection: close, X-Named"],
        [b"Connection: X-Named,keep-alive"], [b"Connection: ,X-Named,"],
        [b"Connection: a", b"Connection:\tX-Named\t"], [b"Connection: keep-alive , x-named"],
    ],
)  # fmt: skip
async def test_what_connection_names_stops_here(names: list[bytes]) -> None:
    lines = [b"X-Named: 1", b"X-Other: 2", *names, b"x-named: 3"]
    assert await left_of(*lines) == [b"X-Other: 2"]


@pytest.mark.parametrize(
    "line",
    [b"Authorization: Bearer a", b"Cookie: a=b", b"authorization: Bearer a", b"COOKIE: a=b"],
)
async def test_connection_cannot_name_credentials_away(line: bytes) -> None:
    names = b"Connection: close, Host, Content-Length, Authorization, Cookie"
    assert await left_of(names, line) == [line]


async def test_connection_cannot_name_the_length_away() -> None:
    async with stage() as scene:
        head = b"POST /api/x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n" % len(SMUGGLED)
        data = head + b"Connection: content-length, host\r\n\r\n" + SMUGGLED
        _, target, sent = await sent_up(scene, data)
        assert own(sent) == head
        assert await target.exactly(len(SMUGGLED)) == SMUGGLED


async def test_connection_cannot_name_away_what_the_gateway_adds() -> None:
    added = (b"X-Request-ID", b"X-Forwarded-For", b"X-Forwarded-Proto", b"X-Forwarded-Host",
             b"traceparent", b"Host")  # fmt: skip
    head = await head_of(b"Connection: " + b", ".join(added), b"X-Request-ID: mine")
    for name in added:
        assert len(values(head, name.lower())) == 1
    assert field(head, b"x-request-id") == b"mine"
    assert field(head, b"x-forwarded-for") == b"127.0.0.1"


@pytest.mark.parametrize(
    "value", [b"trailers", b"Trailers", b"gzip, trailers", b"trailers, gzip;q=0"]
)
async def test_of_te_only_trailers_goes_up(value: bytes) -> None:
    assert await left_of(b"TE: " + value) == [b"Connection: TE", b"TE: trailers"]


@pytest.mark.parametrize("upgrade", [b"h2c", b"HTTP/2.0", b"websocket, h2c", b"TLS/1.0", b"a"])
async def test_another_upgrade_is_dropped(upgrade: bytes) -> None:
    lines = [b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: " + upgrade, b"HTTP2-Settings: AA"]
    assert await left_of(*lines) == []


async def test_a_websocket_is_plain_where_a_route_has_none() -> None:
    lines = [b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13"]
    assert await left_of(*lines, route={"websocket": False}) == lines[2:]


# ------------------------------------------------------------------------- who asked: untrusted


FORGED = [
    b"X-Forwarded-For: 6.6.6.6", b"X-Forwarded-Proto: https", b"X-Forwarded-Host: evil",
    b"X-Forwarded-Port: 443", b"X-Forwarded-Prefix: /evil", b"X-Forwarded-Server: evil",
    b"X-Forwarded-Ssl: on", b"X-Forwarded-Scheme: https", b"X-Forwarded-User: root",
    b"X-Forwarded-Client-Cert: evil", b"Forwarded: for=6.6.6.6;host=evil;proto=https",
    b"X-Real-IP: 6.6.6.6", b"x-real-ip: 6.6.6.6", b"X_Forwarded_For: 6.6.6.6",
    b"X-Forwarded_For: 6.6.6.6", b"X_Forwarded-For: 6.6.6.6", b"x_forwarded_host: evil",
    b"X_FORWARDED_PROTO: https", b"X_Real_IP: 6.6.6.6", b"X-Real_IP: 6.6.6.6",
    b"X_Forwarded_Anything: evil", b"X-Forwarded-: evil", b"X_Request_ID: evil",
    b"X-Request_ID: evil",
]  # fmt: skip


@pytest.mark.parametrize("line", FORGED)
async def test_nobody_speaks_for_another(line: bytes) -> None:
    head = await head_of(line, line)
    assert own(head) == b"GET /api/x HTTP/1.1\r\nHost: a:81\r\n"
    assert values(head, b"x-forwarded-for") == [b"127.0.0.1"]
    assert values(head, b"x-forwarded-proto") == [b"http"]
    assert values(head, b"x-forwarded-host") == [b"a:81"]
    for forged in (b"6.6.6.6", b"evil", b"https", b"root"):
        assert forged not in head


async def test_a_peer_outside_the_trusted_networks_is_not_believed() -> None:
    head = await head_of(*FORGED, trusted_proxies=["10.0.0.0/8", "::1/128"])
    assert own(head) == b"GET /api/x HTTP/1.1\r\nHost: a:81\r\n"
    assert field(head, b"x-forwarded-for") == b"127.0.0.1"


# --------------------------------------------------------------------------- who asked: trusted


@pytest.mark.parametrize(
    ("lines", "chain"),
    [
        ([], b"127.0.0.1"),
        ([b"X-Forwarded-For: 1.2.3.4"], b"1.2.3.4, 127.0.0.1"),
        ([b"X-Forwarded-For: 1.2.3.4, 10.0.0.1"], b"1.2.3.4, 10.0.0.1, 127.0.0.1"),
        ([b"x-forwarded-for: 1.2.3.4", b"A: b", b"X-Forwarded-For: 5.6.7.8"],
         b"1.2.3.4, 5.6.7.8, 127.0.0.1"),
        ([b"X-Forwarded-For: 2001:db8::1"], b"2001:db8::1, 127.0.0.1"),
        ([b"X-Forwarded-For: unknown"], b"unknown, 127.0.0.1"),
        ([b"X-Forwarded-For:"], b"127.0.0.1"),  # RFC 9110, 5.6.1.1: no empty elements are sent
        ([b"Connection: X-Forwarded-For", b"X-Forwarded-For: 1.2.3.4"], b"1.2.3.4, 127.0.0.1"),
    ],
)  # fmt: skip
async def test_a_trusted_peers_chain_grows_by_its_address(lines: list[bytes], chain: bytes) -> None:
    head = await head_of(*lines, **TRUSTED)
    assert values(head, b"x-forwarded-for") == [chain]


async def test_a_trusted_peers_word_on_host_and_scheme_stands() -> None:
    said = [b"X-Forwarded-Proto: https", b"X-Forwarded-Host: shop.example:444"]
    head = await head_of(*said, **TRUSTED)
    assert values(head, b"x-forwarded-proto") == [b"https"]
    assert values(head, b"x-forwarded-host") == [b"shop.example:444"]
    assert values(head, b"host") == [b"a:81"]


async def test_what_a_trusted_peer_does_not_say_is_ours_to_say() -> None:
    head = await head_of(b"X-Forwarded-For: 1.2.3.4", **TRUSTED)
    assert values(head, b"x-forwarded-proto") == [b"http"]
    assert values(head, b"x-forwarded-host") == [b"a:81"]


@pytest.mark.parametrize(
    "line",
    [b"Forwarded: for=1.2.3.4;proto=https", b"X-Real-IP: 1.2.3.4", b"X-Forwarded-Port: 443",
     b"x-forwarded-prefix: /a"],
)  # fmt: skip
async def test_a_trusted_peers_other_words_go_up(line: bytes) -> None:
    assert line in (await head_of(line, **TRUSTED)).split(b"\r\n")


# ------------------------------------------------------------------------------ names and traces


@pytest.mark.parametrize("name", [b"a", b"0", b"A.b_c-9", b"..", b"-", b"a" * 128])
async def test_a_requests_name_goes_up_and_comes_back(name: bytes) -> None:
    async with stage() as scene:
        data = b"GET /api/x HTTP/1.1\r\nHost: a\r\nx-request-id:\t" + name + b" \r\n\r\n"
        client, target, head = await sent_up(scene, data)
        assert values(head, b"x-request-id") == [name]
        await target.send(b"HTTP/1.1 200 OK\r\nX-Request-Id: theirs\r\nContent-Length: 0\r\n\r\n")
        assert values((await told(client)).head, b"x-request-id") == [name]


@pytest.mark.parametrize(
    "name",
    [b"", b"a" * 129, b"a b", b"a,b", b"a/b", b"a:b", b'"a"', b"{a}", b"a\xc3\xa4", b"a;b", b"$(a)",
     b"<a>", b"a\\n", b"%0d%0a", b"a=b", b"a+b"],
)  # fmt: skip
async def test_a_name_that_is_none_is_replaced(name: bytes) -> None:
    async with stage() as scene:
        data = b"GET /api/x HTTP/1.1\r\nHost: a\r\nX-Request-ID: " + name + b"\r\n\r\n"
        client, target, head = await sent_up(scene, data)
        sent = field(head, b"x-request-id")
        assert sent is not None
        assert NEW_ID.fullmatch(sent)
        await target.send(OK)
        assert field((await told(client)).head, b"x-request-id") == sent


async def test_of_two_names_at_most_one_goes_up() -> None:
    head = await head_of(b"X-Request-ID: first", b"x-request-id: second")
    assert len(values(head, b"x-request-id")) == 1


@pytest.mark.parametrize(
    "parent",
    [
        PARENT,
        PARENT[:-2] + b"00",
        PARENT[:-2] + b"ff",
        b"01" + PARENT[2:],
        b"cc" + PARENT[2:] + b"-what-the-future-brings",
    ],
)
async def test_a_trace_goes_on(parent: bytes) -> None:
    states = [b"tracestate: a=b", b"Tracestate: c=d"]
    head = await head_of(b"TraceParent: " + parent, *states)
    assert values(head, b"traceparent") == [parent]
    assert values(head, b"tracestate") == [b"a=b", b"c=d"]


@pytest.mark.parametrize(
    "parent",
    [
        b"", b"a", b"ff" + PARENT[2:], PARENT.upper(), PARENT + b"-00", PARENT + b"0", PARENT[:-1],
        PARENT + b" x", b"0" + PARENT[2:], b"00-" + b"0" * 32 + PARENT[35:],
        PARENT[:36] + b"0" * 16 + b"-01", PARENT.replace(b"-", b"_"), PARENT[:-2] + b"0g",
        PARENT + b"," + PARENT, b"cc" + PARENT[2:] + b".x", b"00 " + PARENT[3:],
    ],
)  # fmt: skip
async def test_a_trace_that_is_none_begins_anew(parent: bytes) -> None:
    head = await head_of(b"traceparent: " + parent, b"tracestate: a=b", b"A: b")
    [sent] = values(head, b"traceparent")
    assert NEW_TRACE.fullmatch(sent)
    assert sent != PARENT
    assert values(head, b"tracestate") == []  # it belongs to the trace that was not taken up
    assert values(head, b"a") == [b"b"]


async def test_two_parents_are_none() -> None:
    head = await head_of(b"traceparent: " + PARENT, b"traceparent: " + PARENT)
    [sent] = values(head, b"traceparent")
    assert NEW_TRACE.fullmatch(sent)
    assert sent != PARENT


async def test_a_tracestate_without_its_parent_is_dropped() -> None:
    """W3C Trace Context, 4.2: it is invalid and must be discarded."""
    assert values(await head_of(b"tracestate: a=b"), b"tracestate") == []
