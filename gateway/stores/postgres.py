"""PostgreSQL through asyncpg: its only importer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from gateway.errors import StoreDown
from gateway.stores import Database, Unwatched, Value, Watch

CONNECTIONS: Final = 10
TIMEOUT: Final = 2.0
"""s for a free connection or for opening one, and as many again for a statement."""

MIGRATIONS: Final = """
    CREATE TABLE IF NOT EXISTS gateway_migrations (
        name TEXT NOT NULL, step BIGINT NOT NULL, PRIMARY KEY (name, step)
    )
"""
LOCK: Final = 0x67617465776179  # "gateway", as the number of an advisory lock

# What is wrong with the server or the way to it, not with a statement.
_LOST: Final = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ReadOnlySQLTransactionError,  # a replica that was taken for its primary
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
)


class _Transaction:
    """What a transaction's owner speaks to."""

    name = "postgres"

    def __init__(self, connection: PoolConnectionProxy[asyncpg.Record]) -> None:
        self._connection = connection

    async def fetch(self, sql: str, *values: Value) -> list[Mapping[str, Any]]:
        return [dict(record) for record in await self._connection.fetch(sql, *values)]

    async def execute(self, sql: str, *values: Value) -> int:
        # A command tag's last word is a count where there is something to count.
        count = (await self._connection.execute(sql, *values)).rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Database]:
        """A part of it that can fail alone."""
        async with self._connection.transaction():
            yield self

    async def migrate(self, name: str, steps: Sequence[str]) -> None:
        await self.fetch("SELECT pg_advisory_xact_lock($1)", LOCK)
        await self.execute(MIGRATIONS)
        done = {row["step"] for row in await self.fetch(
            "SELECT step FROM gateway_migrations WHERE name = $1", name
        )}  # fmt: skip
        for number, step in enumerate(steps):
            if number not in done:
                await self.execute(step)
                await self.execute("INSERT INTO gateway_migrations VALUES ($1, $2)", name, number)

    async def ping(self) -> None:
        await self.fetch("SELECT 1")

    async def close(self) -> None:
        """It ends with its context."""


class Postgres:
    """A pool that opens its first connection when it is first asked something.

    Statements are prepared once a connection; behind PgBouncer in transaction mode, add
    `?statement_cache_size=0` to the URL.
    """

    name = "postgres"

    def __init__(self, url: str, watch: Watch | None = None) -> None:
        self._url = url
        self._watch = watch or Unwatched()
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._opening = asyncio.Lock()

    async def fetch(self, sql: str, *values: Value) -> list[Mapping[str, Any]]:
        async with self._connection() as connection:
            return await connection.fetch(sql, *values)

    async def execute(self, sql: str, *values: Value) -> int:
        async with self._connection() as connection:
            return await connection.execute(sql, *values)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Database]:
        async with self._connection() as connection, connection.transaction() as database:
            yield database

    async def migrate(self, name: str, steps: Sequence[str]) -> None:
        """Under an advisory lock, whole or not at all."""
        async with self.transaction() as database:
            await database.migrate(name, steps)

    async def ping(self) -> None:
        await self.fetch("SELECT 1")

    async def close(self) -> None:
        if self._pool is not None:
            self._pool.terminate()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[_Transaction]:
        with self._translated():
            pool = await self._open()
            async with pool.acquire(timeout=TIMEOUT) as connection:
                yield _Transaction(connection)
        self._watch.worked()

    async def _open(self) -> asyncpg.Pool[asyncpg.Record]:
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._url,
                    min_size=0,
                    max_size=CONNECTIONS,
                    timeout=TIMEOUT,
                    command_timeout=TIMEOUT,
                )
            return self._pool

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except _LOST as error:
            self._watch.failed(error)
            raise StoreDown from error
