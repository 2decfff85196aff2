"""Rows of one table over HTTP: listed, read, made, replaced, deleted. Who may is the route's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import parse_qsl, quote

import orjson
from aiohttp import web

from gateway import bodies
from gateway.errors import BadRequest, MethodNotAllowed, UriTooLong
from gateway.exchange import Exchange
from gateway.tables.listing import listing_of
from gateway.tables.reflected import Reflected
from gateway.tables.table import Row, Table

LONGEST: Final = 1 << 20  # bytes of a request's body
MOST_PARAMETERS: Final = 64


class Pages:
    """Handlers for one table. Lists have `size` rows unless a client asks for others, to `most`."""

    def __init__(
        self,
        reflected: Reflected,
        path: str,
        *,
        size: int,
        most: int,
        exchange_of: Callable[[web.Request], Exchange],
    ) -> None:
        self._reflected = reflected
        self._path = path
        self._size = size
        self._most = most
        self._exchange_of = exchange_of

    async def listed(self, request: web.Request) -> web.Response:
        table = await self._reflected.table()
        asked = parameters(self._exchange_of(request).query)
        listing = listing_of(table.schema, asked, size=self._size, most=self._most)
        part = await table.part(listing)
        body = {
            "items": part.rows,
            "total": part.total,
            "limit": listing.limit,
            "offset": listing.offset if listing.after is None else None,
            "next_cursor": part.following,
        }
        return _answer(orjson.dumps(body))

    async def get(self, request: web.Request) -> web.Response:
        """304 for who has the row as it is (RFC 9110, 13.1.2)."""
        table = await self._reflected.table()
        row = await table.get(self._exchange_of(request).parameter)
        known = request.headers.getall("If-None-Match", ())
        if known and matches(known, row.etag, weak=True):
            return web.Response(status=304, headers={"ETag": row.etag, **FRESH})
        return _row(row)

    async def create(self, request: web.Request) -> web.Response:
        """201 with the row as it is in the table."""
        table = await self._writable()
        row = await table.create(await bodies.read(request, table.models.asked, LONGEST))
        if table.schema.key is None:
            return _row(row, 201)
        return _row(row, 201, Location=f"{self._path}{quote(str(row.name), safe='')}")

    async def replace(self, request: web.Request) -> web.Response:
        """412 for a row that is not as `If-Match` says any more (RFC 9110, 13.1.1)."""
        table = await self._writable()
        name = self._exchange_of(request).parameter
        asked = await bodies.read(request, table.models.replaced, LONGEST)
        return _row(await table.replace(name, asked, _condition(request)))

    async def delete(self, request: web.Request) -> web.Response:
        """Likewise."""
        table = await self._writable()
        await table.delete(self._exchange_of(request).parameter, _condition(request))
        return web.Response(status=204)

    async def _writable(self) -> Table:
        table = await self._reflected.table()
        if table.schema.view:
            raise MethodNotAllowed("a view is only read", fields=(b"Allow: GET, HEAD",))
        return table


FRESH: Final = {"Cache-Control": "no-cache"}
"""Kept by whoever likes to, used once we said that it is still so."""


def parameters(query: bytes) -> list[tuple[str, str]]:
    """Names and values behind the `?`, decoded. Raises `BadRequest`."""
    text = query.removeprefix(b"?")
    if text.count(b"&") >= MOST_PARAMETERS:
        raise UriTooLong(f"the query has more than {MOST_PARAMETERS} parameters", closes=False)
    try:
        return parse_qsl(text.decode("ascii"), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        raise BadRequest("the query is not UTF-8", closes=False) from None


def matches(lines: Sequence[str], etag: str, *, weak: bool = False) -> bool:
    """Whether a list of tags has this one; a weak tag is another unless `weak` (8.8.3.2)."""
    tags = [tag.strip() for line in lines for tag in line.split(",")]  # ours hold no comma
    if weak:
        tags = [tag.removeprefix("W/") for tag in tags]
    return etag in tags or "*" in tags


def _condition(request: web.Request) -> Callable[[str], bool] | None:
    lines = request.headers.getall("If-Match", ())
    return (lambda etag: matches(lines, etag)) if lines else None


def _row(row: Row, status: int = 200, **more: str) -> web.Response:
    response = _answer(row.body, status)
    response.headers["ETag"] = row.etag
    response.headers.update(more)
    return response


def _answer(body: bytes, status: int = 200) -> web.Response:
    return web.Response(
        status=status, body=body, content_type="application/json", headers=dict(FRESH)
    )
