"""Clients of the gateway's own WebSocket that mean no good: each gets its code, and goes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from time import monotonic

import pytest
import pytest_asyncio
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from gateway.realtime.frames import MOST_FRAGMENTS
from gateway.realtime.hub import Hub
from tests.e2e.stage import PATIENCE, Connection, Stage
from tests.e2e.tunnels import comes_true, ends
from tests.websocket.frames import (
    CLOSE,
    CONT,
    MASK,
    NO_CODE,
    PING,
    TEXT,
    Frame,
    binary,
    close,
    code_of,
    fragments,
    pong,
    read_frame,
    sliced,
    text,
)
from tests.websocket.frames import ping as control_ping
from tests.websocket.hub import PATH, PONG, hub, ping, said, welcomed
from tests.websocket.talking import opened, upgrade

pytestmark = pytest.mark.asyncio(loop_scope="module")
MIB = 1 << 20
AGES = Hub.CLOSE_WAIT + PATIENCE / 2
"""s after which a client that does not answer a Close must be gone, on a busy machine."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene() -> AsyncIterator[Stage]:
    async with hub(Hub.CLOSE_WAIT) as scene:
        yield scene


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def strict() -> AsyncIterator[Stage]:
    """With the rate of messages that there is if nothing is set."""
    async with hub(message_rate="10/second") as scene:
        yield scene


async def closed(client: Connection) -> int:
    """The code that it is closed with, whatever comes before that."""
    while (frame := await read_frame(client)).opcode != CLOSE:
        pass
    return code_of(frame)


async def hung_up(client: Connection) -> None:
    """Nothing more comes."""
    assert await ends(client) == b""
    client.writer.transport.abort()


async def gone(scene: Stage) -> None:
    """Nothing is left of any client."""
    await comes_true(lambda: not scene.gateway.front.connections)


# Masks


UNMASKED = {
    "text": ping(17).wire(None),
    "a long text": ping(70000).wire(None),
    "binary": binary().wire(None),
    "a ping": control_ping(b"x").wire(None),
    "a pong": pong(b"x").wire(None),
    "a close": close(1000).wire(None),
    "nothing": text(b"").wire(None),
    "a continuation": Frame(TEXT, b'{"action"', fin=False).wire() + Frame(CONT, b"x").wire(None),
    "a ping inside a message": Frame(TEXT, b"{", fin=False).wire() + control_ping().wire(None),
    "behind a good one": ping(17).wire() + ping(17).wire(None),
}


@pytest.mark.parametrize("cut", [0, 1], ids=["whole", "octetwise"])
@pytest.mark.parametrize("wire", UNMASKED.values(), ids=UNMASKED)
async def test_a_frame_that_is_not_masked_ends_the_connection(
    scene: Stage, wire: bytes, cut: int
) -> None:
    client = await welcomed(scene)
    for piece in sliced(wire[:200], cut) if cut else [wire]:
        if client.writer.is_closing():
            break
        client.writer.write(piece)
        await asyncio.sleep(0)
    assert await closed(client) == 1002
    client.writer.transport.abort()


