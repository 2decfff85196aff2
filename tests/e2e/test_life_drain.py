"""The end, in order: readiness falls, what is under way is finished, the rest is cut and told."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path

import pytest

from tests.e2e.life import Program, listening, request, route, running, until
from tests.e2e.stage import OK, Connection, Upstream, field
from tests.e2e.tunnels import GOING_AWAY, HANDSHAKE, SWITCH, frame

UPGRADE = (
    b"GET /api/ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    + HANDSHAKE
    + b"\r\n"
)
STOPS = [signal.SIGTERM, signal.SIGINT]


async def in_flight(gateway: Program, upstream: Upstream) -> tuple[Connection, Connection]:
    """A client that waits for an answer, and the target that has not begun one."""
    client = await gateway.send(request("GET", "/api/x"))
    target = await upstream.accept()
    await target.head()
    return client, target


async def closed(client: Connection) -> bool:
    """Whether the other end closes without a further byte."""
    with contextlib.suppress(ConnectionError):
        return await client.rest() == b""
    return True


@pytest.mark.parametrize("number", STOPS)
async def test_a_request_in_flight_is_answered_and_told_to_close(
    tmp_path: Path, number: signal.Signals
) -> None:
    async with listening() as upstream, running(tmp_path, routes=[route(upstream)]) as gateway:
        client, target = await in_flight(gateway, upstream)
        gateway.signal(number)
        await gateway.event("draining", connections=1)
        await target.send(OK)
        head, body = await client.answer()
        assert (field(head, b"connection"), body) == (b"close", b"ok")
        assert await closed(client)
        assert await gateway.ended() == 0
        assert not gateway.found("drain_cut")


async def test_an_answer_under_way_is_finished(tmp_path: Path) -> None:
    async with listening() as upstream, running(tmp_path, routes=[route(upstream)]) as gateway:
        client, target = await in_flight(gateway, upstream)
        await target.send(OK.replace(b"Length: 2", b"Length: 4"))
        await client.until(b"ok")
        gateway.signal(signal.SIGTERM)
        await gateway.event("draining")
        await target.send(b"ay")
        assert await client.rest() == b"ay"
        assert await gateway.ended() == 0


async def test_while_it_drains_it_takes_connections_and_is_not_ready(tmp_path: Path) -> None:
    async with listening() as upstream:
        settings = {"routes": [route(upstream)], "drain_delay": 30}
        async with running(tmp_path, **settings) as gateway:
            kept = await gateway.send(request("GET", "/health/ready"))
            assert (await kept.answer())[0].startswith(b"HTTP/1.1 200 ")
            gateway.signal(signal.SIGINT)
            await gateway.event("draining")
            # On a connection of before and on a new one.
            await kept.send(request("GET", "/health/ready"))
            head, _ = await kept.answer()
            assert head.startswith(b"HTTP/1.1 503 ")
            assert field(head, b"connection") == b"close"
            assert (await gateway.get("/health/ready"))[0] == 503
            assert (await gateway.get("/health/live"))[0] == 200
            client, target = await in_flight(gateway, upstream)
            await target.send(OK)
            head, body = await client.answer()
            assert (field(head, b"connection"), body) == (b"close", b"ok")
            gateway.signal(signal.SIGINT)  # who asks twice does not wait
            assert await gateway.ended() == 0


async def test_after_the_delay_nobody_is_taken_and_idle_connections_end(tmp_path: Path) -> None:
    async with listening() as upstream, running(tmp_path, routes=[route(upstream)]) as gateway:
        idle = await gateway.send(request("GET", "/health/live"))
        await idle.answer()
        client, target = await in_flight(gateway, upstream)
        gateway.signal(signal.SIGTERM)
        assert await closed(idle)
        with pytest.raises(ConnectionRefusedError):
            await gateway.client()
        await target.send(OK)
        assert (await client.answer())[1] == b"ok"
        assert await gateway.ended() == 0


async def test_both_ends_of_a_websocket_get_1001(tmp_path: Path) -> None:
    async with listening() as upstream:
        routes = [route(upstream, websocket=True)]
        async with running(tmp_path, routes=routes) as gateway:
            client = await gateway.send(UPGRADE)
            target = await upstream.accept()
            await target.head()
            await target.send(SWITCH)
            await client.head()
            gateway.signal(signal.SIGTERM)
            assert await client.exactly(4) == GOING_AWAY
            first, length, *key = await target.exactly(8)
            code = bytes(k ^ m for k, m in zip(key[4:], key[:4], strict=False))
            assert (first, length, code) == (0x88, 0x82, b"\x03\xe9")
            await client.send(frame(b"\x03\xe9", 8, mask=True))
            await target.send(GOING_AWAY)
            assert await closed(client)
            assert await gateway.ended() == 0
            assert not gateway.found("drain_cut")


async def test_what_outlasts_the_deadline_is_cut_and_told(tmp_path: Path) -> None:
    async with listening() as upstream:
        settings = {"routes": [route(upstream)], "drain_timeout": 0.3}
        async with running(tmp_path, **settings) as gateway:
            waiting, _ = await in_flight(gateway, upstream)
            half, target = await in_flight(gateway, upstream)
            await target.send(OK.replace(b"Length: 2", b"Length: 9"))
            await half.until(b"ok")
            gateway.signal(signal.SIGTERM)
            head, body = await waiting.answer()
            assert head.startswith(b"HTTP/1.1 503 ")
            assert b'"service_unavailable"' in body
            with pytest.raises(ConnectionError):  # a short body never looks whole
                await half.rest()
            assert await gateway.ended() == 0
    (cut,) = gateway.found("drain_cut")
    assert (cut["connections"], cut["level"]) == (2, "WARNING")
    assert len(gateway.found("request", path="/api/x")) == 2


async def test_pooled_connections_are_closed_at_the_end(tmp_path: Path) -> None:
    async with listening() as upstream, running(tmp_path, routes=[route(upstream)]) as gateway:
        client, target = await in_flight(gateway, upstream)
        await target.send(OK)
        await client.answer()
        gateway.signal(signal.SIGTERM)
        assert await closed(target)
        assert await gateway.ended() == 0


async def test_the_log_is_complete_at_the_end(tmp_path: Path) -> None:
    async with running(tmp_path, drain_delay=1) as gateway:
        kept = await gateway.client()
        for number in range(200):
            await kept.send(request("GET", f"/{number}"))
            await kept.answer()
        gateway.signal(signal.SIGTERM)
        assert await gateway.ended() == 0
    assert [line["path"] for line in gateway.found("request")] == [f"/{n}" for n in range(200)]
    assert gateway.events[-1]["event"] == "drained"


async def test_two_workers_drain_as_one_does(tmp_path: Path) -> None:
    async with listening() as upstream:
        settings = {"routes": [route(upstream)], "workers": 2}
        async with running(tmp_path, **settings) as gateway:
            flights = [await in_flight(gateway, upstream) for _ in range(8)]
            gateway.signal(signal.SIGTERM)
            await gateway.event("draining", count=2)
            for client, target in flights:
                await target.send(OK)
                assert (await client.answer())[1] == b"ok"
            assert await gateway.ended() == 0
    assert gateway.events[-1]["event"] == "gateway_stopped"


async def test_a_client_that_sends_nothing_does_not_hold_the_end_up(tmp_path: Path) -> None:
    async with running(tmp_path, drain_timeout=30) as gateway:
        await gateway.client()
        await gateway.send(b"GET /hal")
        gateway.signal(signal.SIGTERM)
        began = asyncio.get_running_loop().time()
        assert await gateway.ended() == 0
        assert asyncio.get_running_loop().time() - began < 5
        await until(lambda: not Path(f"/proc/{gateway.process.pid}").exists())
