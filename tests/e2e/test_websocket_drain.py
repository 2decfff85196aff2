"""When the gateway has to leave, both ends are told 1001, each where a frame ends."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from websockets.frames import Opcode

from tests.e2e.stage import PATIENCE, Connection, Stage, Upstream, environ, stage
from tests.e2e.tunnels import (
    GOING_AWAY,
    SWITCH,
    UPGRADE,
    comes_true,
    ends,
    flood,
    frame,
    messages,
    opened,
    tunnels,
    unused,
)

CLOSED = frame(b"\x03\xe9", Opcode.CLOSE, mask=True)
"""A client's answer to the Close."""


CLOSE_WAIT = 0.2


@pytest.fixture(autouse=True)
def _short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.proxy.websocket.CLOSE_WAIT", CLOSE_WAIT)


@asynccontextmanager
async def tunnel() -> AsyncIterator[tuple[Stage, Connection, Connection]]:
    async with stage() as scene:
        client, target = await opened(scene)
        yield scene, client, target
        await comes_true(lambda: unused(scene) and not scene.gateway.front.connections)
        assert tunnels(scene) == 0


async def takes_masked_close(target: Connection) -> None:
    """RFC 6455, 5.1: what goes to a server is masked."""
    close = await target.exactly(8)
    assert close[:2] == b"\x88\x82"
    assert bytes(a ^ b for a, b in zip(close[6:], close[2:6], strict=False)) == b"\x03\xe9"


async def test_both_ends_are_told_and_then_the_connection_closes() -> None:
    async with tunnel() as (scene, client, target):
        scene.gateway.front.leave()
        assert await client.exactly(4) == GOING_AWAY
        await takes_masked_close(target)
        await client.send(CLOSED)
        assert await ends(client) == b""
        assert await ends(target) == b""


async def test_the_target_is_given_time_to_answer_as_well() -> None:
    async with tunnel() as (scene, client, target):
        scene.gateway.front.leave()
        assert await client.exactly(4) == GOING_AWAY
        await takes_masked_close(target)
        await target.send(GOING_AWAY)
        target.writer.close()
        assert await ends(client) == b""


async def test_ends_that_do_not_answer_are_closed_all_the_same() -> None:
    async with tunnel() as (scene, client, target):
        scene.gateway.front.leave()
        assert await ends(client) == GOING_AWAY
        await takes_masked_close(target)
        assert await ends(target) == b""


async def test_told_twice_the_gateway_leaves_once() -> None:
    async with tunnel() as (scene, client, _):
        scene.gateway.front.leave()
        scene.gateway.front.leave()
        assert await ends(client) == GOING_AWAY


LARGE = frame(bytes(100_000))


@pytest.mark.parametrize("cut", [1, 5, 50_000, len(LARGE) - 1])
async def test_a_frame_on_its_way_down_is_let_finish(cut: int) -> None:
    async with tunnel() as (scene, client, target):
        await target.send(LARGE[:cut])
        assert await client.exactly(cut) == LARGE[:cut]
        scene.gateway.front.leave()
        await takes_masked_close(target)
        await target.send(LARGE[cut:] + frame(b"too late"))
        assert await client.exactly(len(LARGE) - cut) == LARGE[cut:]
        assert await ends(client) == GOING_AWAY


UP = frame(bytes(100_000), mask=True)


@pytest.mark.parametrize("cut", [1, 5, 50_000, len(UP) - 1])
async def test_a_frame_on_its_way_up_is_let_finish(cut: int) -> None:
    async with tunnel() as (scene, client, target):
        await client.send(UP[:cut])
        assert await target.exactly(cut) == UP[:cut]
        scene.gateway.front.leave()
        assert await client.exactly(4) == GOING_AWAY
        await client.send(UP[cut:] + frame(b"too late", mask=True))
        assert await target.exactly(len(UP) - cut) == UP[cut:]
        await takes_masked_close(target)
        assert await ends(target) == b""


async def test_a_frame_that_comes_in_bits_is_let_finish() -> None:
    async with tunnel() as (scene, client, target):
        await client.send(UP[:10])
        await target.exactly(10)
        scene.gateway.front.leave()
        for at in range(10, len(UP), 9_999):
            await client.send(UP[at : at + 9_999])
            assert await target.exactly(len(UP[at : at + 9_999])) == UP[at : at + 9_999]
        await takes_masked_close(target)


