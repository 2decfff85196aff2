"""The gateway's own endpoints, all of them: nothing registers itself elsewhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from aiohttp import web
from pydantic import BaseModel

from gateway.config.auth import Way
from gateway.config.ratelimits import RateLimit
from gateway.endpoints.asyncapi import AsyncApi
from gateway.endpoints.cache import CachePurge
from gateway.endpoints.events import Events
from gateway.endpoints.health import Health
from gateway.endpoints.keys import ManagedKeys
from gateway.endpoints.metrics import Scrape
from gateway.endpoints.status import Status
from gateway.errors import NotFound
from gateway.exchange import Endpoint

ADMIN: Final = frozenset({"admin"})
KEYS: Final = "/api/gateway/keys"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Own:
    """One endpoint. `name` is its route in logs and metrics. GET stands for HEAD, too.

    A `path` may end in a parameter, `/api/prediction/{symbol}`: one segment, `Exchange.parameter`.
    """

    name: str
    method: str
    path: str
    handler: Handler
    there: Callable[[], bool] = lambda: True  # a path that is not there is left to the routes
    scopes: frozenset[str] = frozenset()  # that who asks has to have
    way: Way = "none"  # what clients have to bring
    limit: RateLimit | None = None
    about: About | None = None  # for the OpenAPI document
    endpoint: Endpoint | None = None  # answers instead of `handler`, without aiohttp

    @property
    def methods(self) -> tuple[bytes, ...]:
        return (b"GET", b"HEAD") if self.method == "GET" else (self.method.encode(),)

    @property
    def parameter(self) -> bool:
        return self.path.endswith("}")

    @property
    def fixed(self) -> str:
        """The path, without a parameter."""
        return self.path.rpartition("/")[0] if self.parameter else self.path


@dataclass(frozen=True, slots=True)
class About:
    """What the OpenAPI document says of an endpoint; models are pydantic's."""

    summary: str
    tag: str
    answers: Mapping[int, type[BaseModel] | None]  # by status; None has no body
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None  # each field a parameter
    errors: tuple[int, ...] = ()  # beyond those that follow from `way` and `limit`
    media: str = "application/json"  # of the answer


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
) -> tuple[Own, ...]:
    """`sign_in` gives what answers where users can sign in; `keeps_keys` says if there are keys.

    `caches` says if a route is cached, `lives` if there are live updates.
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
        Own("gateway.services", "GET", "/api/gateway/services", status.services),
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
    )
