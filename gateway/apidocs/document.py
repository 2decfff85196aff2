"""The whole document: what the gateway answers itself, and what is behind its routes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.apidocs import problems, routes
from gateway.apidocs.own import Models, OwnOperations
from gateway.apidocs.routes import RouteOperations
from gateway.apidocs.services import LeadsTo, Service
from gateway.config import Settings
from gateway.openapi.document import Document as Source
from gateway.openapi.document import DocumentError
from gateway.own import About, Own

Document = dict[str, Any]

NAME: Final = re.compile(r"\{[^{}]*\}")
DESCRIPTION: Final = """\
What this gateway answers itself, and the services behind it.

Every answer has an `X-Request-ID`: the client's own, if it sent a good one, else one made up; the
gateway's log has it, too. Every error of the gateway's own is a JSON object with the same fields
(`Error`); where a service answers with an error, that is passed on as it is."""


@dataclass(frozen=True, slots=True)
class Made:
    """A document, and the services whose own document could not be merged, with what is wrong."""

    document: Document
    left_out: Mapping[str, str]


class Composer:
    """Puts a document together; of use once."""

    def __init__(
        self,
        version: str,
        settings: Settings,
        own: Sequence[tuple[Own, About]],
        leads_to: LeadsTo,
    ) -> None:
        """`leads_to` tells the route of a path, so that none is told of that leads elsewhere."""
        self._settings = settings
        self._own = own
        self._leads_to = leads_to
        self._models = Models(about for _, about in own)
        self._paths: dict[str, Document] = {}
        self._shapes: dict[str, str] = {}  # paths, whatever their parameters are called
        self._left_out: dict[str, str] = {}
        self._document: Document = {
            "openapi": "3.1.0",
            "info": {"title": "API gateway", "version": version, "description": DESCRIPTION},
            "servers": [{"url": "/"}],
            "paths": self._paths,
            "components": {
                "schemas": self._models.schemas,
                "responses": problems.responses(),
                "headers": dict(problems.HEADERS),
                "securitySchemes": dict(problems.SCHEMES),
            },
        }

    def make(self, sources: Mapping[str, Source]) -> Made:
        """`sources` are what services say of themselves, by the upstream's name."""
        operations = OwnOperations(self._models, self._settings.tiers)
        for own, about in self._own:
            self._add(own.path, {own.method.lower(): operations.operation(own, about)})
        services = {name: Service(name, source) for name, source in self._readable(sources)}
        for route in self._operations():
            service = services.get(route.route.upstream or "")
            told = service is not None and self._tell(service, route)
            if not told:
                self._add(route.path, dict(route.operations()))
        for name, service in services.items():
            if name not in self._left_out:
                self._merge(service)
        self._document["tags"] = [{"name": tag} for tag in self._tags()]
        return Made(self._document, self._left_out)

    def _readable(self, sources: Mapping[str, Source]) -> Iterable[tuple[str, Source]]:
        """Those whose components can be moved."""
        for name, source in sources.items():
            try:
                Service(name, source).components()
            except DocumentError as error:
                self._left_out[name] = str(error)
            else:
                yield name, source

    def _operations(self) -> Iterable[RouteOperations]:
        """Of the routes, the longest first: of two with a path in common, it is the one taken."""
        settings = self._settings
        for route in sorted(settings.routes, key=lambda r: -len(r.path or r.prefix or "")):
            yield RouteOperations(
                route,
                timeout=settings.timeout,
                max_body=settings.max_body_size,
                tiers=settings.tiers,
            )

    def _tell(self, service: Service, route: RouteOperations) -> bool:
        """Add what the service has behind a route; False where it says nothing of that."""
        if service.name in self._left_out:
            return False
        try:
            paths = service.paths(route, self._leads_to)
        except DocumentError as error:
            self._left_out[service.name] = str(error)
            return False
        for path, item in paths.items():
            self._add(path, item)
        return bool(paths)

    def _merge(self, service: Service) -> None:
        components = self._document["components"]
        for kind, table in service.components().items():
            components.setdefault(kind, {}).update(table)

    def _add(self, path: str, item: Document) -> None:
        """A path stands once, whatever its parameters are called (OpenAPI 3.1.1, 4.8.8)."""
        shape = NAME.sub("{}", path)
        known = self._paths.setdefault(self._shapes.setdefault(shape, path), {})
        if known and self._shapes[shape] != path:
            return
        for key, value in item.items():
            known.setdefault(key, value)

    def _tags(self) -> Iterable[str]:
        """Each once: the gateway's own, then the services'."""
        found = dict.fromkeys(about.tag for _, about in self._own)
        for item in self._paths.values():
            for operation in item.values():
                if isinstance(operation, dict):
                    found |= dict.fromkeys(operation.get("tags", ()))
        if routes.TAG in found:
            found[routes.TAG] = found.pop(routes.TAG)
        return found
