"""Requests checked against deploy/examples/orders.yaml by a gateway at work."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.life import ROOT, answering, request, running
from tests.e2e.stage import OK, Connection, Stage, field, stage
from tests.e2e.tunnels import HANDSHAKE

EXAMPLE = ROOT / "deploy" / "examples" / "orders.yaml"
GOOD = b'{"item": "tea",  "quantity": 2, "note": "\\u00e4"}'
BAD = b'{"item": "tea", "quantity": "hunter2"}'


@asynccontextmanager
async def checking(*, table: Any = None, **changes: Any) -> AsyncIterator[Stage]:
    """A gateway whose /api/... is checked, and goes up as /v2/..."""
    route = {
        "strip_prefix": True,
        "rewrite": "/v2",
        "validate": {"spec": EXAMPLE, **(table or {})},
        **changes.pop("route", {}),
    }
    async with stage(route=route, **changes) as scene:
        yield scene


def post(body: bytes, *lines: str, path: str = "/api/orders") -> bytes:
    return request("POST", path, "Content-Type: application/json", *lines, body=body)


async def told(scene: Stage, data: bytes) -> tuple[int, list[dict[str, str]], bytes]:
    """The status and the details of an answer of the gateway's own, and its head."""
    head, body = await scene.ask(data)
    answer = json.loads(body)
    assert answer["request_id"].encode() == field(head, b"x-request-id")
    return int(head.split()[1]), answer.get("details", []), head


async def goes_up(scene: Stage, client: Connection, head: bytes, body: bytes) -> None:
    """The upstream gets this and answers."""
    upstream = await scene.upstream.accept()
    assert (await upstream.head()).startswith(head)
    assert await upstream.exactly(len(body)) == body
    await upstream.send(OK)
    assert (await client.answer())[1] == b"ok"
    await client.close()
    await upstream.close()


async def test_what_fits_goes_up_to_the_byte() -> None:
    form = "Content-Type: application/x-www-form-urlencoded"
    async with checking() as scene:
        for data, head, body in (
            (request("GET", "/api/orders?limit=5&status=new"), b"GET /v2/orders?limit=5&", b""),
            (request("GET", "/api/orders/%37"), b"GET /v2/orders/%37 ", b""),
            (request("HEAD", "/api/orders/latest"), b"HEAD /v2/orders/latest ", b""),
            (post(GOOD), b"POST /v2/orders ", GOOD),
            (request("POST", "/api/orders", form, body=b"item=a+b&quantity=1"),
             b"POST /v2/orders ", b"item=a+b&quantity=1"),
        ):  # fmt: skip
            client = await scene.client()
            await client.send(data)
            if data.startswith(b"HEAD"):
                upstream = await scene.upstream.accept()
                assert (await upstream.head()).startswith(head)
                await upstream.send(OK[: OK.index(b"ok")])
                assert (await client.head()).startswith(b"HTTP/1.1 200 ")
                await upstream.close()
            else:
                await goes_up(scene, client, head, body)


@pytest.mark.parametrize(
    ("data", "place", "name", "path", "message"),
    [
        (request("GET", "/api/orders?limit=hunter2"), "query", "limit", "", "expected integer"),
        (request("GET", "/api/orders/hunter2"), "path", "id", "", "expected integer"),
        (post(BAD), "body", "", "/quantity", "expected integer"),
        (post(b"{"), "body", "", "", "is no JSON, or nested too deeply"),
        (post(b""), "body", "", "", "is missing"),
        (post(GOOD, "Idempotency-Key: hunter2"), "header", "Idempotency-Key", "", "is no uuid"),
        (post(GOOD, "Connection: content-type"), "header", "content-type", "",
         "expected one of application/json, application/x-www-form-urlencoded"),
        (post(GOOD, "Content-Encoding: gzip"), "header", "content-encoding", "",
         "a coded body cannot be checked"),
        (request("DELETE", "/api/orders/1", "Cookie: session=hunter2"), "cookie", "session", "",
         "needs at least 8 characters"),
        (request("GET", "/api/orders/..%2f..%2fadmin"), "path", "", "",
         "means another path once it is decoded and resolved"),
    ],
)  # fmt: skip
async def test_what_does_not_fit_is_422_and_says_where_without_what_was_sent(
    data: bytes, place: str, name: str, path: str, message: str
) -> None:
    async with checking() as scene:
        status, details, head = await told(scene, data)
        assert scene.upstream.idle
        assert not scene.upstream.connections
    if b"%2f" in data:
        assert status in (400, 422)  # the route itself may be left
        return
    assert status == 422
    assert details == [{"in": place, "name": name, "path": path, "message": message}]
    assert b"hunter2" not in head


