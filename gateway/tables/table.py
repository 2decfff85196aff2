"""One table at work: rows listed, read, made, replaced, deleted."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import orjson
from pydantic import BaseModel

from gateway.bodies import flaw, invalid
from gateway.errors import (
    Conflict,
    GatewayError,
    NotFound,
    PreconditionFailed,
    StoreDown,
    ValidationFailed,
)
from gateway.stores import Database, Violated
from gateway.tables.dialect import Dialect
from gateway.tables.listing import Flaws, Listing
from gateway.tables.models import Models
from gateway.tables.schema import Column, Schema
from gateway.tables.statements import Statements
from gateway.tables.values import from_text

NO_ROW: Final = "there is no such row"


@dataclass(frozen=True, slots=True)
class Row:
    """One row as clients are shown it, and its strong ETag (RFC 9110, 8.8.3)."""

    body: bytes
    etag: str
    name: Any  # what its key holds


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a list. `following` is the cursor of the next one."""

    rows: list[dict[str, Any]]
    total: int
    following: str | None


class Table:
    """A table by its schema of now. Raises errors for clients, and `StoreDown`."""

    def __init__(
        self,
        schema: Schema,
        database: Database,
        dialect: Dialect,
        changed: Callable[[Violated], None] = lambda violated: None,
    ) -> None:
        """`changed` hears that the table is not what the schema says any more."""
        self.schema = schema
        self.models = Models(schema)
        self._database = database
        self._dialect = dialect
        self._changed = changed
        self._statements = Statements(schema, dialect)

    async def part(self, listing: Listing) -> Part:
        listing = self._marked(listing)
        async with self._translated():
            sql, values = self._statements.part(listing)
            raw = await self._database.fetch(sql, *values)
            sql, values = self._statements.count(listing)
            total = (await self._database.fetch(sql, *values))[0]["total"]
        following = None
        if len(raw) > listing.limit and self.schema.key is not None:
            last = raw[listing.limit - 1]
            following = listing.cursor([last[order.column.name] for order in listing.orders])
        return Part([self._shown(row) for row in raw[: listing.limit]], total, following)

    async def get(self, text: str) -> Row:
        """The row that the path names."""
        key, name = self._named(text)
        async with self._translated():
            sql, values = self._statements.get(key, name)
            found = await self._database.fetch(sql, *values)
        return self._row(found)

    async def create(self, asked: BaseModel) -> Row:
        row = self.models.values(asked)
        async with self._translated(row):
            sql, values = self._statements.insert(row)
            return self._row(await self._database.fetch(sql, *values))

    async def replace(
        self, text: str, asked: BaseModel, matches: Callable[[str], bool] | None
    ) -> Row:
        """`matches` says whether an ETag is one that the client knows; None if it did not say."""
        key, name = self._named(text)
        row = dict(self.models.values(asked))
        if key in row and row.pop(key) != name:
            raise invalid("is another than the path's", key.name)
        row = {column: value for column, value in row.items() if not column.generated}
        async with self._translated(row), self._database.transaction() as inside:
            await self._expect(inside, key, name, matches)
            sql, values = self._statements.replace(key, name, row)
            return self._row(await inside.fetch(sql, *values))

    async def delete(self, text: str, matches: Callable[[str], bool] | None) -> None:
        key, name = self._named(text)
        async with self._translated(), self._database.transaction() as inside:
            await self._expect(inside, key, name, matches)
            sql, values = self._statements.delete(key, name)
            await inside.execute(sql, *values)

    # ---------------------------------------------------------------------------------- rows

    async def _expect(
        self, inside: Database, key: Column, name: Any, matches: Callable[[str], bool] | None
    ) -> None:
        """Hold the row as it is. Raises `NotFound`, `PreconditionFailed`."""
        sql, values = self._statements.get(key, name, to_change=True)
        found = self._row(await inside.fetch(sql, *values))
        if matches is not None and not matches(found.etag):
            raise PreconditionFailed

    def _named(self, text: str) -> tuple[Column, Any]:
        """The column that names rows, and what it is to hold."""
        key = self.schema.column(self.schema.key) if self.schema.key is not None else None
        if key is None:
            raise NotFound("rows of this table have no name")
        try:
            return key, from_text(key, text)
        except ValueError:
            raise NotFound(NO_ROW) from None

    def _row(self, found: list[Mapping[str, Any]]) -> Row:
        if not found:
            raise NotFound(NO_ROW)
        shown = self._shown(found[0])
        body = orjson.dumps(shown)
        digest = urlsafe_b64encode(sha256(body).digest()[:18]).decode()
        key = self.schema.key
        return Row(body, f'"{digest}"', shown[key] if key is not None else None)

    def _shown(self, row: Mapping[str, Any]) -> dict[str, Any]:
        show = self._dialect.shown
        return {column.name: show(column, row[column.name]) for column in self.schema.columns}

    def _marked(self, listing: Listing) -> Listing:
        """With what the cursor holds as parameters."""
        if listing.after is None:
            return listing
        pairs = zip(listing.orders, listing.after, strict=True)
        try:
            after = tuple(self._dialect.marked(order.column, mark) for order, mark in pairs)
        except ValueError:
            flaws = Flaws()
            flaws.add("cursor", "is none of this list")
            flaws.raised()
        return Listing(listing.filters, listing.orders, listing.limit, 0, after)

    # -------------------------------------------------------------------------------- errors

    @asynccontextmanager
    async def _translated(self, row: Mapping[Column, Any] | None = None) -> AsyncIterator[None]:
        """`row` is what was to be written; None where a row was to be deleted, or read."""
        try:
            yield
        except Violated as violated:
            raise await self._told(violated, row) from violated

    async def _told(self, violated: Violated, row: Mapping[Column, Any] | None) -> GatewayError:
        columns = self._dialect.columns(self.schema, violated)
        if violated.rule == "absent":
            self._changed(violated)
            return StoreDown("the table is not as it was")
        if violated.rule == "unique":
            return Conflict(details=_flaws(columns, "another row has this"))
        if violated.rule == "foreign":
            if not columns and not violated.constraint:
                columns = await self._lost(row or {})
            if columns:
                return Conflict(details=_flaws(columns, "there is no such row to refer to"))
            key = self.schema.key or ""
            return Conflict(details=[flaw((key,), "other rows refer to this one", "path")])
        if violated.rule == "null":
            return ValidationFailed(details=_flaws(columns, "has to be there, and not null"))
        if violated.rule == "check":
            return ValidationFailed(details=_flaws(columns, "is against a rule of the table"))
        others = tuple(column.name for column in row or {} if column.kind == "other")
        return ValidationFailed(details=_flaws(columns or others, "is no value of its type"))

    async def _lost(self, row: Mapping[Column, Any]) -> tuple[str, ...]:
        """The columns that refer to nothing, where the database does not tell which."""
        by_name = {column.name: column for column in row}
        for rule in self.schema.foreign.values():
            held = [by_name[name] for name in rule.columns if name in by_name]
            if len(held) < len(rule.columns) or any(row[column] is None for column in held):
                continue
            where = " AND ".join(
                f"{self._dialect.name(target)} = {self._dialect.place(column, number)}"
                for number, (target, column) in enumerate(zip(rule.targets, held, strict=True), 1)
            )
            values = [self._dialect.stored(column, row[column]) for column in held]
            sql = f"SELECT 1 FROM {self._dialect.name(rule.table)} WHERE {where}"
            if not await self._database.fetch(sql, *values):
                return rule.columns
        return ()


def _flaws(columns: tuple[str, ...], message: str) -> list[Mapping[str, object]]:
    """One for each column; one for the body where none is known."""
    return [flaw((name,), message) for name in columns] or [flaw((), message)]
