"""A gateway between a scripted client and a scripted upstream, on real sockets, byte by byte.

`Stage` runs a whole worker's gateway (listening socket, acceptor, front, pipeline, proxy) inside
the test's own loop. `Client` is a bare connection to it; `Upstream` accepts connections whose
bytes the test reads and answers itself.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from gateway.acceptor import Acceptor, Gate
from gateway.app import Gateway
from gateway.config import Settings
from gateway.shared import allocate

PATIENCE = 5.0
"""s that a test waits for what has to come."""

GET = b"GET /api/x HTTP/1.1\r\nHost: gateway.test\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Connection:
    """One end of a TCP connection, read and written as bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def until(self, mark: bytes) -> bytes:
        """What comes up to and with `mark`."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readuntil(mark)

    async def head(self) -> bytes:
        return await self.until(b"\r\n\r\n")

    async def exactly(self, size: int) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readexactly(size)

    async def rest(self) -> bytes:
        """What comes until the other end closes; raises ConnectionResetError when it is cut."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read()

    async def answer(self) -> tuple[bytes, bytes]:
        """An answer's head and its body by Content-Length."""
        head = await self.head()
        size = 0
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                size = int(value)
        return head, await self.exactly(size)

    def reset(self) -> None:
        """Die without a goodbye."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except OSError:
            return


class Upstream:
    """A listening socket whose connections the test speaks for."""

    def __init__(self) -> None:
        self._arrived: asyncio.Queue[Connection] = asyncio.Queue()
        self.connections: list[Connection] = []

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer)
        self.connections.append(connection)
        self._arrived.put_nowait(connection)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def accept(self) -> Connection:
        """The next connection that the gateway opened."""
        async with asyncio.timeout(PATIENCE):
            return await self._arrived.get()

    @property
    def idle(self) -> bool:
        """Whether no connection waits to be accepted."""
        return self._arrived.empty()

    async def stop(self) -> None:
        self._server.close()
        for connection in self.connections:
            connection.writer.transport.abort()
        await asyncio.sleep(0)


class Stage:
    """A gateway at work, its upstream, and the log lines it wrote (`log`, parsed on demand)."""

    def __init__(self, gateway: Gateway, upstream: Upstream, port: int, log_fd: int) -> None:
        self.gateway = gateway
        self.upstream = upstream
        self.port = port
        self._log_fd = log_fd
        self._clients: list[Connection] = []

    async def client(self) -> Connection:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
        connection = Connection(reader, writer)
        self._clients.append(connection)
        return connection

    async def ask(self, request: bytes) -> tuple[bytes, bytes]:
        """One request on a connection of its own: the answer's head and body."""
        client = await self.client()
        await client.send(request)
        return await client.answer()

    async def refused(self, request: bytes) -> tuple[int, bytes]:
        """The status of an answer of the gateway's own, and what came in all until it closed."""
        client = await self.client()
        await client.send(request)
        data = await client.rest()
        return int(data.split(b" ", 2)[1]), data

    def close_clients(self) -> None:
        for client in self._clients:
            client.writer.transport.abort()


def settings(upstream: Upstream, **changes: Any) -> Settings:
    """Settings with one route, /api to the upstream's /api; `route` and `changes` are merged in."""
    route = {"name": "api", "prefix": "/api", "target_url": upstream.url, "websocket": True}
    route.update(changes.pop("route", {}))
    table: dict[str, Any] = {"host": "127.0.0.1", "port": 0, "routes": [route], "drain_delay": 0}
    table.update(changes)
    return Settings.model_validate(table)


@asynccontextmanager
async def stage(upstream: Upstream | None = None, /, **changes: Any) -> AsyncIterator[Stage]:
    """A gateway on a free port. `changes` are settings; `routes=[...]` replaces the one route."""
    own = upstream is None
    if upstream is None:
        upstream = Upstream()
        await upstream.start()
    made = settings(upstream, **changes)
    async with gateway_on(made) as (gateway, port):
        scene = Stage(gateway, upstream, port, -1)
        try:
            yield scene
        finally:
            scene.close_clients()
            if own:
                await upstream.stop()


@asynccontextmanager
async def gateway_on(made: Settings) -> AsyncIterator[tuple[Gateway, int]]:
    """A worker's gateway with these settings, accepting on a free port."""
    loop = asyncio.get_running_loop()
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    sock.listen(1024)
    port = sock.getsockname()[1]
    gateway = Gateway(made, allocate(1), 0)
    await gateway.open()
    limits = made.limits
    gate = Gate(
        gateway.front,
        limits.connections or 10000,
        limits.connections_per_address,
        made.trusted_proxies,
        made.proxy_protocol,
    )
    acceptor = Acceptor(loop, sock, gate, gateway, None)
    acceptor.start()
    try:
        yield gateway, port
    finally:
        await acceptor.close()
        gateway.front.cut_all()
        await asyncio.sleep(0)
        await gateway.close()


def fields(head: bytes) -> list[tuple[bytes, bytes]]:
    """A head's fields, names in lower case, in order."""
    lines = head.split(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    return [
        (name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)
    ]


def field(head: bytes, name: bytes) -> bytes | None:
    """A field's value; None where there is none, an error where there are two."""
    found = [value for known, value in fields(head) if known == name]
    assert len(found) < 2, found
    return found[0] if found else None


def environ(**more: str) -> Mapping[str, str]:
    """An environment for child processes without settings of whoever runs the tests."""
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
    return {**kept, **more}
