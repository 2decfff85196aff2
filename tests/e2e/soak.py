"""An upstream and clients that misbehave at random, and look closely at what they get.

Every request has a token of its own, which is its `X-Request-ID`, and asks for a body of a size
that it names. What the body has to be follows from both. So a client can tell its own answer,
whole, from any other, and from half of one.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256, shake_128
from random import Random
from typing import Any

from tests.e2e.stage import Connection
from tests.e2e.tunnels import SWITCH, UPGRADE

PATIENCE = 10.0
"""s within which any answer has come, or the connection has ended."""

SIZES = (0, 1, 100, 5_000, 70_000, 300_000)


def body_of(token: bytes, size: int) -> bytes:
    return shake_128(token).digest(size)


@dataclass
class Tally:
    """What happened how often, and what must never happen, in words."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    posted: Counter[bytes] = field(default_factory=Counter)

    def check(self, condition: bool, what: str) -> None:
        if not condition:
            self.wrong.append(what)


async def end(rng: Random, connection: Connection, tally: Tally, who: str) -> None:
    """Leave in one of the ways in which processes leave."""
    way = rng.choice(("reset", "close", "half"))
    tally.counts[f"{who} {way}"] += 1
    if way == "reset" and not connection.writer.is_closing():
        connection.reset()
    elif way == "half" and not connection.writer.is_closing():
        connection.writer.write_eof()
        async with asyncio.timeout(PATIENCE):
            while await connection.reader.read(1 << 16):
                pass
    connection.writer.close()


# ------------------------------------------------------------------------------- the upstream


class Faulty:
    """Answers well, or badly in one of many ways."""

    FAULTS = ("cut", "garbage", "tail", "gone", "early", "hang", "twice")

    def __init__(self, rng: Random, tally: Tally, faults: float) -> None:
        self._rng = rng
        self._tally = tally
        self._faults = faults
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> str:
        """Listen; where."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 17)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        self._server.close()
        await self.hang_up()

    async def hang_up(self) -> None:
        """End every connection."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        connection = Connection(reader, writer)
        try:
            while await self._answer(connection):
                pass
        except (OSError, EOFError, RuntimeError, asyncio.CancelledError):
            pass  # RuntimeError: uvloop's word for a connection that closed before a write
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _answer(self, connection: Connection) -> bool:
        """Read a request and answer it; whether another may come."""
        rng, tally = self._rng, self._tally
        head = await connection.reader.readuntil(b"\r\n\r\n")
        fields = parsed(head)
        method, target, _ = head.split(b" ", 2)
        token = fields.get(b"x-request-id", b"a probe")
        if method == b"POST":
            tally.posted[token] += 1
        fault = "good" if rng.random() > self._faults else rng.choice(self.FAULTS)
        tally.counts[f"upstream {fault}"] += 1
        if fault == "hang":
            await connection.reader.read()
            return False
        if fields.get(b"upgrade") == b"websocket":
            return await self._echo(connection, fault)
        digest = b"" if fault == "early" else await body_digest(connection, fields)
        size = int(target.partition(b"?")[0].rpartition(b"/")[2])
        whole, closes = self._made(method, token, digest, size, fault)
        return await self._send(connection, fault, whole, closes) and not closes

    def _made(
        self, method: bytes, token: bytes, digest: bytes, size: int, fault: str
    ) -> tuple[bytes, bool]:
        """An answer, and whether the end of the connection ends it."""
        lines = [b"HTTP/1.1 200 OK", b"X-Token: " + token, b"X-Body: " + digest]
        body = b"" if method == b"HEAD" else body_of(token, size)
        framing = self._rng.choice(("length", "chunks", "close"))
        if framing == "length" or method == b"HEAD" or fault == "early":
            lines.append(b"Content-Length: %d" % size)
        elif framing == "chunks":
            lines.append(b"Transfer-Encoding: chunked")
            step = self._rng.choice((1000, 17, 65536)) if size < 10_000 else 65536
            body = b"".join(
                b"%x;a=b\r\n%b\r\n" % (len(body[at : at + step]), body[at : at + step])
                for at in range(0, size, step)
            )
            body += b"0\r\nX-Trailer: 1\r\n\r\n"
        closes = framing == "close" and method != b"HEAD"
        if closes or fault == "early":
            lines.append(b"Connection: close")
        interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        if self._rng.random() > 0.2:
            interim = b""
        return interim + b"\r\n".join(lines) + b"\r\n\r\n" + body, closes or fault == "early"

    async def _send(self, connection: Connection, fault: str, whole: bytes, closes: bool) -> bool:
        rng = self._rng
        if fault == "garbage":
            await connection.send(rng.choice((b"HTTP/1.1 2", b"HTTP/2 200 OK\r\n\r\n", b"\0" * 99)))
            await end(rng, connection, self._tally, "upstream")
            return False
        if fault == "cut":
            await connection.send(whole[: rng.randrange(len(whole))])
            if rng.random() < 0.2:
                await connection.reader.read()  # silence
            elif closes:  # a clean end would be the answer's end
                connection.reset()
            else:
                await end(rng, connection, self._tally, "upstream")
            return False
        if fault == "tail" and not closes and len(whole) < 10_000:
            # In one segment, or it would be the answer to whatever is asked next.
            await connection.send(
                whole + b"HTTP/1.1 200 OK\r\nX-Token: nobody\r\nContent-Length: 3\r\n\r\nbad"
            )
            return False
        if fault == "twice":
            whole = whole.replace(
                b"\r\n\r\n", b"\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"
            )
        if rng.random() < 0.3:  # slowly
            step = 1 + len(whole) // rng.randint(1, 8)
            for at in range(0, len(whole), step):
                await connection.send(whole[at : at + step])
                await asyncio.sleep(rng.random() * 0.01)
        else:
            await connection.send(whole)
        if fault == "early":  # let it be read before a reset can overtake it
            connection.writer.write_eof()
            await connection.reader.read()
        return fault not in ("gone", "tail", "twice", "early")

    async def _echo(self, connection: Connection, fault: str) -> bool:
        """A WebSocket that says everything again, for a while."""
        await connection.send(SWITCH)
        left = self._rng.randrange(200_000) if fault != "good" else 1 << 30
        while left > 0 and (data := await connection.reader.read(1 << 16)):
            await connection.send(data[:left])
            left -= len(data)
        await end(self._rng, connection, self._tally, "upstream websocket")
        return False


