"""A real client and a real server that cannot tell that the gateway is between them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory

from tests.e2e.stage import PATIENCE, Stage, environ, gateway_on, settings
from tests.e2e.tunnels import comes_true, messages, tunnels, unused

Handler = Callable[[ServerConnection], Awaitable[None]]


class Server:
    """What the stage needs of an upstream: its URL."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"


@asynccontextmanager
async def behind(handler: Handler, /, **options: Any) -> AsyncIterator[Stage]:
    """A gateway in front of a WebSocket server that does this."""
    async with serve(handler, "127.0.0.1", 0, **options) as server:
        upstream: Any = Server(server.sockets[0].getsockname()[1])
        async with gateway_on(settings(upstream)) as (gateway, port):
            yield Stage(gateway, upstream, port, -1)


def client(scene: Stage, **options: Any) -> connect:
    return connect(
        f"ws://127.0.0.1:{scene.port}/api/ws", proxy=None, close_timeout=PATIENCE, **options
    )


async def echo(socket: ServerConnection) -> None:
    async for message in socket:
        await socket.send(message)


async def test_subprotocol_and_compression_are_agreed_between_the_ends() -> None:
    seen: list[Any] = []

    async def note(socket: ServerConnection) -> None:
        seen.append((socket.subprotocol, socket.protocol.extensions))
        await echo(socket)

    limited = ServerPerMessageDeflateFactory(server_max_window_bits=11, client_max_window_bits=12)
    async with (
        behind(note, subprotocols=["b"], extensions=[limited]) as scene,
        client(scene, subprotocols=["a", "b"]) as socket,
    ):
        assert socket.subprotocol == "b"
        (deflate,) = socket.protocol.extensions
        assert deflate.remote_max_window_bits == 11
        assert deflate.local_max_window_bits == 12
        text = "the same over and over " * 5000
        await socket.send(text)
        assert await socket.recv() == text
        assert seen[0][0] == "b"
        assert messages(scene) == (1, 1)


async def test_messages_of_all_sizes_come_back_as_they_were() -> None:
    async with (
        behind(echo, max_size=None, compression=None) as scene,
        client(scene, max_size=None, compression=None) as socket,
    ):
        sent: list[str | bytes] = ["", "ü" * 60, b"", os.urandom(125), os.urandom(126)]
        sent += [os.urandom(65535), os.urandom(65536), "x" * 65537, os.urandom(3 << 20)]
        for message in sent:
            await socket.send(message)
            assert await socket.recv() == message
        assert messages(scene) == (len(sent), len(sent))


async def test_fragments_stay_fragments() -> None:
    parts: list[list[str]] = []

    async def collect(socket: ServerConnection) -> None:
        parts.append([part async for part in socket.recv_streaming()])  # type: ignore[misc]
        await socket.send(["x", "yy", "zzz"])

    async with behind(collect) as scene, client(scene) as socket:
        await socket.send(["a", "bb", "ccc"])
        came = [part async for part in socket.recv_streaming()]
        assert [part for part in came if part] == ["x", "yy", "zzz"]
        assert [part for part in parts[0] if part] == ["a", "bb", "ccc"]
        assert messages(scene) == (1, 1)


async def test_pings_are_answered_by_the_other_end() -> None:
    pinged = asyncio.Event()

    async def ping(socket: ServerConnection) -> None:
        await (await socket.ping(b"from the server"))
        pinged.set()
        await echo(socket)

    async with behind(ping) as scene, client(scene) as socket:
        async with asyncio.timeout(PATIENCE):
            await (await socket.ping(b"from the client"))
            await pinged.wait()
        assert messages(scene) == (0, 0)


@pytest.mark.parametrize("code", [1000, 1008, 1011, 3000, 4999])
async def test_a_clients_close_reaches_the_server_with_its_reason(code: int) -> None:
    ended: asyncio.Queue[Any] = asyncio.Queue()

    async def wait(socket: ServerConnection) -> None:
        await socket.wait_closed()
        ended.put_nowait((socket.close_code, socket.close_reason))

    async with behind(wait) as scene:
        socket = await client(scene)
        await socket.close(code, "because ä")
        async with asyncio.timeout(PATIENCE):
            assert await ended.get() == (code, "because ä")
        assert socket.close_code == code
        await comes_true(lambda: unused(scene))
        assert tunnels(scene) == 0


@pytest.mark.parametrize("code", [1000, 1012, 4001])
async def test_a_servers_close_reaches_the_client_with_its_reason(code: int) -> None:
    async def leave(socket: ServerConnection) -> None:
        await socket.close(code, "because ä")

    async with behind(leave) as scene, client(scene) as socket:
        with pytest.raises(ConnectionClosed):
            async with asyncio.timeout(PATIENCE):
                await socket.recv()
        assert (socket.close_code, socket.close_reason) == (code, "because ä")
        await comes_true(lambda: unused(scene))


async def test_a_servers_refusal_is_what_the_client_gets() -> None:
    def refuse(socket: ServerConnection, request: Any) -> Any:
        return socket.respond(403, "not you\n")

    async with behind(echo, process_request=refuse) as scene:
        with pytest.raises(InvalidStatus) as refused:
            await client(scene)
        assert refused.value.response.status_code == 403
        assert refused.value.response.body == b"not you\n"


