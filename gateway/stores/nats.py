"""NATS through nats-py."""

from __future__ import annotations

import asyncio
import logging

import nats
from nats.aio.client import Client

log = logging.getLogger("gateway.nats")


class Nats:
    """Connects when it is first asked something; the client reconnects by itself for ever."""

    name = "nats"

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: Client | None = None
        self._opening = asyncio.Lock()

    async def ping(self) -> None:
        client = await self._open()
        if not client.is_connected:  # while it reconnects, a flush succeeds without a server
            raise ConnectionError("not connected")
        await client.flush(timeout=2)

    async def _open(self) -> Client:
        async with self._opening:
            if self._client is None:
                self._client = await nats.connect(
                    self._url,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=0.5,
                    error_cb=_failed,
                    disconnected_cb=_lost,
                    reconnected_cb=_found,
                )
            return self._client

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()


async def _failed(error: Exception) -> None:
    """Each try to reconnect ends here: once lost, that is told already."""
    log.debug("nats: %s", type(error).__name__)


async def _lost() -> None:
    log.warning("nats: the connection is lost")


async def _found() -> None:
    log.info("nats: the connection is back")
