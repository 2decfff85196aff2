"""Predictions in a database: in whose tables, and which columns, is found out by looking.

Asked are `latest_predictions` and, for a symbol that it does not have, the newest row of
`predictions`: tables, views or materialized views, with a column `symbol` or `ticker`. A row comes
as JSON that the database makes, whatever types it has. Nothing is assumed of who keeps the tables,
and nothing of theirs is changed unless the settings ask for it (`migrate`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from time import monotonic
from typing import Final

from gateway.errors import StoreDown
from gateway.stores import Database

LATEST: Final = "latest_predictions"
ALL: Final = "predictions"
TABLES: Final = (LATEST, ALL)

AGE: Final = 60.0
"""s for which it is believed that the tables are as they were seen."""

COOL_DOWN: Final = 5.0
"""s between two looks where there was no table."""

MIGRATION: Final = "predictions"

# `row_to_json` gives times as ISO 8601, and every type something. Views that are materialized,
# and the search path, are not in information_schema.
_REFLECT_POSTGRES: Final = """
    SELECT c.relname AS "table", a.attname AS "column", '' AS "type"
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
    WHERE c.relname = ANY(string_to_array($1, ',')) AND c.relkind = ANY('{r,p,v,m,f}')
        AND pg_catalog.pg_table_is_visible(c.oid) AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum
"""
_REFLECT_SQLITE: Final = """
    SELECT m.name AS "table", c.name AS "column", c.type AS "type"
    FROM sqlite_master m JOIN pragma_table_info(m.name) c
    WHERE instr(',' || $1 || ',', ',' || m.name || ',') AND m.type IN ('table', 'view')
