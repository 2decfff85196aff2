"""What the metrics and the log say of WebSockets."""

from __future__ import annotations

import asyncio

import pytest
from websockets.frames import Opcode

from tests.e2e.stage import PATIENCE, stage
from tests.e2e.tunnels import (
    SWITCH,
    UPGRADE,
    comes_true,
    ends,
    frame,
    messages,
    opened,
    tunnels,
)


async def test_messages_are_counted_by_their_last_frames() -> None:
    up = (
        frame(b"whole", mask=True)
        + frame(b"fir", Opcode.TEXT, fin=False, mask=True)
        + frame(b"ping", Opcode.PING, mask=True)
        + frame(b"st", Opcode.CONT, fin=False, mask=True)
        + frame(b"", Opcode.CONT, mask=True)
        + frame(b"pong", Opcode.PONG, mask=True)
        + frame(bytes(200_000), mask=True)
    )
    down = frame(bytes(70_000)) + frame(b"", Opcode.TEXT) + frame(b"x", Opcode.PING)
    async with stage() as scene:
        client, target = await opened(scene)
        for at in range(0, len(up), 997):
            await client.send(up[at : at + 997])
        await target.send(down)
        assert await target.exactly(len(up)) == up
        assert await client.exactly(len(down)) == down
        assert messages(scene) == (3, 2)


async def test_messages_around_the_101_are_counted() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(UPGRADE + 5 * frame(b"early", mask=True))
        target = await scene.upstream.accept()
        await target.head()
        await target.send(SWITCH + 3 * frame(b"first"))
        await client.head()
        await target.exactly(5 * len(frame(b"early", mask=True)))
        assert messages(scene) == (5, 3)


async def test_open_tunnels_are_counted_while_they_are_open() -> None:
    async with stage() as scene:
        many = [await opened(scene) for _ in range(5)]
        assert tunnels(scene) == 5
        many[0][0].reset()
        await many[1][1].close()
        await comes_true(lambda: tunnels(scene) == 3)
        for client, _ in many[2:]:
            client.reset()
        await comes_true(lambda: tunnels(scene) == 0)
        async with asyncio.timeout(PATIENCE):
            body = (await scene.ask(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"))[1]
        assert b'gateway_websocket_connections{route="api"} 0.0' in body
        assert b'gateway_requests_total{method="GET",route="api",status="101"} 5.0' in body


async def test_a_tunnels_log_line_comes_at_its_end(capfd: pytest.CaptureFixture[str]) -> None:
    async with stage() as scene:
        client, target = await opened(scene, b"12345")
        await target.send(b"678")
        await client.exactly(8)
        await client.close()
        assert await ends(target) == b""
        await comes_true(lambda: tunnels(scene) == 0)
    (line,) = [line for line in capfd.readouterr().out.splitlines() if '"request"' in line]
    assert '"status_code":101,' in line
    assert '"path":"/api/ws"' in line
    assert '"bytes_sent":8,' in line
