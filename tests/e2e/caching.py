"""A cache between scripted clients and an origin that says what it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from tests.e2e.stage import Connection, Stage, Upstream, fields, stage

Say = Callable[[bytes], bytes | Awaitable[bytes]]
"""An answer to a request's head; empty to hang up."""


class Origin(Upstream):
    """Answers with what `say` says, and remembers the heads of its requests."""

    def __init__(self) -> None:
        super().__init__()
        self.heads: list[bytes] = []
        self.say: Say = lambda _: answer()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer)
        self.connections.append(connection)
        try:
            while await self._serve(connection):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    async def _serve(self, connection: Connection) -> bool:
        head = await connection.reader.readuntil(b"\r\n\r\n")
        for name, value in fields(head):
            if name == b"content-length":
                await connection.reader.readexactly(int(value))
        self.heads.append(head)
        said = self.say(head)
        said = said if isinstance(said, bytes) else await said
        await connection.send(said)
        return bool(said)

    def says(self, *answers: bytes) -> None:
        """These, in this order; the last one again and again."""
        left = list(answers)
        self.say = lambda _: left.pop(0) if len(left) > 1 else left[0]

    @property
    def asked(self) -> int:
        return len(self.heads)


class Scene:
    """A gateway with a cached route, and its origin."""

    def __init__(self, inner: Stage, origin: Origin) -> None:
        self.stage = inner
        self.origin = origin

    async def get(self, *lines: bytes, **how: Any) -> tuple[int, bytes, bytes]:
        """Status, head and body of a request on a connection of its own."""
        client = await self.stage.client()
        await client.send(asking(*lines, **how))
        return await received(client, how.get("method", b"GET"))


@asynccontextmanager
async def cached(*, how: Any = True, **changes: Any) -> AsyncIterator[Scene]:
    """`how` the route is cached; `route` and `changes` are further settings."""
    origin = Origin()
    await origin.start()
    route = {"cache": how, **changes.pop("route", {})}
    try:
        async with stage(origin, route=route, **changes) as inner:
            yield Scene(inner, origin)
    finally:
        await origin.stop()


def asking(
    *lines: bytes,
    path: bytes = b"/api/x",
    method: bytes = b"GET",
    body: bytes = b"",
    minor: int = 1,
) -> bytes:
    first = method + b" " + path + b" HTTP/1.%d" % minor
    more = (b"Content-Length: %d" % len(body),) if body else ()
    return b"\r\n".join((first, b"Host: gateway.test", *lines, *more, b"", body))


def answer(*lines: bytes, body: bytes = b"body", status: bytes = b"200 OK") -> bytes:
    """An answer; good for an hour if it says nothing else."""
    lines = lines or (b"Cache-Control: max-age=3600",)
    length = b"Content-Length: %d" % len(body)
    return b"\r\n".join((b"HTTP/1.1 " + status, *lines, length, b"", body))


def not_modified(*lines: bytes) -> bytes:
    return b"\r\n".join((b"HTTP/1.1 304 Not Modified", *lines, b"", b""))


async def received(client: Connection, method: bytes = b"GET") -> tuple[int, bytes, bytes]:
    """An answer's status, head and body."""
    head = await client.head()
    status = int(head.split(b" ", 2)[1])
    found = dict(fields(head))
    if method == b"HEAD" or status in (204, 304):
        return status, head, b""
    if found.get(b"transfer-encoding") == b"chunked":
        return status, head, await unchunked(client)
    return status, head, await client.exactly(int(found.get(b"content-length", b"0")))


async def unchunked(client: Connection) -> bytes:
    body = b""
    while size := int(await client.until(b"\r\n"), 16):
        body += await client.exactly(size)
        await client.exactly(2)
    await client.until(b"\r\n")
    return body
