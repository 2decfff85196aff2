"""One of the gateway's own endpoints, as it is put on the routing table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from aiohttp import web
from pydantic import BaseModel

from gateway.config.auth import Way
from gateway.config.ratelimits import RateLimit
from gateway.errors import NotFound
from gateway.exchange import Endpoint

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
    endpoint: Endpoint | None = None  # answers instead of `handler`, which is then `unasked`

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
    media: str | tuple[str, ...] = "application/json"  # of the answer; a client has the choice
    pattern: str = ""  # of the path's parameter (ECMA-262)
    fields: Mapping[str, str] = field(default_factory=dict)  # of the head, and what they do


async def unasked(request: web.Request) -> web.StreamResponse:
    """The handler of what is answered without aiohttp."""
    raise NotFound