async def test_paths_and_methods_that_are_not_described() -> None:
    async with checking() as scene:
        assert (await told(scene, request("GET", "/api/other")))[0] == 404
        status, _, head = await told(scene, request("PATCH", "/api/orders"))
        assert status == 405
        assert field(head, b"allow") == b"GET, HEAD, POST"
    async with checking(table={"unlisted": "pass"}) as scene:
        assert (await told(scene, request("PATCH", "/api/orders")))[0] == 405
        client = await scene.client()
        await client.send(request("GET", "/api/other"))
        await goes_up(scene, client, b"GET /v2/other ", b"")


async def test_refusals_carry_the_cors_headers() -> None:
    origin = "Origin: https://app.example.com"
    async with checking(cors={"origins": ["https://app.example.com"]}) as scene:
        for data in (
            request("GET", "/api/orders?limit=x", origin),
            request("GET", "/api/other", origin),
            request("PATCH", "/api/orders", origin),
            post(BAD, origin),
        ):
            _, _, head = await told(scene, data)
            assert field(head, b"access-control-allow-origin") == b"https://app.example.com"
        preflight = request("OPTIONS", "/api/orders", origin, "Access-Control-Request-Method: POST")
        assert (await scene.ask(preflight))[0].startswith(b"HTTP/1.1 204 ")


async def test_chunked_body_is_checked_whole_and_goes_up_in_its_chunks() -> None:
    line = b"POST /api/orders HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    line += b"Transfer-Encoding: chunked\r\n\r\n"
    chunks = b"%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (5, GOOD[:5], len(GOOD) - 5, GOOD[5:])
    async with checking() as scene:
        client = await scene.client()
        await client.send(line + chunks[:7])
        await client.send(chunks[7:20])
        assert scene.upstream.idle
        await client.send(chunks[20:])
        upstream = await scene.upstream.accept()
        assert (await upstream.head()).startswith(b"POST /v2/orders ")
        came = await upstream.until(b"0\r\n\r\n")
        parts = came.split(b"\r\n")[1::2]
        assert b"".join(parts) == GOOD
        await upstream.send(OK)
        assert (await client.answer())[1] == b"ok"


async def test_bad_chunked_body_is_refused_and_the_connection_goes_on() -> None:
    line = b"POST /api/orders HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    line += b"Transfer-Encoding: chunked\r\n\r\n"
    async with checking() as scene:
        client = await scene.client()
        await client.send(line + b"%x\r\n%b\r\n0\r\n\r\n" % (len(BAD), BAD))
        assert (await client.answer())[0].startswith(b"HTTP/1.1 422 ")
        await client.send(post(GOOD))
        await goes_up(scene, client, b"POST /v2/orders ", GOOD)


async def test_expecting_client_sends_no_body_that_would_be_refused_anyway() -> None:
    head = b"POST /api/orders%b HTTP/1.1\r\nHost: a\r\nContent-Type: %b\r\n"
    head += b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n"
    json_type = b"application/json"
    async with checking(table={"body_limit": 100, "strict": True}) as scene:
        for data, status in (
            (head % (b"?x=1", json_type, len(GOOD)), b"422"),
            (head % (b"", b"text/plain", len(GOOD)), b"422"),
            (head % (b"", json_type, 101), b"413"),
        ):
            client = await scene.client()
            await client.send(data)
            assert (await client.head()).split()[1] == status
        client = await scene.client()
        await client.send(head % (b"", json_type, len(GOOD)))
        assert await client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert scene.upstream.idle
        await client.send(GOOD)
        await goes_up(scene, client, b"POST /v2/orders ", GOOD)


@pytest.mark.parametrize("where", ["table", "route"])
async def test_body_over_its_limit_is_413(where: str) -> None:
    limits = {"table": {"table": {"body_limit": 64}}, "route": {"route": {"max_body_size": 64}}}
    line = b"POST /api/orders HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    async with checking(**limits[where]) as scene:
        for framing in (b"Content-Length: 65\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n41\r\n"):
            client = await scene.client()
            await client.send(line + framing + b" " * 65)
            assert (await client.head()).startswith(b"HTTP/1.1 413 ")
        assert scene.upstream.idle


