"""Small documents, and requests asked of them without a gateway."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gateway.openapi.document import Document
from gateway.openapi.loading import Loading
from gateway.openapi.operations import Api, Brought, Operation, by_field

JSON = (b"Content-Type: application/json",)
FORM = (b"Content-Type: application/x-www-form-urlencoded",)

Told = tuple[str, str, str, str]


def document(paths: Any, **more: Any) -> Document:
    return Document({"openapi": "3.1.0", "paths": paths, **more})


def api(paths: Any, *, base: str | None = None, strict: bool = False, **more: Any) -> Api:
    return Loading(document(paths, **more), base=base, strict=strict).api()


def operation(value: Mapping[str, Any], *, strict: bool = False, **more: Any) -> Operation:
    """The GET of /x, described so."""
    found = api({"/x": {"get": value}}, strict=strict, **more).match(b"/x")
    assert found is not None
    return found[0].operations[b"GET"]


def ask(
    asked: Operation,
    query: bytes = b"",
    lines: Iterable[bytes] = (),
    body: bytes | None = None,
    path: Iterable[bytes] = (),
) -> list[Told]:
    """What is wrong with a request, as the gateway would find it."""
    has_body = body is not None
    fields = by_field(lines) if asked.looks_at_fields(has_body) else {}
    brought = Brought(query, fields, has_body)
    found = asked.findings(list(path), brought)
    media = asked.reads(brought)
    if not found and media is not None:
        assert body is not None
        found = asked.body(media, body)
    return [(f.place, f.name, f.path, f.message) for f in found]


def parameter(schema: Any, place: str = "query", name: str = "q", **more: Any) -> dict[str, Any]:
    return {"name": name, "in": place, "schema": schema, **more}


def takes(schema: Any, kind: str = "application/json", **more: Any) -> Operation:
    """An operation whose body has this schema."""
    return operation({"requestBody": {"content": {kind: {"schema": schema}}}}, **more)


def fits(schema: Any, value: bytes, version: str = "3.1.0", **more: Any) -> bool:
    """Whether a JSON text fits a schema."""
    return not ask(takes(schema, openapi=version, **more), lines=JSON, body=value)
