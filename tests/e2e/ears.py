"""Clients of live updates, frame by frame, at a gateway in the test's own loop."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from gateway.realtime.hub import Hub
from tests.e2e.stage import PATIENCE, Connection, Stage, stage
from tests.websocket.frames import CLOSE, PING, Frame, code_of, read_frame, text
from tests.websocket.talking import upgrade

PATH = b"/ws/predictions"


class Ear:
    """A client's WebSocket; `seen` is every message that it got, oldest first."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.seen: list[dict[str, Any]] = []
        self.pings = 0

    async def frame(self) -> Frame:
        return await read_frame(self.connection, rsv=4)

    async def next(self) -> dict[str, Any]:
        """The next message; a server's pings are counted and not answered."""
        while (frame := await self.frame()).opcode == PING:
            self.pings += 1
        assert frame.opcode != CLOSE, f"closed: {code_of(frame)} {frame.payload[2:]!r}"
        message: dict[str, Any] = json.loads(frame.payload)
        self.seen.append(message)
        return message

    async def updates(self, count: int) -> list[dict[str, Any]]:
        """The next messages, that have to be updates."""
        found = [await self.next() for _ in range(count)]
        assert {one["type"] for one in found} <= {"prediction_update"}, found
        return found

    async def closed(self) -> tuple[int, str]:
        """Code and reason of the gateway's Close; what comes before it is kept."""
        while (frame := await self.frame()).opcode != CLOSE:
            if frame.opcode != PING:
                self.seen.append(json.loads(frame.payload))
        return code_of(frame), frame.payload[2:].decode()

    async def send(self, *frames: Frame) -> None:
        await self.connection.send(b"".join(frame.wire() for frame in frames))

    async def say(self, action: str, *symbols: str, **more: Any) -> None:
        message = {"action": action, **({"symbols": symbols} if symbols else {}), **more}
        await self.send(text(json.dumps(message)))

    async def subscribe(self, *symbols: str, **more: Any) -> None:
        await self.say("subscribe", *symbols, **more)
        assert (await self.next())["type"] == "subscribed"

    @property
    def prices(self) -> list[float]:
        return [one["predicted_price"] for one in self.seen if "predicted_price" in one]


class Site:
    """A gateway with live updates."""

    def __init__(self, scene: Stage, lines: list[bytes]) -> None:
        self.scene = scene
        self.lines = lines  # of its log

    @property
    def hub(self) -> Hub:
        found = self.scene.gateway._live._hub
        assert found is not None
        return found

    async def publish(self, price: float, symbol: str = "A", **more: Any) -> None:
        event = {"symbol": symbol, "predicted_price": price, **more}
        await self.scene.gateway._live.publish(json.dumps(event).encode())

    async def ear(self, *symbols: str, lines: tuple[bytes, ...] = (), **more: Any) -> Ear:
        """A client that is welcomed, and has subscribed if it is to."""
        ear = Ear(await self.scene.client())
        await ear.connection.send(upgrade(PATH, *lines))
        head = await ear.connection.head()
        assert head.startswith(b"HTTP/1.1 101 "), head
        assert (await ear.next())["type"] == "welcome"
        if symbols:
            await ear.subscribe(*symbols, **more)
        return ear

    async def deaf(self, *symbols: str) -> Ear:
        """A client whose kernel takes little, and which reads only what the test reads."""
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.setblocking(False)
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", self.scene.port))
        reader, writer = await asyncio.open_connection(sock=raw, limit=4096)
        connection = Connection(reader, writer)
        self.scene._clients.append(connection)
        ear = Ear(connection)
        await connection.send(upgrade(PATH))
        await connection.head()
        await ear.next()
        await ear.subscribe(*symbols)
        return ear

    def logged(self, event: str) -> list[dict[str, Any]]:
        found = (json.loads(line) for line in self.lines)
        return [line for line in found if line["event"] == event]


async def until(condition: Callable[[], Any]) -> None:
    """Wait for what sets no event."""
    async with asyncio.timeout(2 * PATIENCE):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@asynccontextmanager
async def site(realtime: dict[str, Any] | None = None, **settings: Any) -> AsyncIterator[Site]:
    """With no limit on rates unless it is set."""
    table = {"message_rate": "1000000/second", "update_rate": "unlimited", **(realtime or {})}
    async with stage(realtime=table, **settings) as scene:
        lines: list[bytes] = []
        scene.gateway.log._write = lines.append
        yield Site(scene, lines)
