"""PostgreSQL through asyncpg: its only importer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from gateway.errors import StoreDown
from gateway.stores import Database, Rule, Unwatched, Value, Violated, Watch

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

_RULES: Final[Mapping[str, Rule]] = {
    "23502": "null",
    "23503": "foreign",
    "23001": "foreign",  # ON DELETE RESTRICT
    "23505": "unique",
    "23P01": "unique",  # an exclusion constraint
    "23514": "check",
    "44000": "check",  # a view's own
    "P0001": "check",  # raised by a trigger
    "42P01": "absent",
    "42703": "absent",
}


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

    def pool(self) -> dict[str, int]:
        """Connections that are open."""
        if self._pool is None:
            return {"idle": 0, "active": 0}
        idle = self._pool.get_idle_size()
        return {"idle": idle, "active": self._pool.get_size() - idle}

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
        except asyncpg.PostgresError as error:
            stale = isinstance(error, asyncpg.InvalidCachedStatementError)  # prepared before it
            rule = "absent" if stale else rule_of(error.sqlstate or "")
            if rule is None:
                raise
            raise Violated(
                str(error),
                rule,
                constraint=error.constraint_name or "",
                column=error.column_name or "",
                table=error.table_name or "",
            ) from error


def rule_of(state: str) -> Rule | None:
    """Which of a table's rules an SQLSTATE tells of (PostgreSQL, appendix A)."""
    return _RULES.get(state) or ("value" if state.startswith("22") else None)
