"""What a service says of itself, moved to where clients find it.

Its paths get the prefix of the route that leads to it, as far as one does; its components get the
service's name, so that they are nobody else's; its servers are left out, for the gateway is the
server, and so are links, which name operations. A document of OpenAPI 3.0 is made one of 3.1. What
clients have to bring is what the gateway wants and what the service wants.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from gateway.apidocs import problems
from gateway.apidocs.routes import RouteOperations
from gateway.config.routes import Route
from gateway.openapi.document import Document as Source
from gateway.openapi.document import DocumentError, Where, escape, mapping, target
from gateway.openapi.schemas import LISTS, MAPS, SINGLE, revised
from gateway.openapi.servers import bases

Document = dict[str, Any]
LeadsTo = Callable[[str, str, str], str | None]
"""The name of the route that a path, a host and a method lead to."""

OPERATIONS: Final = ("get", "put", "post", "delete", "options", "head", "patch")
UNFIT: Final = re.compile(r"[^A-Za-z0-9._-]")  # for the name of a component
MOST_DEPTH: Final = 200
MOST_PARTS: Final = 500_000  # YAML can name one thing often: a short file could grow without end
NAMED: Final = frozenset(  # maps whose keys are names, and nothing that OpenAPI gives a meaning
    (
        "responses", "parameters", "examples", "requestBodies", "headers", "callbacks", "pathItems",
        "content", "encoding", "variables",
    )
)  # fmt: skip
SCHEMA_MAPS: Final = MAPS | {"$defs", "definitions"}


def client_path(route: Route, asked: str) -> str | None:
    """Where clients find what the service has at `asked`; None where the route leads elsewhere."""
    if route.path is not None:
        sent = (route.rewrite or "/") if route.strip_prefix else route.path
        return route.path if asked == sent else None
    prefix = (route.prefix or "/").rstrip("/")
    before = (route.rewrite or "").rstrip("/") if route.strip_prefix else prefix
    rest = asked.removeprefix(before)
    if not asked.startswith(before) or rest[:1] not in ("/", ""):
        return None
    return prefix + rest or "/"


class Service:
    """One service's document, being moved."""

    def __init__(self, name: str, source: Source) -> None:
        self._source = source
        self.name = name
        self._prefix = UNFIT.sub("_", name)
        self._old = source.version == "3.0"
        self._schemes = dict(self._known_schemes())
        self._moved: dict[str, str] = {}  # its paths, by where they are now
        self._parts = 0  # that were moved so far

    # --------------------------------------------------------------------------- its components

    def components(self) -> dict[str, Document]:
        """By kind. Raises `DocumentError`."""
        found: dict[str, Document] = {}
        root = mapping(self._source.root.get("components", {}), ("components",))
        for kind, table in root.items():
            if kind.startswith("x-") or kind == "links":
                continue
            where = ("components", kind)
            for name, value in mapping(table, where).items():
                if kind == "securitySchemes" and self._schemes.get(name) in problems.SCHEMES:
                    continue
                below = (*where, name)
                moved = (
                    self._schema(value, below) if kind == "schemas" else self._other(value, below)
                )
                found.setdefault(kind, {})[self._renamed(name)] = moved
        return found

    def _renamed(self, name: str) -> str:
        return f"{self._prefix}.{UNFIT.sub('_', name)}"

    def _known_schemes(self) -> Iterator[tuple[str, str]]:
        """What its security schemes are called here: those that the gateway has are one."""
        root = mapping(self._source.root.get("components", {}), ("components",))
        place = ("components", "securitySchemes")
        for name, value in mapping(root.get("securitySchemes", {}), place).items():
            scheme, _ = self._source.follow(value, (*place, name))
            kind = scheme.get("type")
            if kind == "http" and text(scheme.get("scheme")).lower() == "bearer":
                yield name, problems.BEARER
            elif kind == "apiKey" and text(scheme.get("name")).lower() == "x-api-key":
                yield name, problems.KEY
            else:
                yield name, self._renamed(name)

    # -------------------------------------------------------------------------------- its paths

    def paths(self, operations: RouteOperations, leads_to: LeadsTo) -> dict[str, Document]:
        """Those that a route leads to. Raises `DocumentError`."""
        route, root = operations.route, self._source.root
        made: dict[str, Document] = {}
        found: list[tuple[str, Mapping[str, Any], Where]] = []
        for template, value in mapping(root.get("paths", {}), ("paths",)).items():
            if template.startswith("x-"):
                continue
            item, place = self._source.follow(value, ("paths", template))
            holder = item if "servers" in item else root
            for base in bases(holder, place if holder is item else ()):
                path = client_path(route, base + template)
                if path is not None:
                    self._moved.setdefault(template, path)
                    found.append((path, item, place))
        for path, item, place in found:
            moved = self._item(path, item, place, operations, leads_to)
            if moved:
                made.setdefault(path, moved)
        return made

    def _item(
        self,
        path: str,
        item: Mapping[str, Any],
        where: Where,
        operations: RouteOperations,
        leads_to: LeadsTo,
    ) -> Document:
        route = operations.route
        host = route.hosts[0].replace("*", "any", 1) if route.hosts else ""
        made: Document = {}
        for method in OPERATIONS:
            if method in item and leads_to(path, host, method.upper()) == route.name:
                operation = mapping(item[method], (*where, method))
                made[method] = self._operation(operation, (*where, method), operations)
        if made:
            for key in ("summary", "description", "parameters"):
                if key in item:
                    made[key] = self._other(item[key], (*where, key))
        return made

    def _operation(
        self, operation: Mapping[str, Any], where: Where, operations: RouteOperations
    ) -> Document:
        route = operations.route
        kept = {key: each for key, each in operation.items() if key not in ("servers", "security")}
        made: Document = self._other(kept, where)
        made["tags"] = [f"{route.name}: {tag}" for tag in texts(operation.get("tags"))]
        made["tags"] = made["tags"] or [route.name]
        if "operationId" in operation:
            made["operationId"] = f"{route.name}_{text(operation['operationId'])}"
        answers = mapping(made.get("responses", {}), (*where, "responses"))
        told = {**problems.of(operations.statuses()), **answers}
        made["responses"] = {status: told[status] for status in sorted(told)}
        words = " ".join(operations.words())
        made["description"] = f"{text(operation.get('description'))}\n\n{words}".strip()
        wanted = operation.get("security", self._source.root.get("security", []))
        asked = list(self._both(operations.security, wanted, where))
        return {**made, **operations.marks(), **({"security": asked} if asked else {})}

    def _both(
        self, ours: list[Document], theirs: object, where: Where
    ) -> Iterator[Mapping[str, Iterable[str]]]:
        """Each of our ways with each of the service's."""
        if not isinstance(theirs, list):
            raise DocumentError((*where, "security"), "expected a list")
        for mine in ours or [{}]:
            for each in theirs or [{}]:
                both = dict(mine)
                for name, scopes in mapping(each, (*where, "security")).items():
                    known = self._schemes.get(name)
                    if known is None:
                        raise DocumentError((*where, "security"), f"there is no scheme {name!r}")
                    both[known] = sorted({*both.get(known, ()), *texts(scopes)})
                if both or ours or theirs:
                    yield both

    # ------------------------------------------------------------------- what stands in it, moved

    def _other(self, value: object, where: Where) -> Any:
        """A part of the document that is no schema."""
        self._count(where)
        if isinstance(value, list):
            return [self._other(each, (*where, str(n))) for n, each in enumerate(value)]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            kept = {key: text(value[key]) for key in ("summary", "description") if key in value}
            return {"$ref": self._reference(value["$ref"], where), **kept}
        made: Document = {}
        for key, each in value.items():
            below = (*where, key)
            if key == "schema":
                made[key] = self._schema(each, below)
            elif key in NAMED and isinstance(each, dict):
                made[key] = {name: self._other(one, (*below, name)) for name, one in each.items()}
            elif key in ("example", "value", "default"):
                made[key] = self._data(each, below)
            elif not key.startswith("x-") and key != "links":
                made[key] = self._other(each, below)
        return made

    def _count(self, where: Where) -> None:
        self._parts += 1
        if self._parts > MOST_PARTS or len(where) > MOST_DEPTH:
            raise DocumentError(where, "there are too many parts, or too deep ones")

    def _data(self, value: object, where: Where) -> Any:
        """What stands there for itself: an example, a default."""
        self._count(where)
        if isinstance(value, list):
            return [self._data(each, (*where, str(n))) for n, each in enumerate(value)]
        if isinstance(value, dict):
            return {key: self._data(each, (*where, key)) for key, each in value.items()}
        return value

    def _schema(self, value: object, where: Where) -> Any:
        if not isinstance(value, dict):
            return self._data(value, where)
        self._count(where)
        made: Document = {}
        if "$ref" in value:
            made["$ref"] = self._reference(value["$ref"], where)
            if self._old:
                return made
        for key, each in value.items():
            below = (*where, key)
            if key == "$ref" or (self._old and key == "nullable"):
                continue
            if key in SINGLE:
                made[key] = self._schema(each, below)
            elif key in LISTS and isinstance(each, list):
                made[key] = [self._schema(one, (*below, str(n))) for n, one in enumerate(each)]
            elif key in SCHEMA_MAPS and isinstance(each, dict):
                made[key] = {name: self._schema(one, (*below, name)) for name, one in each.items()}
            elif key == "discriminator" and isinstance(each, dict):
                made[key] = self._discriminator(each, below)
            else:
                made[key] = self._data(each, below)
        return revised(made, value) if self._old else made

    def _discriminator(self, value: Document, where: Where) -> Document:
        """Its mapping names schemas, by reference or by their bare name."""
        rest = {key: each for key, each in value.items() if key != "mapping"}
        made: Document = self._data(rest, where)
        for name, to in mapping(value.get("mapping", {}), where).items():
            to = text(to)
            named = to if "/" in to else f"#/components/schemas/{to}"
            made.setdefault("mapping", {})[name] = self._reference(named, where)
        return made

    def _reference(self, reference: object, where: Where) -> str:
        """Where a reference leads now. Raises `DocumentError`."""
        place = target(reference, (*where, "$ref"))
        self._source.at(place, (*where, "$ref"))
        if len(place) >= 3 and place[0] == "components":
            place = (*place[:2], self._renamed(place[2]), *place[3:])
        elif len(place) >= 2 and place[0] == "paths" and place[1] in self._moved:
            place = ("paths", self._moved[place[1]], *place[2:])
        else:
            raise DocumentError((*where, "$ref"), "leads to what is not moved")
        return "#/" + "/".join(map(escape, place))


def text(value: object) -> str:
    """What is no text is none: put into words, it could be without end."""
    return value if isinstance(value, str) else ""


def texts(value: object) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
