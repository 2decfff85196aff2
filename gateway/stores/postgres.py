"""PostgreSQL through asyncpg."""

from __future__ import annotations

import asyncio

import asyncpg


class Postgres:
    """A pool that opens its first connection when it is first asked something."""

    name = "postgres"

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._opening = asyncio.Lock()

    async def ping(self) -> None:
        pool = await self._open()
        await pool.fetchval("SELECT 1")

    async def _open(self) -> asyncpg.Pool[asyncpg.Record]:
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(self._url, min_size=0, max_size=10)
            return self._pool

    async def close(self) -> None:
        if self._pool is not None:
            self._pool.terminate()
