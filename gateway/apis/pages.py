"""The API of tables put together: reflection, endpoints, diagnostics."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from aiohttp import web
from pydantic import BaseModel

from gateway import __version__
from gateway.config.apis import OpenTable
from gateway.config.apis import Pages as Settings
from gateway.endpoints import diagnostics
from gateway.endpoints.diagnostics import Diagnostics
from gateway.endpoints.pages import Pages
from gateway.exchange import Exchange
from gateway.own import About, Handler, Own
from gateway.stores import Database
from gateway.tables.models import Query
from gateway.tables.reflected import Reflected, dialect_of
from gateway.telemetry.events import EventLog

ROOT: Final = "/api/v1/"
TOLD: Final = {
    "table_missing": "there is no such table in the database; looked for again on SIGHUP",
    "table_changed": "the table is not as it was; SIGHUP has it read again",
}


class Paging:
    """A `gateway.apis.Service`."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        *,
        local: Callable[[], bool],
        pools: Callable[[], Mapping[str, Mapping[str, int]]],
        exchange_of: Callable[[web.Request], Exchange],
        log: EventLog,
    ) -> None:
        """`local` says that nobody but its developer can ask this gateway."""
        self._settings = settings
        self._local = local
        self._exchange_of = exchange_of
        self._log = log
        self._reflected = {name: Reflected(name, database, self._told) for name in settings.names}
        self._diagnostics = Diagnostics(
            __version__, database, dialect_of(database), pools=pools, tables=self._shown
        )

    async def look(self) -> None:
        """Read the tables' schemas, as they are now."""
        await asyncio.gather(*(each.look() for each in self._reflected.values()))

    def own(self) -> Sequence[Own]:
        return [
            *(own for name in self._settings.names for own in self._rows(name)),
            *self._about_itself(),
        ]

    async def close(self) -> None:
        """The database is not its own."""

    def _told(self, event: str, table: str) -> None:
        self._log.warning(event, table=table, problem=TOLD[event])

    def _shown(self) -> Mapping[str, Mapping[str, Any] | None]:
        return {
            name: None
            if each.found is None
            else {
                "view": each.found.schema.view,
                "key": each.found.schema.key,
                "columns": {column.name: column.type for column in each.found.schema.columns},
            }
            for name, each in self._reflected.items()
        }

    def _rows(self, table: str) -> Iterator[Own]:
        opened = self._settings.tables.get(table, OpenTable())
        found = self._reflected[table].found
        rows = Rows(self._settings, table, opened, self._reflected[table], self._exchange_of)
        yield from rows.read()
        if not opened.read_only and (found is None or not found.schema.view):
            yield from rows.written()

    def _about_itself(self) -> Iterator[Own]:
        settings = self._settings
        yield Own(
            "gateway.utils.health",
            "GET",
            f"{ROOT}utils/health-check",
            diagnostics.health,
            about=About("Whether anybody is there", "utils", {200: diagnostics.Health}),
        )
        if not self._local():
            return
        for name, handler, model in (
            ("server", self._diagnostics.server, diagnostics.Server),
            ("database", self._diagnostics.database, diagnostics.DatabaseState),
        ):
            yield Own(
                f"gateway.private.{name}",
                "GET",
                f"{ROOT}private/diagnostics/{name}",
                handler,
                way=settings.way,
                scopes=frozenset(settings.scopes),
                about=About(f"How the {name} is doing", "private", {200: model}, errors=(503,)),
            )


class Rows:
    """The endpoints of one table; described by its models if it was found."""

    def __init__(
        self,
        settings: Settings,
        table: str,
        opened: OpenTable,
        reflected: Reflected,
        exchange_of: Callable[[web.Request], Exchange],
    ) -> None:
        self._settings = settings
        self._table = table
        self._opened = opened
        self._name = "pages" if table == settings.table else table
        self._path = f"{ROOT}{self._name}/"
        self._models = None if reflected.found is None else reflected.found.models
        most = settings.largest_page
        self._sizes = min(settings.page_size, most), most
        self._pages = Pages(
            reflected,
            self._path,
            size=self._sizes[0],
            most=most,
            exchange_of=exchange_of,
        )

    def read(self) -> Iterator[Own]:
        models, scopes = self._models, self._opened.read
        part = self._about(
            f"Rows of {self._table}",
            {200: None if models is None else models.page},
            *(404, 414, 422),
            query=Query if models is None else models.query(*self._sizes),
        )
        yield self._own("list", "GET", "", self._pages.listed, scopes, part)
        one = self._about(
            f"One row of {self._table}",
            {200: None if models is None else models.row, 304: None},
            404,
        )
        yield self._own("get", "GET", "{id}", self._pages.get, scopes, one)

    def written(self) -> Iterator[Own]:
        models, scopes = self._models, self._opened.write
        row = None if models is None else models.row
        new = self._about(
            f"A new row of {self._table}",
            {201: row},
            *(404, 405, 409, 413, 422),
            body=None if models is None else models.asked,
        )
        yield self._own("create", "POST", "", self._pages.create, scopes, new)
        other = self._about(
            f"Another row of {self._table} in the place of one",
            {200: row},
            *(404, 405, 409, 412, 413, 422),
            body=None if models is None else models.replaced,
        )
        yield self._own("replace", "PUT", "{id}", self._pages.replace, scopes, other)
        less = self._about(f"One row of {self._table} less", {204: None}, *(404, 405, 409, 412))
        yield self._own("delete", "DELETE", "{id}", self._pages.delete, scopes, less)

    def _own(
        self,
        verb: str,
        method: str,
        path: str,
        handler: Handler,
        scopes: Sequence[str],
        about: About,
    ) -> Own:
        return Own(
            f"gateway.rows.{self._name}.{verb}",
            method,
            self._path + path,
            handler,
            scopes=frozenset((*self._settings.scopes, *scopes)),
            way=self._settings.way,
            limit=self._settings.rate_limit,
            about=about,
        )

    def _about(
        self,
        summary: str,
        answers: Mapping[int, type[BaseModel] | None],
        *errors: int,
        body: type[BaseModel] | None = None,
        query: type[BaseModel] | None = None,
    ) -> About:
        return About(
            summary,
            self._name,
            answers=answers,
            body=body,
            query=query,
            errors=(400, *errors, 503),
            fields={"If-Match": "the row's ETag, as it was read"} if 412 in errors else {},
        )
