"""Many requests on one connection, many connections of one client: in order, and counted."""

from __future__ import annotations

import asyncio

import pytest

from tests.e2e.answering import answering, body, closed, eventually, in_front, request, status_of
from tests.e2e.stage import GET, OK, Connection, gateway_on, settings, stage


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with answering(b"ok") as [upstream], in_front([upstream]) as scene:
        client = await scene.client()
        await client.send(b"".join(request(b"/%d" % number) for number in range(100)))
        for _ in range(100):
            assert (await client.answer())[1] == b"ok"
        assert upstream.targets == [b"/%d" % number for number in range(100)]
        assert len(upstream.connections) == 1


async def test_a_quick_answer_does_not_overtake_a_slow_one() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(GET + request(b"/health/live") + request(b"/nothing") + GET)
        target = await scene.upstream.accept()
        await target.head()
        await target.send(OK)
        assert (await client.answer())[1] == b"ok"
        assert status_of((await client.answer())[0]) == 200
        assert status_of((await client.answer())[0]) == 404
        await target.head()
        await target.send(OK)
        assert (await client.answer())[1] == b"ok"


async def test_a_pipelined_request_is_not_asked_before_its_turn() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(GET + GET)
        target = await scene.upstream.accept()
        await target.head()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await scene.upstream.accept()
        await target.send(OK)
        await target.head()


async def test_bodies_between_pipelined_requests_stay_apart() -> None:
    async with answering(b"ok") as [upstream], in_front([upstream]) as scene:
        client = await scene.client()
        chunked = b"PUT /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        chunked += b"3\r\ntwo\r\n0\r\n\r\n"
        await client.send(
            request(b"/a", method=b"PUT", body=b"GET / HTTP/1.1\r\n\r\n")
            + chunked
            + request(b"/c")
            + request(b"/d", method=b"POST", body=b"four")
        )
        for _ in range(4):
            assert (await client.answer())[1] == b"ok"
        assert upstream.targets == [b"/a", b"/b", b"/c", b"/d"]
        assert upstream.bodies == [b"GET / HTTP/1.1\r\n\r\n", b"two", b"", b"four"]


async def test_pipelined_requests_in_single_bytes_are_the_same() -> None:
    async with answering(b"ok") as [upstream], in_front([upstream]) as scene:
        client = await scene.client()
        for at in request(b"/1") + request(b"/2", method=b"PUT", body=b"xy") + request(b"/3"):
            await client.send(bytes((at,)))
        for _ in range(3):
            assert (await client.answer())[1] == b"ok"
        assert upstream.bodies == [b"", b"xy", b""]


async def test_a_thousand_requests_go_by_one_connection_each_side() -> None:
    async with answering(b"ok") as [upstream], in_front([upstream]) as scene:
        client = await scene.client()
        for _ in range(1000):
            await client.send(GET)
            assert (await client.answer())[1] == b"ok"
        assert len(upstream.connections) == 1


async def test_requests_with_other_fields_on_one_connection_are_not_mixed_up() -> None:
    async with answering(b"ok") as [upstream], in_front([upstream]) as scene:
        client = await scene.client()
        asked = [
            request(b"/1", b"X-A: 1"), request(b"/2"), request(b"/3", b"X-A: 2"),
            request(b"/4", b"X-A: 2", method=b"DELETE"), b"GET /5 HTTP/1.1\r\nHost: b\r\n\r\n",
        ]  # fmt: skip
        for one in asked:
            await client.send(one)
            await client.answer()
        assert [(b"X-A: 1" in h, b"X-A: 2" in h) for h in upstream.heads] == [
            (True, False), (False, False), (False, True), (False, True), (False, False),
        ]  # fmt: skip
        assert [h.split(b" ")[0] for h in upstream.heads] == [b"GET"] * 3 + [b"DELETE", b"GET"]
        assert b"\r\nHost: b\r\n" in upstream.heads[4]


async def test_connections_of_one_address_are_limited() -> None:
    async with answering(b"ok") as [upstream]:
        limits = {"limits": {"connections_per_address": 2}}
        async with in_front([upstream], settings=limits) as scene:
            first, second = await scene.client(), await scene.client()
            for client in (first, second):
                await client.send(GET)
                assert (await client.answer())[1] == b"ok"
            third = await scene.client()
            assert await closed(third) == b""
            for client in (first, second):
                await client.send(GET)
                assert (await client.answer())[1] == b"ok"
            await first.close()
            await eventually(lambda: len(scene.gateway.front.connections) == 1)
            assert await body(scene) == b"ok"


async def test_a_trusted_proxy_may_have_as_many_connections_as_it_likes() -> None:
    async with answering(b"ok") as [upstream]:
        more = {"limits": {"connections_per_address": 1}, "trusted_proxies": ["127.0.0.1"]}
        async with in_front([upstream], settings=more) as scene:
            clients = [await scene.client() for _ in range(5)]
            for client in clients:
                await client.send(GET)
                assert (await client.answer())[1] == b"ok"


async def test_connections_over_the_limit_wait_until_there_is_room() -> None:
    async with answering(b"ok") as [upstream]:
        made = settings(upstream, limits={"connections": 1})
        async with gateway_on(made) as (_, port):
            first = Connection(*await asyncio.open_connection("127.0.0.1", port))
            await first.send(GET)
            assert (await first.answer())[1] == b"ok"
            second = Connection(*await asyncio.open_connection("127.0.0.1", port))
            await second.send(GET)
            await first.send(GET)
            assert (await first.answer())[1] == b"ok"
            assert len(upstream.heads) == 2
            await first.close()
            assert (await second.answer())[1] == b"ok"
            await second.close()
