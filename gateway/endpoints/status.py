"""What the gateway is configured to do, for operators and for other programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import web

Services = Callable[[], list[dict[str, Any]]]


class Status:
    """`services` lists the routes as they are now: a reload changes them.

    `live` tells who is connected for live updates to the worker that answers; None without any.
    """

    def __init__(
        self,
        version: str,
        services: Services,
        live: Callable[[], dict[str, Any] | None] = lambda: None,
    ) -> None:
        self._version = version
        self._services = services
        self._live = live

    async def answer(self, request: web.Request) -> web.Response:
        body = {"status": "running", "version": self._version, "services": self._services()}
        live = self._live()
        return _json(body if live is None else {**body, "realtime": live})

    async def services(self, request: web.Request) -> web.Response:
        return _json(self._services())


def _json(value: object) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type="application/json")
