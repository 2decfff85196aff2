"""Behind the 101: bytes, in both directions, until one end leaves."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from tests.e2e.stage import Connection, Stage, settings, stage
from tests.e2e.tunnels import (
    SWITCH,
    UPGRADE,
    comes_true,
    ends,
    expect_pattern,
    flood,
    frame,
    messages,
    opened,
    pattern,
    targets,
    tunnels,
    unused,
)

ENDLESS = 96 << 20
"""More bytes than the kernel's buffers on the way can hold (tcp_wmem, tcp_rmem: 10 MiB a hop)."""


async def test_any_bytes_pass_both_ways_at_once() -> None:
    up, down = random.Random(1).randbytes(3 << 20), random.Random(2).randbytes(3 << 20)
    async with stage() as scene:
        client, target = await opened(scene)
        _, _, came_up, came_down = await asyncio.gather(
            client.send(up), target.send(down), target.exactly(len(up)), client.exactly(len(down))
        )
        assert came_up == up
        assert came_down == down


async def test_a_byte_passes_at_once() -> None:
    async with stage() as scene:
        client, target = await opened(scene)
        for byte in frame(b"hello", mask=True):
            await client.send(bytes((byte,)))
            assert await target.exactly(1) == bytes((byte,))
            await target.send(bytes((byte,)))
            assert await client.exactly(1) == bytes((byte,))


# How an end can leave. Whatever it had sent before is not part of this.


async def politely(end: Connection) -> None:
    end.writer.close()


async def half(end: Connection) -> None:
    end.writer.write_eof()


async def dead(end: Connection) -> None:
    end.reset()


leaving = pytest.mark.parametrize("leave", [politely, half, dead])
Leave = Callable[[Connection], Awaitable[None]]


@leaving
async def test_a_client_that_leaves_is_missed_at_the_other_end(leave: Leave) -> None:
    async with stage() as scene:
        client, target = await opened(scene)
        assert tunnels(scene) == 1
        await leave(client)
        assert await ends(target) == b""
        await comes_true(lambda: targets(scene)[0].pool.open == 0 and unused(scene))
        assert tunnels(scene) == 0
        await comes_true(lambda: not scene.gateway.front.connections)


@leaving
async def test_a_target_that_leaves_is_missed_at_the_other_end(leave: Leave) -> None:
    async with stage() as scene:
        client, target = await opened(scene)
        await leave(target)
        assert await ends(client) == b""
        await comes_true(lambda: targets(scene)[0].pool.open == 0 and unused(scene))
        assert tunnels(scene) == 0
        await comes_true(lambda: not scene.gateway.front.connections)


@pytest.mark.parametrize("leave", [politely, half])
async def test_the_last_words_of_a_target_reach_a_slow_client(leave: Leave) -> None:
    async with stage() as scene:
        client, target = await opened(scene)
        size = await flood(target, 1 << 23)
        await leave(target)
        await expect_pattern(client, size)
        assert await ends(client) == b""


@pytest.mark.parametrize("leave", [politely, half])
async def test_the_last_words_of_a_client_reach_a_slow_target(leave: Leave) -> None:
    async with stage() as scene:
        client, target = await opened(scene)
        size = await flood(client, 1 << 23)
        await leave(client)
        await expect_pattern(target, size)
        assert await ends(target) == b""


async def test_a_target_that_hangs_up_together_with_its_101_is_heard() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(UPGRADE)
        target = await scene.upstream.accept()
        await target.head()
        target.writer.write(SWITCH + frame(b"bye") + b"\x88\x02\x03\xe8")
        target.writer.close()
        assert (await client.head()).startswith(b"HTTP/1.1 101 ")
        assert await ends(client) == frame(b"bye") + b"\x88\x02\x03\xe8"
        await comes_true(lambda: unused(scene))
        assert tunnels(scene) == 0


# Back-pressure


async def test_a_client_that_stops_reading_stops_its_target() -> None:
    async with stage() as scene:
        client, target = await opened(scene)
        sent = await flood(target, ENDLESS)
        assert sent < ENDLESS
        (downstream,) = scene.gateway.front.connections
        held = downstream._transport.get_write_buffer_size()
        assert held <= 65536 + 262144  # the bound, and what one read may bring (uvloop: 256 KiB)
        await expect_pattern(client, sent)
        await target.send(b"more")
        assert await client.exactly(4) == b"more"


