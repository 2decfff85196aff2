"""From a document's file to an `Api`: what is described is looked at once, here.

Where the document is wrong a `DocumentError` says what and where, before anything is served.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from gateway.openapi.bodies import Media
from gateway.openapi.checks import Check, Checks
from gateway.openapi.document import Document, DocumentError, Where, mapping, read
from gateway.openapi.fields import Parameter
from gateway.openapi.matcher import PARAMETER, Paths
from gateway.openapi.operations import Api, Item, Operation, field_key
from gateway.openapi.schemas import Pool
from gateway.openapi.servers import bases

METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
STYLES: Final[Mapping[str, tuple[str, ...]]] = {  # the first is what is meant if none is named
    "path": ("simple",),
    "query": ("form", "spaceDelimited", "pipeDelimited", "deepObject"),
    "header": ("simple",),
    "cookie": ("form",),
}
# OpenAPI 3.1.1, 4.8.12.2: other parts of a document describe them.
UNDESCRIBED: Final = frozenset(("accept", "content-type", "authorization"))
FORM: Final = "application/x-www-form-urlencoded"
JSON: Final = re.compile(r"(?:application|text)/json|[^/]+/[^/]+\+json")


def load(path: Path, *, base: str | None = None, strict: bool = False) -> Api:
    """The document in a file, ready for use. Raises `DocumentError`.

    `base` stands before its paths, in place of the paths of its servers. `strict`: what is not
    described may not be in a query, nor as a body.
    """
    return Loading(read(path), base=base, strict=strict).api()


class Loading:
    """One document being made ready."""

    def __init__(self, document: Document, *, base: str | None, strict: bool) -> None:
        self._document = document
        self._base = base
        self._strict = strict
        self._checks = Checks(Pool(document))
        self._keys = frozenset(self._query_keys())

    def api(self) -> Api:
        root = self._document.root
        if "paths" not in root:
            raise DocumentError(("paths",), "is missing")
        servers = self._bases(root, ())
        paths: Paths[Item] = Paths()
        for template, value in mapping(root["paths"], ("paths",)).items():
            if template.startswith("x-"):
                continue
            where: Where = ("paths", template)
            if not template.startswith("/"):
                raise DocumentError(where, "a path begins with a slash")
            found, place = self._document.follow(value, where)
            item = self._item(template, found, place)
            for base in self._bases(found, place) if "servers" in found else servers:
                paths.add(base + template, item, where)
        self._checks.compile()
        return Api(paths)

    def _bases(self, holder: Mapping[str, Any], where: Where) -> list[str]:
        return bases(holder, where) if self._base is None else [self._base]

    # --------------------------------------------------------------------------- the operations

    def _item(self, template: str, value: Mapping[str, Any], where: Where) -> Item:
        names = PARAMETER.findall(template)
        if len(set(names)) < len(names):
            raise DocumentError(where, "has a parameter twice in its path")
        shared = self._parameters(value, where)
        operations: dict[bytes, Operation] = {}
        for method in METHODS:
            if method in value:
                place = (*where, method)
                described = mapping(value[method], place)
                operations[method.upper().encode()] = self._operation(
                    described, place, shared, names
                )
        if b"GET" in operations:
            operations.setdefault(b"HEAD", operations[b"GET"])  # RFC 9110, 9.3.2
        return Item(operations, b"Allow: " + b", ".join(sorted(operations)))

    def _operation(
        self,
        value: Mapping[str, Any],
        where: Where,
        shared: Mapping[tuple[str, str], Parameter],
        names: list[str],
    ) -> Operation:
        parameters = [*{**shared, **self._parameters(value, where)}.values()]
        placed = {place: [p for p in parameters if p.place == place] for place in STYLES}
        for parameter in placed["path"]:
            if parameter.name not in names:
                raise DocumentError(where, f"there is no {{{parameter.name}}} in its path")
        known = None
        if self._strict:
            known = self._keys.union(*(parameter.keys() for parameter in placed["query"]))
        media: dict[str, Media | None] = {}
        needed = False
        if "requestBody" in value:
            place = (*where, "requestBody")
            body, place = self._document.follow(value["requestBody"], place)
            needed = body.get("required") is True
            media = self._media(body, place)
        return Operation(
            path=[(names.index(parameter.name), parameter) for parameter in placed["path"]],
            query=placed["query"],
            fields=placed["header"],
            cookies=placed["cookie"],
            known=known,
            takes_body="requestBody" in value,
            needs_body=needed,
            closed=self._strict,
            media=media,
        )

    def _media(self, body: Mapping[str, Any], where: Where) -> dict[str, Media | None]:
        found: dict[str, Media | None] = {}
        content = mapping(body.get("content"), (*where, "content"))
        for name, value in content.items():
            kind = name.partition(";")[0].strip().lower()
            place = (*where, "content", name)
            described = mapping(value, place)
            readable = kind == FORM or JSON.fullmatch(kind) is not None
            found[kind] = None
            if "schema" in described and readable:
                check = self._checks.check((*place, "schema"))
                found[kind] = Media(check, is_form=kind == FORM)
        return found

    # --------------------------------------------------------------------------- the parameters

    def _parameters(
        self, holder: Mapping[str, Any], where: Where
    ) -> dict[tuple[str, str], Parameter]:
        found: dict[tuple[str, str], Parameter] = {}
        place = (*where, "parameters")
        for number, value in enumerate(self._list(holder.get("parameters", []), place)):
            described, at = self._document.follow(value, (*place, str(number)))
            parameter = self._parameter(described, at)
            if (parameter.place, parameter.key) in found:
                raise DocumentError(at, "stands here a second time")
            if parameter.place != "header" or parameter.key not in UNDESCRIBED:
                found[parameter.place, parameter.key] = parameter
        return found

    def _parameter(self, value: Mapping[str, Any], where: Where) -> Parameter:
        name, place = self._text(value, "name", where), self._text(value, "in", where)
        if place not in STYLES:
            raise DocumentError((*where, "in"), "expected path, query, header or cookie")
        style = value.get("style", STYLES[place][0])
        if style not in STYLES[place]:
            expected = " or ".join(STYLES[place])
            raise DocumentError((*where, "style"), f"in a {place}, only {expected} is read")
        check, is_json = self._described(value, where)
        if style == "deepObject" and not check.shape.mapped:
            raise DocumentError((*where, "style"), "a deepObject needs a schema of an object")
        return Parameter(
            place,
            name,
            field_key(name) if place == "header" else name,
            required=value.get("required") is True or place == "path",
            check=check,
            style=style,
            explode=value.get("explode", style == "form") is True,
            is_json=is_json,
            may_be_empty=value.get("allowEmptyValue") is True,
        )

    def _described(self, value: Mapping[str, Any], where: Where) -> tuple[Check, bool]:
        """What a parameter's value has to be, and whether it is JSON."""
        if ("schema" in value) == ("content" in value):
            raise DocumentError(where, "a parameter has either a schema or content")
        if "schema" in value:
            return self._checks.check((*where, "schema")), False
        place = (*where, "content")
        content = mapping(value["content"], place)
        kind = next(iter(content), "")
        if len(content) != 1 or JSON.fullmatch(kind.lower()) is None:
            raise DocumentError(place, "expected one media type, of JSON")
        if "schema" not in mapping(content[kind], (*place, kind)):
            raise DocumentError((*place, kind, "schema"), "is missing")
        return self._checks.check((*place, kind, "schema")), True

    def _query_keys(self) -> Iterator[str]:
        """The names under which keys and tokens stand in queries."""
        components = mapping(self._document.root.get("components", {}), ("components",))
        place = ("components", "securitySchemes")
        for name, value in mapping(components.get("securitySchemes", {}), place).items():
            scheme, where = self._document.follow(value, (*place, name))
            if scheme.get("type") == "apiKey" and scheme.get("in") == "query":
                yield self._text(scheme, "name", where)

    @staticmethod
    def _list(value: object, where: Where) -> list[Any]:
        if not isinstance(value, list):
            raise DocumentError(where, "expected a list")
        return value

    @staticmethod
    def _text(holder: Mapping[str, Any], key: str, where: Where) -> str:
        if not isinstance(holder.get(key), str):
            raise DocumentError((*where, key), "expected text")
        return str(holder[key])
