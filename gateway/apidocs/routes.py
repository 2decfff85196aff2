"""The routes to the services behind the gateway, where nothing more is known of these."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from gateway.apidocs import limits, problems
from gateway.config.routes import Route
from gateway.units import Rate

Document = dict[str, Any]

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")  # where a route takes all
WRITABLE: Final = frozenset(("POST", "PUT", "PATCH"))
KNOWN: Final = frozenset(("GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH"))
ANY: Final[Document] = {"*/*": {}}
REST: Final = {
    "name": "path",
    "in": "path",
    "required": True,
    "description": "The rest of the path; it may hold slashes, or be empty.",
    "schema": {"type": "string"},
}
TAG: Final = "services"


class RouteOperations:
    """What the gateway itself asks and says on a route."""

    def __init__(
        self,
        route: Route,
        *,
        timeout: float,
        max_body: int,
        tiers: Mapping[str, Rate | None],
    ) -> None:
        """`timeout` in seconds and `max_body` in bytes are the general ones."""
        self.route = route
        self._timeout = route.timeout or timeout
        self._max_body = max_body if route.max_body_size is None else route.max_body_size
        self._tiers = tiers
        self.security = problems.security(route.auth, route.scopes)

    @property
    def path(self) -> str:
        """What it matches, with the rest of a prefix as a parameter."""
        route = self.route
        if route.path is not None:
            return route.path
        return (route.prefix or "/").rstrip("/") + "/{path}"

    @property
    def methods(self) -> tuple[str, ...]:
        return tuple(method for method in self.route.methods or METHODS if method in KNOWN)

    def operations(self) -> Iterator[tuple[str, Document]]:
        """By method, in lower case."""
        for method in self.methods:
            made: Document = {
                "operationId": f"{self.route.name}_{method.lower()}",
                "summary": f"{self.route.name}: passed on",
                "tags": [TAG],
                "description": " ".join(self.words()),
            }
            if self.route.path is None:
                made["parameters"] = [REST]
            if method in WRITABLE:
                made["requestBody"] = {"content": ANY}
            answer = {"description": "What the service answers.", "content": ANY}
            made["responses"] = {**problems.of(self.statuses()), "default": answer}
            yield method.lower(), made | self.marks()

    def statuses(self) -> set[int]:
        """Of the errors that come from the gateway, and not from the service."""
        route = self.route
        found = {400, 502, 503, 504}
        found |= problems.guarded(
            way=route.auth,
            scopes=route.scopes,
            limited=route.rate_limit is not None,
            listed=route.access is not None,
        )
        if self._max_body:
            found.add(413)
        if route.deprecated is not None and route.deprecated.sunset is not None:
            found.add(410)
        if route.validation is not None:
            found |= {404, 422}
        return found

    def words(self) -> Iterator[str]:
        """What people should know of it."""
        route = self.route
        if route.hosts:
            yield f"For the hosts {', '.join(route.hosts)}."
        if route.websocket:
            yield "WebSockets pass."
        if route.rate_limit is not None:
            yield limits.told(route.rate_limit, self._tiers)
        if self._max_body:
            yield f"Bodies of at most {self._max_body} bytes."
        yield f"The service has {self._timeout:g} s to answer."

    def marks(self) -> Document:
        """What the gateway says of an operation, whoever describes it."""
        made: Document = {"x-route": self.route.name}
        if self.security:
            made["security"] = self.security
        if self.route.deprecated is not None:
            made["deprecated"] = True
        if self.route.rate_limit is not None:
            made["x-rate-limit"] = limits.data(self.route.rate_limit, self._tiers)
        return made