async def test_a_target_that_stops_reading_stops_its_client() -> None:
    async with stage() as scene:
        client, target = await opened(scene)
        sent = await flood(client, ENDLESS)
        assert sent < ENDLESS
        await expect_pattern(target, sent)
        await client.send(b"more")
        assert await target.exactly(4) == b"more"


async def test_one_direction_that_stands_still_does_not_stop_the_other() -> None:
    async with stage() as scene:
        client, target = await opened(scene)
        sent = await flood(target, ENDLESS)
        for number in range(100):
            await client.send(b"%08d" % number)
            assert await target.exactly(8) == b"%08d" % number
        await expect_pattern(client, sent)


async def test_ends_that_only_send_stop_and_lose_nothing() -> None:
    async with stage() as scene:
        client, target = await opened(scene)
        up, down = await asyncio.gather(flood(client, ENDLESS), flood(target, ENDLESS))
        assert max(up, down) < ENDLESS
        await asyncio.gather(expect_pattern(target, up), expect_pattern(client, down))


async def test_a_client_that_has_yet_to_read_its_answers_gets_no_tunnel_to_fill() -> None:
    async with stage(limits={"buffer": 1024}) as scene:
        client = await scene.client()
        await comes_true(lambda: scene.gateway.front.connections)
        (downstream,) = scene.gateway.front.connections
        asked = 0
        while not downstream.full:  # answers that it does not read, until one more does not fit
            await client.send(b"GET /api/x HTTP/1.1\r\nHost: a\r\n\r\n")
            if not asked:
                target = await scene.upstream.accept()
            await target.head()
            body = pattern(asked << 16, 1 << 16)
            await target.send(b"HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n" + body)
            asked += 1
            await comes_true(lambda: downstream.exchange is None or downstream.full)
        await comes_true(lambda: downstream.exchange is None)
        await client.send(UPGRADE)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(target.reader.readuntil(b"\r\n\r\n"), 0.1)
        for number in range(asked):
            assert (await client.answer())[1] == pattern(number << 16, 1 << 16)
        await target.head()
        await target.send(SWITCH + b"hello")
        assert (await client.head()).startswith(b"HTTP/1.1 101 ")
        assert await client.exactly(5) == b"hello"


# An end that stands still cannot keep the other's place for ever


async def test_a_client_that_takes_nothing_is_cut_off() -> None:
    async with stage(limits={"send_timeout": 0.3}) as scene:
        _, target = await opened(scene)
        await flood(target, ENDLESS, patience=0.2)
        await ends(target)
        await comes_true(lambda: not scene.gateway.front.connections and unused(scene))
        assert tunnels(scene) == 0


async def test_a_target_that_takes_nothing_does_not_outlive_its_client() -> None:
    async with stage(limits={"send_timeout": 0.3}, route={"timeout": 0.3}) as scene:
        client, _ = await opened(scene)
        await flood(client, ENDLESS, patience=0.2)
        client.reset()
        await comes_true(lambda: not scene.gateway.front.connections)
        assert tunnels(scene) == 0
        await comes_true(lambda: targets(scene)[0].pool.open == 0)


async def stalled_below_the_bound(scene: Stage, target: Connection) -> None:
    """Send until a little waits in the gateway for a client that does not read."""
    (downstream,) = scene.gateway.front.connections
    while not downstream._transport.get_write_buffer_size():
        await target.send(pattern(0, 1 << 13))
        await asyncio.sleep(0)
    assert not downstream.full


async def test_a_client_that_stalls_does_not_outlive_its_target() -> None:
    async with stage(limits={"send_timeout": 0.3, "buffer": 1 << 20}) as scene:
        _, target = await opened(scene)
        await stalled_below_the_bound(scene, target)
        target.reset()
        await comes_true(lambda: targets(scene)[0].pool.open == 0)
        await comes_true(lambda: not scene.gateway.front.connections)


