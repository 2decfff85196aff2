"""SQLite through aiosqlite, its only importer: the database that needs no server."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import aiosqlite

from gateway.errors import StoreDown
from gateway.stores import Database, Rule, Unwatched, Value, Violated, Watch

TIMEOUT: Final = 2.0
"""s that a statement waits for another process's transaction to end."""

# What is wrong with a statement, not with the file or the way to it.
MISTAKES: Final = frozenset(
    (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_RANGE)
)

RULES: Final[Mapping[int, Rule]] = {
    sqlite3.SQLITE_CONSTRAINT_UNIQUE: "unique",
    sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY: "unique",
    sqlite3.SQLITE_CONSTRAINT_ROWID: "unique",
    sqlite3.SQLITE_CONSTRAINT_NOTNULL: "null",
    sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY: "foreign",
    sqlite3.SQLITE_CONSTRAINT_CHECK: "check",
    sqlite3.SQLITE_CONSTRAINT_TRIGGER: "check",
    sqlite3.SQLITE_CONSTRAINT | (12 << 8): "value",  # _DATATYPE, which Python does not name
    sqlite3.SQLITE_MISMATCH: "value",
}

MIGRATIONS: Final = """
    CREATE TABLE IF NOT EXISTS gateway_migrations (
        name TEXT NOT NULL, step BIGINT NOT NULL, PRIMARY KEY (name, step)
    )
"""


class _Transaction:
    """What a transaction's owner speaks to; and the file itself, by its only connection."""

    name = "sqlite"

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    async def fetch(self, sql: str, *values: Value) -> list[Mapping[str, Any]]:
        async with self._connection.execute(sql, named(values)) as cursor:
            return [dict(row) for row in await cursor.fetchall()]

    async def execute(self, sql: str, *values: Value) -> int:
        async with self._connection.execute(sql, named(values)) as cursor:
            return max(cursor.rowcount, 0)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Database]:
        """A part of it that can fail alone."""
        await self.execute("SAVEPOINT inner")
        try:
            yield self
        except BaseException:
            await self.execute("ROLLBACK TO inner")
            raise
        finally:
            await self.execute("RELEASE inner")

    async def migrate(self, name: str, steps: Sequence[str]) -> None:
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


class Sqlite:
    """One connection, opened when it is first asked something, and one statement at a time.

    The file is its owner's alone. It is in WAL mode: other processes read while one writes.
    """

    name = "sqlite"

    def __init__(self, path: Path, watch: Watch | None = None) -> None:
        self._path = path
        self._watch = watch or Unwatched()
        self._connection: aiosqlite.Connection | None = None
        self._opening: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()

    async def fetch(self, sql: str, *values: Value) -> list[Mapping[str, Any]]:
        async with self._file() as file:
            return await file.fetch(sql, *values)

    async def execute(self, sql: str, *values: Value) -> int:
        async with self._file() as file:
            return await file.execute(sql, *values)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Database]:
        async with self._file() as file:
            await file.execute("BEGIN IMMEDIATE")  # who reads first and then writes would fail
            try:
                yield file
            except BaseException:
                await asyncio.shield(file.execute("ROLLBACK"))
                raise
            try:
                await asyncio.shield(file.execute("COMMIT"))
            except sqlite3.IntegrityError:  # what was deferred up to here
                await asyncio.shield(file.execute("ROLLBACK"))
                raise

    async def migrate(self, name: str, steps: Sequence[str]) -> None:
        """Under the file's write lock, whole or not at all."""
        async with self.transaction() as database:
            await database.migrate(name, steps)

    async def ping(self) -> None:
        await self.fetch("SELECT 1")

    async def close(self) -> None:
        async with self._turn:
            if self._opening is not None:  # who waited for it has left
                with suppress(sqlite3.Error, OSError):
                    await self._opening
            if self._connection is not None:
                await self._connection.close()
                self._connection = None

    @asynccontextmanager
    async def _file(self) -> AsyncIterator[_Transaction]:
        async with self._turn:
            with self._translated():
                yield _Transaction(await self._open())
        self._watch.worked()

    async def _open(self) -> aiosqlite.Connection:
        if self._connection is None:
            # A thread opens it. Nobody who is cancelled meanwhile leaves that thread to itself.
            if self._opening is None:
                self._opening = asyncio.create_task(self._connect())
            await asyncio.shield(self._opening)
            assert self._connection is not None
        return self._connection

    async def _connect(self) -> None:
        try:
            self._connection = await self._opened()
        finally:
            self._opening = None

    async def _opened(self) -> aiosqlite.Connection:
        with os.fdopen(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)):
            pass  # created here so that nobody else may ever read it
        opened = await aiosqlite.connect(self._path, timeout=TIMEOUT, isolation_level=None)
        opened.row_factory = sqlite3.Row
        try:
            await _use_wal(opened)
            await opened.execute("PRAGMA synchronous=NORMAL")
            await opened.execute("PRAGMA foreign_keys=ON")
        except BaseException:
            await opened.close()
            raise
        return opened

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            # The primary result code is the last byte (sqlite.org/rescode.html).
            if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_IOERR) & 0xFF in MISTAKES:
                violated = violation(error)
                if violated is None:
                    raise
                raise violated from error
            self._watch.failed(error)
            raise StoreDown from error


def violation(error: BaseException) -> Violated | None:
    """What SQLite says in words: `UNIQUE constraint failed: table.column, table.column`."""
    text = str(error)
    if text.startswith(("no such table", "no such column")) or " has no column " in text:
        return Violated(text, "absent")
    if text.startswith("cannot store "):  # in a STRICT table
        return Violated(text, "value", column=text.rpartition(".")[2])
    rule = RULES.get(getattr(error, "sqlite_errorcode", 0))
    if rule is None:
        return None
    about = text.partition("failed: ")[2]
    if rule in ("unique", "null") and "." in about and not about.startswith("index "):
        names = [each.rpartition(".")[2] for each in about.split(", ")]
        return Violated(text, rule, column=", ".join(names), table=about.partition(".")[0])
    return Violated(text, rule, constraint=about)


async def _use_wal(connection: aiosqlite.Connection) -> None:
    """Of several that open a new file at once, SQLite refuses all but one, without waiting."""
    for _ in range(100):
        try:
            await connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            await asyncio.sleep(TIMEOUT / 100)
        else:
            return
    raise TimeoutError


def named(values: Sequence[Value]) -> dict[str, Value]:
    """`$1`, `$2` are names to SQLite."""
    return {str(number): value for number, value in enumerate(values, 1)}
