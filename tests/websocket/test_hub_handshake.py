"""The opening handshake with the gateway's own WebSocket (RFC 6455, 4.2), right and wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio

from tests.e2e.stage import Connection, Stage, field, fields
from tests.e2e.tunnels import comes_true, ends
from tests.websocket.frames import close, code_of, read_frame, text
from tests.websocket.frames import ping as control_ping
from tests.websocket.hub import PATH, PONG, hub, ping, said
from tests.websocket.talking import ACCEPT, KEY, upgrade

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene() -> AsyncIterator[Stage]:
    async with hub() as scene:
        yield scene


START = b"GET /ws/predictions HTTP/1.1"
HOST = b"Host: gateway.test"
CONNECTION = b"Connection: Upgrade"
UPGRADE = b"Upgrade: websocket"
VERSION = b"Sec-WebSocket-Version: 13"
NONCE = b"Sec-WebSocket-Key: " + KEY
ALL = (HOST, CONNECTION, UPGRADE, VERSION, NONCE)


def request(*lines: bytes, start: bytes = START) -> bytes:
    return b"\r\n".join((start, *lines, b"\r\n"))


def but(replaced: bytes, *by: bytes) -> tuple[bytes, ...]:
    """The right lines, with one of them replaced."""
    at = ALL.index(replaced)
    return (*ALL[:at], *by, *ALL[at + 1 :])


RIGHT = {
    "as in the RFC": ALL,
    "in another order": ALL[::-1],
    "in other cases": (HOST, b"cOnNeCtIoN: upGRADE", b"UPGRADE: WebSocket", VERSION, NONCE),
    "kept alive": but(CONNECTION, b"Connection: keep-alive, Upgrade"),
    "upgraded first": but(CONNECTION, b"Connection: Upgrade,keep-alive"),
    "in two lines": but(CONNECTION, b"Connection: keep-alive", b"Connection: Upgrade"),
    "with empty items": but(CONNECTION, b"Connection: ,, Upgrade ,"),
    "with blanks": but(NONCE, b"Sec-WebSocket-Key: \t " + KEY + b" \t"),
    "with protocols": (*ALL, b"Sec-WebSocket-Protocol: chat, superchat"),
    "with extensions": (*ALL, b"Sec-WebSocket-Extensions: permessage-deflate, foo; bar=1"),
    "with an origin": (*ALL, b"Origin: https://example.com"),
    "with a body of nothing": (*ALL, b"Content-Length: 0"),
}


@pytest.mark.parametrize("lines", RIGHT.values(), ids=RIGHT)
async def test_a_right_handshake_is_answered(scene: Stage, lines: Sequence[bytes]) -> None:
    client = await scene.client()
    await client.send(request(*lines))
    head = await client.head()
    assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert field(head, b"sec-websocket-accept") == ACCEPT
    assert (field(head, b"upgrade") or b"").lower() == b"websocket"
    assert (field(head, b"connection") or b"").lower() == b"upgrade"
    # Neither was agreed to: nothing that was not asked for, nothing that is not spoken (4.2.2).
    names = {name for name, _ in fields(head)}
    assert not names & {b"sec-websocket-extensions", b"sec-websocket-protocol"}
    assert not names & {b"content-length", b"transfer-encoding"}  # RFC 9110, 15.2
    assert said(await read_frame(client)) == "welcome"
    await ended(client)


async def ended(client: Connection) -> None:
    """Close in order; what comes is the hub's Close."""
    await client.send(close().wire())
    assert code_of(await read_frame(client)) == 1000
    assert await ends(client) == b""


