"""Rates, and clients that do not take what they are sent: nobody else pays for it."""

from __future__ import annotations

import asyncio
import resource
import socket
import zlib
from time import monotonic

import pytest

from gateway.realtime import wire
from tests.e2e.ears import PATH, Ear, Site, site, until
from tests.e2e.stage import PATIENCE
from tests.websocket.frames import Frame, text
from tests.websocket.talking import upgrade

DEFLATE = (b"Sec-WebSocket-Extensions: permessage-deflate",)


async def test_of_any_second_a_client_gets_ten_and_none_is_lost() -> None:
    async with site({"update_rate": "10/second"}) as one:
        ear = await one.ear("A")
        for price in range(35):
            await one.publish(price)
        times = []
        for _ in range(35):
            await ear.next()
            times.append(monotonic())
        assert ear.prices == list(range(35))
        # The tenth of a second is what a busy machine may hold one up.
        assert all(later - first >= 0.9 for first, later in zip(times, times[10:], strict=False))
        assert times[-1] - times[0] < 4.5
        assert one.hub.queued == 0


async def test_of_what_waits_the_oldest_is_dropped_and_counted() -> None:
    async with site({"update_rate": "5/second", "buffer": 5}) as one:
        ear = await one.ear("A")
        for price in range(1, 31):
            await one.publish(price)
        for _ in range(11):
            await ear.next()
        warnings = [message for message in ear.seen if message["type"] == "warning"]
        assert ear.prices == [1, 2, 3, 4, 5, 26, 27, 28, 29, 30]
        assert [warning["dropped"] for warning in warnings] == [20]


async def test_conflated_the_newest_of_each_symbol_comes() -> None:
    async with site({"update_rate": "5/second"}) as one:
        ear = await one.ear("A", "B", conflate=True)
        plain = await one.ear("A", "B")
        for price in range(1, 21):
            await one.publish(price, "AB"[price % 2])
        await ear.updates(7)
        assert ear.prices == [1, 2, 3, 4, 5, 20, 19]  # each in the place where it began to wait
        await plain.updates(20)


async def test_who_talks_too_much_is_warned_then_closed() -> None:
    async with site({"message_rate": "10/second"}) as one:
        ear = await one.ear()
        await ear.send(*[text('{"action":"ping"}')] * 40)
        assert await ear.closed() == (1008, "too many messages")
        kinds = [message["type"] for message in ear.seen]
        assert kinds.count("pong") in (10, 11)  # a tenth of a second may pass meanwhile
        assert kinds.count("error") == 1
        assert not one.hub.members


# ------------------------------------------------------------------------------- slow readers

BIG = "x" * 8000


async def test_a_client_that_reads_nothing_slows_nobody_and_is_bounded() -> None:
    async with site({"buffer": 50, "buffer_bytes": 100_000, "ping_interval": 0}) as one:
        deaf = [await one.deaf("A") for _ in range(5)]
        ears = [await one.ear("A") for _ in range(5)]
        count = 1500

        async def listen(ear: Ear) -> float:
            await ear.updates(count)
            return monotonic()

        listening = [asyncio.create_task(listen(ear)) for ear in ears]
        for price in range(count):
            await one.publish(price, note=BIG)
            if price % 10 == 0:
                await asyncio.sleep(0)
                behind = max(len(member._held) for member in one.hub.members)
                assert behind <= 50
                assert all(member._held_bytes <= 100_000 for member in one.hub.members)
        async with asyncio.timeout(4 * PATIENCE):
            await asyncio.gather(*listening)
        for ear in ears:
            assert ear.prices == list(range(count))
        slow = [member for member in one.hub.members if member.dropped]
        assert len(slow) == 5
        assert one.hub.queued == sum(member.waiting for member in slow)
        for member in slow:
            transport = member.exchange.client._transport  # type: ignore[attr-defined]
            assert transport.get_write_buffer_size() <= 65536 + len(BIG) + 1000
        # One of them begins to read, and hears how many it did not get.
        ear = deaf[0]
        while not ear.prices or ear.prices[-1] != count - 1:
            await ear.next()
        dropped = sum(m["dropped"] for m in ear.seen if m["type"] == "warning")
        assert len(ear.prices) + dropped == count
        assert ear.prices == sorted(ear.prices)


