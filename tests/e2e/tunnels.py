"""WebSockets by hand, for tests that say what goes over the wire byte by byte."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from websockets.frames import Frame, Opcode

from gateway.upstreams.target import Target
from tests.e2e.stage import PATIENCE, Connection, Stage

# The key and its answer are those of RFC 6455, 1.3.
HANDSHAKE = b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
UPGRADE = (
    b"GET /api/ws HTTP/1.1\r\nHost: gateway.test\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\n" + HANDSHAKE + b"\r\n"
)
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
GOING_AWAY = b"\x88\x02\x03\xe9"
"""A server's Close with 1001 and no reason."""


def frame(
    data: bytes = b"", opcode: Opcode = Opcode.BINARY, *, fin: bool = True, mask: bool = False
) -> bytes:
    """A frame as the `websockets` library writes it."""
    return Frame(opcode, data, fin).serialize(mask=mask)


async def opened(scene: Stage, first: bytes = b"") -> tuple[Connection, Connection]:
    """A client and the target at the other end of its tunnel; `first` comes with the 101."""
    client = await scene.client()
    await client.send(UPGRADE)
    target = await scene.upstream.accept()
    await target.head()
    await target.send(SWITCH + first)
    assert (await client.head()).startswith(b"HTTP/1.1 101 ")
    return client, target


async def comes_true(condition: Callable[[], Any], seconds: float = PATIENCE) -> None:
    """Wait for what nothing tells of."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(0.005)


async def ends(connection: Connection) -> bytes:
    """What comes until the other end is gone, politely or not."""
    data = bytearray()
    async with asyncio.timeout(PATIENCE):
        try:
            while piece := await connection.reader.read(1 << 16):
                data += piece
        except ConnectionError:
            pass
    return bytes(data)


async def flood(connection: Connection, limit: int, patience: float = 0.3) -> int:
    """Send until the other end takes no more, or `limit` bytes; how many were written."""
    connection.writer.transport.set_write_buffer_limits(0)
    sent = 0
    while sent < limit:
        connection.writer.write(pattern(sent, 1 << 16))
        sent += 1 << 16
        try:
            async with asyncio.timeout(patience):
                await connection.writer.drain()
        except TimeoutError:
            return sent
    return sent


_PATTERN = bytes(range(251)) * 600


def pattern(start: int, size: int) -> bytes:
    """Bytes by which a place in a long stream can be told from its neighbours."""
    at = start % 251
    return _PATTERN[at : at + size]


async def expect_pattern(connection: Connection, size: int) -> None:
    """Read `size` bytes of the pattern, each in its place."""
    at = 0
    async with asyncio.timeout(4 * PATIENCE):
        while at < size:
            piece = await connection.reader.read(min(1 << 16, size - at))
            assert piece, f"it ended at {at} of {size}"
            assert piece == pattern(at, len(piece)), f"another byte somewhere behind {at}"
            at += len(piece)


def tunnels(scene: Stage) -> float:
    """What the gauge of open WebSockets says."""
    return _value(scene, "gateway_websocket_connections", ("api",))


def messages(scene: Stage) -> tuple[float, float]:
    """Messages that the client sent, and those that it was sent."""
    name = "gateway_websocket_messages_total"
    return _value(scene, name, ("api", "received")), _value(scene, name, ("api", "sent"))


def _value(scene: Stage, name: str, labels: tuple[str, ...]) -> float:
    return scene.gateway.registry.merged()[name].get(labels, [0.0])[0]


def unused(scene: Stage) -> bool:
    """Whether no connection to an upstream and none of a client is in use."""
    return all(
        target.pool.open == target.pool.idle and not target.pool.waiting and not target.in_flight
        for target in targets(scene)
    )


def targets(scene: Stage) -> list[Target[Any]]:
    """The targets of the stage's upstreams."""
    return sorted(scene.gateway.generation.targets(), key=lambda target: target.name)
