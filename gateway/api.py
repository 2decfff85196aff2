"""The gateway's own endpoints, all of them: nothing registers itself elsewhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from aiohttp import web

from gateway.endpoints.asyncapi import AsyncApi
from gateway.endpoints.cache import CachePurge
from gateway.endpoints.docs import Docs
from gateway.endpoints.events import Events
from gateway.endpoints.health import Health
from gateway.endpoints.keys import ManagedKeys
from gateway.endpoints.metrics import Scrape
from gateway.endpoints.status import Status
from gateway.errors import NotFound
from gateway.own import Handler, Own

ADMIN: Final = frozenset({"admin"})
KEYS: Final = "/api/gateway/keys"


class SignIn(Protocol):
    """Where users sign in."""

    async def login(self, request: web.Request) -> web.Response: ...

    async def refresh(self, request: web.Request) -> web.Response: ...

    async def logout(self, request: web.Request) -> web.Response: ...


def table(
    health: Health,
    status: Status,
    scrape: Scrape,
    sign_in: Callable[[], SignIn | None],
    keys: ManagedKeys,
    keeps_keys: Callable[[], bool],
    purge: CachePurge,
    caches: Callable[[], bool],
    described: AsyncApi,
    events: Events,
    lives: Callable[[], bool],
    docs: Docs,
    tells: Callable[[], bool],
) -> tuple[Own, ...]:
    """`sign_in` gives what answers where users can sign in; `keeps_keys` says if there are keys.

    `caches` says if a route is cached, `lives` if there are live updates, `tells` if the document
    and its pages are there.
    """

    def there() -> bool:
        return sign_in() is not None

    def signing(answer: Callable[[SignIn, web.Request], Awaitable[web.Response]]) -> Handler:
        async def handler(request: web.Request) -> web.Response:
            now = sign_in()
            if now is None:  # a reload took it away since the request was routed
                raise NotFound
            return await answer(now, request)

        return handler

    return (
        Own("gateway.health", "GET", "/health", health.answer),
        Own("gateway.live", "GET", "/health/live", health.live),
        Own("gateway.ready", "GET", "/health/ready", health.ready),
        Own("gateway.metrics", "GET", "/metrics", scrape.negotiated),
        Own("gateway.metrics_prom", "GET", "/metrics_prom", scrape.text),
        Own("gateway.status", "GET", "/api/gateway/status", status.answer),
        Own("gateway.apis", "GET", "/api/gateway/services", status.services),
        Own(
            "gateway.login",
            "POST",
            "/auth/login",
            signing(lambda to, request: to.login(request)),
            there,
        ),
        Own(
            "gateway.refresh",
            "POST",
            "/auth/refresh",
            signing(lambda to, request: to.refresh(request)),
            there,
        ),
        Own(
            "gateway.logout",
            "POST",
            "/auth/logout",
            signing(lambda to, request: to.logout(request)),
            there,
        ),
        Own("gateway.keys", "GET", KEYS, keys.all, keeps_keys, ADMIN, "any"),
        Own("gateway.keys_create", "POST", KEYS, keys.create, keeps_keys, ADMIN, "any"),
        Own("gateway.keys_rotate", "POST", f"{KEYS}/rotate", keys.rotate, keeps_keys, ADMIN, "any"),
        Own(
            "gateway.cache_purge",
            "POST",
            "/api/gateway/cache/purge",
            purge.answer,
            caches,
            ADMIN,
            "any",
        ),
        Own("gateway.asyncapi", "GET", "/api/asyncapi.json", described.answer, lives),
        Own("gateway.events", "POST", "/api/gateway/events", events.answer, lives, ADMIN, "any"),
        Own("gateway.keys_revoke", "POST", f"{KEYS}/revoke", keys.revoke, keeps_keys, ADMIN, "any"),
        Own("gateway.openapi", "GET", "/api/openapi.json", docs.openapi, tells),
        Own("gateway.docs", "GET", "/api/docs", docs.swagger, tells),
        Own("gateway.docs_file", "GET", "/api/docs/{file}", docs.file, tells),
        Own("gateway.redoc", "GET", "/api/redoc", docs.redoc, tells),
        Own("gateway.docs_redirect", "GET", "/docs", docs.redirect, tells),
    )
