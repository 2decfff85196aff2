"""What /metrics says after traffic: the metrics that concern proxying, their labels and values."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway import __version__
from tests.e2e.life import Metrics, Program, answering, listening, request, route, running
from tests.e2e.stage import OK, PATIENCE, field
from tests.e2e.tunnels import HANDSHAKE, SWITCH, frame

REQUESTS = "gateway_requests_total"
UPGRADE = (
    b"GET /ws/x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    + HANDSHAKE
    + b"\r\n"
)


async def counted(gateway: Program, name: str, value: float, **labels: str) -> Metrics:
    """The metrics once this one has the value: gauges are set once a second."""
    async with asyncio.timeout(PATIENCE):
        while True:
            metrics = await gateway.metrics()
            if metrics.value(name, **labels) == value:
                return metrics
            await asyncio.sleep(0.05)


async def test_requests_are_counted_by_route_method_and_status(tmp_path: Path) -> None:
    async with answering() as upstream, running(tmp_path, routes=[route(upstream)]) as gateway:
        for _ in range(3):
            await gateway.get("/api/x")
        await (await gateway.send(request("PUT", "/api/x"))).answer()
        await gateway.get("/nothing")
        await gateway.get("/health")
        metrics = await gateway.metrics()
    assert metrics.value(REQUESTS, route="api", method="GET", status="200") == 3
    assert metrics.value(REQUESTS, route="api", method="PUT", status="200") == 1
    assert metrics.value(REQUESTS, route="__none__", method="GET", status="404") == 1
    assert metrics.value(REQUESTS, route="gateway.health", method="GET", status="200") == 1
    seconds = "gateway_request_duration_seconds"
    assert metrics.value(f"{seconds}_count", route="api", method="GET") == 3
    assert metrics.value(f"{seconds}_bucket", route="api", method="GET", le="+Inf") == 3
    assert 0 < (metrics.value(f"{seconds}_sum", route="api", method="GET") or 0) < PATIENCE
    assert metrics.value("gateway_upstream_duration_seconds_count", upstream="api") == 4
    assert metrics.value("gateway_build_info", version=__version__) == 1


async def test_a_request_without_a_route_is_none_of_them(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        await (await gateway.send(b"no request\r\n\r\n")).rest()
        await (await gateway.send(b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n")).answer()
        metrics = await gateway.metrics()
    assert metrics.value(REQUESTS, route="__none__", method="TRACE", status="405") == 1
    bad = [key for key in metrics.samples if key[0] == REQUESTS and ("status", "400") in key]
    assert len(bad) == 1
    assert ("route", "__none__") in bad[0]


async def test_no_label_is_what_a_client_chose(tmp_path: Path) -> None:
    async with answering() as upstream, running(tmp_path, routes=[route(upstream)]) as gateway:
        for mark in ("evil1", "evil2", "evil3"):
            path = f"/api/{mark}?{mark}"
            lines = (f"X-Request-ID: {mark}", f"User-Agent: {mark}", f"Cookie: {mark}={mark}")
            await (await gateway.send(request(mark.upper(), path, *lines))).answer()
            await (await gateway.send(request(mark.upper(), f"/{mark}", *lines))).answer()
            await (
                await gateway.send(f"GET /{mark} HTTP/1.1\r\nHost: {mark}\r\n\r\n".encode())
            ).answer()
            await (await gateway.send(f"{mark} {mark} {mark}\r\n\r\n".encode())).rest()
        text = (await gateway.get("/metrics"))[2]
    assert b"evil" not in text.lower()
    metrics = Metrics(text.decode())
    assert metrics.value(REQUESTS, route="api", method="OTHER", status="200") == 3
    assert metrics.value(REQUESTS, route="__none__", method="OTHER", status="404") == 3


async def test_failed_attempts_are_counted_by_kind(tmp_path: Path) -> None:
    async with listening() as dead, listening() as rude, listening() as silent:
        await dead.stop()
        routes = [
            route(dead, "/dead"),
            route(rude, "/rude"),
            route(silent, "/silent", timeout="100ms"),
        ]
        async with running(tmp_path, routes=routes) as gateway:
            assert (await gateway.get("/dead/x"))[0] == 503
            assert (await gateway.get("/silent/x"))[0] == 504
            client = await gateway.send(request("GET", "/rude/x"))
            target = await rude.accept()
            await target.head()
            await target.send(b"what?\r\n\r\n")
            assert (await client.head()).startswith(b"HTTP/1.1 502 ")
            metrics = await gateway.metrics()
    errors = {
        (labels["upstream"], labels["kind"]): value
        for (name, *pairs), value in metrics.samples.items()
        if name == "gateway_upstream_errors_total"
        for labels in (dict(pairs),)
    }
    assert {upstream for upstream, _ in errors} == {"dead", "rude", "silent"}
    assert set(errors.values()) == {1}
    assert len({kind for _, kind in errors}) == 3


async def test_retries_are_counted(tmp_path: Path) -> None:
    async with listening() as dead, answering() as well:
        await dead.stop()
        upstreams = {
            "pair": {
                "targets": [dead.url, well.url],
                "balance": "round_robin",
                "retries": {"attempts": 2, "budget": 1},
            }
        }
        routes = [{"name": "pair", "prefix": "/pair", "upstream": "pair"}]
        async with running(tmp_path, upstreams=upstreams, routes=routes) as gateway:
            for _ in range(4):
                assert (await gateway.get("/pair/x"))[0] == 200
            metrics = await gateway.metrics()
    failed = [
        value
        for key, value in metrics.samples.items()
        if key[0] == "gateway_upstream_errors_total" and ("upstream", "pair") in key
    ]
    assert metrics.value("gateway_retries_total", upstream="pair") == sum(failed) > 0
    assert metrics.value(REQUESTS, route="pair", method="GET", status="200") == 4


async def test_upstream_connections_are_counted_by_state(tmp_path: Path) -> None:
    name, labels = "gateway_upstream_connections", {"upstream": "up"}
    async with listening() as upstream:
        upstreams = {"up": {"targets": [upstream.url], "pool": {"connections": 1}}}
        routes = [{"name": "up", "prefix": "/api", "upstream": "up"}]
        async with running(tmp_path, upstreams=upstreams, routes=routes) as gateway:
            clients = [await gateway.send(request("GET", "/api/x"))]
            target = await upstream.accept()
            await target.head()
            clients.append(await gateway.send(request("GET", "/api/x")))
            metrics = await counted(gateway, name, 1, state="waiting", **labels)
            assert metrics.value(name, state="active", **labels) == 1
            assert metrics.value(name, state="idle", **labels) == 0
            await target.send(OK)
            await target.head()
            await target.send(OK)
            for client in clients:
                await client.answer()
            metrics = await gateway.metrics()
            assert metrics.value(name, state="waiting", **labels) == 0
            assert metrics.value(name, state="active", **labels) == 0
            assert metrics.value(name, state="idle", **labels) == 1


async def test_a_target_that_fails_its_checks_is_down_in_the_metrics(tmp_path: Path) -> None:
    async with answering() as well, listening() as dead:
        await dead.stop()
        check = {"path": "/health", "interval": 0.1, "timeout": 0.1, "unhealthy_after": 1}
        upstreams = {"up": {"targets": [well.url, dead.url], "health_check": check}}
        routes = [{"name": "up", "prefix": "/api", "upstream": "up"}]
        async with running(tmp_path, upstreams=upstreams, routes=routes) as gateway:
            down = await gateway.event("target_down", upstream="up")
            metrics = await gateway.metrics()
            up = {
                dict(pairs)["target"]: value
                for (name, *pairs), value in metrics.samples.items()
                if name == "gateway_target_up"
            }
            assert up.pop(down["target"]) == 0
            assert list(up.values()) == [1]
            for _ in range(5):
                assert (await gateway.get("/api/x"))[0] == 200


async def test_websockets_and_their_messages_are_counted_by_route(tmp_path: Path) -> None:
    open_now, messages = "gateway_websocket_connections", "gateway_websocket_messages_total"
    async with listening() as upstream:
        routes = [route(upstream, "/ws", websocket=True)]
        async with running(tmp_path, routes=routes) as gateway:
            client = await gateway.send(UPGRADE)
            target = await upstream.accept()
            await target.head()
            await target.send(SWITCH)
            await client.head()
            metrics = await gateway.metrics()
            assert metrics.value(open_now, route="ws") == 1
            for number in range(3):
                up = frame(b"up %d" % number, mask=True)
                await client.send(up)
                await target.exactly(len(up))
            await target.send(frame(b"down"))
            await client.exactly(len(frame(b"down")))
            metrics = await gateway.metrics()
            assert metrics.value(messages, route="ws", direction="received") == 3
            assert metrics.value(messages, route="ws", direction="sent") == 1
            client.reset()
            line = await gateway.logged("/ws/x")
            assert line["status_code"] == 101
            metrics = await gateway.metrics()
            assert metrics.value(open_now, route="ws") == 0
            assert metrics.value(REQUESTS, route="ws", method="GET", status="101") == 1


async def test_a_client_that_left_is_counted_as_499(tmp_path: Path) -> None:
    async with listening() as upstream, running(tmp_path, routes=[route(upstream)]) as gateway:
        client = await gateway.send(request("GET", "/api/x"))
        await (await upstream.accept()).head()
        client.reset()
        await gateway.logged("/api/x")
        metrics = await gateway.metrics()
        assert metrics.value(REQUESTS, route="api", method="GET", status="499") == 1


@pytest.mark.parametrize(
    ("path", "accept", "wanted"),
    [
        ("/metrics", "*/*", b"text/plain; version=0.0.4; charset=utf-8"),
        ("/metrics", "application/json", b"application/json"),
        ("/metrics", "text/plain;q=0.5, application/json", b"application/json"),
        ("/metrics", "application/openmetrics-text; version=1.0.0", b"application/openmetrics-"),
        ("/metrics_prom", "application/json", b"text/plain; version=0.0.4; charset=utf-8"),
    ],
)
async def test_the_form_of_the_metrics_is_what_accept_says(
    tmp_path: Path, path: str, accept: str, wanted: bytes
) -> None:
    async with running(tmp_path) as gateway:
        status, head, _ = await gateway.get(path, f"Accept: {accept}")
        assert status == 200
        assert (field(head, b"content-type") or b"").startswith(wanted)


async def test_json_and_text_tell_the_same(tmp_path: Path) -> None:
    async with answering() as upstream, running(tmp_path, routes=[route(upstream)]) as gateway:
        for _ in range(2):
            await gateway.get("/api/x")
        text = await gateway.metrics()
        metrics = (await gateway.json("/metrics", "Accept: application/json"))["metrics"]
    found = {one["name"]: one for one in metrics}
    labels = {"route": "api", "method": "GET", "status": "200"}
    assert {"labels": labels, "value": 2} in found[REQUESTS]["samples"]
    assert text.value(REQUESTS, **labels) == 2
    (sample,) = found["gateway_upstream_duration_seconds"]["samples"]
    assert sample["labels"] == {"upstream": "api"}
    assert (sample["count"], sample["buckets"]["+Inf"]) == (2, 2)
    assert sample["sum"] == text.value("gateway_upstream_duration_seconds_sum", upstream="api")
