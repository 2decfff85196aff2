"""The metrics of all workers: Prometheus text, OpenMetrics or JSON."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import hdrs, web

from gateway.telemetry.exposition import Exposition


class Scrape:
    """`refresh` brings the gauges of this worker up to date before an answer."""

    def __init__(self, exposition: Exposition, refresh: Callable[[], None]) -> None:
        self._exposition = exposition
        self._refresh = refresh

    async def negotiated(self, request: web.Request) -> web.Response:
        return await self._answer(request.headers.get(hdrs.ACCEPT))

    async def text(self, request: web.Request) -> web.Response:
        return await self._answer(None)

    async def _answer(self, accept: str | None) -> web.Response:
        self._refresh()
        body, content_type = await self._exposition.answer(accept)
        return web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type})
