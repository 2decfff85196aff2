"""A WebSocket's handshake: passed on, refused, not asked for, or not meant."""

from __future__ import annotations

import pytest

from tests.e2e.stage import GET, OK, field, fields, stage
from tests.e2e.tunnels import (
    HANDSHAKE,
    SWITCH,
    UPGRADE,
    comes_true,
    ends,
    frame,
    opened,
    targets,
    tunnels,
    unused,
)

MUCH = bytes(range(256)) * 2048  # 512 KiB: more than any buffer on the way


def upgrade(*lines: bytes, first: bytes = b"GET /api/ws HTTP/1.1") -> bytes:
    return b"\r\n".join((first, b"Host: gateway.test", *lines)) + b"\r\n" + HANDSHAKE + b"\r\n"


async def test_the_handshakes_own_fields_go_up_as_they_came() -> None:
    mine = (
        b"SEC-WebSocket-Protocol: chat, superchat",
        b"Sec-WebSocket-Protocol:  third",
        b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
        b"Origin: https://example.com",
        b"Cookie: a=b",
    )
    async with stage() as scene:
        client = await scene.client()
        await client.send(upgrade(b"Connection: Upgrade", b"Upgrade: websocket", *mine))
        head = await (await scene.upstream.accept()).head()
        assert [line for line in head.split(b"\r\n") if line in mine] == list(mine)
        assert HANDSHAKE in head
        assert field(head, b"upgrade") == b"websocket"
        assert (field(head, b"connection") or b"").lower() == b"upgrade"
        assert field(head, b"x-forwarded-for") == b"127.0.0.1"


async def test_the_answers_own_fields_come_down_as_they_came() -> None:
    mine = (
        b"sec-websocket-PROTOCOL: chat",
        b"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover",
        b"Set-Cookie: a=b",
        b"Set-Cookie: c=d",
    )
    async with stage() as scene:
        client = await scene.client()
        await client.send(UPGRADE)
        target = await scene.upstream.accept()
        request = await target.head()
        await target.send(SWITCH[:-2] + b"\r\n".join(mine) + b"\r\n\r\n")
        head = await client.head()
        assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        assert [line for line in head.split(b"\r\n") if line in mine] == list(mine)
        assert field(head, b"sec-websocket-accept") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert field(head, b"upgrade") == b"websocket"
        assert (field(head, b"connection") or b"").lower() == b"upgrade"
        assert field(head, b"x-request-id") == field(request, b"x-request-id")


@pytest.mark.parametrize(
    "lines",
    [
        (b"Connection: keep-alive, Upgrade", b"Upgrade: websocket"),
        (b"connection: UPGRADE", b"upgrade: WebSocket"),
        (b"Connection: keep-alive", b"Connection: upgrade", b"Upgrade:websocket"),
        (b"Connection: Upgrade", b"Upgrade: websocket", b"Content-Length: 0"),
    ],
)
async def test_every_way_to_ask_for_a_websocket_is_understood(lines: tuple[bytes, ...]) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(upgrade(*lines))
        head = await (await scene.upstream.accept()).head()
        assert (field(head, b"upgrade") or b"").lower() == b"websocket"


async def test_frames_in_one_packet_with_the_101_are_not_lost() -> None:
    async with stage() as scene:
        first = frame(b"hello") + frame(b"half")[:3]
        client, target = await opened(scene, first)
        assert await client.exactly(len(first)) == first
        await target.send(frame(b"half")[3:])
        assert await client.exactly(3) == frame(b"half")[3:]


async def test_much_in_one_packet_with_the_101_is_not_lost() -> None:
    async with stage() as scene:
        client, _ = await opened(scene, MUCH)
        assert await client.exactly(len(MUCH)) == MUCH


@pytest.mark.parametrize("early", [frame(b"early", mask=True), MUCH], ids=["frame", "much"])
async def test_what_a_client_sends_before_the_101_goes_up_behind_it(early: bytes) -> None:
    async with stage() as scene:
        client = await scene.client()
        client.writer.write(UPGRADE + early)
        target = await scene.upstream.accept()
        await target.head()
        await target.send(SWITCH)
        assert (await client.head()).startswith(b"HTTP/1.1 101 ")
        assert await target.exactly(len(early)) == early
        await client.send(b"later")
        assert await target.exactly(5) == b"later"


