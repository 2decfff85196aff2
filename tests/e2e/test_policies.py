"""A route's policies on the way in: who answers, in what order, and what becomes of a body."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from gateway.errors import Forbidden, PayloadTooLarge
from gateway.exchange import Exchange, Policy, Response, Verdict
from tests.e2e.stage import GET, OK, PATIENCE, Stage, stage

POST = b"POST /api/x HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 5\r\n\r\n"


class Says:
    """A policy whose verdict the test scripts."""

    def __init__(self, verdict: Callable[[Exchange], Verdict]) -> None:
        self.enter = verdict


@asynccontextmanager
async def guarded(*verdicts: Callable[[Exchange], Verdict], **more: object) -> AsyncIterator[Stage]:
    async with stage(**more) as scene:
        route = scene.gateway.generation.table.routes[0]
        policies: list[Policy] = [Says(verdict) for verdict in verdicts]
        route.policies = tuple(policies)
        yield scene


def lets_in(exchange: Exchange) -> None:
    exchange.lines += (b"X-Edge: seen",)


def refuses(exchange: Exchange) -> None:
    raise Forbidden("not you")


def answers(exchange: Exchange) -> Response:
    return Response(204, lines=(b"X-Own: yes",))


async def test_answer_of_an_upstream_carries_the_lines_of_policies() -> None:
    async with guarded(lets_in) as scene:
        client = await scene.client()
        await client.send(GET)
        upstream = await scene.upstream.accept()
        await upstream.head()
        await upstream.send(OK)
        head, body = await client.answer()
    assert b"\r\nX-Edge: seen\r\n" in head
    assert body == b"ok"


async def test_refusal_carries_the_lines_of_the_policies_before_it() -> None:
    async with guarded(lets_in, refuses) as scene:
        head, body = await scene.ask(GET)
        assert scene.upstream.idle
    assert head.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert b"\r\nX-Edge: seen\r\n" in head
    assert b"not you" in body


async def test_policy_that_answers_is_the_last_one_asked() -> None:
    async with guarded(lets_in, answers, refuses) as scene:
        head, _ = await scene.ask(GET)
    assert head.startswith(b"HTTP/1.1 204 No Content\r\n")
    assert b"Content-Length" not in head
    assert b"\r\nX-Edge: seen\r\n" in head
    assert b"\r\nX-Own: yes\r\n" in head
    assert b"\r\nX-Request-ID: " in head


async def test_own_endpoint_carries_the_lines_of_its_policies() -> None:
    async with stage() as scene:
        table = scene.gateway.generation.table
        table.match(b"/health/live", None, b"GET").policies = (Says(lets_in),)
        head, _ = await scene.ask(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"\r\nX-Edge: seen\r\n" in head


async def test_body_waits_for_a_verdict_and_goes_up_whole() -> None:
    asked, decided = asyncio.Event(), asyncio.Event()

    async def decides() -> None:
        asked.set()
        await decided.wait()

    async with guarded(lambda exchange: decides(), lambda exchange: decides()) as scene:
        client = await scene.client()
        await client.send(POST + b"he")
        await asked.wait()
        await client.send(b"llo")
        assert scene.upstream.idle
        decided.set()
        upstream = await scene.upstream.accept()
        assert (await upstream.head()).startswith(b"POST /api/x ")
        assert await upstream.exactly(5) == b"hello"
        await upstream.send(OK)
        assert (await client.answer())[1] == b"ok"


async def test_large_body_is_not_read_before_the_verdict_and_goes_up_whole() -> None:
    asked, decided = asyncio.Event(), asyncio.Event()
    size = 32 << 20  # more than the kernel holds for both ends

    async def decides() -> None:
        asked.set()
        await decided.wait()

    async with guarded(lambda exchange: decides(), max_body_size=0) as scene:
        client = await scene.client()
        client.writer.write(b"PUT /api/x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
        client.writer.write(bytes(size))
        await asked.wait()
        with pytest.raises(TimeoutError):  # it is not read, so not all of it can be sent
            await asyncio.wait_for(client.writer.drain(), 0.2)
        decided.set()
        upstream = await scene.upstream.accept()
        await upstream.head()
        assert await upstream.exactly(size) == bytes(size)
        await upstream.send(OK)
        assert (await client.answer())[1] == b"ok"


async def test_verdict_that_comes_late_may_be_a_refusal_or_an_answer() -> None:
    async def refuses_later() -> None:
        raise Forbidden

    async def answers_later() -> Response:
        return Response(202, b"later")

    for later, status in ((refuses_later, b"403"), (answers_later, b"202")):
        async with guarded(lets_in, lambda exchange, later=later: later()) as scene:
            head, _ = await scene.ask(POST + b"hello")
            assert head.split()[1] == status
            assert b"\r\nX-Edge: seen\r\n" in head


async def test_policy_that_fails_is_a_500_without_its_reason() -> None:
    async def fails() -> None:
        raise RuntimeError("secret")

    async with guarded(lambda exchange: fails()) as scene:
        head, body = await scene.ask(GET)
    assert head.startswith(b"HTTP/1.1 500 ")
    assert b"secret" not in body


async def test_client_that_leaves_ends_the_wait() -> None:
    asked, cancelled = asyncio.Event(), asyncio.Event()

    async def decides() -> None:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with guarded(lambda exchange: decides()) as scene:
        client = await scene.client()
        await client.send(GET)
        await asked.wait()
        client.reset()
        async with asyncio.timeout(PATIENCE):
            await cancelled.wait()


async def test_policy_reads_a_body_that_the_upstream_gets_untouched() -> None:
    seen: list[bytes] = []

    async def reads(exchange: Exchange) -> None:
        assert exchange.waiting is not None
        seen.append(await exchange.waiting.body(100))

    chunked = b"5\r\nhello\r\n0\r\n\r\n"
    request = b"POST /api/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
    async with guarded(reads) as scene:
        client = await scene.client()
        await client.send(request + b"Expect: 100-continue\r\n\r\n")
        assert await client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(chunked[:6])
        await client.send(chunked[6:])
        upstream = await scene.upstream.accept()
        await upstream.head()
        assert await upstream.exactly(len(chunked)) == chunked
        await upstream.send(OK)
        assert (await client.answer())[1] == b"ok"
        assert seen == [b"hello"]


@pytest.mark.parametrize("framing", [b"Content-Length: 200", b"Transfer-Encoding: chunked"])
async def test_body_beyond_what_a_policy_takes_is_413(framing: bytes) -> None:
    async def reads(exchange: Exchange) -> None:
        assert exchange.waiting is not None
        with pytest.raises(PayloadTooLarge):
            await exchange.waiting.body(100)
        raise PayloadTooLarge(closes=True)

    async with guarded(reads) as scene:
        client = await scene.client()
        await client.send(b"POST /api/x HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n\r\n")
        await client.send(b"c8\r\n" + b"x" * 120)
        assert (await client.head()).startswith(b"HTTP/1.1 413 ")


async def test_empty_body_is_read_at_once() -> None:
    async def reads(exchange: Exchange) -> Response:
        assert exchange.waiting is not None
        return Response(200, b"<%b>" % await exchange.waiting.body(0))

    async with guarded(reads) as scene:
        assert (await scene.ask(GET))[1] == b"<>"


async def test_withheld_fields_and_their_look_alikes_stay_here_and_others_go_up() -> None:
    def withholds(exchange: Exchange) -> None:
        exchange.withheld = frozenset((b"x-user-id",))
        exchange.upward = (b"X-User-Id: 7",)

    async with guarded(withholds) as scene:
        client = await scene.client()
        await client.send(GET[:-2] + b"X-User-Id: 1\r\nx_user_id: 2\r\nX-User: 3\r\n\r\n")
        upstream = await scene.upstream.accept()
        head = await upstream.head()
        await upstream.send(OK)
        await client.answer()
    assert head.lower().count(b"user-id:") == 1
    assert b"\r\nX-User-Id: 7\r\n" in head
    assert b"\r\nX-User: 3\r\n" in head
    assert b"x_user_id" not in head


async def test_answer_without_the_fields_that_the_route_says_better() -> None:
    async with guarded(lets_in) as scene:
        route = scene.gateway.generation.table.routes[0]
        route.replaces = frozenset((b"access-control-allow-origin",))
        client = await scene.client()
        await client.send(GET)
        upstream = await scene.upstream.accept()
        await upstream.head()
        await upstream.send(
            b"HTTP/1.1 200 Fine\r\nAccess-Control-Allow-Origin: *\r\n"
            b"Access-Control-Max-Age: 5\r\nContent-Length: 2\r\n\r\nok"
        )
        head, body = await client.answer()
    assert head.startswith(b"HTTP/1.1 200 Fine\r\n")
    assert b"Allow-Origin" not in head
    assert b"\r\nAccess-Control-Max-Age: 5\r\n" in head
    assert body == b"ok"


async def test_preflight_is_matched_by_the_method_that_it_asks_for() -> None:
    preflight = (
        b"OPTIONS /api/x HTTP/1.1\r\nHost: x\r\nOrigin: https://a\r\n"
        b"Access-Control-Request-Method: %b\r\n\r\n"
    )
    async with guarded(answers, route={"methods": ["PUT"]}) as scene:
        assert (await scene.ask(preflight % b"PUT"))[0].split()[1] == b"405"
        scene.gateway.generation.table.routes[0].preflight = True
        assert (await scene.ask(preflight % b"PUT"))[0].split()[1] == b"204"
        assert (await scene.ask(preflight % b"GET"))[0].split()[1] == b"405"
