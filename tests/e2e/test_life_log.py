"""The lines on standard output: one a request, exactly these fields, nothing of a secret."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

from tests.e2e.life import answering, listening, request, route, running
from tests.e2e.stage import OK, field

FIELDS = [
    "timestamp",
    "level",
    "event",
    "request_id",
    "method",
    "path",
    "target_service",
    "target_url",
    "status_code",
    "duration_ms",
    "client_ip",
    "bytes_sent",
    "trace_id",
]


async def test_a_request_is_one_line_with_exactly_these_fields(tmp_path: Path) -> None:
    async with answering() as upstream, running(tmp_path, routes=[route(upstream)]) as gateway:
        trace = "0af7651916cd43dd8448eb211c80319c"
        lines = ("X-Request-ID: mine", f"traceparent: 00-{trace}-b7ad6b7169203331-01")
        await gateway.get("/api/x?a=b", *lines)
        line = await gateway.logged("/api/x")
        await gateway.get("/health")
        await gateway.logged("/health")
        assert len(gateway.found("request", path="/api/x")) == 1
    assert list(line) == FIELDS
    age = datetime.now(UTC) - datetime.fromisoformat(line.pop("timestamp"))
    assert 0 <= age.total_seconds() < 60
    assert 0 < line.pop("duration_ms") < 5000
    assert line == {
        "level": "INFO",
        "event": "request",
        "request_id": "mine",
        "method": "GET",
        "path": "/api/x",
        "target_service": "api",
        "target_url": f"{upstream.url}/api/x",
        "status_code": 200,
        "client_ip": "127.0.0.1",
        "bytes_sent": 2,
        "trace_id": trace,
    }


async def test_what_no_upstream_answered_has_the_same_fields_without_a_target(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as gateway:
        _, head, body = await gateway.get("/nothing")
        line = await gateway.logged("/nothing")
    assert list(line) == FIELDS
    assert (line["target_service"], line["target_url"]) == (None, None)
    assert line["request_id"].encode() == field(head, b"x-request-id")
    assert (line["status_code"], line["bytes_sent"]) == (404, len(body))
    assert re.fullmatch(r"[0-9a-f]{32}", line["trace_id"])


async def test_the_gateways_own_answers_are_logged_with_their_size(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        body = (await gateway.get("/metrics"))[2]
        line = await gateway.logged("/metrics")
    assert (line["status_code"], line["bytes_sent"]) == (200, len(body))


async def test_nasty_paths_are_valid_json_as_they_were_sent(tmp_path: Path) -> None:
    paths = (
        '/api/"},{"a":"b',
        "/api/%22%0a%00",
        "/api/<script>",
        "/api/{}[]|^`",
        "/api/'$(id)",
        "/api/%F0%9F%98%80",
        "/api//..;a=b",
        "/" + "a" * 8000,
    )
    async with answering() as upstream, running(tmp_path, routes=[route(upstream)]) as gateway:
        for path in paths:
            await gateway.get(path)
            assert list(await gateway.logged(path)) == FIELDS
        # What the program cannot take for a path stands in its line, too.
        for raw in (b'/\x80"\\', b'/a\\b"', b"/\xff\xfe"):
            await (await gateway.send(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % raw)).rest()
            line = await gateway.logged(raw.decode("latin-1"))
            assert (line["status_code"], list(line)) == (400, FIELDS)


async def test_a_header_cannot_forge_a_line(tmp_path: Path) -> None:
    forged = 'x","status_code":200,"y":"'
    async with answering() as upstream:
        settings = {"routes": [route(upstream)], "trusted_proxies": ["127.0.0.1"]}
        async with running(tmp_path, **settings) as gateway:
            lines = (
                f"X-Request-ID: {forged}",
                f"traceparent: {forged}",
                f"X-Forwarded-For: {forged}, fe80::1%{forged}",
            )
            await (await gateway.send(request('P"UT', "/api/x", *lines))).head()
            line = await gateway.logged("/api/x")
    assert list(line) == FIELDS
    assert forged not in json.dumps(line).replace('\\"', '"')


async def test_a_client_that_left_is_499(tmp_path: Path) -> None:
    async with listening() as upstream, running(tmp_path, routes=[route(upstream)]) as gateway:
        client = await gateway.send(request("GET", "/api/x"))
        await (await upstream.accept()).head()
        client.reset()
        line = await gateway.logged("/api/x")
    assert (line["status_code"], line["bytes_sent"]) == (499, 0)
    assert line["target_service"] == "api"


async def test_a_client_that_left_in_mid_answer_keeps_the_status_it_saw(tmp_path: Path) -> None:
    async with listening() as upstream, running(tmp_path, routes=[route(upstream)]) as gateway:
        client = await gateway.send(request("GET", "/api/x"))
        target = await upstream.accept()
        await target.head()
        await target.send(OK.replace(b"2\r\n\r\nok", b"9\r\n\r\nok"))
        await client.until(b"ok")
        client.reset()
        line = await gateway.logged("/api/x")
    assert (line["status_code"], line["bytes_sent"]) == (200, 2)


async def test_query_and_secrets_are_nowhere_on_standard_output(tmp_path: Path) -> None:
    secrets = ("q-9183", "bearer-9183", "cookie-9183", "key-9183", "user-9183", "pass-9183")
    query, bearer, cookie, key, user, password = secrets
    async with answering() as upstream, listening() as dead:
        await dead.stop()
        routes = [route(upstream), route(dead, "/dead")]
        stores = {"redis": f"redis://{user}:{password}@127.0.0.1:1/0"}
        async with running(tmp_path, routes=routes, stores=stores, log_level="DEBUG") as gateway:
            lines = (
                f"Authorization: Bearer {bearer}",
                f"Cookie: session={cookie}",
                f"X-API-Key: {key}",
                "Transfer-Encoding: chunked",
            )
            for path in ("/api/x", "/dead/x", "/nothing", "/health"):
                wanted = request("POST", f"{path}?token={query}", *lines) + b"0\r\n\r\n"
                await (await gateway.send(wanted)).head()
                await gateway.logged(path)
            await gateway.get(f"/health?token={query}", *lines[:3])
            absolute = f"http://{user}:{password}@gateway.test/api/y?{query}"
            await (await gateway.send(request("GET", absolute))).head()
            await gateway.event("request", count=6)
    output = b"".join(gateway.lines).decode()
    assert [secret for secret in secrets[:4] if secret in output] == []
    assert [s for s in secrets[4:] if s in output] == []


async def test_without_access_log_only_events_are_written(tmp_path: Path) -> None:
    async with running(tmp_path, access_log=False) as gateway:
        await gateway.get("/health")
    assert [event["event"] for event in gateway.events] == [
        "worker_started",
        "draining",
        "drained",
    ]


async def test_every_event_names_time_level_and_itself(tmp_path: Path) -> None:
    async with listening() as dead:
        await dead.stop()
        async with running(tmp_path, routes=[route(dead)]) as gateway:
            await gateway.get("/api/x", "X-Request-ID: mine")
            error = await gateway.event("service_unavailable")
    assert (error["request_id"], error["route"], error["level"]) == ("mine", "api", "ERROR")
    for event in gateway.events:
        assert list(event)[:3] == ["timestamp", "level", "event"]