async def test_body_that_is_not_checked_streams() -> None:
    """A body without a schema is not waited for: its first byte is there before its last."""
    line = b"PUT /api/orders/7/label HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\n"
    async with checking() as scene:
        client = await scene.client()
        await client.send(line + b"Content-Length: 4\r\n\r\nab")
        upstream = await scene.upstream.accept()
        assert (await upstream.head()).startswith(b"PUT /v2/orders/7/label ")
        assert await upstream.exactly(2) == b"ab"
        await client.send(b"cd")
        assert await upstream.exactly(2) == b"cd"
        await upstream.send(OK)
        assert (await client.answer())[1] == b"ok"


async def test_slow_body_holds_up_nobody_else() -> None:
    async with checking() as scene:
        slow = await scene.client()
        data = post(GOOD)
        await slow.send(data[:-5])
        quick = await scene.client()
        await quick.send(post(GOOD))
        await goes_up(scene, quick, b"POST /v2/orders ", GOOD)
        await slow.send(data[-5:])
        await goes_up(scene, slow, b"POST /v2/orders ", GOOD)


async def test_client_that_leaves_with_half_a_body_is_let_go() -> None:
    async with checking() as scene:
        client = await scene.client()
        await client.send(post(GOOD)[:-5])
        client.reset()
        other = await scene.client()
        await other.send(request("GET", "/api/orders"))
        await goes_up(scene, other, b"GET /v2/orders ", b"")


async def test_large_body_goes_up_whole() -> None:
    parts = [{"item": f"part {number}", "quantity": 1} for number in range(20_000)]
    body = json.dumps({"item": "all", "quantity": 1, "parts": parts}).encode()
    async with checking() as scene:
        client = await scene.client()
        sending = asyncio.create_task(client.send(post(body)))
        await goes_up(scene, client, b"POST /v2/orders ", body)
        await sending
        broken = body.replace(b'"part 19999"', b'""')
        status, details, _ = await told(scene, post(broken))
    assert (status, [each["path"] for each in details]) == (422, ["/parts/19999/item"])


async def test_pipelined_requests_are_each_checked() -> None:
    async with checking() as scene:
        client = await scene.client()
        await client.send(post(BAD) + request("GET", "/api/orders?limit=0") + post(GOOD))
        assert (await client.answer())[0].startswith(b"HTTP/1.1 422 ")
        assert (await client.answer())[0].startswith(b"HTTP/1.1 422 ")
        await goes_up(scene, client, b"POST /v2/orders ", GOOD)


async def test_websocket_of_a_path_that_is_described_passes() -> None:
    lines = b"Connection: Upgrade\r\nUpgrade: websocket\r\n" + HANDSHAKE + b"\r\n"
    async with checking() as scene:
        for path, status in ((b"/api/other", b"404"), (b"/api/orders?limit=x", b"422")):
            client = await scene.client()
            await client.send(b"GET %b HTTP/1.1\r\nHost: a\r\n" % path + lines)
            assert (await client.head()).split()[1] == status
        client = await scene.client()
        await client.send(b"GET /api/orders HTTP/1.1\r\nHost: a\r\n" + lines)
        upstream = await scene.upstream.accept()
        assert b"websocket" in await upstream.head()


async def test_document_is_read_again_on_reload(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text("openapi: 3.1.0\npaths: {/api/old: {get: {}}}\n")
    async with answering() as upstream:
        route = {"prefix": "/api", "target_url": upstream.url, "validate": "spec.yaml"}
        async with running(tmp_path, routes=[route]) as gateway:
            assert (await gateway.get("/api/old"))[0] == 200
            assert (await gateway.get("/api/new"))[0] == 404
            spec.write_text("openapi: 3.1.0\npaths: {/api/new: {get: {}}}\n")
            await gateway.reload(routes=[route])
            assert (await gateway.get("/api/old"))[0] == 404
            assert (await gateway.get("/api/new"))[0] == 200
            spec.write_text("openapi: 3.1.0\npaths: {/api/new: {get: []}}\n")
            gateway.write(routes=[route])
            gateway.signal(signal.SIGHUP)
            refused = await gateway.event("reload_refused")
            assert refused["problem"] == (
                f"{gateway.file}: routes[0].validate: #/paths/~1api~1new/get: expected a mapping"
            )
            assert (await gateway.get("/api/new"))[0] == 200
