"""What stands behind a request on its connection: the next request, or nothing at all."""

from __future__ import annotations

import pytest

from tests.e2e.policy import (
    CONTROL,
    SMUGGLED,
    check_error,
    end,
    own,
    reaches,
    sent_up,
    told,
    untouched,
    values,
)
from tests.e2e.stage import GET, OK, field, stage

HANDSHAKE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


@pytest.mark.parametrize(
    "asked",
    [
        b"GET /api/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET /api/x HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, CLOSE\r\n\r\n",
        b"GET /api/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n",
        b"GET /api/x HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n",
        b"GET /api/x HTTP/1.0\r\nHost: a\r\n\r\n",
    ],
)
async def test_nothing_is_served_behind_a_request_that_was_the_last(asked: bytes) -> None:
    async with stage() as scene:
        client, target, _ = await sent_up(scene, asked + SMUGGLED)
        await target.send(OK)
        answer = await told(client)
        assert answer.status == 200
        assert answer.closes
        await end(client)
        await (await scene.client()).send(CONTROL)
        assert (await target.head()).startswith(b"GET /api/control ")


async def test_requests_are_answered_in_their_order() -> None:
    async with stage() as scene:
        client = await scene.client()
        refused = b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n"
        await client.send(GET + refused + b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n" + GET)
        target = await scene.upstream.accept()
        await target.head()
        await target.send(OK)
        assert (await told(client)).body == b"ok"
        check_error(await told(client), 404)
        assert field((await told(client)).head, b"allow")
        await target.head()
        await target.send(OK)
        assert (await told(client)).body == b"ok"


async def test_a_request_is_not_sent_up_before_the_one_before_it_is_answered() -> None:
    async with stage() as scene:
        client, target, _ = await sent_up(scene, GET + SMUGGLED)
        assert scene.upstream.idle
        await target.send(OK)
        assert (await target.head()).startswith(b"GET /api/smuggled ")
        assert (await told(client)).status == 200


# ----------------------------------------------------------------- a tunnel that never came about


@pytest.mark.parametrize("status", [b"200 OK", b"400 No", b"403 No", b"426 Upgrade Required"])
async def test_behind_a_refused_handshake_stands_a_request(status: bytes) -> None:
    async with stage() as scene:
        asked = b"GET /api/ws HTTP/1.1\r\nHost: a\r\nX-Real-IP: evil\r\n" + HANDSHAKE + b"\r\n"
        forged = b"GET /api/x HTTP/1.1\r\nHost: a\r\nX-Real-IP: evil\r\n\r\n"
        client, target, _ = await sent_up(scene, asked + forged)
        await target.send(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")
        assert (await told(client)).head.startswith(b"HTTP/1.1 " + status)
        assert own(await target.head()) == b"GET /api/x HTTP/1.1\r\nHost: a\r\n"


async def test_behind_a_refused_handshake_other_routes_are_not_the_upstreams() -> None:
    async with stage() as scene:
        asked = b"GET /api/ws HTTP/1.1\r\nHost: a\r\n" + HANDSHAKE + b"\r\n"
        client, target, _ = await sent_up(scene, asked + b"GET /admin HTTP/1.1\r\nHost: a\r\n\r\n")
        await target.send(b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n")
        assert (await told(client)).status == 426
        check_error(await told(client), 404)


@pytest.mark.parametrize(
    ("line", "framing"),
    [
        (b"POST /api/ws HTTP/1.1", b""),
        (b"GET /api/ws HTTP/1.0", b""),
        (b"GET /api/ws HTTP/1.1", b"Content-Length: 5\r\n"),
        (b"GET /api/ws HTTP/1.1", b"Transfer-Encoding: chunked\r\n"),
    ],
)
async def test_what_cannot_become_a_tunnel_is_plain(line: bytes, framing: bytes) -> None:
    async with stage() as scene:
        asked = line + b"\r\nHost: a\r\n" + framing + HANDSHAKE + b"\r\n"
        _, _, head = await sent_up(scene, asked)
        assert values(head, b"upgrade") == []
        assert values(head, b"connection") == []


# ------------------------------------------------------------------- the gateway's own endpoints


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (b"GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b", 200),
        (b"POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b", 405),
        (b"GET /health HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
         b"%x\r\n%b\r\n0\r\n\r\n", 200),
        (b"GET http://a/health HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b", 200),
    ],
)  # fmt: skip
async def test_the_body_of_a_request_to_the_gateway_is_no_request(
    asked: bytes, status: int
) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(asked % (len(SMUGGLED), SMUGGLED) + CONTROL)
        assert (await told(client)).status == status
        await reaches(scene, b"GET /api/control ")


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked", 400),
        (b"Transfer-Encoding: gzip, chunked", 501),
        (b"Content-Length: +5", 400),
        (b"A : b", 400),
        (b"Host: b", 400),
        (b"Authorization: a\r\nAuthorization: b", 400),
    ],
)
async def test_the_gateways_own_endpoints_are_as_strict(lines: bytes, status: int) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(b"GET /health HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n\r\n" + SMUGGLED)
        check_error(await told(client), status)
        await end(client)
        await untouched(scene)


async def test_a_broken_body_to_the_gateway_is_refused_or_ignored_but_never_served() -> None:
    async with stage() as scene:
        client = await scene.client()
        head = b"GET /health HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        await client.send(head + b"0x0\r\n\r\n" + SMUGGLED)
        assert (await told(client)).closes
        await untouched(scene)
