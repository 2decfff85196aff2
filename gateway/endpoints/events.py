"""Tells the bus of an event, for those who have no client of its own. Who may is the route's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import orjson
from aiohttp import web

from gateway.errors import PayloadTooLarge

LONGEST: Final = 65536  # bytes of a request's body


class Events:
    """`publish` takes an event's bytes; it raises what tells the client why not."""

    def __init__(self, publish: Callable[[bytes], Awaitable[None]]) -> None:
        self._publish = publish

    async def answer(self, request: web.Request) -> web.Response:
        """202 once the bus has it: who hears it, and when, is not waited for."""
        body = b""
        async for piece in request.content.iter_any():
            body += piece
            if len(body) > LONGEST:
                raise PayloadTooLarge
        await self._publish(body)
        return web.Response(
            status=202, body=orjson.dumps({"status": "accepted"}), content_type="application/json"
        )
