"""An issuer's server of keys: one that can be told what to answer, killed and brought back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from tests.servers import free_port

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class KeysServer:
    """`asked` counts the questions; `body`, or `answer` in its place, is what is said."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.answer: Answer | None = None
        self.asked = 0
        self.port = free_port()
        self._news = asyncio.Condition()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/keys"

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        async with self._news:
            self.asked += 1
            self._news.notify_all()
        if self.answer is not None:
            return await self.answer(request)
        return web.Response(body=self.body, content_type="application/json")

    async def heard(self, count: int) -> None:
        """Wait until it was asked so often."""
        async with asyncio.timeout(10), self._news:
            await self._news.wait_for(lambda: self.asked >= count)

    async def start(self) -> None:
        application = web.Application()
        application.router.add_get("/keys", self._handle)
        self._runner = web.AppRunner(application, shutdown_timeout=0.01, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None


@asynccontextmanager
async def keys_server(body: bytes) -> AsyncIterator[KeysServer]:
    server = KeysServer(body)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
