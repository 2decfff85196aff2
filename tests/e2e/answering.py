"""Upstreams that answer by themselves, and what tests of the proxy ask for over and over."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from gateway.config import Settings
from tests.e2e.stage import PATIENCE, Connection, Stage, Upstream, gateway_on


class Answering(Upstream):
    """Answers each request with its name; what it was asked is in `heads` and `bodies`.

    A status of 0 hangs up instead, and so does `hangs_up_after` answers on a connection.
    """

    def __init__(self, name: bytes = b"ok", tls: ssl.SSLContext | None = None) -> None:
        super().__init__()
        self.name = name
        self.status = 200
        self.hangs_up_after = 0
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.names_asked_for: list[str | None] = []
        self._tls = tls
        self._scheme = "http" if tls is None else "https"
        if tls is not None:
            tls.sni_callback = lambda _socket, name, _context: self.names_asked_for.append(name)

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}"

    @property
    def targets(self) -> list[bytes]:
        """The targets it was asked for, in order."""
        return [head.split(b" ")[1] for head in self.heads]

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def start_at(self, path: str) -> None:
        """Listen on a Unix socket."""
        self._server = await asyncio.start_unix_server(self._take, path)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer)
        self.connections.append(connection)
        served = 0
        try:
            while await self._answer(connection, served):
                served += 1
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, connection: Connection, served: int) -> bool:
        head = await connection.reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        self.bodies.append(await body_of(head, connection.reader))
        if self.status == 0 or (served and served == self.hangs_up_after):
            return False
        await connection.send(
            b"HTTP/1.1 %d Reason\r\nContent-Length: %d\r\n\r\n%b"
            % (self.status, len(self.name), b"" if head.startswith(b"HEAD") else self.name)
        )
        return True


async def body_of(head: bytes, reader: asyncio.StreamReader) -> bytes:
    """A message's body, unframed."""
    lower = head.lower()
    if b"transfer-encoding: chunked" in lower:
        body = b""
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readuntil(b"\r\n")
        return body
    _, mark, rest = lower.partition(b"\r\ncontent-length:")
    return await reader.readexactly(int(rest.split(b"\r\n")[0])) if mark else b""


U = TypeVar("U", bound=Upstream)


@asynccontextmanager
async def started(*upstreams: U, at: Path | None = None) -> AsyncIterator[list[U]]:
    """These upstreams, listening: each on a port of its own, or one on a Unix socket."""
    try:
        for upstream in upstreams:
            if at is not None and isinstance(upstream, Answering):
                await upstream.start_at(str(at))
            else:
                await upstream.start()
        yield list(upstreams)
    finally:
        for upstream in upstreams:
            await upstream.stop()


@asynccontextmanager
async def answering(*names: bytes) -> AsyncIterator[list[Answering]]:
    """Upstreams with these names."""
    async with started(*(Answering(name) for name in names)) as upstreams:
        yield upstreams


@asynccontextmanager
async def scripted() -> AsyncIterator[Upstream]:
    """An upstream that the test speaks for."""
    async with started(Upstream()) as [upstream]:
        yield upstream


@contextmanager
def deaf_target() -> Iterator[str]:
    """The URL of a target whose queue is full: nobody gets through, nobody is refused."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        queued = [socket.socket() for _ in range(4)]
        for one in queued:
            one.setblocking(False)
            one.connect_ex(listening.getsockname())
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        for one in queued:
            one.close()


@asynccontextmanager
async def in_front(upstreams: Iterable[Upstream] | str, **table: Any) -> AsyncIterator[Stage]:
    """A gateway whose one route, for everything, leads to an upstream of these targets.

    `table` is the upstream's settings; `route` and `settings` in it are theirs.
    """
    route = {"prefix": "/", "upstream": "targets", **table.pop("route", {})}
    more = table.pop("settings", {})
    urls = [upstreams] if isinstance(upstreams, str) else [upstream.url for upstream in upstreams]
    made = Settings.model_validate(
        {
            "host": "127.0.0.1",
            "upstreams": {"targets": {"targets": urls, **table}},
            "routes": [route],
            **more,
        }
    )
    async with gateway_on(made) as (gateway, port):
        scene = Stage(gateway, Upstream(), port, -1)
        try:
            yield scene
        finally:
            scene.close_clients()


def request(
    target: bytes = b"/api/x", *lines: bytes, method: bytes = b"GET", body: bytes = b""
) -> bytes:
    """A request in HTTP/1.1; a body brings its Content-Length."""
    if body or method == b"POST":
        lines = (*lines, b"Content-Length: %d" % len(body))
    return b"\r\n".join((method + b" " + target + b" HTTP/1.1", b"Host: a", *lines, b"", body))


def status_of(head: bytes) -> int:
    return int(head.split(b" ", 2)[1])


async def status(scene: Stage, data: bytes = b"") -> int:
    """What a request on a connection of its own is answered with."""
    return status_of((await scene.ask(data or request()))[0])


async def body(scene: Stage, data: bytes = b"") -> bytes:
    return (await scene.ask(data or request()))[1]


async def closed(connection: Connection) -> bytes:
    """What comes until the other end is gone, politely or not."""
    data = b""
    async with asyncio.timeout(PATIENCE):
        try:
            while piece := await connection.reader.read(1 << 16):
                data += piece
        except ConnectionError:
            pass
    return data


async def is_cut(connection: Connection) -> None:
    """The connection is reset, with nothing before it: no end that could pass for an answer's."""
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(ConnectionResetError):
            assert await connection.reader.read(1 << 16) == b"", "more came"


async def stays_open(connection: Connection, seconds: float = 0.05) -> None:
    """Nothing comes, and no end either."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(seconds):
            assert await connection.reader.read(1) == b"x", "something came"


async def eventually(condition: Callable[[], Awaitable[bool]] | Callable[[], bool]) -> None:
    """Wait for what nothing tells of."""
    async with asyncio.timeout(PATIENCE):
        while True:
            met = condition()
            if met if isinstance(met, bool) else await met:
                return
            await asyncio.sleep(0.005)


def pools(scene: Stage) -> list[Any]:
    """The pools of the targets, in the settings' order."""
    behind = scene.gateway.generation.behind.values()
    return [target.pool for one in behind for target in one.service.upstream.targets]


def nothing_open(scene: Stage) -> bool:
    """Whether no request holds or awaits a connection to an upstream."""
    return all(pool.active == 0 and pool.waiting == 0 for pool in pools(scene))