@pytest.mark.parametrize("mask", [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\x01", MASK])
async def test_any_mask_will_do(scene: Stage, mask: bytes) -> None:
    client = await welcomed(scene)
    for size in (17, 18, 19, 20, 21, 125, 126, 65535, 65536):
        await client.send(ping(size).wire(mask))
        assert said(await read_frame(client)) == PONG
    client.writer.transport.abort()


# Lengths


LENGTHS = {
    "125 in two bytes": b"\x81\xfe\x00\x7d" + MASK + bytes(125),
    "0 in two bytes": b"\x81\xfe\x00\x00" + MASK,
    "65535 in eight bytes": b"\x81\xff" + (65535).to_bytes(8) + MASK + bytes(65535),
    "17 in eight bytes": b"\x81\xff" + (17).to_bytes(8) + MASK + bytes(17),
    "a ping's 5 in two bytes": b"\x89\xfe\x00\x05" + MASK + bytes(5),
}


@pytest.mark.parametrize("wire", LENGTHS.values(), ids=LENGTHS)
async def test_a_length_longer_than_it_has_to_be_is_refused(scene: Stage, wire: bytes) -> None:
    """RFC 6455, 5.2: the minimal number of bytes must be used. Autobahn does not ask."""
    client = await welcomed(scene)
    await client.send(wire)
    assert await closed(client) == 1002
    client.writer.transport.abort()


@pytest.mark.parametrize("size", [65537, 1 << 31, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
@pytest.mark.parametrize("opcode", [TEXT, 2])
async def test_a_length_is_refused_before_its_bytes_have_come(
    scene: Stage, size: int, opcode: int
) -> None:
    client = await welcomed(scene)
    await client.send(bytes((0x80 | opcode, 0xFF)) + size.to_bytes(8) + MASK)
    assert await closed(client) in ({1002, 1009} if size >> 63 else {1009})
    client.writer.transport.abort()


async def test_a_client_in_the_middle_of_a_long_message_hears_why_it_is_closed(
    scene: Stage,
) -> None:
    url = f"ws://127.0.0.1:{scene.port}{PATH.decode()}"

    async def told() -> int | None:
        async with connect(url, proxy=None, compression=None) as client:
            await client.recv()
            with suppress(ConnectionClosed):
                await client.send("x" * (16 * MIB))
            await client.wait_closed()
            return client.close_code

    assert await asyncio.gather(*(told() for _ in range(5))) == [1009] * 5


# Fragments


async def test_a_message_of_very_many_fragments_is_read(scene: Stage) -> None:
    client = await welcomed(scene)
    pieces = sliced(ping(MOST_FRAGMENTS).payload, 1)
    assert len(pieces) == MOST_FRAGMENTS
    await client.send(b"".join(frame.wire() for frame in fragments(TEXT, *pieces)))
    assert said(await read_frame(client)) == PONG
    client.writer.transport.abort()


@pytest.mark.parametrize("piece", [b"", b" "], ids=["of nothing", "of a byte"])
@pytest.mark.parametrize("first", [TEXT, 2], ids=["text", "binary"])
async def test_fragments_without_end_are_ended(strict: Stage, piece: bytes, first: int) -> None:
    client = await welcomed(strict)
    other = await welcomed(strict)
    await client.send(Frame(first, b"", fin=False).wire())
    many = Frame(CONT, piece, fin=False).wire() * 10000
    flooding = asyncio.create_task(flood(client, many))
    assert await closed(client) in {1003, 1008, 1009}
    await other.send(ping(17).wire())
    assert said(await read_frame(other)) == PONG
    await flooding
    other.writer.transport.abort()
    await gone(strict)


async def flood(client: Connection, data: bytes) -> None:
    """Send this over and over, until the connection ends."""
    try:
        while not client.writer.is_closing():
            client.writer.write(data)
            await client.writer.drain()
            await asyncio.sleep(0)
    except ConnectionError:
        return


async def test_pings_do_not_make_a_message_of_fragments_any_longer(scene: Stage) -> None:
    client = await welcomed(scene)
    pieces = fragments(TEXT, *sliced(ping(1000).payload, 1))
    wire = b"".join(frame.wire() + control_ping(b"x").wire() for frame in pieces[:-1])
    sending = asyncio.create_task(client.send(wire + pieces[-1].wire()))
    for _ in pieces[:-1]:
        assert await read_frame(client) == pong(b"x")
    assert said(await read_frame(client)) == PONG
    await sending
    client.writer.transport.abort()


# Floods


FLOODS = {
    "pings": control_ping(b"x" * 125),
    "pongs": pong(b"x" * 125),
    "messages": ping(17),
    "no JSON": text(b"{"),
    "subscriptions": text(b'{"action":"subscribe","symbols":["A"],"since":"x-1"}'),
}


@pytest.mark.parametrize("frame", FLOODS.values(), ids=FLOODS)
async def test_a_flood_is_ended_and_hurts_nobody_else(strict: Stage, frame: Frame) -> None:
    client, other = await welcomed(strict), await welcomed(strict)
    flooding = asyncio.create_task(flood(client, frame.wire() * 1000))
    assert await closed(client) == 1008
    await other.send(ping(17).wire())
    assert said(await read_frame(other)) == PONG
    await flooding
    other.writer.transport.abort()
    await gone(strict)


async def test_answers_to_a_flood_are_as_few_as_the_rate_allows(strict: Stage) -> None:
    client = await welcomed(strict)
    await client.send(ping(17).wire() * 1000)
    heard = []
    while (frame := await read_frame(client)).opcode != CLOSE:
        heard.append(said(frame))
    assert heard == [PONG] * 10 + ["too_many_messages"]
    assert code_of(frame) == 1008
    client.writer.transport.abort()


async def test_a_client_that_reads_none_of_its_answers_is_not_read() -> None:
    loop = asyncio.get_running_loop()
    async with hub(ping_interval=0) as scene:
        with socket.socket() as client:  # whose bytes nobody reads for it
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            await loop.sock_connect(client, ("127.0.0.1", scene.port))
            await loop.sock_sendall(client, upgrade(PATH))
            await comes_true(lambda: scene.gateway.front.connections)
            (downstream,) = scene.gateway.front.connections
            wire = control_ping(b"x" * 125).wire() * 500
            sent = 0
            while downstream._transport.is_reading():
                assert sent < 64 * MIB
                await loop.sock_sendall(client, wire)
                sent += len(wire)
            assert downstream._transport.get_write_buffer_size() < MIB
            # It is read again once it has taken its answers.
            last = asyncio.create_task(loop.sock_sendall(client, control_ping(b"last").wire()))
            data = b""
            async with asyncio.timeout(PATIENCE):
                while not data.endswith(pong(b"last").wire(None)):
                    data = data[-10:] + await loop.sock_recv(client, 65536)
            await last


# Ends


async def test_who_closes_and_stays_is_hung_up_on(scene: Stage) -> None:
    client = await welcomed(scene)
    await client.send(close(1001).wire())
    assert await closed(client) == 1001
    await hung_up(client)  # the server closes first (RFC 6455, 7.1.1)


@pytest.mark.parametrize("mistake", [binary().wire(), text(b"\xff").wire(), ping(17).wire(None)])
async def test_who_does_not_answer_a_close_is_hung_up_on(scene: Stage, mistake: bytes) -> None:
    client = await welcomed(scene)
    await client.send(mistake)
    assert await closed(client) in {1002, 1003, 1007}
    began = monotonic()
    await hung_up(client)
    assert monotonic() - began < AGES


async def test_who_answers_a_close_by_talk_is_hung_up_on(scene: Stage) -> None:
    client = await welcomed(scene)
    await client.send(binary().wire())
    assert await closed(client) == 1003
    began = monotonic()
    await flood(client, ping(17).wire() * 10)
    assert monotonic() - began < AGES
    await hung_up(client)  # no answers behind a Close


async def test_a_client_that_closes_its_half_gets_its_answers(scene: Stage) -> None:
    client = await welcomed(scene)
    client.writer.write(ping(17).wire() * 3 + close(NO_CODE).wire())
    client.writer.write_eof()
    assert [said(await read_frame(client)) for _ in range(3)] == [PONG] * 3
    assert await closed(client) in {NO_CODE, 1000}
    await hung_up(client)


async def test_a_client_that_closes_its_half_and_waits_is_hung_up_on(scene: Stage) -> None:
    client = await welcomed(scene)
    client.writer.write_eof()
    await hung_up(client)
    await gone(scene)


@pytest.mark.parametrize(
    "wire",
    [
        b"\x81",
        b"\x81\xfe\x01",
        ping(300).wire()[:100],
        Frame(TEXT, b"{", fin=False).wire(),
        Frame(PING, b"x").wire()[:-1],
    ],
    ids=["half a head", "half a length", "half a frame", "half a message", "half a ping"],
)
@pytest.mark.parametrize("leave", ["closes", "resets"])
async def test_who_leaves_in_the_middle_leaves_nothing_behind(
    scene: Stage, wire: bytes, leave: str
) -> None:
    client = await welcomed(scene)
    await client.send(wire)
    if leave == "resets":
        client.reset()
    else:
        await client.close()
    await gone(scene)


async def test_who_begins_a_frame_and_says_no_more_is_cut() -> None:
    async with hub(ping_interval=0.2) as scene:
        client = await welcomed(scene)
        await client.send(ping(300).wire()[:100])
        data = await ends(client)
        assert data == b"\x89\x00"  # it was asked once
        await gone(scene)


async def test_who_pings_is_not_silent_and_who_pongs_is_not() -> None:
    async with hub(ping_interval=0.5) as scene:
        talker, answerer = await welcomed(scene), await welcomed(scene)
        for _ in range(3):
            assert (await read_frame(answerer)).opcode == PING
            await answerer.send(pong().wire())
            await talker.send(ping(17).wire())
        assert len(scene.gateway.front.connections) == 2


async def test_every_close_code_of_a_client_is_logged_or_refused_and_nothing_stays(
    scene: Stage,
) -> None:
    for code in range(0, 5200, 37):
        client, _ = await opened(scene.port, PATH)
        await client.send(Frame(CLOSE, code.to_bytes(2)).wire())
        allowed = code in {1000, 1001, 1002, 1003, *range(1007, 1015)} or 3000 <= code < 5000
        assert await closed(client) == (code if allowed else 1002)
        client.writer.transport.abort()
    await gone(scene)