async def test_a_client_that_reads_slowly_is_let_read() -> None:
    async with stage(limits={"send_timeout": 0.3}) as scene:
        with socket.socket() as client:  # whose bytes nobody reads for it
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            client.connect(("127.0.0.1", scene.port))
            client.setblocking(False)
            client.send(UPGRADE)
            target = await scene.upstream.accept()
            await target.head()
            await target.send(SWITCH)
            await flood(target, ENDLESS, patience=0.1)
            for _ in range(40):  # nearly a second, in which it takes bytes all the time
                with suppress(BlockingIOError):
                    assert client.recv(16384)
                await asyncio.sleep(0.02)
            assert tunnels(scene) == 1


async def test_a_client_that_reads_a_little_more_and_stalls_does_not_stay() -> None:
    limits = {"send_timeout": 0.5, "buffer": 64 << 20}
    async with stage(limits=limits, websocket_idle_timeout=0.3) as scene:
        client, target = await opened(scene)
        (downstream,) = scene.gateway.front.connections
        await flood(target, ENDLESS, patience=0.1)
        assert downstream.full
        await comes_true(lambda: tunnels(scene) == 0)
        while downstream.full:
            await client.exactly(1 << 16)
        assert downstream._transport.get_write_buffer_size()
        await comes_true(lambda: not scene.gateway.front.connections)


async def test_silence_ends_a_tunnel_whose_client_stalls() -> None:
    limits = {"send_timeout": 0.3, "buffer": 1 << 20}
    async with stage(limits=limits, websocket_idle_timeout=0.3) as scene:
        _, target = await opened(scene)
        await stalled_below_the_bound(scene, target)
        await ends(target)
        await comes_true(lambda: not scene.gateway.front.connections and unused(scene))
        assert tunnels(scene) == 0


# Time


async def test_the_routes_timeout_ends_with_the_101() -> None:
    async with stage(route={"timeout": 0.1}) as scene:
        client, target = await opened(scene)
        await asyncio.sleep(0.3)
        await target.send(b"still")
        assert await client.exactly(5) == b"still"
        await asyncio.sleep(0.2)
        await client.send(b"there")
        assert await target.exactly(5) == b"there"


async def test_a_silent_tunnel_ends_where_the_route_says_so() -> None:
    async with stage(route={"websocket_idle_timeout": 0.2}) as scene:
        client, target = await opened(scene)
        began = asyncio.get_running_loop().time()
        assert await ends(target) == b""
        await ends(client)
        assert asyncio.get_running_loop().time() - began >= 0.15
        assert tunnels(scene) == 0


@pytest.mark.parametrize("upwards", [True, False])
async def test_bytes_in_one_direction_are_no_silence(upwards: bool) -> None:
    async with stage(websocket_idle_timeout=0.3) as scene:
        client, target = await opened(scene)
        sender, receiver = (client, target) if upwards else (target, client)
        for _ in range(8):
            await asyncio.sleep(0.1)
            await sender.send(b"\x89\x00")
            assert await receiver.exactly(2) == b"\x89\x00"
        assert tunnels(scene) == 1


async def test_a_route_may_allow_silence_that_others_do_not() -> None:
    async with stage(websocket_idle_timeout=0.1, route={"websocket_idle_timeout": 0}) as scene:
        client, target = await opened(scene)
        await asyncio.sleep(0.3)
        await target.send(b"still")
        assert await client.exactly(5) == b"still"


# Reloads


ELSEWHERE = {"target_url": "http://127.0.0.1:1"}


@pytest.mark.parametrize("change", [{"timeout": 7}, {"websocket": False}, ELSEWHERE])
async def test_a_reload_leaves_open_tunnels_alone(change: dict[str, Any]) -> None:
    async with stage() as scene:
        client, target = await opened(scene)
        await scene.gateway.apply(settings(scene.upstream, route=change))
        scene.gateway.tick(0.0)
        await client.send(frame(b"still", mask=True))
        await target.exactly(len(frame(b"still", mask=True)))
        await target.send(frame(b"here"))
        assert await client.exactly(len(frame(b"here"))) == frame(b"here")
        assert messages(scene) == (1, 1)
        await client.close()
        assert await ends(target) == b""
        await comes_true(lambda: unused(scene) and tunnels(scene) == 0)


async def test_silence_counts_as_it_did_when_the_tunnel_opened() -> None:
    async with stage(websocket_idle_timeout=0.2) as scene:
        client, target = await opened(scene)
        await scene.gateway.apply(settings(scene.upstream))
        assert await ends(client) == b""
        assert await ends(target) == b""
