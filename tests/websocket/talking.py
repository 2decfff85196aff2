"""A client that plays a case to a server, and says how it went."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.e2e.stage import PATIENCE, Connection
from tests.websocket.cases import FRAMEWISE, WHOLE, Case
from tests.websocket.frames import CLOSE, Frame, close, code_of, read_frame

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""The key and its answer in RFC 6455, 1.3."""

EOF = "eof"
RESET = "reset"
SILENCE = "silence"


@dataclass(slots=True)
class Heard:
    """What a server said: its frames but the Close, the Close's code, and how it hung up."""

    frames: list[Frame] = field(default_factory=list)
    code: int = 0
    end: str = ""


def upgrade(path: bytes, *lines: bytes) -> bytes:
    """A client's handshake (RFC 6455, 4.1)."""
    return b"\r\n".join(
        (
            b"GET " + path + b" HTTP/1.1",
            *(b"Host: gateway.test", b"Connection: Upgrade", b"Upgrade: websocket"),
            *(b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: " + KEY, *lines),
            b"\r\n",
        )
    )


async def connected(port: int) -> Connection:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
    return Connection(reader, writer)


async def opened(port: int, path: bytes, *lines: bytes) -> tuple[Connection, bytes]:
    """A client behind its handshake, and the 101's head."""
    connection = await connected(port)
    await connection.send(upgrade(path, *lines))
    head = await connection.head()
    assert head.startswith(b"HTTP/1.1 101 "), head
    assert b"\r\nsec-websocket-accept: " + ACCEPT.lower() + b"\r\n" in head.lower()
    return connection, head


def chops(frames: Sequence[Frame], cut: int) -> list[bytes]:
    """The frames' bytes as they are written: `cut` bytes at a time, or as it is named."""
    wires = [frame.wire() for frame in frames]
    if cut == FRAMEWISE:
        return wires
    data = b"".join(wires)
    if cut == WHOLE:
        return [data]
    return [data[at : at + cut] for at in range(0, len(data), cut)]


async def say(connection: Connection, frames: Sequence[Frame], cut: int = WHOLE) -> None:
    """Send frames; a server that has hung up by then is no error."""
    try:
        for piece in chops(frames, cut):
            if connection.writer.is_closing():
                return
            await connection.send(piece)
            await asyncio.sleep(0)  # a turn of the loop, in which a server here reads the piece
    except ConnectionError:
        return


async def hear(connection: Connection, count: int, heard: Heard, rsv: int = 0) -> None:
    """Read until there are `count` frames, or the server closes or hangs up."""
    while len(heard.frames) < count and not heard.end and not heard.code:
        try:
            frame = await read_frame(connection, rsv)
        except asyncio.IncompleteReadError as error:
            heard.end = EOF if not error.partial else f"{EOF} inside a frame"
        except ConnectionError:
            heard.end = RESET
        except TimeoutError:
            heard.end = SILENCE
        else:
            if frame.opcode == CLOSE:
                heard.code = code_of(frame)
            else:
                heard.frames.append(frame)


async def hang_up(connection: Connection, heard: Heard) -> None:
    """Read to the connection's end; behind a Close nothing may come (RFC 6455, 5.5.1)."""
    if heard.end:
        return
    try:
        async with asyncio.timeout(PATIENCE):
            rest = await connection.reader.read()
        heard.end = EOF if not rest else f"{EOF} behind {rest!r}"
    except ConnectionError:
        heard.end = RESET
    except TimeoutError:
        heard.end = SILENCE


async def play(
    connection: Connection, case: Case, cut: int, sent: Sequence[Frame] | None = None
) -> Heard:
    """Send a case (or `sent` in its place), hear the answers, and end the connection in order.

    A server's own Close is not answered: it was for the client's mistake, and it hangs up.
    """
    heard = Heard()
    frames = case.sent if sent is None else sent
    saying = asyncio.create_task(say(connection, frames, cut))
    try:
        await hear(connection, len(case.answers), heard)
        if not case.ends:
            await saying
            await say(connection, [close()])
        await hear(connection, 1 << 30, heard)
        await hang_up(connection, heard)
    finally:
        saying.cancel()
        connection.writer.transport.abort()
    return heard


def complaint(
    case: Case, heard: Heard, answers: Sequence[Frame], *, drops: bool, resets: bool
) -> str:
    """What is wrong with what was heard; empty when nothing is.

    `drops`: a server may fail the connection before it has answered. `resets`: it may end it by
    a reset, which tells a client that goes on talking that nobody listens.
    """
    if heard.code not in case.codes:
        return f"closed with {heard.code or heard.end}, not {sorted(case.codes)}: {heard}"
    if heard.end not in (EOF, *((RESET,) if resets else ())):
        return f"it ended with {heard.end}"
    wanted = list(answers)
    if heard.frames == wanted or (
        drops and case.ends and heard.frames == wanted[: len(heard.frames)]
    ):
        return ""
    return f"it said {heard.frames}, not {wanted}"
