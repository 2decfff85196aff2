"""What services say of themselves in the gateway's document: asked of them, or read from files."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from openapi_spec_validator import validate

from gateway import described
from gateway.config import load
from tests.e2e.life import ROOT, running
from tests.e2e.stage import Stage, Upstream, gateway_on, stage

EXAMPLES = ROOT / "deploy" / "examples"
ORDERS: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Orders", "version": "1"},
    "paths": {"/orders/{id}": {"get": {"responses": {"200": {"description": "an order"}}}}},
}
ORDERS["paths"]["/orders/{id}"]["parameters"] = [
    {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
]


class Telling(Upstream):
    """A service that tells what it is; `asked` counts, and without `text` it hangs up."""

    def __init__(self) -> None:
        super().__init__()
        self.text: bytes | None = json.dumps(ORDERS).encode()
        self.status = 200
        self.lines: list[bytes] = []
        self.answered = asyncio.Event()

    async def serve(self) -> None:
        while True:
            connection = await self.accept_ever()
            head = await connection.head()
            self.lines.append(head.split(b"\r\n")[0])
            if self.text is None:
                connection.reset()
            else:
                size = len(self.text)
                status = b"HTTP/1.1 %d Told\r\nContent-Length: %d\r\n\r\n" % (self.status, size)
                await connection.send(status + self.text)
            self.answered.set()

    async def accept_ever(self) -> Any:
        return await self._arrived.get()


@asynccontextmanager
async def telling() -> AsyncIterator[Telling]:
    upstream = Telling()
    await upstream.start()
    task = asyncio.create_task(upstream.serve())
    try:
        yield upstream
    finally:
        task.cancel()
        await upstream.stop()


def settings(upstream: Upstream, openapi: str = "/openapi.json") -> dict[str, Any]:
    return {
        "upstreams": {"orders": {"targets": [upstream.url], "openapi": openapi}},
        "routes": [{"name": "shop", "prefix": "/shop", "upstream": "orders", "strip_prefix": True}],
    }


async def document(scene: Stage) -> dict[str, Any]:
    _, body = await scene.ask(b"GET /api/openapi.json HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
    found: dict[str, Any] = json.loads(body)
    validate(found)
    return found


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Services are asked whenever somebody looks."""
    monkeypatch.setattr(described, "FRESH", 0.0)
    monkeypatch.setattr(described, "AGAIN", 0.0)


async def test_service_is_asked_and_its_paths_get_the_prefix() -> None:
    async with telling() as upstream, stage(upstream, **settings(upstream)) as scene:
        found = await document(scene)
        assert upstream.lines == [b"GET /openapi.json HTTP/1.1"]
        await document(scene)
        assert len(upstream.lines) == 1
    assert found["paths"]["/shop/orders/{id}"]["get"]["x-route"] == "shop"
    assert "/shop/{path}" not in found["paths"]


async def test_what_a_service_said_is_kept_while_it_is_down(at_once: None) -> None:
    async with telling() as upstream, stage(upstream, **settings(upstream)) as scene:
        assert "/shop/orders/{id}" in (await document(scene))["paths"]
        upstream.text = None
        upstream.answered.clear()
        assert "/shop/orders/{id}" in (await document(scene))["paths"]
        await upstream.answered.wait()
        assert "/shop/orders/{id}" in (await document(scene))["paths"]


async def test_what_a_service_says_anew_is_told(at_once: None) -> None:
    async with telling() as upstream, stage(upstream, **settings(upstream)) as scene:
        await document(scene)
        item = ORDERS["paths"]["/orders/{id}"]
        upstream.text = json.dumps({**ORDERS, "paths": {"/new/{id}": item}}).encode()
        async with asyncio.timeout(5):
            while "/shop/new/{id}" not in (await document(scene))["paths"]:
                pass


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (None, 200),
        (b"", 200),
        (b"no document", 200),
        (b'{"openapi": "2.0"}', 200),
        (b'{"openapi": "3.1.0", "paths": []}', 200),
        (b'{"openapi": "3.1.0", "paths": {"/a": {"$ref": "http://elsewhere/"}}}', 200),
        (json.dumps(ORDERS).encode(), 404),
        (json.dumps(ORDERS).encode(), 302),
    ],
)
async def test_service_without_a_document_has_its_route_alone(
    text: bytes | None, status: int
) -> None:
    async with telling() as upstream, stage(upstream, **settings(upstream)) as scene:
        upstream.text, upstream.status = text, status
        assert "/shop/{path}" in (await document(scene))["paths"]


async def test_service_that_is_silent_is_not_waited_for_longer_than_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(described, "PATIENCE", 0.05)
    upstream = Upstream()
    await upstream.start()
    async with stage(upstream, **settings(upstream)) as scene:
        assert "/shop/{path}" in (await document(scene))["paths"]
    await upstream.stop()


async def test_second_target_is_asked_where_the_first_does_not_answer() -> None:
    async with telling() as down, telling() as up:
        down.text = None
        table = settings(up)
        table["upstreams"]["orders"]["targets"] = [down.url, up.url]
        async with stage(up, **table) as scene:
            assert "/shop/orders/{id}" in (await document(scene))["paths"]


async def test_service_on_a_unix_socket_is_asked(tmp_path: Path) -> None:
    async def tell(request: web.Request) -> web.Response:
        return web.json_response(ORDERS)

    application = web.Application()
    application.router.add_get("/v1/openapi.json", tell)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "s")).start()
    upstream = Upstream()
    await upstream.start()
    table = settings(upstream, "/v1/openapi.json")
    table["upstreams"]["orders"]["targets"] = [f"unix://{tmp_path / 's'}"]
    async with stage(upstream, **table) as scene:
        assert "/shop/orders/{id}" in (await document(scene))["paths"]
    await upstream.stop()
    await runner.cleanup()


async def test_file_is_read_at_the_start_and_on_reload(tmp_path: Path) -> None:
    file = tmp_path / "orders.json"
    file.write_text(json.dumps(ORDERS))
    async with telling() as upstream:
        table = settings(upstream, "orders.json")
        async with running(tmp_path, **table) as program:
            found = await program.json("/api/openapi.json")
            assert "/shop/orders/{id}" in found["paths"]
            item = ORDERS["paths"]["/orders/{id}"]
            file.write_text(json.dumps({**ORDERS, "paths": {"/new/{id}": item}}))
            await program.reload(**table)
            found = await program.json("/api/openapi.json")
            assert "/shop/new/{id}" in found["paths"]
        assert upstream.lines == []


async def test_example_shows_the_service_that_is_not_there() -> None:
    settings = load(EXAMPLES / "documents.yaml", {"PORT": "0"}, {}, EXAMPLES)
    async with (
        gateway_on(settings) as (_, port),
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/api/openapi.json") as answer,
    ):
        found = await answer.json()
    validate(found)
    assert "/shop/orders/{id}/label" in found["paths"]
    operation = found["paths"]["/shop/orders"]["post"]
    assert operation["security"] == [{"bearer": []}]
    assert operation["x-rate-limit"]["rate"] == "60/minute"
