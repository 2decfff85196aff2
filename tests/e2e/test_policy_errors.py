"""Every error that proxying can make: its status line, its one JSON form, what it tells of whom."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import cast

import pytest

from gateway.exchange import Exchange, Route
from gateway.pipeline import Pipeline
from tests.e2e.policy import CODES, CONTROL, Told, check_error, end, sent_up, told, values
from tests.e2e.stage import GET, OK, Connection, Stage, field, stage

A = b" HTTP/1.1\r\nHost: a\r\n\r\n"

REQUESTS: dict[int, bytes] = {
    400: b"GET /api/.." + A,
    404: b"GET /nothing" + A,
    405: b"TRACE /api/x" + A,
    408: b"GET /api/x HTTP/1.1\r\nHost: a\r\n",
    413: b"POST /api/x HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n",
    414: b"GET /api/" + b"x" * 9000 + A,
    417: b"GET /api/x HTTP/1.1\r\nHost: a\r\nExpect: b\r\n\r\n",
    431: b"GET /api/x HTTP/1.1\r\nHost: a\r\nA: " + b"x" * 9000 + b"\r\n\r\n",
    500: b"GET /api/broken" + A,
    501: b"POST /api/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
    502: b"GET /bad/x" + A,
    503: b"GET /down/x" + A,
    504: b"GET /slow/x" + A,
    505: b"GET /api/x HTTP/2.0\r\nHost: a\r\n\r\n",
}
REASONS = {
    400: b"Bad Request", 404: b"Not Found", 405: b"Method Not Allowed", 408: b"Request Timeout",
    413: b"Content Too Large", 414: b"URI Too Long", 417: b"Expectation Failed",
    431: b"Request Header Fields Too Large", 500: b"Internal Server Error",
    501: b"Not Implemented", 502: b"Bad Gateway", 503: b"Service Unavailable",
    504: b"Gateway Timeout", 505: b"HTTP Version Not Supported",
}  # fmt: skip


class Broken:
    """An endpoint with a fault."""

    def handle(self, exchange: Exchange) -> None:
        raise RuntimeError("the secret of 10.1.2.3")


def route_of(scene: Stage) -> Route:
    """The route /api: what no request can break (or it would be mended) is broken here."""
    pipeline = cast(Pipeline, scene.gateway.front.pipeline)
    return pipeline.table.match(b"/api/x", None, b"GET")


@asynccontextmanager
async def asking(
    status: int, edit: Callable[[bytes], bytes] = lambda data: data
) -> AsyncIterator[Connection]:
    """A client that has asked for an error; `edit` changes its request."""
    async with stage() as down:
        nobody = down.upstream.url
    async with stage() as silent, stage() as bad:
        routes = [
            {"name": "api", "prefix": "/api", "target_url": silent.upstream.url},
            {"name": "down", "prefix": "/down", "target_url": nobody},
            {"name": "slow", "prefix": "/slow", "target_url": silent.upstream.url, "timeout": 0.1},
            {"name": "bad", "prefix": "/bad", "target_url": bad.upstream.url},
        ]
        limits = {"head_timeout": 0.1} if status == 408 else {}
        async with stage(routes=routes, limits=limits, max_body_size=50) as scene:
            if status == 500:
                route_of(scene).endpoint = Broken()
            client = await scene.client()
            await client.send(edit(REQUESTS[status]))
            if status == 502:
                target = await bad.upstream.accept()
                await target.head()
                await target.send(b"secret garbage\r\n\r\n")
            yield client


async def error_of(status: int, edit: Callable[[bytes], bytes] = lambda data: data) -> Told:
    async with asking(status, edit) as client:
        return await told(client)


@pytest.mark.parametrize("status", CODES)
async def test_an_error_has_its_status_and_its_form(status: int) -> None:
    answer = await error_of(status)
    check_error(answer, status)
    assert answer.head.startswith(b"HTTP/1.1 %d %b\r\n" % (status, REASONS[status]))
    assert int(field(answer.head, b"content-length") or 0) == len(answer.body)
    assert answer.error["path"].encode() == REQUESTS[status].split(b" ")[1][:8192]
    assert datetime.fromisoformat(answer.error["timestamp"]).tzname() == "UTC"
    assert values(answer.head, b"server") == [b"gateway"]
    assert len(values(answer.head, b"date")) == 1
    assert len(values(answer.head, b"x-request-id")) == 1
    assert list(answer.error) == [
        "error", "message", "path", "timestamp", "status_code", "request_id",
    ]  # fmt: skip


@pytest.mark.parametrize("status", CODES)
async def test_an_error_tells_no_secret(status: int) -> None:
    answer = await error_of(status)
    for secret in (b"secret", b"10.1.2.3", b"127.0.0.1", b"Traceback", b".py", b"Error("):
        assert secret not in answer.head + answer.body


@pytest.mark.parametrize("status", [400, 404, 405, 413, 500, 502, 503, 504])
async def test_an_error_bears_the_name_that_its_request_had(status: int) -> None:
    def named(data: bytes) -> bytes:
        return data.replace(b"Host: a\r\n", b"Host: a\r\nX-Request-ID: my.name-1\r\n")

    answer = await error_of(status, named)
    check_error(answer, status)
    assert answer.error["request_id"] == "my.name-1"


@pytest.mark.parametrize("status", [400, 404, 405, 500, 502, 503, 504])
async def test_an_errors_path_has_no_query(status: int) -> None:
    def with_query(data: bytes) -> bytes:
        return data.replace(b" HTTP/1.1", b"?token=hidden HTTP/1.1")

    answer = await error_of(status, with_query)
    check_error(answer, status)
    assert answer.error["path"].encode() == REQUESTS[status].split(b" ")[1]
    assert b"hidden" not in answer.head + answer.body


@pytest.mark.parametrize("status", [414, 431, 501, 505])
async def test_a_refused_heads_path_has_no_query(status: int) -> None:
    def with_query(data: bytes) -> bytes:
        return data.replace(b" HTTP/", b"?token=hidden HTTP/").replace(b"/api/xx", b"/api/?yx")

    answer = await error_of(status, with_query)
    check_error(answer, status)
    assert "?" not in answer.error["path"]
    assert b"hidden" not in answer.head + answer.body


@pytest.mark.parametrize("status", [400, 404, 500, 502, 503, 504])
async def test_an_error_to_head_has_no_body(status: int) -> None:
    def as_head(data: bytes) -> bytes:
        lines = b"Host: a\r\nConnection: close\r\n"
        return data.replace(b"GET ", b"HEAD ", 1).replace(b"Host: a\r\n", lines)

    async with asking(status, as_head) as client:
        head = await client.head()
        assert head.startswith(b"HTTP/1.1 %d " % status)
        assert int(field(head, b"content-length") or 0) > 100  # that of the body of a GET
        await end(client)


@pytest.mark.parametrize(
    "path",
    [
        b'/"<script>alert(1)</script>',
        b"/{}'`|^",
        b"/%22%0a",
        b'/","status_code":200,"x":"',
        b"/%ff",
    ],
)
async def test_no_path_breaks_out_of_an_errors_json(path: bytes) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(b"GET " + path + A)
        answer = await told(client)
        check_error(answer, 404)
        assert answer.error["path"].encode() == path
        assert field(answer.head, b"content-type") == b"application/json"


@pytest.mark.parametrize(
    "data",
    [
        b'GET /"\\\xff\x00 HTTP/1.1\r\nHost: a\r\n\r\n', b"\xff\xfe \x00 HTTP/1.1\r\n\r\n",
        b"\r\n\r\n \r\n\r\n", b"\x80\r\n\r\n", b"GET /\xc3\xa4 HTTP/1.1\r\n\r\n",
        b'GET /\x1b[31m\x7f" HTTP/1.1\r\n\r\n', b"GET\r\n\r\n", b"A B C D E\r\n\r\n",
    ],
)  # fmt: skip
async def test_whatever_came_an_error_is_json(data: bytes) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(data)
        answer = await told(client)
        check_error(answer, 400)
        assert json.loads(answer.body.decode())
        await end(client)


async def test_a_fault_of_the_gateways_own_leaves_the_next_request_in_peace() -> None:
    async with stage() as scene:
        route = route_of(scene)
        sound, route.endpoint = route.endpoint, Broken()
        client = await scene.client()
        await client.send(GET)
        check_error(await told(client), 500)
        await end(client)
        route.endpoint = sound
        other, target, _ = await sent_up(scene, GET)
        await target.send(OK)
        assert (await told(other)).status == 200


async def test_while_it_drains_what_has_no_answer_is_told_so() -> None:
    async with stage() as scene:
        client, _, _ = await sent_up(scene, GET)
        scene.gateway.front.draining = True
        assert scene.gateway.front.cut_all() == 1
        answer = await told(client)
        check_error(answer, 503)
        assert answer.closes
        await end(client)


async def test_an_answer_that_has_begun_is_never_followed_by_an_error() -> None:
    async with stage() as scene:
        client, target, _ = await sent_up(scene, GET + CONTROL)
        await target.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\nhalf")
        await client.head()
        assert await client.exactly(4) == b"half"
        await target.close()
        with pytest.raises(ConnectionResetError):
            assert await client.reader.read(1) != b"", "it looked like an end"