async def test_a_client_that_reads_nothing_is_cut_in_the_end() -> None:
    async with site({"ping_interval": 0}, limits={"send_timeout": 1}) as one:
        deaf = await one.deaf("A")
        ear = await one.ear("B")
        for price in range(1000):
            await one.publish(price, note=BIG)
            if price % 10 == 0:
                await asyncio.sleep(0)
        await one.publish(1000, "B")
        await ear.updates(1)
        await until(lambda: len(one.hub.members) == 1)
        (closed,) = one.logged("websocket_closed")
        assert closed["code"] == 1006
        assert one.hub.queued == 0
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await deaf.closed()


async def test_a_client_that_floods_and_reads_nothing_costs_no_memory() -> None:
    """Its pings are not read any more once their answers do not go out."""
    async with site({"ping_interval": 0}) as one:
        deaf = await one.deaf("A")
        (member,) = one.hub.members
        transport = member.exchange.client._transport  # type: ignore[attr-defined]
        frames = b"".join(Frame(9, b"p" * 125).wire() for _ in range(500))
        deaf.connection.writer.transport.set_write_buffer_limits(1 << 20)
        worst = 0
        for _ in range(400):
            deaf.connection.writer.write(frames)
            await asyncio.sleep(0)
            worst = max(worst, transport.get_write_buffer_size())
            if deaf.connection.writer.transport.get_write_buffer_size() > 1 << 20:
                break
        else:
            pytest.fail("all of it was read")
        assert worst < 1 << 20


# ------------------------------------------------------------------------------- deflate


async def test_an_update_is_compressed_once_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = wire.deflated
    monkeypatch.setattr(wire, "deflated", lambda data: calls.append(data) or real(data))
    async with site({"deflate": True}) as one:
        ears = [await one.ear("A", lines=DEFLATE) for _ in range(20)]
        plain = await one.ear("A")
        for price in range(5):
            await one.publish(price, note="y" * 500)
        for ear in ears:
            frames = [await ear.frame() for _ in range(5)]
            assert all(frame.rsv == 4 for frame in frames)
            inflate = zlib.decompressobj(-15).decompress
            assert inflate(frames[0].payload + b"\0\0\xff\xff") == calls[0]
        assert len(calls) == 5
        assert (await plain.updates(5))[0]["note"] == "y" * 500


# ------------------------------------------------------------------------------- a crowd

CROWD = 2000


def crowd(port: int, count: int) -> list[socket.socket]:
    """Clients that have subscribed; what they are sent then waits in the kernel."""
    made = []
    for _ in range(count):
        client = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        client.sendall(upgrade(PATH))
        made.append(client)
    for client in made:
        client.sendall(text('{"action":"subscribe","symbols":["A"]}').wire())
    for client in made:
        heard = b""
        while b'"subscribed"' not in heard:
            heard += client.recv(4096)
    return made


async def test_a_broadcast_to_two_thousand_keeps_requests_going() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    async with site({"ping_interval": 0}, access_log=False) as one:
        clients = await asyncio.to_thread(crowd, one.scene.port, CROWD)
        try:
            await _answered_beside(one)
            for client in clients[:: CROWD // 20]:
                frames = await asyncio.to_thread(client.recv, 1 << 20)
                assert frames.count(b"prediction_update") == UPDATES
        finally:
            for client in clients:
                client.close()
        await until(lambda: not one.hub.members)
        assert one.hub.queued == 0
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


UPDATES = 30


async def _answered_beside(one: Site) -> None:
    asker = await one.scene.client()
    for price in range(UPDATES):
        await one.publish(price)
    await until(lambda: one.hub._running)
    answered = 0
    while one.hub._running:
        await asker.send(b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await asker.answer())[0].startswith(b"HTTP/1.1 200 ")
        answered += 1
    # If it did not let others have their turn, it would be one, or none.
    assert answered >= 2 * UPDATES