async def test_a_target_hears_nothing_early_before_its_101() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(UPGRADE + b"early")
        target = await scene.upstream.accept()
        await target.head()
        assert not target.reader._buffer  # type: ignore[attr-defined]
        await target.send(SWITCH)
        assert await target.exactly(5) == b"early"


@pytest.mark.parametrize(
    ("refusal", "body"),
    [
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", b"no"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nUpgrade: websocket\r\n\r\nwhat", b"what"),
        (
            b"HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 13\r\n"
            b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n",
            b"",
        ),
    ],
)
async def test_a_refusal_is_passed_on_and_both_connections_go_on(
    refusal: bytes, body: bytes
) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(UPGRADE)
        target = await scene.upstream.accept()
        await target.head()
        await target.send(refusal)
        head, came = await client.answer()
        assert head.split(b"\r\n")[0] == refusal.split(b"\r\n")[0]
        assert came == body
        assert tunnels(scene) == 0
        await client.send(GET)
        assert (await target.head()).startswith(b"GET /api/x ")
        await target.send(OK)
        assert (await client.answer())[1] == b"ok"
        assert scene.upstream.idle


async def test_frames_sent_before_a_refusal_are_no_request() -> None:
    async with stage(limits={"head_timeout": 0.2}) as scene:
        client = await scene.client()
        await client.send(UPGRADE + frame(b"early", mask=True))
        target = await scene.upstream.accept()
        await target.head()
        await target.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        head, body = await client.answer()
        assert head.startswith(b"HTTP/1.1 403 ")
        assert body == b"no"
        await ends(client)
        assert scene.upstream.idle
        assert not target.reader._buffer  # type: ignore[attr-defined]


async def test_a_refusal_in_chunks_is_passed_on() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(UPGRADE)
        target = await scene.upstream.accept()
        await target.head()
        await target.send(b"HTTP/1.1 401 Who\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n")
        assert (await client.head()).startswith(b"HTTP/1.1 401 Who\r\n")
        assert await client.exactly(7) == b"2\r\nno\r\n"
        await target.send(b"0\r\n\r\n")
        assert await client.exactly(5) == b"0\r\n\r\n"
        await client.send(UPGRADE)
        await target.head()
        await target.send(SWITCH)
        assert (await client.head()).startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ],
    ids=["other", "none"],
)
async def test_a_101_to_something_else_is_a_bad_gateway(answer: bytes) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(UPGRADE)
        target = await scene.upstream.accept()
        await target.head()
        await target.send(answer)
        assert (await client.answer())[0].startswith(b"HTTP/1.1 502 ")
        assert await ends(target) == b""
        await comes_true(lambda: unused(scene))


async def test_a_101_that_nobody_asked_for_is_a_bad_gateway() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(GET)
        target = await scene.upstream.accept()
        await target.head()
        await target.send(SWITCH + frame(b"hello"))
        head, body = await client.answer()
        assert head.startswith(b"HTTP/1.1 502 ")
        assert b'"bad_gateway"' in body
        assert await ends(target) == b""
        assert tunnels(scene) == 0


PLAIN = {
    "other": upgrade(b"Connection: Upgrade", b"Upgrade: h2c"),
    "several": upgrade(b"Connection: Upgrade", b"Upgrade: h2c, websocket"),
    "twice": upgrade(b"Connection: Upgrade", b"Upgrade: websocket", b"Upgrade: websocket"),
    "unnamed": upgrade(b"Upgrade: websocket"),
    "missing": upgrade(b"Connection: Upgrade"),
    "old": upgrade(b"Connection: Upgrade", b"Upgrade: websocket", first=b"GET /api/ws HTTP/1.0"),
    "head": upgrade(b"Connection: Upgrade", b"Upgrade: websocket", first=b"HEAD /api/ws HTTP/1.1"),
    "post": upgrade(b"Connection: Upgrade", b"Upgrade: websocket", first=b"POST /api/ws HTTP/1.1"),
    "settings": upgrade(b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: AAMAAABk"),
}


@pytest.mark.parametrize("request_", PLAIN.values(), ids=PLAIN)
async def test_what_asks_for_no_websocket_goes_up_without_its_upgrade(request_: bytes) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request_)
        target = await scene.upstream.accept()
        head = await target.head()
        assert not {name for name, _ in fields(head)} & {b"upgrade", b"connection"}
        assert field(head, b"http2-settings") is None
        await target.send(SWITCH)
        assert (await client.head()).startswith(b"HTTP/1.1 502 ")


