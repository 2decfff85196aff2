"""Live updates over a real NATS: several gateways, a server that is killed, and what is told."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import nats
import pytest

from tests import servers
from tests.e2e.ears import Ear, Site, site, until
from tests.e2e.life import LONG
from tests.e2e.live import Live, Socket, live
from tests.servers import Server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """This file's own: its tests kill it."""
    with servers.nats() as one:
        yield one


def kill(server: Server) -> None:
    os.kill(server.pid, signal.SIGKILL)


class Bus:
    """Whoever makes predictions: a client of the server, by a subject of its own."""

    def __init__(self, client: Any, subject: str) -> None:
        self.client = client
        self.subject = subject

    async def tell(self, price: float, symbol: str = "AAPL", **more: Any) -> None:
        event = {"symbol": symbol, "predicted_price": price, **more}
        await self.raw(json.dumps(event).encode())

    async def raw(self, data: bytes) -> None:
        await self.client.publish(self.subject, data)
        await self.client.flush()

    async def kept(self, price: float) -> bool:
        """As one who wants to be sure: whether the stream has it."""
        event = {"symbol": "AAPL", "predicted_price": price}
        stream = self.client.jetstream(timeout=1)
        with suppress(nats.errors.Error, OSError, TimeoutError):
            await stream.publish(
                self.subject, json.dumps(event).encode(), headers={"Nats-Msg-Id": str(price)}
            )
            return True
        return False


@pytest.fixture
async def bus(server: Server) -> AsyncIterator[Bus]:
    async def quiet(error: Exception) -> None:
        pass

    client = await nats.connect(
        server.url, max_reconnect_attempts=-1, reconnect_time_wait=0.1, error_cb=quiet
    )
    yield Bus(client, f"event.{uuid4().hex}")
    await client.close()


@asynccontextmanager
async def gateways(
    folder: Path, server: Server, count: int, **realtime: Any
) -> AsyncIterator[list[Live]]:
    """That many processes, that have nothing in common but the server."""
    async with AsyncExitStack() as stack:
        made = []
        for number in range(count):
            own = folder / str(number)
            own.mkdir()
            made.append(
                await stack.enter_async_context(
                    live(
                        own,
                        stores={"nats": server.url},
                        realtime={"update_rate": "unlimited", **realtime},
                    )
                )
            )
        yield made


async def till(socket: Socket, price: float) -> list[float]:
    """The prices that come, up to this one."""
    prices: list[float] = []
    while not prices or prices[-1] != price:
        message = await socket.recv()
        if message["type"] == "prediction_update":
            prices.append(message["predicted_price"])
    return prices


async def test_two_gateways_tell_their_clients_the_same(
    tmp_path: Path, server: Server, bus: Bus
) -> None:
    async with (
        gateways(tmp_path, server, 2, subject=bus.subject) as (a, b),
        a.socket() as at_a,
        b.socket() as at_b,
    ):
        await at_a.subscribe("AAPL")
        await at_b.subscribe("AAPL")
        for price in range(50):
            await bus.tell(price)
        assert await till(at_a, 49) == await till(at_b, 49) == list(range(50))
        await a.publish("AAPL", 1000)  # posted to one of them
        assert await till(at_b, 1000) == [1000]


async def test_a_killed_server_loses_nobodys_subscription(
    tmp_path: Path, server: Server, bus: Bus
) -> None:
    async with (
        gateways(tmp_path, server, 1, subject=bus.subject) as (one,),
        one.socket() as socket,
        one.socket() as silent,
    ):
        await socket.subscribe("AAPL")
        for turn in range(2):
            for price in range(20):
                await bus.tell(100 * turn + price)
            await till(socket, 100 * turn + 19)
            kill(server)
            with server.down():
                await one.program.event("store_lost", count=turn + 1)
                await socket.say(action="ping")
                await socket.next("pong")
            refetch = await socket.next("refetch")
            assert refetch["symbols"] == ["AAPL"]
            await until(lambda: bus.client.is_connected)
        await bus.tell(999)
        assert await till(socket, 999) == [999]
        assert all(message["type"] != "refetch" for message in silent.heard)
        assert (await one.program.metrics()).value(
            "gateway_websocket_connections", route="gateway.realtime"
        ) == 2


