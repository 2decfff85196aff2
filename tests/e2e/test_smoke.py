"""A request goes up, its answer comes down."""

from __future__ import annotations

from tests.e2e.stage import GET, OK, field, stage


async def test_a_request_and_its_answer_pass() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(GET)
        target = await scene.upstream.accept()
        head = await target.head()
        assert head.startswith(b"GET /api/x HTTP/1.1\r\nHost: gateway.test\r\n")
        assert field(head, b"x-forwarded-for") == b"127.0.0.1"
        await target.send(OK)
        answer, body = await client.answer()
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert body == b"ok"
        assert field(answer, b"x-request-id") == field(head, b"x-request-id")


async def test_an_endpoint_of_its_own_and_an_upstream_share_a_connection() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n" + GET)
        assert b'"healthy"' in (await client.answer())[1]
        target = await scene.upstream.accept()
        await target.head()
        await target.send(OK)
        assert (await client.answer())[1] == b"ok"
        await client.send(b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.answer())[0].startswith(b"HTTP/1.1 200")


async def test_an_endpoint_of_its_own_does_not_wait_for_a_body_that_it_has_no_use_for() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(b"GET /health/live HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n")
        head, _ = await client.answer()
        assert head.startswith(b"HTTP/1.1 200")
        assert field(head, b"connection") == b"close"
        assert await client.rest() == b""
