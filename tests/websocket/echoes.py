"""Real servers that echo: `websockets`, which keeps to RFC 6455 strictly, and aiohttp."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import WSMsgType, web
from websockets.asyncio.server import ServerConnection, serve

from tests.e2e.stage import Stage, gateway_on, settings

QUIET = logging.getLogger("tests.quiet")
QUIET.disabled = True  # what a client did wrong on purpose
MOST = 8 << 20
"""Bytes of a message that they take."""


async def _echo(socket: ServerConnection) -> None:
    async for message in socket:
        await socket.send(message)


@asynccontextmanager
async def websockets_echo(**options: Any) -> AsyncIterator[int]:
    """The port of one."""
    options = {"compression": None, "max_size": MOST, "ping_interval": None} | options
    async with serve(_echo, "127.0.0.1", 0, logger=QUIET, **options) as server:
        yield server.sockets[0].getsockname()[1]


async def _aiohttp_echo(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(compress=request.query_string == "deflate", max_msg_size=MOST)
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await socket.send_bytes(message.data)
    return socket


@asynccontextmanager
async def aiohttp_echo() -> AsyncIterator[int]:
    """The port of one."""
    application = web.Application()
    application.router.add_get("/api/ws", _aiohttp_echo)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


class Port:
    """What a stage needs of an upstream."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"


@asynccontextmanager
async def in_front_of(port: int) -> AsyncIterator[Stage]:
    """A gateway whose /api is the server on this port."""
    upstream: Any = Port(port)
    async with gateway_on(settings(upstream, access_log=False)) as (gateway, own):
        scene = Stage(gateway, upstream, own, -1)
        try:
            yield scene
        finally:
            scene.close_clients()
