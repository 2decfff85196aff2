"""A gateway with live updates as a process, its administrator, and a client of its WebSocket.

All that a client hears is held against the gateway's own AsyncAPI document.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import jsonschema_rs
from websockets.asyncio.client import ClientConnection, connect

from gateway.commands import keys
from gateway.config import Settings
from tests.e2e.life import LONG, Program, request, running
from tests.realtime.described import payloads

ADMIN = ("admin",)


class Socket:
    """The client's end; `heard` is all that came, oldest first."""

    def __init__(
        self, connection: ClientConnection, described: dict[str, jsonschema_rs.Validator]
    ) -> None:
        self.connection = connection
        self._described = described
        self.heard: list[dict[str, Any]] = []

    async def recv(self) -> dict[str, Any]:
        """The next message. Raises websockets' ConnectionClosed."""
        async with asyncio.timeout(LONG):
            text = await self.connection.recv()
        assert isinstance(text, str)
        message: dict[str, Any] = json.loads(text)
        self._described[message["type"]].validate(message)
        self.heard.append(message)
        return message

    async def next(self, kind: str) -> dict[str, Any]:
        """The next message of this type; what comes before it is passed over."""
        while (message := await self.recv())["type"] != kind:
            pass
        return message

    async def say(self, **message: Any) -> None:
        await self.connection.send(json.dumps(message))

    async def subscribe(self, *symbols: str, **more: Any) -> None:
        """Returns when the gateway has said that it is so."""
        await self.say(action="subscribe", symbols=symbols, **more)
        assert (await self.next("subscribed"))["symbols"] == list(symbols)

    async def closed(self) -> tuple[int | None, str | None]:
        """Code and reason of the gateway's Close, when it comes."""
        async with asyncio.timeout(LONG):
            await self.connection.wait_closed()
        return self.connection.close_code, self.connection.close_reason


class Wire:
    """What lies between clients and a port, and can be cut."""

    def __init__(self, port: int) -> None:
        self._far = port
        self._down = False
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        if self._down:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._far)
        self._writers.add(far_writer)
        await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))

    @staticmethod
    async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while (data := await reader.read(65536)) and not writer.is_closing():
                writer.write(data)
        writer.transport.abort()

    def cut(self) -> None:
        """From here on nobody gets through, until it is mended."""
        self._down = True
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def mend(self) -> None:
        self._down = False


@asynccontextmanager
async def wire(port: int) -> AsyncIterator[Wire]:
    """A port of its own that leads to this one."""
    one = Wire(port)
    server = await asyncio.start_server(one._take, "127.0.0.1", 0)
    one.port = server.sockets[0].getsockname()[1]
    try:
        yield one
    finally:
        one.cut()
        server.close()


class Live:
    """A running gateway."""

    def __init__(self, program: Program, key: str) -> None:
        self.program = program
        self.key = key

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.program.port}/ws/predictions"

    @property
    def stream(self) -> str:
        return f"http://127.0.0.1:{self.program.port}/api/stream/predictions"

    async def document(self) -> dict[str, Any]:
        document: dict[str, Any] = await self.program.json("/api/asyncapi.json")
        return document

    async def publish(self, symbol: str, price: float, **more: Any) -> None:
        """As an administrator; returns when the bus has it."""
        body = json.dumps({"symbol": symbol, "predicted_price": price, **more}).encode()
        line = f"X-API-Key: {self.key}"
        client = await self.program.send(request("POST", "/api/gateway/events", line, body=body))
        head, _ = await client.answer()
        await client.close()
        assert head.startswith(b"HTTP/1.1 202 ")

    @asynccontextmanager
    async def socket(self, query: str = "", **options: Any) -> AsyncIterator[Socket]:
        """A client that is connected, and was not yet told anything."""
        described = payloads(await self.document())
        options = {"proxy": None, "compression": None, **options}
        async with connect(self.url + query, **options) as connection:
            yield Socket(connection, described)


@asynccontextmanager
async def live(folder: Path, *, workers: int = 1, **settings: Any) -> AsyncIterator[Live]:
    """A gateway with live updates; `settings` are merged over that."""
    stores = {"sqlite": str(folder / "gateway.db"), **settings.pop("stores", {})}
    made = Settings.model_validate({"stores": stores})
    _, key = await asyncio.to_thread(keys.create, made, "root", "pro", ADMIN, None)
    table = {"realtime": {}, "stores": stores, **settings}
    async with running(folder, workers=workers, **table) as program:
        yield Live(program, key)
