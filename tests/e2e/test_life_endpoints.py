"""What the running program says of itself: health, status, errors on its own paths."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway import __version__
from tests.e2e.life import Program, answering, request, route, running
from tests.e2e.stage import PATIENCE, field
from tests.servers import Server

OWN = (
    "/health",
    "/health/live",
    "/health/ready",
    "/metrics",
    "/metrics_prom",
    "/api/gateway/status",
    "/api/gateway/services",
)


async def health(gateway: Program, wanted: int) -> dict[str, Any]:
    """What /health says once it says so with this status: an answer is good for a second."""
    async with asyncio.timeout(PATIENCE):
        while True:
            status, _, body = await gateway.get("/health")
            if status == wanted:
                return json.loads(body)
            await asyncio.sleep(0.1)


async def test_health_without_stores_has_exactly_these_fields(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        status, head, body = await gateway.get("/health")
    said = json.loads(body)
    age = datetime.now(UTC) - datetime.fromisoformat(said.pop("timestamp"))
    assert (status, field(head, b"content-type")) == (200, b"application/json")
    assert 0 <= age.total_seconds() < 60
    assert said == {
        "status": "healthy",
        "service": "api-gateway",
        "version": __version__,
        "dependencies": {},
    }


async def test_health_names_every_configured_store(
    tmp_path: Path, redis_url: str, postgres_url: str, nats_url: str
) -> None:
    stores = {
        "redis": redis_url,
        "postgres": postgres_url,
        "nats": nats_url,
        "sqlite": str(tmp_path / "gateway.db"),
    }
    async with running(tmp_path, stores=stores) as gateway:
        assert (await gateway.json("/health"))["dependencies"] == dict.fromkeys(stores, "up")


@pytest.mark.parametrize("store", ["redis", "postgres", "nats"])
async def test_a_store_that_stops_makes_it_unhealthy_until_it_is_back(
    tmp_path: Path, store: str, request: pytest.FixtureRequest
) -> None:
    server: Server = request.getfixturevalue(f"{store}_server")
    async with running(tmp_path, stores={store: server.url}) as gateway:
        assert (await gateway.get("/health"))[0] == 200
        with server.down():
            said = await health(gateway, 503)
            assert (said["status"], said["dependencies"]) == ("unhealthy", {store: "down"})
            assert (await gateway.get("/health/live"))[0] == 200
            assert (await gateway.get("/health/ready"))[0] == 200
        assert (await health(gateway, 200))["dependencies"] == {store: "up"}


async def test_a_store_that_is_down_at_the_start_delays_nothing(tmp_path: Path) -> None:
    async with running(tmp_path, stores={"redis": "redis://127.0.0.1:1/0"}) as gateway:
        status, _, body = await gateway.get("/health")
        assert (status, json.loads(body)["dependencies"]) == (503, {"redis": "down"})


async def test_upstreams_never_count(tmp_path: Path) -> None:
    dead = {
        "targets": ["http://127.0.0.1:1"],
        "health_check": {"path": "/", "interval": 0.1, "timeout": 0.1, "unhealthy_after": 1},
    }
    routes = [{"name": "dead", "prefix": "/dead", "upstream": "dead"}]
    async with running(tmp_path, upstreams={"dead": dead}, routes=routes) as gateway:
        await gateway.event("target_down", upstream="dead")
        assert (await gateway.get("/dead/x"))[0] == 503
        assert (await gateway.json("/health"))["status"] == "healthy"
        assert (await gateway.get("/health/ready"))[0] == 200


async def test_status_has_exactly_these_fields(tmp_path: Path) -> None:
    upstreams = {
        "orders": {"targets": [{"url": "http://127.0.0.1:1", "weight": 2}, "http://127.0.0.1:2"]}
    }
    routes = [
        {"name": "orders", "prefix": "/api/orders", "upstream": "orders"},
        {"name": "up", "path": "/up", "target_url": "http://127.0.0.1:3"},
    ]
    services = [
        {
            "name": "orders",
            "prefix": "/api/orders",
            "status": "configured",
            "targets": ["http://127.0.0.1:1", "http://127.0.0.1:2"],
        },
        {
            "name": "up",
            "prefix": "/up",
            "status": "configured",
            "targets": ["http://127.0.0.1:3"],
        },
    ]
    async with running(tmp_path, upstreams=upstreams, routes=routes) as gateway:
        assert await gateway.json("/api/gateway/services") == services
        assert await gateway.json("/api/gateway/status") == {
            "status": "running",
            "version": __version__,
            "services": services,
        }


async def test_own_paths_win_over_every_route(tmp_path: Path) -> None:
    async with answering() as upstream:
        exact = [{"path": path, "target_url": upstream.url} for path in OWN]
        routes = [
            *exact,
            route(upstream, "/health/live/x", name="x"),
            route(upstream, "/", name="all"),
        ]
        async with running(tmp_path, routes=routes) as gateway:
            for path in OWN:
                assert (await gateway.get(path))[2] != b"ok", path
            assert (await gateway.get("/health/live/x"))[2] == b"ok"
            assert (await gateway.get("/healthy"))[2] == b"ok"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "FROB"])
async def test_another_method_on_an_own_path_is_405_with_allow(tmp_path: Path, method: str) -> None:
    async with answering() as upstream:
        everything = route(upstream, "/", name="all")
        async with running(tmp_path, routes=[everything]) as gateway:
            for path in OWN:
                client = await gateway.send(request(method, path))
                head, body = await client.answer()
                assert head.startswith(b"HTTP/1.1 405 "), path
                assert set((field(head, b"allow") or b"").split(b", ")) >= {b"GET", b"HEAD"}
                said = json.loads(body)
                assert (said["error"], said["path"]) == ("method_not_allowed", path)


async def test_head_of_an_own_path_is_its_get_without_the_body(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        client = await gateway.client()
        for path in OWN:
            await client.send(request("HEAD", path) + request("GET", "/health/live"))
            assert (await client.head()).startswith(b"HTTP/1.1 200 "), path
            assert await client.head()
            assert json.loads(await client.exactly(len(b'{"status":"alive"}')))


async def test_own_endpoints_carry_a_request_id(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        for path in OWN:
            given = field((await gateway.get(path, "X-Request-ID: mine.1"))[1], b"x-request-id")
            made = field((await gateway.get(path))[1], b"x-request-id")
            bad = field((await gateway.get(path, "X-Request-ID: no spaces"))[1], b"x-request-id")
            assert given == b"mine.1"
            assert re.fullmatch(rb"[A-Za-z0-9._-]{1,128}", made or b"")
            assert re.fullmatch(rb"[A-Za-z0-9._-]{1,128}", bad or b"")
            assert made != bad


async def test_nothing_there_is_the_json_error(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        status, head, body = await gateway.get("/nothing?secret=1", "X-Request-ID: mine")
    said = json.loads(body)
    assert (status, field(head, b"content-type")) == (404, b"application/json")
    assert datetime.fromisoformat(said.pop("timestamp")).utcoffset() is not None
    assert isinstance(said.pop("message"), str)
    assert said == {
        "error": "not_found",
        "path": "/nothing",
        "status_code": 404,
        "request_id": "mine",
    }
