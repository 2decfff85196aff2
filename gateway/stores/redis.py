"""Redis, or what speaks its protocol, through `redis.asyncio`."""

from __future__ import annotations

import redis.asyncio as client


class Redis:
    """Connects when it is first asked something, and again after a loss."""

    name = "redis"

    def __init__(self, url: str) -> None:
        self._client = client.Redis.from_url(url, max_connections=100)

    async def ping(self) -> None:
        await self._client.ping()

    async def close(self) -> None:
        await self._client.aclose()
