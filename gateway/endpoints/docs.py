"""The API's document, and the pages that draw it; nothing of them comes from another host.

What they need is imported when it is first asked for: most gateways are never asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs, web

from gateway.errors import NotFound

if TYPE_CHECKING:
    from gateway.apidocs.pages import Files, Page

# A page may load from this host alone, and be in no frame. Both set styles on what they draw.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
ASK_AGAIN: Final = "no-cache"
FOR_GOOD: Final = "public, max-age=31536000, immutable"


class Docs:
    """Handlers for one worker. `document` makes the document, or has it."""

    def __init__(self, document: Callable[[], Awaitable[Page]]) -> None:
        self._document = document
        self._files: Files | None = None

    async def openapi(self, request: web.Request) -> web.Response:
        return answer(request, await self._document(), ASK_AGAIN)

    async def swagger(self, request: web.Request) -> web.Response:
        return await self._page(request, "swagger")

    async def redoc(self, request: web.Request) -> web.Response:
        return await self._page(request, "redoc")

    async def file(self, request: web.Request) -> web.Response:
        """Something that a page needs. Raises `NotFound`."""
        files = await self._known()
        name = request.path.rpartition("/")[2]
        if name not in files:
            raise NotFound("there is no such file")
        page = await asyncio.to_thread(files.read, name, takes_gzip(request))
        asked = request.query_string == f"v={files.version}"
        return answer(request, page, FOR_GOOD if asked else ASK_AGAIN)

    async def redirect(self, request: web.Request) -> web.Response:
        """Relative, as a proxy in front may have put a prefix before it."""
        return web.Response(status=307, headers={hdrs.LOCATION: "api/docs"})

    async def _page(self, request: web.Request, name: str) -> web.Response:
        page = (await self._known()).pages[name]
        response = answer(request, page, ASK_AGAIN)
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    async def _known(self) -> Files:
        if self._files is None:
            from gateway.apidocs.pages import Files

            self._files = await asyncio.to_thread(Files)
        return self._files


def takes_gzip(request: web.Request) -> bool:
    from gateway.http1.codings import choose

    accepted = ",".join(request.headers.getall(hdrs.ACCEPT_ENCODING, ())).encode("latin-1")
    return choose(accepted, (b"gzip",)).coding is not None


def answer(request: web.Request, page: Page, keep: str) -> web.Response:
    """A page in the form that the client takes, or that it has it already (RFC 9110, 15.4.5)."""
    from gateway.caching.conditional import matches

    packed = takes_gzip(request)
    tag = f'"{page.tag}-gzip"' if packed else f'"{page.tag}"'
    headers = {
        hdrs.CACHE_CONTROL: keep,
        hdrs.ETAG: tag,
        hdrs.VARY: "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
    }
    asked = ",".join(request.headers.getall(hdrs.IF_NONE_MATCH, ())).encode("latin-1")
    if asked and matches(asked, tag.encode()):
        return web.Response(status=304, headers=headers)
    if packed:
        headers[hdrs.CONTENT_ENCODING] = "gzip"
    charset = "utf-8" if page.media.startswith("text/") else None
    return web.Response(
        body=page.packed if packed else page.plain,
        content_type=page.media,
        charset=charset,
        headers=headers,
    )