async def test_many_at_once_each_hear_themselves_only() -> None:
    async def talk(scene: Stage, number: int) -> None:
        async with client(scene) as socket:
            for turn in range(20):
                message = f"{number} {turn} " * (1 + number * turn)
                await socket.send(message)
                assert await socket.recv() == message

    async with behind(echo) as scene:
        async with asyncio.timeout(4 * PATIENCE):
            await asyncio.gather(*(talk(scene, number) for number in range(50)))
        assert messages(scene) == (1000, 1000)
        await comes_true(lambda: unused(scene) and not scene.gateway.front.connections)
        assert tunnels(scene) == 0


async def sent_until_full(socket: ClientConnection, limit: int) -> int:
    """Send MiBs until one has to wait; how many were sent, that one included."""
    for sent in range(limit):
        try:
            async with asyncio.timeout(0.3):
                await socket.send(bytes(1 << 20))
        except TimeoutError:  # it is cancelled while it waits, and sent all the same
            return sent + 1
    return limit


async def test_an_end_that_stops_reading_slows_the_other_down() -> None:
    reading = asyncio.Event()
    total = 0

    async def slow(socket: ServerConnection) -> None:
        nonlocal total
        await reading.wait()
        async for message in socket:
            total += len(message)

    async with behind(slow, compression=None, max_queue=1) as scene:
        async with client(scene, compression=None, ping_interval=None) as socket:
            sent = await sent_until_full(socket, 96)
            assert sent < 96
            reading.set()
            await socket.send(b"end")
        await comes_true(lambda: total == (sent << 20) + 3)


async def test_while_draining_a_busy_client_is_told_1001() -> None:
    async with behind(echo) as scene:
        sockets: list[ClientConnection] = [await client(scene) for _ in range(10)]

        async def busy(socket: ClientConnection) -> None:
            while True:
                await socket.send("x" * 1000)
                await socket.recv()

        tasks = [asyncio.create_task(busy(socket)) for socket in sockets]
        await comes_true(lambda: messages(scene)[1] > 100)
        scene.gateway.front.leave()
        async with asyncio.timeout(PATIENCE):
            await asyncio.wait(tasks)
        assert [socket.close_code for socket in sockets] == [1001] * 10
        await comes_true(lambda: unused(scene) and not scene.gateway.front.connections)
        for task in tasks:
            assert isinstance(task.exception(), ConnectionClosed)


async def test_while_draining_the_server_is_told_1001() -> None:
    codes: list[int | None] = []

    async def wait(socket: ServerConnection) -> None:
        await socket.wait_closed()
        codes.append(socket.close_code)

    async with behind(wait) as scene, client(scene) as socket:
        scene.gateway.front.leave()
        async with asyncio.timeout(PATIENCE):
            await socket.wait_closed()
        await comes_true(lambda: codes == [1001])
        assert socket.close_code == 1001


KILLED = """
import asyncio
from websockets.asyncio.{kind} import {name}
async def main():
    {body}
asyncio.run(main())
"""
SERVER = KILLED.format(
    kind="server",
    name="serve",
    body="""async def echo(socket):
        async for message in socket: await socket.send(message)
    async with serve(echo, "127.0.0.1", 0) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Event().wait()""",
)
CLIENT = KILLED.format(
    kind="client",
    name="connect",
    body="""import sys
    async with connect(sys.argv[1], proxy=None) as socket:
        await socket.send("hello")
        await socket.recv()
        await asyncio.Event().wait()""",
)


@asynccontextmanager
async def child(code: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    started = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        env=environ(),
        cwd=Path(__file__).parents[2],
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()


async def test_a_server_that_is_killed_is_missed_by_its_client() -> None:
    async with child(SERVER) as server:
        assert server.stdout is not None
        upstream: Any = Server(int(await server.stdout.readline()))
        async with gateway_on(settings(upstream)) as (gateway, port):
            scene = Stage(gateway, upstream, port, -1)
            async with client(scene) as socket:
                await socket.send("hello")
                assert await socket.recv() == "hello"
                server.send_signal(signal.SIGKILL)
                async with asyncio.timeout(PATIENCE):
                    await socket.wait_closed()
                assert socket.close_code == 1006
            await comes_true(lambda: unused(scene) and not gateway.front.connections)
            assert tunnels(scene) == 0


async def test_a_client_that_is_killed_is_missed_by_its_server() -> None:
    codes: list[int | None] = []

    async def note(socket: ServerConnection) -> None:
        try:
            await echo(socket)
        finally:
            codes.append(socket.close_code)

    async with behind(note) as scene:
        async with child(CLIENT, f"ws://127.0.0.1:{scene.port}/api/ws") as killed:
            await comes_true(lambda: messages(scene) == (1, 1))
            killed.send_signal(signal.SIGKILL)
            await comes_true(lambda: codes == [1006])
        await comes_true(lambda: unused(scene) and not scene.gateway.front.connections)
        assert tunnels(scene) == 0