async def test_a_frame_may_take_longer_than_the_wait_for_an_answer() -> None:
    async with tunnel() as (scene, client, target):
        await target.send(LARGE[:10])
        await client.exactly(10)
        scene.gateway.front.leave()
        await takes_masked_close(target)
        await asyncio.sleep(2 * CLOSE_WAIT)
        await target.send(LARGE[10:])
        assert await client.exactly(len(LARGE) - 10) == LARGE[10:]
        assert await ends(client) == GOING_AWAY


async def test_a_client_that_talks_on_gets_its_1001_behind_the_frame_it_is_reading() -> None:
    async with tunnel() as (scene, client, target):
        await target.send(LARGE[:50_000])
        await client.exactly(50_000)
        scene.gateway.front.leave()
        await takes_masked_close(target)
        await client.send(frame(b"are you there", Opcode.PING, mask=True))
        await target.send(LARGE[50_000:])
        assert await client.exactly(len(LARGE) - 50_000) == LARGE[50_000:]
        assert await client.exactly(4) == GOING_AWAY


async def test_a_client_that_talks_on_is_listened_to_until_it_answers() -> None:
    async with tunnel() as (scene, client, target):
        scene.gateway.front.leave()
        await takes_masked_close(target)
        await client.send(frame(b"one more", mask=True))
        assert await client.exactly(4) == GOING_AWAY
        with pytest.raises(TimeoutError):  # it is not hung up on
            async with asyncio.timeout(CLOSE_WAIT / 2):
                await client.reader.read(1)
        await client.send(CLOSED)
        assert await ends(client) == b""


async def test_a_client_that_reads_nothing_does_not_hold_the_gateway() -> None:
    async with stage(limits={"send_timeout": 0.3}) as scene:
        client, target = await opened(scene)
        await flood(target, 96 << 20, patience=0.1)
        scene.gateway.front.leave()
        await comes_true(lambda: unused(scene) and not scene.gateway.front.connections)
        await ends(target)
        client.reset()


async def test_a_target_that_reads_nothing_does_not_hold_the_gateway() -> None:
    async with stage(limits={"send_timeout": 0.3}) as scene:
        client, _ = await opened(scene)
        await flood(client, 96 << 20, patience=0.1)
        scene.gateway.front.leave()
        await comes_true(lambda: unused(scene) and not scene.gateway.front.connections)


async def test_messages_are_counted_to_the_end() -> None:
    async with tunnel() as (scene, client, target):
        await target.send(LARGE[:10])
        await client.exactly(10)
        scene.gateway.front.leave()
        await target.send(LARGE[10:])
        await client.exactly(len(LARGE) - 10)
        assert await ends(client) == GOING_AWAY
        assert messages(scene) == (0, 1)


async def test_a_handshake_on_its_way_is_told_as_soon_as_it_is_done() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(UPGRADE)
        target = await scene.upstream.accept()
        await target.head()
        scene.gateway.front.draining = True
        scene.gateway.front.leave()
        await target.send(SWITCH + frame(b"hello"))
        head = await client.head()
        if head.startswith(b"HTTP/1.1 503 "):  # no WebSocket begins any more: as good
            return
        assert head.startswith(b"HTTP/1.1 101 ")
        assert await ends(client) == frame(b"hello") + GOING_AWAY
        await takes_masked_close(target)


async def test_a_worker_that_is_told_to_stop_says_1001_and_exits_0(tmp_path: Path) -> None:
    upstream = Upstream()
    await upstream.start()
    config = tmp_path / "gateway.yaml"
    config.write_text(
        "host: 127.0.0.1\nport: 0\ndrain_delay: 0\nroutes:\n"
        f"  - {{prefix: /api, target_url: '{upstream.url}', websocket: true}}\n"
    )
    gateway = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "serve", "--config", str(config),
        stdout=asyncio.subprocess.PIPE, env=environ(), cwd=Path(__file__).parents[2],
    )  # fmt: skip
    try:
        assert gateway.stdout is not None
        async with asyncio.timeout(2 * PATIENCE):
            scene = Stage(None, upstream, await port_of(gateway.stdout), -1)  # type: ignore[arg-type]
            client, target = await opened(scene)
            gateway.send_signal(signal.SIGTERM)
            assert await client.exactly(4) == GOING_AWAY
            await takes_masked_close(target)
            await client.send(CLOSED)
            assert await ends(client) == b""
            log, _ = await gateway.communicate()
            assert gateway.returncode == 0
            assert b'"status_code":101' in log
    finally:
        if gateway.returncode is None:
            gateway.kill()
            await gateway.wait()
        scene.close_clients()
        await upstream.stop()


async def port_of(log: asyncio.StreamReader) -> int:
    """The port that a gateway says it listens on."""
    while True:
        line = json.loads(await log.readline())
        if line.get("ports"):
            return int(line["ports"][0])
