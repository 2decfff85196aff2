"""A table that is looked for at the start and on SIGHUP, and is there or is not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.errors import NotFound, StoreDown
from gateway.stores import Database, Violated
from gateway.tables.dialect import Dialect
from gateway.tables.postgres import Postgres
from gateway.tables.sqlite import Sqlite
from gateway.tables.table import Table


def dialect_of(database: Database) -> Dialect:
    return Postgres() if database.name == "postgres" else Sqlite()


class Reflected:
    """One table by its name, as it was when it was last looked at.

    `told` hears of the table, once each: that it is missing, that it changed behind our back.
    """

    def __init__(self, name: str, database: Database, told: Callable[[str, str], None]) -> None:
        self.name = name
        self.found: Table | None = None
        self._database = database
        self._dialect = dialect_of(database)
        self._told = told
        self._looked = False
        self._turn = asyncio.Lock()
        self._news: set[str] = set()  # what was told since it was last looked at

    async def look(self) -> None:
        """Read the schema. A database that is lost leaves what is known; it is asked later."""
        async with self._turn:
            try:
                schema = await self._dialect.reflect(self._database, self.name)
            except StoreDown:
                return
            missed = self._looked and self.found is None
            self._looked = True
            self._news.clear()
            if schema is not None:
                self.found = Table(schema, self._database, self._dialect, self._changed)
                return
            self.found = None
            if not missed:
                self._told("table_missing", self.name)

    async def table(self) -> Table:
        """Raises `StoreDown` if it could not be looked at yet, `NotFound` if it is not there."""
        if not self._looked:
            await self.look()
        if self.found is not None:
            return self.found
        if not self._looked:
            raise StoreDown
        raise NotFound("there is no such table in the database")

    def _changed(self, violated: Violated) -> None:
        if "table_changed" not in self._news:
            self._news.add("table_changed")
            self._told("table_changed", self.name)
