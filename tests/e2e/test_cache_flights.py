"""Requests for the same at the same time: one goes up, and nobody is harmed by another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from tests.e2e.caching import answer, asking, cached, received
from tests.e2e.life import until
from tests.e2e.stage import Connection, Stage, field, stage

HEAD = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 4\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"


@asynccontextmanager
async def waiting(
    count: int, *lines: bytes, **settings: Any
) -> AsyncIterator[tuple[Stage, list[Connection], Connection]]:
    """So many clients that wait for the same, and the one connection to the upstream."""
    async with stage(route={"cache": True}, **settings) as scene:
        first = await scene.client()
        await first.send(asking(*lines))
        target = await scene.upstream.accept()
        await target.head()
        clients = [first]
        for _ in range(count - 1):
            client = await scene.client()
            await client.send(asking(*lines))
            clients.append(client)
        await joined(scene, count)
        yield scene, clients, target


async def joined(scene: Stage, count: int) -> None:
    """When so many clients wait."""
    await until(
        lambda: sum(c.exchange is not None for c in scene.gateway.front.connections) == count
    )


async def test_one_request_serves_all() -> None:
    async with waiting(20) as (scene, clients, target):
        await target.send(HEAD + b"bo")
        for client in clients:  # as it comes, not when it is whole
            await client.head()
            assert await client.exactly(2) == b"bo"
        await target.send(b"dy")
        for client in clients:
            assert await client.exactly(2) == b"dy"
        assert scene.upstream.idle


async def test_each_is_told_and_named() -> None:
    async with waiting(2) as (_, clients, target):
        await target.send(HEAD + b"body")
        heads = [(await client.answer())[0] for client in clients]
        line = b"gateway; fwd=uri-miss; fwd-status=200; stored"
        assert field(heads[0], b"cache-status") == line
        assert field(heads[1], b"cache-status") == line + b"; collapsed"
        assert field(heads[0], b"x-request-id") != field(heads[1], b"x-request-id")


async def test_one_that_comes_in_the_middle_gets_all_of_it() -> None:
    async with waiting(1) as (scene, clients, target):
        await target.send(HEAD + b"bo")
        await clients[0].head()
        await clients[0].exactly(2)
        late = await scene.client()
        await late.send(asking())
        await late.head()
        assert await late.exactly(2) == b"bo"
        await target.send(b"dy")
        assert await late.exactly(2) == b"dy"
        assert await clients[0].exactly(2) == b"dy"
        assert scene.upstream.idle


async def test_one_that_comes_in_the_middle_and_differs_asks_for_itself() -> None:
    async with waiting(1, b"Foo: 1") as (scene, clients, target):
        varied = HEAD.replace(b"\r\n\r\n", b"\r\nVary: Foo\r\n\r\n")
        await target.send(varied + b"bo")
        await clients[0].head()
        late = await scene.client()
        await late.send(asking(b"Foo: 2"))
        other = await scene.upstream.accept()
        assert b"Foo: 2" in await other.head()
        await other.send(varied + b"else")
        assert (await late.answer())[1] == b"else"
        await target.send(b"dy")
        assert await clients[0].exactly(4) == b"body"


@pytest.mark.parametrize("begun", [False, True])
async def test_first_one_leaves_and_the_others_get_it(begun: bool) -> None:
    async with waiting(3) as (scene, clients, target):
        if begun:
            await target.send(HEAD + b"bo")
            for client in clients:
                await client.head()
        clients[0].reset()
        await until(lambda: len(scene.gateway.front.connections) == 2)
        await target.send(b"dy" if begun else HEAD + b"body")
        for client in clients[1:]:
            if not begun:
                await client.head()
            assert await client.exactly(4) == b"body"
        await clients[1].send(asking())
        assert (await clients[1].answer())[1] == b"body"
        assert scene.upstream.idle


async def test_all_leave_and_the_request_is_given_up() -> None:
    async with waiting(2) as (scene, clients, target):
        for client in clients:
            client.reset()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await target.exactly(1)
        client = await scene.client()
        await client.send(asking())
        again = await scene.upstream.accept()
        await again.head()
        await again.send(HEAD + b"body")
        assert (await client.answer())[1] == b"body"


async def test_what_is_not_for_sharing_is_for_the_first_alone() -> None:
    async with cached() as scene:
        gate = asyncio.Event()

        async def own() -> bytes:
            number = b"%d" % scene.origin.asked
            await gate.wait()
            return answer(b"Cache-Control: private, max-age=60", body=number)

        scene.origin.say = lambda _: own()
        asked = [asyncio.create_task(scene.get()) for _ in range(5)]
        await until(lambda: scene.origin.asked == 1)
        await joined(scene.stage, 5)
        gate.set()
        assert {(await one)[2] for one in asked} == {b"1", b"2", b"3", b"4", b"5"}


async def test_nobody_waits_for_what_is_known_not_to_be_for_sharing() -> None:
    async with cached() as scene:
        gate = asyncio.Event()
        scene.origin.says(answer(b"Cache-Control: private", b'ETag: "v1"'))
        await scene.get()

        async def own() -> bytes:
            await gate.wait()
            return answer(b"Cache-Control: private")

        scene.origin.say = lambda _: own()
        asked = [asyncio.create_task(scene.get(b'If-None-Match: "v1"')) for _ in range(3)]
        await until(lambda: scene.origin.asked == 4)
        gate.set()
        await asyncio.gather(*asked)
        assert all(b"If-None-Match" in head for head in scene.origin.heads[1:])


async def test_other_variants_ask_for_themselves() -> None:
    async with cached() as scene:
        gate = asyncio.Event()

        async def own(head: bytes) -> bytes:
            await gate.wait()
            body = head.partition(b"\r\nFoo: ")[2].partition(b"\r\n")[0]
            return answer(b"Cache-Control: max-age=60", b"Vary: Foo", body=body)

        scene.origin.say = own
        asked = [asyncio.create_task(scene.get(b"Foo: %d" % (n % 2))) for n in range(4)]
        await until(lambda: scene.origin.asked == 1)
        await joined(scene.stage, 4)
        gate.set()
        bodies = [(await one)[2] for one in asked]
        assert bodies == [b"0", b"1", b"0", b"1"]
        assert scene.origin.asked == 3  # the two that differed asked one by one


async def test_failure_is_everybodys() -> None:
    async with waiting(3) as (scene, clients, target):
        target.reset()
        for client in clients:
            head, body = await client.answer()
            assert head.startswith(b"HTTP/1.1 502 ")
            assert b'"bad_gateway"' in body
            assert field(head, b"cache-status") == b"gateway; fwd=uri-miss; fwd-status=502"
        assert scene.upstream.idle


async def test_answer_that_breaks_off_looks_whole_to_nobody_and_is_not_kept() -> None:
    async with waiting(2) as (scene, clients, target):
        await target.send(HEAD + b"bo")
        for client in clients:
            await client.head()
        target.reset()
        for client in clients:
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                await client.exactly(4)
        client = await scene.client()
        await client.send(asking())
        again = await scene.upstream.accept()
        await again.head()


async def test_answer_that_only_the_connections_end_ends_is_not_kept() -> None:
    async with cached() as scene:
        whole = b"HTTP/1.0 200 OK\r\nCache-Control: max-age=60\r\n\r\nbody"
        scene.origin.say = lambda _: whole
        task = asyncio.create_task(scene.get())
        await until(lambda: scene.origin.asked == 1)
        await asyncio.sleep(0.02)
        for connection in scene.origin.connections:
            connection.writer.close()
        assert (await task)[2] == b"body"
        scene.origin.says(answer(body=b"new"))
        assert (await scene.get())[2] == b"new"


async def test_hints_reach_who_asked_and_are_not_kept() -> None:
    """Whether the others may have the answer that they speak of is not known yet."""
    async with waiting(2) as (scene, clients, target):
        await target.send(HINTS)
        assert await clients[0].head() == HINTS
        await target.send(HINTS + HEAD + b"body")
        assert await clients[0].head() == HINTS
        for client in clients:
            assert (await client.answer())[1] == b"body"
        await clients[0].send(asking())
        assert (await clients[0].answer())[1] == b"body"
        assert scene.upstream.idle


# ----------------------------------------------------------------------------------- large bodies

SMALL = {"cache": {"largest": 1000}}


async def test_body_that_is_too_large_streams_past() -> None:
    async with cached(**SMALL) as scene:
        scene.origin.says(answer(body=b"x" * 1001))
        for asked in (1, 2):
            assert len((await scene.get())[2]) == 1001
            assert scene.origin.asked == asked
        scene.origin.says(answer(body=b"x" * 1000))
        for _ in range(2):
            assert len((await scene.get())[2]) == 1000
            assert scene.origin.asked == 3


async def test_body_that_grows_too_large_streams_on_to_all() -> None:
    async with waiting(2, **SMALL) as (_, clients, target):
        await target.send(
            b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for _ in range(3):
            await target.send(b"1F4\r\n" + b"x" * 500 + b"\r\n")
        await target.send(b"0\r\n\r\n")
        for client in clients:
            assert len((await received(client))[2]) == 1500
        await clients[0].send(asking())
        await target.head()


async def test_slow_client_slows_the_upstream_of_what_is_not_kept() -> None:
    size = 64 << 20
    async with stage(route={"cache": True}) as scene:
        client = await scene.client()
        await client.send(asking())
        target = await scene.upstream.accept()
        await target.head()
        head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: %d\r\n\r\n"
        target.writer.write(head % size)
        sent = 0
        with suppress(TimeoutError):
            while sent < size:
                target.writer.write(b"x" * 65536)
                sent += 65536
                async with asyncio.timeout(0.5):
                    await target.writer.drain()
        assert sent < size
        writing = asyncio.create_task(target.send(b"x" * (size - sent)))
        await client.head()
        left = size
        while left:
            left -= len(await client.reader.read(1 << 20))
        await writing


async def test_results_are_counted() -> None:
    async with cached() as scene:
        await scene.get()
        await scene.get()
        await scene.get(method=b"POST", body=b"abc")
        _, _, text = await scene.get(path=b"/metrics")
        for result, count in ((b"hit", 1), (b"miss", 1), (b"bypass", 1), (b"stale", 0)):
            line = b'gateway_cache_requests_total{result="%b",route="api"} %d.0' % (result, count)
            other = b'gateway_cache_requests_total{route="api",result="%b"} %d.0' % (result, count)
            assert line in text or other in text


async def test_purge_of_one_prefix_leaves_the_others() -> None:
    async with cached() as scene:
        for path in (b"/api/a/1", b"/api/b/1"):
            await scene.get(path=path)
        shelves = scene.stage.gateway._edge.shelves()
        assert await shelves.purge(lambda key: b"/api/a/" in key) == 1
        for path in (b"/api/a/1", b"/api/b/1"):
            await scene.get(path=path)
        assert scene.origin.asked == 3
