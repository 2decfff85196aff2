"""The realtime protocol, described for programs: an AsyncAPI document."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import web

from gateway.errors import NotFound
from gateway.exchange import Exchange

Document = Callable[[str, bool], dict[str, Any]]


class AsyncApi:
    """`document` makes it, for the host that was asked and whether over TLS."""

    def __init__(
        self,
        document: Callable[[], Document | None],
        exchange_of: Callable[[web.Request], Exchange],
    ) -> None:
        """`document` gives None where there is nothing to describe."""
        self._document = document
        self._exchange_of = exchange_of

    async def answer(self, request: web.Request) -> web.Response:
        """Names where it was asked for, as far as a proxy in front that is trusted tells.

        Raises NotFound.
        """
        document = self._document()
        if document is None:  # a reload took it away since the request was routed
            raise NotFound
        exchange = self._exchange_of(request)
        head, peer = exchange.head, exchange.client.peer
        host, scheme = exchange.host or b"localhost", peer.scheme
        if peer.trusted:
            host, scheme = head.forwarded_host or host, head.forwarded_proto or scheme
        asked, over = (value.partition(b",")[0].strip() for value in (host, scheme))
        made = document(asked.decode("latin-1"), over.lower() == b"https")
        return web.Response(body=orjson.dumps(made), content_type="application/json")
