"""An open route and closed ones in front of one service that writes down what reaches it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.e2e.stage import Connection, Stage, Upstream, stage

TOKEN = "a-token-of-28-characters-abc"
AUTHORISED = f"Authorization: Bearer {TOKEN}".encode()
CLOSED = (b"/api/admin", b"/api/service1/admin")
"""Paths that nobody without the token may reach, and all below them."""


class Service:
    """Answers every request 200, and keeps the heads that it got."""

    def __init__(self) -> None:
        self.upstream = Upstream()
        self.heads: list[bytes] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        await self.upstream.start()
        self._spawn(self._accept())

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self) -> None:
        while True:
            self._spawn(self._serve(await self.upstream._arrived.get()))

    async def _serve(self, connection: Connection) -> None:
        try:
            while True:
                head = await connection.reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                if b"\r\nTransfer-Encoding: chunked" in head:
                    await connection.reader.readuntil(b"0\r\n\r\n")
                await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except (asyncio.IncompleteReadError, ConnectionError):
            return

    async def stop(self) -> None:
        await self.upstream.stop()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def paths(self) -> list[bytes]:
        """What was asked for, since this was called last."""
        found = [head.split(b" ", 2)[1] for head in self.heads]
        self.heads.clear()
        return found


class Target:
    """The gateway under attack, and the service behind it."""

    def __init__(self, scene: Stage, service: Service) -> None:
        self.scene = scene
        self.service = service
        self._client: Connection | None = None

    async def ask(self, data: bytes) -> int:
        """The status of the answer; on one connection for as long as it is kept open."""
        if self._client is None:
            self._client = await self.scene.client()
        client = self._client
        await client.send(data)
        head, _ = await client.answer()
        if b"\r\nConnection: close\r\n" in head:
            self._client = None
            await client.close()
        return int(head.split()[1])

    async def get(self, path: bytes, *lines: bytes, method: bytes = b"GET") -> int:
        return await self.ask(request(path, *lines, method=method))


def request(path: bytes, *lines: bytes, method: bytes = b"GET") -> bytes:
    return b"\r\n".join((method + b" " + path + b" HTTP/1.1", b"Host: a.test", *lines, b"", b""))


@asynccontextmanager
async def attacked(*, validate: str | None = None, **changes: Any) -> AsyncIterator[Target]:
    """`validate` names a document for the open route."""
    service = Service()
    await service.start()
    url = service.upstream.url
    routes = [
        {"name": "open", "prefix": "/api/service1", "target_url": url, "validate": validate},
        {"name": "closed", "prefix": "/api/admin", "target_url": url, "auth": "token"},
        {"name": "inner", "prefix": "/api/service1/admin", "target_url": url, "auth": "token"},
        {"name": "moved", "prefix": "/public", "target_url": url, "strip_prefix": True,
         "rewrite": "/api/service1/public"},
        {"name": "reads", "path": "/mixed", "target_url": url, "methods": ["GET"]},
        {"name": "writes", "path": "/mixed", "target_url": url, "methods": ["POST", "DELETE"],
         "auth": "token"},
    ]  # fmt: skip
    settings = {"routes": routes, "auth": {"token": TOKEN}, "access_log": False, **changes}
    try:
        async with stage(service.upstream, **settings) as scene:
            yield Target(scene, service)
    finally:
        await service.stop()