async def test_with_a_stream_a_killed_server_loses_nothing_at_all(
    tmp_path: Path, server: Server, bus: Bus
) -> None:
    """Two gateways, three deaths, a publisher that repeats what was not taken."""
    stream = f"live-{uuid4().hex}"
    settings = {"subject": bus.subject, "jetstream": stream}
    async with (
        gateways(tmp_path, server, 2, **settings) as (a, b),
        a.socket() as at_a,
        b.socket() as at_b,
    ):
        await at_a.subscribe("AAPL")
        await at_b.subscribe("AAPL")
        stop = False
        sent = 0

        async def publish() -> None:
            nonlocal sent
            while not stop:
                while not await bus.kept(sent):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
                sent += 1

        publishing = asyncio.create_task(publish())
        for _ in range(3):
            before = sent
            await until(lambda before=before: sent > before + 50)  # type: ignore[misc]
            kill(server)
            with server.down():
                await asyncio.sleep(0.2)
        before = sent
        await until(lambda: sent > before + 50)
        stop = True
        await publishing
        for socket in (at_a, at_b):
            assert await till(socket, sent - 1) == list(range(sent))
            assert all(message["type"] != "refetch" for message in socket.heard)
        offset = next(m["offset"] for m in at_a.heard if m.get("predicted_price") == sent // 2)
        async with b.socket() as back:  # an offset of one gateway is good at the other
            await back.subscribe("AAPL", since=offset)
            assert await till(back, sent - 1) == list(range(sent // 2 + 1, sent))


async def test_with_a_stream_a_gateway_that_starts_knows_what_was(
    tmp_path: Path, server: Server, bus: Bus
) -> None:
    stream = f"live-{uuid4().hex}"
    settings = {"subject": bus.subject, "jetstream": stream, "history": 50}
    async with gateways(tmp_path, server, 1, **settings) as (a,), a.socket() as socket:
        await socket.subscribe("AAPL")
        for price in range(80):
            assert await bus.kept(price)
        await till(socket, 79)
        offsets = [m["offset"] for m in socket.heard if m["type"] == "prediction_update"]
    other = tmp_path / "other"
    other.mkdir()
    async with gateways(other, server, 1, **settings) as (b,), b.socket() as back:
        await back.subscribe("AAPL", since=offsets[40])
        assert await till(back, 79) == list(range(41, 80))
        await back.say(action="unsubscribe", symbols=["AAPL"])
        await back.next("unsubscribed")
        await back.subscribe("AAPL", since=offsets[5])
        await back.next("refetch")


async def test_both_envelopes_are_heard_and_bad_ones_are_counted_and_logged_once(
    tmp_path: Path, server: Server, bus: Bus
) -> None:
    async with (
        gateways(tmp_path, server, 1, subject=bus.subject) as (one,),
        one.socket() as socket,
    ):
        await socket.subscribe("AAPL")
        deep = b'{"symbol":"AAPL","predicted_price":1,"x":' + b"[" * 300 + b"]" * 300 + b"}"
        bad = (b"", b"{", b"[]", b"\xff", b'{"symbol":"a"}', deep, b'{"symbol":"AAPL"}')
        for data in bad * 20:
            await bus.raw(data)
        await bus.tell(1)
        payload = {"ticker": "AAPL", "predicted_price": 2, "confidence": 0.5}
        await bus.raw(json.dumps({"message_id": "m", "payload": payload}).encode())
        assert await till(socket, 2) == [1, 2]
        metrics = await one.program.metrics()
        counted = {
            result: metrics.value("gateway_realtime_events_total", result=result)
            for result in ("no_json", "no_object", "bad_symbol", "bad_price", "too_deep")
        }
        assert counted == {
            "no_json": 60,
            "no_object": 20,
            "bad_symbol": 20,
            "bad_price": 20,
            "too_deep": 20,
        }
        assert metrics.value("gateway_realtime_events_total", result="accepted") == 2
        told = await one.program.event("bad_events")
        assert told["level"] == "WARNING"
        await one.program.event("request", path="/metrics")
        assert len(one.program.found("bad_events")) == 1


async def test_a_gateway_without_its_server_takes_clients_and_says_when_it_is_there(
    tmp_path: Path, server: Server, bus: Bus
) -> None:
    server.stop()
    try:
        async with (
            gateways(tmp_path, server, 1, subject=bus.subject) as (one,),
            one.socket() as socket,
        ):
            await socket.subscribe("AAPL")
            server.start()
            await one.program.event("store_back")
            await until(lambda: bus.client.is_connected)
            await bus.tell(7)
            assert await till(socket, 7) == [7]
    finally:
        server.stop()
        server.start()


async def test_in_one_loop_a_slow_client_loses_nothing_of_the_others(server: Server) -> None:
    """A burst of a stream's past, as fast as NATS gives it, past a client that reads nothing."""
    stream, subject = f"live-{uuid4().hex}", f"event.{uuid4().hex}"
    client = await nats.connect(server.url)
    context = client.jetstream()
    await context.add_stream(name=stream, subjects=[subject])
    realtime = {"subject": subject, "jetstream": stream, "ping_interval": 0}
    try:
        async with site(realtime, stores={"nats": server.url}) as one:
            deaf, ear = await one.deaf("AAPL"), await one.ear("AAPL")
            hearing = asyncio.create_task(hear(ear, 3000))
            for price in range(3000):
                event = {"symbol": "AAPL", "predicted_price": price, "note": "x" * 1000}
                await client.publish(subject, json.dumps(event).encode())
            async with asyncio.timeout(LONG):
                assert await hearing == list(range(3000))
            assert deaf.prices == []
            check(one)
    finally:
        await client.close()


async def hear(ear: Ear, count: int) -> list[float]:
    await ear.updates(count)
    return ear.prices


def check(one: Site) -> None:
    for member in one.hub.members:
        assert member._held_bytes <= 262144
        assert member.waiting <= 1000