"""
_ASKED: Final = {
    "postgres": "unnest(string_to_array($1, ',')) AS asked(symbol)",
    "sqlite": "(SELECT value AS symbol FROM json_each('[\"' || replace($1, ',', '\",\"') || '\"]'))"
    " AS asked",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """A table that predictions can be read from; `columns` are their names and declared types."""

    table: str
    columns: tuple[tuple[str, str], ...]
    symbol: str
    time: str | None

    @classmethod
    def of(
        cls, table: str, columns: Sequence[tuple[str, str]], times: Sequence[str]
    ) -> Shape | None:
        """None for a table that lacks what is needed."""
        names = {name.lower(): name for name, _ in reversed(columns)}
        symbol = names.get("symbol") or names.get("ticker")
        time = next((names[name] for name in times if name in names), None)
        if symbol is None or "predicted_price" not in names or (table == ALL and time is None):
            return None
        return cls(table, tuple(columns), symbol, time)

    def newest(self, dialect: str) -> str:
        """A query for the newest row of `asked.symbol`, as JSON."""
        where, order = "", ""
        if self.time is not None and self.table == ALL:
            where = f" AND t.{_quoted(self.time)} IS NOT NULL"  # so that the index has the order
            order = f" ORDER BY t.{_quoted(self.time)} DESC"
        elif self.time is not None:
            order = f" ORDER BY t.{_quoted(self.time)} DESC NULLS LAST"
        row = "row_to_json(t)::text" if dialect == "postgres" else self._object()
        return (
            f"SELECT {row} FROM {_quoted(self.table)} t "
            f"WHERE t.{_quoted(self.symbol)} = asked.symbol{where}{order} LIMIT 1"
        )

    def _object(self) -> str:
        """The row as JSON, put together: functions of SQLite take no more than 127 arguments."""
        marks = ("{", *repeat(",", len(self.columns) - 1))
        return " || ".join((*map(_pair, marks, self.columns), "'}'"))


def _pair(mark: str, column: tuple[str, str]) -> str:
    """A name and its value, behind the mark. Of bytes SQLite makes no JSON."""
    name, kind = column
    value = f"t.{_quoted(name)}"
    text = "'" + (mark + json.dumps(name)).replace("'", "''") + ":'"
    if "JSON" in kind.upper():
        value = f"CASE WHEN json_valid({value}) THEN json({value}) ELSE {value} END"
    else:
        value = f"CASE typeof({value}) WHEN 'blob' THEN hex({value}) ELSE {value} END"
    return f"({text} || json_quote({value}))"  # in brackets: SQLite nests no deeper than 1000


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def statement(shapes: Sequence[Shape], dialect: str) -> str:
    """For all symbols that `$1` lists, with commas between them: the first shape that has one."""
    rows = ", ".join(f"({shape.newest(dialect)})" for shape in shapes)
    first = f"COALESCE({rows})" if len(shapes) > 1 else rows
    return f"SELECT asked.symbol AS symbol, {first} AS found FROM {_ASKED[dialect]}"


class StoredPredictions:
    """A `gateway.predictions.lookups.Newest`."""

    def __init__(
        self,
        database: Database,
        *,
        times: Sequence[str],
        migrate: bool | None,
        told: Callable[[str, BaseException | None], None] = lambda event, error: None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`times` are names of columns that say when it was predicted, the best first.

        `migrate`: whether a table is made where there is none; None for only in SQLite. `told`
        hears what the log should say.
        """
        self._database = database
        self._times = tuple(times)
        self._migrate = database.name == "sqlite" if migrate is None else migrate
        self._told = told
        self._clock = clock
        self._looking = asyncio.Lock()
        self.sql: str | None = None
        self._seen = -float("inf")
        self._lacking = False

    async def newest(self, symbols: Sequence[str]) -> Mapping[str, bytes]:
        """The newest of each of them, which are words of letters, as JSON. Raises StoreDown."""
        if self._clock() - self._seen > (COOL_DOWN if self.sql is None else AGE):
            await self.look()
        try:
            return await self._ask(symbols)
        except StoreDown:
            raise
        except Exception:
            # A table or a column has gone, or has another type.
            before = self.sql
            await self.look()
            if self.sql == before:
                raise
            return await self._ask(symbols)

    async def _ask(self, symbols: Sequence[str]) -> Mapping[str, bytes]:
        if self.sql is None:
            return {}
        rows = await self._database.fetch(self.sql, ",".join(symbols))
        return {row["symbol"]: row["found"].encode() for row in rows if row["found"] is not None}

    async def look(self) -> None:
        """See which tables there are; first make them, if that is wanted. Raises StoreDown."""
        asked = self._clock()
        async with self._looking:
            if self._seen > asked:
                return  # somebody else has looked meanwhile
            columns = await self._columns()
            if self._migrate and not columns:
                await self._make()
                columns = await self._columns()
            found = (Shape.of(table, columns.get(table, ()), self._times) for table in TABLES)
            shapes = [shape for shape in found if shape is not None]
            self.sql = statement(shapes, self._database.name) if shapes else None
            self._seen = self._clock()
            if not shapes and not self._lacking:
                self._told("predictions_no_table", None)
            self._lacking = not shapes

    async def _columns(self) -> Mapping[str, Sequence[tuple[str, str]]]:
        """Names and types of those tables that there are, in whatever form."""
        sql = _REFLECT_POSTGRES if self._database.name == "postgres" else _REFLECT_SQLITE
        columns: dict[str, list[tuple[str, str]]] = {}
        for row in await self._database.fetch(sql, ",".join(TABLES)):
            columns.setdefault(row["table"], []).append((row["column"], row["type"]))
        return columns

    async def _make(self) -> None:
        try:
            await self._database.migrate(MIGRATION, steps(self._database.name))
        except StoreDown:
            raise
        except Exception as error:  # noqa: BLE001 - without the right to it what is there is read
            self._told("predictions_not_migrated", error)
        self._migrate = False


def steps(dialect: str) -> tuple[str, ...]:
    """The table as the gateway makes it where there is none, and what finds a symbol's newest row.

    Where PostgreSQL has TimescaleDB it becomes a hypertable.
    """
    time, real, object_ = "TEXT", "REAL", "JSON"
    if dialect == "postgres":
        time, real, object_ = "timestamptz", "double precision", "jsonb"
    made = (
        f"""
        CREATE TABLE predictions (
            symbol TEXT NOT NULL,
            predicted_at {time} NOT NULL,
            predicted_price {real} NOT NULL,
            confidence {real},
            model_version TEXT,
            details {object_}
        )
        """,
        "CREATE INDEX predictions_newest ON predictions (symbol, predicted_at)",
    )
    if dialect == "sqlite":
        return made
    return *made, """
        DO $$ BEGIN
            IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
                PERFORM create_hypertable('predictions', 'predicted_at');
            END IF;
        END $$
        """  # fmt: skip