SHORT, LONG = b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAA", b"Sec-WebSocket-Key: " + b"A" * 32
WRONG = {
    "no key": (but(NONCE), {400}),
    "an empty key": (but(NONCE, b"Sec-WebSocket-Key:"), {400}),
    "a key of 15 bytes": (but(NONCE, SHORT), {400}),
    "a key of 17 bytes": (but(NONCE, b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAAA="), {400}),
    "a key of 24 bytes": (but(NONCE, LONG), {400}),
    "a key without its padding": (but(NONCE, NONCE[:-2]), {400}),
    "a key that is no base64": (but(NONCE, NONCE[:-4] + b"!!=="), {400}),
    "a key with bits beyond its bytes": (but(NONCE, NONCE[:-3] + b"R=="), {400}),
    "a key in the web's base64": (but(NONCE, NONCE.replace(b"dGhl", b"dG-_")), {400}),
    "two keys": (but(NONCE, NONCE, NONCE), {400}),
    "two different keys": (but(NONCE, NONCE, NONCE.replace(b"dGhl", b"eGhl")), {400}),
    "no version": (but(VERSION), {400, 426}),
    "version 8": (but(VERSION, b"Sec-WebSocket-Version: 8"), {400, 426}),
    "version 14": (but(VERSION, b"Sec-WebSocket-Version: 14"), {400, 426}),
    "version 013": (but(VERSION, b"Sec-WebSocket-Version: 013"), {400, 426}),
    "versions 13 and 8": (but(VERSION, b"Sec-WebSocket-Version: 13, 8"), {400, 426}),
    "two versions": (but(VERSION, VERSION, VERSION), {400, 426}),
    "no upgrade": (but(UPGRADE), {400, 426}),
    "no connection": (but(CONNECTION), {400, 426}),
    "a connection that is kept alive only": (
        but(CONNECTION, b"Connection: keep-alive"),
        {400, 426},
    ),
    "an upgrade to something else": (but(UPGRADE, b"Upgrade: h2c"), {400, 426}),
    "an upgrade to nearly that": (but(UPGRADE, b"Upgrade: websockets"), {400, 426}),
    "no Host": (but(HOST), {400}),
    "two Hosts": (but(HOST, HOST, HOST), {400}),
}


@pytest.mark.parametrize(("lines", "statuses"), WRONG.values(), ids=WRONG)
async def test_a_wrong_handshake_is_refused(
    scene: Stage, lines: Sequence[bytes], statuses: set[int]
) -> None:
    client = await scene.client()
    await client.send(request(*lines))
    head, body = await client.answer()
    assert int(head.split(b" ")[1]) in statuses
    assert b'"error"' in body
    assert field(head, b"sec-websocket-accept") is None
    if 426 in statuses:  # RFC 6455, 4.2.2: it is told what is spoken
        assert field(head, b"sec-websocket-version") == b"13"


STARTS = {
    "in HTTP/1.0": (b"GET /ws/predictions HTTP/1.0", {400, 426}),
    "by POST": (b"POST /ws/predictions HTTP/1.1", {405}),
    "by PUT": (b"PUT /ws/predictions HTTP/1.1", {405}),
    "by DELETE": (b"DELETE /ws/predictions HTTP/1.1", {405}),
    "by OPTIONS": (b"OPTIONS /ws/predictions HTTP/1.1", {405}),
    "in HTTP/2.0": (b"GET /ws/predictions HTTP/2.0", {505}),
    "elsewhere": (b"GET /ws/predictions/ HTTP/1.1", {404}),
    "in capitals": (b"GET /WS/predictions HTTP/1.1", {404}),
    "by CONNECT": (b"CONNECT gateway.test:80 HTTP/1.1", {405}),
}


@pytest.mark.parametrize(("start", "statuses"), STARTS.values(), ids=STARTS)
async def test_a_handshake_asked_in_another_way_is_refused(
    scene: Stage, start: bytes, statuses: set[int]
) -> None:
    client = await scene.client()
    await client.send(request(*ALL, start=start))
    head, _ = await client.answer()
    assert int(head.split(b" ")[1]) in statuses


async def test_a_handshake_by_head_has_no_body(scene: Stage) -> None:
    client = await scene.client()
    await client.send(request(*ALL, start=b"HEAD /ws/predictions HTTP/1.1"))
    assert int((await client.head()).split(b" ")[1]) in {400, 405, 426}
    await client.send(upgrade(PATH))  # a body would stand before its answer
    assert (await client.head()).startswith(b"HTTP/1.1 101 ")


SMUGGLED = b"GET /health/live HTTP/1.1\r\nHost: gateway.test\r\n\r\n"
BODIES = {
    "of a length": (b"Content-Length: %d" % len(SMUGGLED), SMUGGLED),
    "in chunks": (
        b"Transfer-Encoding: chunked",
        b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED),
    ),
}


@pytest.mark.parametrize(("line", "body"), BODIES.values(), ids=BODIES)
async def test_a_handshake_with_a_body_is_refused_body_and_all(
    scene: Stage, line: bytes, body: bytes
) -> None:
    client = await scene.client()
    await client.send(request(*ALL, line) + body)
    head, _ = await client.answer()
    assert int(head.split(b" ")[1]) in {400, 426}
    assert b"HTTP/1.1" not in await ends_or_nothing(client)


@pytest.mark.parametrize(
    "lines",
    [
        (b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        (b"Content-Length: 0", b"Content-Length: 5"),
        (b"Content-Length: +0",),
        (b"Transfer-Encoding: identity",),
        (b"Transfer-Encoding: chunked, chunked",),
    ],
)
async def test_a_handshake_of_unclear_length_is_refused(
    scene: Stage, lines: tuple[bytes, ...]
) -> None:
    status, data = await scene.refused(request(*ALL, *lines) + SMUGGLED)
    assert status in {400, 501}
    assert data.count(b"HTTP/1.1 ") == 1


async def ends_or_nothing(client: Connection) -> bytes:
    """What still comes without anything more being said."""
    try:
        async with asyncio.timeout(0.2):
            return await client.reader.read(65536)
    except (TimeoutError, ConnectionError):
        return b""


async def test_frames_that_come_with_the_head_are_answered_behind_the_101(scene: Stage) -> None:
    client = await scene.client()
    early = (ping(17), control_ping(b"early"), ping(200), close(1000))
    await client.send(upgrade(PATH) + b"".join(frame.wire() for frame in early))
    assert (await client.head()).startswith(b"HTTP/1.1 101 ")
    heard = [said(await read_frame(client)) for _ in range(4)]
    assert heard[:2] == ["welcome", PONG]
    assert heard[3] == PONG
    assert code_of(await read_frame(client)) == 1000
    assert await ends(client) == b""


async def test_half_a_frame_with_the_head_is_read_on(scene: Stage) -> None:
    client = await scene.client()
    wire = ping(300).wire()
    await client.send(upgrade(PATH) + wire[:3])
    await client.head()
    assert said(await read_frame(client)) == "welcome"
    for byte in wire[3:]:
        await client.send(bytes((byte,)))
    assert said(await read_frame(client)) == PONG
    await ended(client)


async def test_a_head_that_comes_byte_by_byte_is_read(scene: Stage) -> None:
    client = await scene.client()
    for byte in upgrade(PATH):
        await client.send(bytes((byte,)))
    assert (await client.head()).startswith(b"HTTP/1.1 101 ")
    assert said(await read_frame(client)) == "welcome"
    await ended(client)


async def test_a_request_inside_a_frame_is_no_request(scene: Stage) -> None:
    client = await scene.client()
    await client.send(upgrade(PATH) + text(SMUGGLED).wire(b"\0\0\0\0"))
    await client.head()
    assert said(await read_frame(client)) == "welcome"
    assert said(await read_frame(client)) == "bad_json"
    await ended(client)


async def test_a_request_behind_the_head_is_no_request(scene: Stage) -> None:
    client = await scene.client()
    await client.send(upgrade(PATH) + SMUGGLED)
    await client.head()
    assert said(await read_frame(client)) == "welcome"
    assert code_of(await read_frame(client)) == 1002  # `G` has reserved bits set, and no mask
    assert b"HTTP/1.1" not in await ends(client)


@pytest.mark.parametrize("wrong", ["no key", "version 14"])
async def test_frames_behind_a_refused_handshake_are_no_request(scene: Stage, wrong: str) -> None:
    """A proxy in front that takes the refusal for a tunnel must not have opened one to us."""
    client = await scene.client()
    lines, statuses = WRONG[wrong]
    await client.send(request(*lines))
    head, _ = await client.answer()
    assert int(head.split(b" ")[1]) in statuses
    client.writer.write(SMUGGLED)
    assert b"HTTP/1.1 200" not in await ends_or_nothing(client)


async def test_a_handshake_behind_another_request_is_answered_behind_it(scene: Stage) -> None:
    client = await scene.client()
    await client.send(SMUGGLED + upgrade(PATH) + ping(17).wire())
    assert (await client.answer())[0].startswith(b"HTTP/1.1 200 ")
    assert (await client.head()).startswith(b"HTTP/1.1 101 ")
    assert said(await read_frame(client)) == "welcome"
    assert said(await read_frame(client)) == PONG
    await ended(client)


async def test_no_handshake_leaves_a_connection_behind(scene: Stage) -> None:
    scene.close_clients()
    await comes_true(lambda: not scene.gateway.front.connections)
