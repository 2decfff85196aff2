"""NATS through nats-py."""

from __future__ import annotations

import asyncio

import nats
from nats.aio.client import Client


class Nats:
    """Connects when it is first asked something; the client reconnects by itself for ever."""

    name = "nats"

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: Client | None = None
        self._opening = asyncio.Lock()

    async def ping(self) -> None:
        client = await self._open()
        await client.flush(timeout=2)

    async def _open(self) -> Client:
        async with self._opening:
            if self._client is None:
                self._client = await nats.connect(
                    self._url,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=0.5,
                    allow_reconnect=True,
                )
            return self._client

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