async def test_a_route_without_websockets_forwards_the_request_alone() -> None:
    async with stage(route={"websocket": False}) as scene:
        client = await scene.client()
        await client.send(UPGRADE)
        target = await scene.upstream.accept()
        head = await target.head()
        assert not {name for name, _ in fields(head)} & {b"upgrade", b"connection"}
        await target.send(OK)
        assert (await client.answer())[1] == b"ok"
        await client.send(UPGRADE)
        await target.head()
        await target.send(SWITCH)
        assert (await client.answer())[0].startswith(b"HTTP/1.1 502 ")


@pytest.mark.parametrize(
    ("line", "body"),
    [
        (b"Content-Length: 5", b"hello"),
        (b"Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n"),
    ],
)
async def test_an_upgrade_with_a_body_is_an_ordinary_request(line: bytes, body: bytes) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(upgrade(b"Connection: Upgrade", b"Upgrade: websocket", line) + body)
        target = await scene.upstream.accept()
        assert field(await target.head(), b"upgrade") is None
        assert await target.exactly(len(body)) == body
        await target.send(OK)
        assert (await client.answer())[1] == b"ok"


async def test_interim_answers_pass_before_the_101() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(UPGRADE)
        target = await scene.upstream.accept()
        await target.head()
        hint = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        await target.send(hint + SWITCH + b"x")
        assert await client.head() == hint
        assert (await client.head()).startswith(b"HTTP/1.1 101 ")
        assert await client.exactly(1) == b"x"


async def test_an_upgrade_behind_other_requests_waits_for_their_answers() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(GET + UPGRADE + b"early")
        target = await scene.upstream.accept()
        await target.head()
        await target.send(OK)
        assert (await client.answer())[1] == b"ok"
        assert (await target.head()).startswith(b"GET /api/ws ")
        await target.send(SWITCH)
        assert (await client.head()).startswith(b"HTTP/1.1 101 ")
        assert await target.exactly(5) == b"early"


async def test_a_tunnels_connection_serves_nobody_after_it() -> None:
    async with stage() as scene:
        client, _ = await opened(scene)
        await client.close()
        await comes_true(lambda: targets(scene)[0].pool.open == 0)
        client = await scene.client()
        await client.send(GET)
        second = await scene.upstream.accept()
        await second.head()
        await second.send(OK)
        assert (await client.answer())[1] == b"ok"


async def test_a_target_that_hangs_up_on_the_upgrade_is_a_bad_gateway() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(UPGRADE)
        target = await scene.upstream.accept()
        await target.head()
        target.reset()
        assert (await client.answer())[0].startswith(b"HTTP/1.1 502 ")


async def test_no_target_for_the_upgrade_is_unavailable() -> None:
    async with stage() as scene:
        await scene.upstream.stop()
        assert (await scene.ask(UPGRADE))[0].startswith(b"HTTP/1.1 503 ")


async def test_silence_before_the_101_is_a_timeout() -> None:
    async with stage(route={"timeout": 0.2}) as scene:
        assert (await scene.ask(UPGRADE))[0].startswith(b"HTTP/1.1 504 ")
        assert await ends(await scene.upstream.accept()) != b""
        await comes_true(lambda: unused(scene))


async def test_a_client_that_leaves_before_the_101_takes_its_upgrade_along() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(UPGRADE)
        target = await scene.upstream.accept()
        await target.head()
        await client.close()
        assert await ends(target) == b""
        await comes_true(lambda: unused(scene))
        assert tunnels(scene) == 0
