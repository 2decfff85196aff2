"""The API's document and its pages, as clients get them: headers, validators, forms, reloads."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import aiohttp
import pytest
from openapi_spec_validator import validate

from tests.e2e.life import Program, answering, running
from tests.e2e.stage import OK, Stage, field, stage

DOCUMENTS = ("/api/openapi.json", "/api/docs", "/api/redoc")


def asking(path: str, *lines: str, method: str = "GET") -> bytes:
    return "\r\n".join((f"{method} {path} HTTP/1.1", "Host: gateway.test", *lines, "", "")).encode()


async def asked(scene: Stage, path: str, *lines: str) -> tuple[int, bytes, bytes]:
    head, body = await scene.ask(asking(path, *lines))
    return int(head.split()[1]), head, body


async def test_document_is_valid_and_tells_of_routes_as_they_are_served() -> None:
    route = {"auth": "api_key", "scopes": ["read"], "rate_limit": "60/minute", "methods": ["GET"]}
    async with stage(route=route) as scene:
        _, _, body = await asked(scene, "/api/openapi.json")
    document = json.loads(body)
    validate(document)
    operations = document["paths"]["/api/{path}"]
    assert set(operations) == {"get"}
    assert operations["get"]["security"] == [{"X-API-Key": ["read"]}]
    assert {"401", "403", "429", "502", "503", "504"} <= set(operations["get"]["responses"])
    assert operations["get"]["x-rate-limit"]["rate"] == "60/minute"
    assert set(document["components"]["securitySchemes"]) == {"X-API-Key", "bearer"}


@pytest.mark.parametrize("path", DOCUMENTS)
async def test_what_a_client_has_already_is_not_sent_again(path: str) -> None:
    async with stage() as scene:
        _, head, body = await asked(scene, path)
        tag = (field(head, b"etag") or b"").decode()
        status, again, nothing = await asked(scene, path, f"If-None-Match: {tag}")
        other, _, whole = await asked(scene, path, 'If-None-Match: "another"')
    assert field(head, b"cache-control") == b"no-cache"
    assert field(head, b"vary") == b"Accept-Encoding"
    assert (status, nothing, field(again, b"etag")) == (304, b"", tag.encode())
    assert (other, whole) == (200, body)


@pytest.mark.parametrize("path", DOCUMENTS)
async def test_packed_form_is_the_same_under_another_tag(path: str) -> None:
    async with stage() as scene:
        _, head, plain = await asked(scene, path)
        _, packed_head, packed = await asked(scene, path, "Accept-Encoding: gzip")
    assert field(packed_head, b"content-encoding") == b"gzip"
    assert gzip.decompress(packed) == plain
    assert field(packed_head, b"etag") != field(head, b"etag")


@pytest.mark.parametrize("path", [*DOCUMENTS, "/api/docs/swagger-ui.css"])
async def test_head_has_the_fields_of_get_and_no_body(path: str) -> None:
    async with stage() as scene:
        _, got, _ = await asked(scene, path)
        client = await scene.client()
        await client.send(asking(path, "Connection: close", method="HEAD"))
        head = await client.rest()
    assert head.endswith(b"\r\n\r\n")
    for name in (b"content-length", b"etag", b"content-type", b"cache-control"):
        assert field(head, name) == field(got, name)


@pytest.mark.parametrize("path", DOCUMENTS[1:])
async def test_page_may_load_from_its_own_host_only(path: str) -> None:
    async with stage() as scene:
        _, head, body = await asked(scene, path)
        policy = (field(head, b"content-security-policy") or b"").decode()
        sources = dict(part.strip().split(" ", 1) for part in policy.split(";"))
        assert sources["default-src"] == "'none'"
        allowed = {source for each in sources.values() for source in each.split()}
        assert allowed <= {"'none'", "'self'", "'unsafe-inline'", "data:", "blob:"}
        assert sources["script-src"] == "'self'"
        assert field(head, b"x-content-type-options") == b"nosniff"
        assert b"http" not in body
        for name in re.findall(rb'(?:src|href)="(docs/[^"]+)"', body):
            status, found, _ = await asked(scene, f"/api/{name.decode()}")
            assert status == 200
            assert b"immutable" in (field(found, b"cache-control") or b"")


async def test_file_of_another_version_is_not_kept() -> None:
    async with stage() as scene:
        _, head, _ = await asked(scene, "/api/docs/redoc.js?v=0123456789abcdef")
    assert field(head, b"cache-control") == b"no-cache"


@pytest.mark.parametrize(
    "name", ["swagger.html", "nothing.js", "..", "%2e%2e", "swagger-ui.css.gz", "__init__.py"]
)
async def test_what_is_no_file_of_a_page_is_not_found(name: str) -> None:
    async with stage() as scene:
        status, _, _ = await asked(scene, f"/api/docs/{name}")
    assert status in (400, 404)


async def test_licences_are_served_with_what_they_are_of() -> None:
    async with stage() as scene:
        for name in ("swagger-ui.LICENSE.txt", "redoc.LICENSE.txt", "swagger-ui.NOTICE.txt"):
            status, head, _ = await asked(scene, f"/api/docs/{name}")
            assert (status, field(head, b"content-type")) == (200, b"text/plain; charset=utf-8")


async def test_docs_leads_to_the_page() -> None:
    async with stage() as scene, aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{scene.port}/docs") as answer:
            assert (answer.status, answer.url.path) == (200, "/api/docs")
            assert answer.content_type == "text/html"
        status, head, _ = await asked(scene, "/docs")
    assert (status, field(head, b"location")) == (307, b"api/docs")


async def test_without_docs_their_paths_are_the_routes() -> None:
    async with stage(docs=False, route={"prefix": "/"}) as scene:
        for path in (*DOCUMENTS, "/docs", "/api/docs/redoc.js"):
            client = await scene.client()
            await client.send(asking(path))
            upstream = await scene.upstream.accept()
            assert (await upstream.head()).startswith(f"GET {path} ".encode())
            await upstream.send(OK)
            assert (await client.answer())[1] == b"ok"
            upstream.reset()


async def paths(program: Program) -> set[str]:
    return set((await program.json("/api/openapi.json"))["paths"])


async def test_reload_makes_another_document(tmp_path: Path) -> None:
    async with answering() as upstream:
        one = {"prefix": "/one", "target_url": upstream.url}
        async with running(tmp_path, routes=[one]) as program:
            assert "/one/{path}" in await paths(program)
            await program.reload(routes=[{**one, "prefix": "/two"}], realtime=True)
            found = await paths(program)
            assert "/one/{path}" not in found
            assert {"/two/{path}", "/ws/predictions", "/api/asyncapi.json"} <= found
            await program.reload(routes=[one], docs=False)
            assert (await program.get("/api/openapi.json"))[0] == 404