def parsed(head: bytes) -> dict[bytes, bytes]:
    lines = head.split(b"\r\n")[1:-2]
    return {name.lower(): value.strip() for name, _, value in (x.partition(b":") for x in lines)}


async def body_digest(connection: Connection, fields: dict[bytes, bytes]) -> bytes:
    digest = sha256()
    async for piece in body_pieces(connection.reader, fields):
        digest.update(piece)
    return digest.hexdigest().encode()


async def body_pieces(
    reader: asyncio.StreamReader, fields: dict[bytes, bytes]
) -> AsyncIterator[bytes]:
    """A message's body, by its framing; raises EOFError when it is short."""
    if fields.get(b"transfer-encoding") != b"chunked":
        yield await reader.readexactly(int(fields.get(b"content-length", 0)))
        return
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        yield await reader.readexactly(size)
        assert await reader.readexactly(2) == b"\r\n"
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass


# -------------------------------------------------------------------------------- the clients


@asynccontextmanager
async def meanwhile(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        # RuntimeError: it had more to say when the connection was closed or half closed.
        with suppress(asyncio.CancelledError, OSError, RuntimeError):
            await task


class Visitor:
    """One connection to the gateway, from its opening to its end."""

    def __init__(self, rng: Random, port: int, name: str, tally: Tally) -> None:
        self._rng = rng
        self._port = port
        self._name = name
        self._tally = tally
        self._asked = 0

    async def visit(self) -> None:
        rng = self._rng
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 17)
        self._connection = Connection(reader, writer)
        try:
            async with asyncio.timeout(4 * PATIENCE):
                for _ in range(rng.randint(1, 6)):
                    act = rng.choices(
                        (self._ask, self._pipeline, self._leave, self._socket, self._babble),
                        (12, 2, 3, 2, 1),
                    )[0]
                    if not await act():
                        break
        except (EOFError, OSError) as error:
            self._tally.counts[f"client saw {type(error).__name__}"] += 1
        finally:
            writer.transport.abort()

    def _request(self) -> tuple[bytes, bytes, bytes, int, bytes]:
        """Method, token, head, the size that is asked for, and a body."""
        rng = self._rng
        self._asked += 1
        token = f"{self._name}-{self._asked}".encode()
        method = rng.choice((b"GET", b"GET", b"GET", b"HEAD", b"POST", b"POST"))
        size = rng.choice(SIZES)
        route = rng.choices((b"/api", b"/pool", b"/down", b"/nowhere"), (10, 10, 1, 1))[0]
        head = b"%b %b/%d HTTP/1.1\r\nHost: a\r\nX-Request-ID: %b\r\n" % (
            method, route, size, token,
        )  # fmt: skip
        body = b""
        if method == b"POST":
            body = rng.randbytes(rng.choice(SIZES))
            if rng.random() < 0.5:
                head += b"Transfer-Encoding: chunked\r\n"
            else:
                head += b"Content-Length: %d\r\n" % len(body)
            if rng.random() < 0.2:
                head += b"Expect: 100-continue\r\n"
        return method, token, head + b"\r\n", size, body

    def _framed(self, head: bytes, body: bytes) -> list[bytes]:
        if b"\r\nTransfer-Encoding" not in head:
            return [body[at : at + 30_000] for at in range(0, len(body), 30_000)]
        step = self._rng.choice((30_000, 1_000))
        pieces = [body[at : at + step] for at in range(0, len(body), step)]
        return [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces] + [b"0\r\n\r\n"]

    async def _ask(self) -> bool:
        """A request as it should be, whose reader may be slow."""
        method, token, head, size, body = self._request()
        writer = self._connection.writer

        async def send() -> None:
            writer.write(head)
            if method == b"POST":
                for piece in self._framed(head, body):
                    await self._connection.send(piece)

        async with meanwhile(send()):
            if self._rng.random() < 0.1:
                await asyncio.sleep(0.05)
            return await self._answered(method, token, size, body)

    async def _pipeline(self) -> bool:
        asked = [self._request() for _ in range(3)]
        asked = [one for one in asked if one[0] != b"POST"]
        self._connection.writer.write(b"".join(one[2] for one in asked))
        for method, token, _, size, _ in asked:
            if not await self._answered(method, token, size, b""):
                return False
        return True

    async def _leave(self) -> bool:
        """Go in the middle of a request, or of its answer."""
        method, _, head, _, body = self._request()
        whole = head + b"".join(self._framed(head, body)) if method == b"POST" else head
        if self._rng.random() < 0.5:
            whole = whole[: self._rng.randrange(len(whole))]
        async with meanwhile(self._connection.send(whole)):
            with suppress(TimeoutError):
                async with asyncio.timeout(self._rng.random() * 0.02):
                    await self._connection.reader.readexactly(self._rng.randrange(1, 100_000))
            await end(self._rng, self._connection, self._tally, "client")
        return False

    async def _babble(self) -> bool:
        await self._connection.send(self._rng.choice((b"\0", b"GET / HTTP/1.1\n\n", b"x" * 9000)))
        data = await self._connection.rest()
        self._tally.check(data.startswith(b"HTTP/1.1 4"), f"babble was answered {data[:50]!r}")
        return False

    async def _socket(self) -> bool:
        """A WebSocket to something that repeats what it hears."""
        self._asked += 1
        token = f"{self._name}-{self._asked}".encode()
        said = body_of(token, self._rng.choice(SIZES))
        reader = self._connection.reader
        self._connection.writer.write(UPGRADE[:-2] + b"X-Request-ID: %b\r\n\r\n" % token)
        async with asyncio.timeout(PATIENCE):
            head = await reader.readuntil(b"\r\n\r\n")
        fields = parsed(head)
        self._tally.check(fields[b"x-request-id"] == token, f"{token!r}: another's {head!r}")
        if not head.startswith(b"HTTP/1.1 101"):
            async for _ in body_pieces(reader, fields):
                pass
            return fields.get(b"connection") != b"close"
        self._tally.counts["websocket"] += 1
        async with meanwhile(self._connection.send(said)):
            heard = b""
            goal = self._rng.randrange(len(said) + 1)
            while len(heard) < goal and (data := await reader.read(1 << 16)):
                heard += data
                self._tally.check(said.startswith(heard), f"{token!r}: it heard something else")
            self._tally.counts["websocket heard all"] += len(heard) >= goal
            await end(self._rng, self._connection, self._tally, "client websocket")
        return False

    async def _answered(self, method: bytes, token: bytes, size: int, body: bytes) -> bool:
        """Read an answer and look at every byte of it; whether the connection goes on."""
        tally, reader = self._tally, self._connection.reader
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    head = await reader.readuntil(b"\r\n\r\n")
                except asyncio.IncompleteReadError:
                    tally.wrong.append(f"{token!r}: the connection ended without an answer")
                    raise
                if not head.startswith(b"HTTP/1.1 1"):
                    break
            fields = parsed(head)
            tally.check(head.startswith(b"HTTP/1.1 "), f"{token!r}: {head[:60]!r}")
            tally.check(fields[b"x-request-id"] == token, f"{token!r}: got another's {head!r}")
            came = b""
            if method != b"HEAD":
                came = b"".join([piece async for piece in body_pieces(reader, fields)])
        status = int(head[9:12])
        tally.counts[f"status {status}"] += 1
        if status == 200:
            tally.check(fields.get(b"x-token") == token, f"{token!r}: another's answer: {head!r}")
            digest = fields.get(b"x-body", b"none")
            tally.check(
                digest in (b"", sha256(body).hexdigest().encode()), f"{token!r}: went up wrong"
            )
            wanted = b"" if method == b"HEAD" else body_of(token, size)
            tally.check(came == wanted, f"{token!r}: {len(came)} of {len(wanted)} bytes, or others")
        else:
            tally.check(status in (404, 502, 503, 504), f"{token!r}: got a {status}: {came!r}")
            if came:
                named = json.loads(came)["request_id"].encode()
                tally.check(named == token, f"{token!r}: got another's error: {came!r}")
        return fields.get(b"connection") != b"close"
