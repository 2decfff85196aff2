"""SIGHUP: other settings whole or not at all, and nobody who is being served notices."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

from tests.e2e.life import Program, answering, listening, request, route, running
from tests.e2e.stage import OK, Connection, Upstream
from tests.e2e.tunnels import HANDSHAKE, SWITCH, frame

UPGRADE = (
    b"GET /api/ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    + HANDSHAKE
    + b"\r\n"
)


async def in_flight(gateway: Program, upstream: Upstream) -> tuple[Connection, Connection]:
    client = await gateway.send(request("GET", "/api/x"))
    target = await upstream.accept()
    await target.head()
    return client, target


async def served(gateway: Program, target: Connection) -> None:
    """A request that comes over this pooled connection."""
    client = await gateway.send(request("GET", "/api/x"))
    await target.head()
    await target.send(OK)
    assert (await client.answer())[1] == b"ok"


async def test_routes_come_and_go(tmp_path: Path) -> None:
    async with answering() as old, answering(OK.replace(b"ok", b"no")) as new:
        before, after = [route(old, "/a"), route(old, "/b")], [route(new, "/b"), route(new, "/c")]
        async with running(tmp_path, routes=before) as gateway:
            kept = await gateway.client()
            await gateway.reload(routes=after)
            answers = {}
            for path in ("/a/x", "/b/x", "/c/x"):
                await kept.send(request("GET", path))
                answers[path] = (await kept.answer())[1]
            assert answers["/b/x"] == answers["/c/x"] == b"no"
            assert b'"not_found"' in answers["/a/x"]
            services = await gateway.json("/api/gateway/services")
            assert [service["name"] for service in services] == ["b", "c"]


async def test_bad_settings_are_refused_whole_with_every_reason(tmp_path: Path) -> None:
    async with answering() as upstream, running(tmp_path, routes=[route(upstream)]) as gateway:
        gateway.write(routes=[route(upstream, "/new")], timeout="soon", prot=80)
        gateway.signal(signal.SIGHUP)
        problems = {
            (await gateway.event("reload_refused", count=number))["problem"] for number in (1, 2)
        }
        assert (await gateway.get("/api/x"))[2] == b"ok"
        assert (await gateway.get("/new/x"))[0] == 404
        assert not gateway.found("reloaded")
        await gateway.reload(routes=[route(upstream, "/new")])
        assert (await gateway.get("/new/x"))[2] == b"ok"
    assert {problem.partition(":")[0] for problem in problems} == {str(gateway.file)}
    assert {problem.split(":")[1].strip() for problem in problems} == {"timeout", "prot"}


async def test_a_file_that_is_gone_or_no_yaml_is_refused(tmp_path: Path) -> None:
    async with answering() as upstream, running(tmp_path, routes=[route(upstream)]) as gateway:
        gateway.file.write_text("routes: [{")
        gateway.signal(signal.SIGHUP)
        await gateway.event("reload_refused", count=1)
        gateway.file.unlink()
        gateway.signal(signal.SIGHUP)
        await gateway.event("reload_refused", count=2)
        assert (await gateway.get("/api/x"))[2] == b"ok"


async def test_a_request_and_a_websocket_in_flight_go_on(tmp_path: Path) -> None:
    async with listening() as upstream, answering() as other:
        routes = [route(upstream, websocket=True)]
        async with running(tmp_path, routes=routes) as gateway:
            half, answer = await in_flight(gateway, upstream)
            await answer.send(OK.replace(b"Length: 2", b"Length: 4"))
            await half.until(b"ok")
            waiting, target = await in_flight(gateway, upstream)
            client = await gateway.send(UPGRADE)
            peer = await upstream.accept()
            await peer.head()
            await peer.send(SWITCH)
            await client.head()

            await gateway.reload(routes=[route(other)])  # their upstream is there no more

            await answer.send(b"ay")
            assert await half.exactly(2) == b"ay"
            await target.send(OK)
            assert (await waiting.answer())[1] == b"ok"
            for data in (frame(b"one", mask=True), frame(b"two", mask=True)):
                await client.send(data)
                assert await peer.exactly(len(data)) == data
            await peer.send(frame(b"back"))
            assert await client.exactly(len(frame(b"back"))) == frame(b"back")
            # And the connections serve what is configured now.
            await waiting.send(request("GET", "/api/x"))
            assert (await waiting.answer())[1] == b"ok"


async def test_pooled_connections_of_an_unchanged_upstream_are_kept(tmp_path: Path) -> None:
    async with listening() as upstream, running(tmp_path, routes=[route(upstream)]) as gateway:
        client, target = await in_flight(gateway, upstream)
        await target.send(OK)
        await client.answer()
        await gateway.reload(routes=[route(upstream), route(upstream, "/new")], timeout=7)
        await served(gateway, target)
        assert upstream.idle


async def test_pooled_connections_of_a_removed_upstream_are_closed(tmp_path: Path) -> None:
    async with listening() as upstream, running(tmp_path, routes=[route(upstream)]) as gateway:
        client, target = await in_flight(gateway, upstream)
        await target.send(OK)
        await client.answer()
        await gateway.reload(routes=[])
        assert await target.rest() == b""


async def test_the_connection_of_a_late_answer_of_a_removed_upstream_is_closed(
    tmp_path: Path,
) -> None:
    async with listening() as upstream, running(tmp_path, routes=[route(upstream)]) as gateway:
        client, target = await in_flight(gateway, upstream)
        await gateway.reload(routes=[])
        await target.send(OK)
        assert (await client.answer())[1] == b"ok"
        assert await target.rest() == b""


def checked(upstream: Upstream, **more: Any) -> dict[str, Any]:
    check = {"path": "/health", "interval": 0.1, "timeout": 0.1, "unhealthy_after": 1}
    return {
        "upstreams": {"up": {"targets": [upstream.url], "health_check": check}},
        "routes": [{"name": "up", "prefix": "/api", "upstream": "up"}],
        **more,
    }


async def asked(upstream: Upstream) -> None:
    """A health check comes, and is answered."""
    target = await upstream.accept()
    assert b"GET /health " in await target.head()
    await target.send(OK)


async def test_health_checks_of_a_removed_upstream_stop(tmp_path: Path) -> None:
    async with listening() as upstream, running(tmp_path, **checked(upstream)) as gateway:
        await asked(upstream)
        await gateway.reload(routes=[])
        while not upstream.idle:
            await upstream.accept()
        await asyncio.sleep(0.5)  # five intervals: that nothing comes is the subject
        assert upstream.idle
        text = (await gateway.get("/metrics"))[2]
        assert b"gateway_target_up{" not in text


async def test_health_checks_of_an_unchanged_upstream_go_on_and_remember(tmp_path: Path) -> None:
    async with listening() as upstream, running(tmp_path, **checked(upstream)) as gateway:
        (await upstream.accept()).reset()
        await gateway.event("target_down", upstream="up")
        await gateway.reload(**checked(upstream, timeout=7))
        (await upstream.accept()).reset()
        assert (await gateway.get("/api/x"))[0] == 503
        assert len(gateway.found("target_down")) == 1


async def test_changed_settings_of_an_upstream_are_obeyed(tmp_path: Path) -> None:
    async with answering() as one, answering(OK.replace(b"ok", b"no")) as two:
        settings = [
            {
                "upstreams": {"up": {"targets": [target.url]}},
                "routes": [{"name": "up", "prefix": "/api", "upstream": "up"}],
            }
            for target in (one, two)
        ]
        async with running(tmp_path, **settings[0]) as gateway:
            assert (await gateway.get("/api/x"))[2] == b"ok"
            await gateway.reload(**settings[1])
            assert (await gateway.get("/api/x"))[2] == b"no"


async def test_what_needs_a_restart_is_told(tmp_path: Path) -> None:
    async with answering() as upstream, running(tmp_path, routes=[route(upstream)]) as gateway:
        await gateway.reload(routes=[route(upstream)], port=1)
        assert "port" in (await gateway.event("restart_needed"))["settings"]
        assert (await gateway.get("/api/x"))[2] == b"ok"


async def test_general_settings_are_obeyed_after_a_reload(tmp_path: Path) -> None:
    async with answering() as upstream, running(tmp_path, routes=[route(upstream)]) as gateway:
        await gateway.reload(routes=[route(upstream)], max_body_size=10, access_log=False)
        body = b"x" * 11
        head = await (await gateway.send(request("POST", "/api/x", body=body))).head()
        assert head.startswith(b"HTTP/1.1 413 ")
        assert not gateway.found("request")


async def test_reloads_are_counted(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        await gateway.reload()
        gateway.write(timeout="soon")
        gateway.signal(signal.SIGHUP)
        await gateway.event("reload_refused")
        metrics = await gateway.metrics()
    assert metrics.value("gateway_config_reloads_total", result="done") == 1
    assert metrics.value("gateway_config_reloads_total", result="refused") == 1


async def test_settings_that_change_while_others_are_being_read_are_read_too(
    tmp_path: Path,
) -> None:
    async with answering() as upstream, running(tmp_path) as gateway:
        gateway.write(routes=[route(upstream, f"/{number}") for number in range(1000)])
        gateway.signal(signal.SIGHUP)
        await asyncio.sleep(0.03)  # a thousand routes take longer; nothing tells how far it is
        gateway.write(routes=[route(upstream, "/last")])
        gateway.signal(signal.SIGHUP)
        await gateway.event("reloaded", routes=1)


async def test_many_reloads_under_traffic_lose_nobody(tmp_path: Path) -> None:
    async with answering() as upstream, running(tmp_path, routes=[route(upstream)]) as gateway:
        done = asyncio.Event()

        async def ask() -> int:
            client, count = await gateway.client(), 0
            while not done.is_set():
                await client.send(request("GET", "/api/x"))
                assert (await client.answer())[1] == b"ok"
                count += 1
            return count

        asking = [asyncio.create_task(ask()) for _ in range(4)]
        for number in range(10):
            # Half of them change the upstream, half do not.
            await gateway.reload(routes=[route(upstream)], connect_timeout=5 + number // 2)
        done.set()
        assert all(count > 10 for count in await asyncio.gather(*asking))
