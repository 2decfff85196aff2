"""When waiting ends: for a connection, for an answer's head, for its next byte."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from tests.e2e.answering import (
    closed,
    deaf_target,
    in_front,
    is_cut,
    request,
    status,
    status_of,
    stays_open,
)
from tests.e2e.stage import GET, OK, stage

SHORT = 0.2


@pytest.fixture
def deaf() -> Iterator[str]:
    with deaf_target() as url:
        yield url


async def test_a_connection_that_is_not_made_in_time_is_a_timeout(deaf: str) -> None:
    async with in_front(deaf, settings={"connect_timeout": SHORT}) as scene:
        head, body = await scene.ask(request())
        assert status_of(head) == 504
        assert b'"error":"gateway_timeout"' in body


async def test_a_refused_connection_is_no_timeout() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with in_front(f"http://127.0.0.1:{taken.getsockname()[1]}") as scene:
            assert await status(scene) == 503


async def test_a_client_that_uploads_to_a_deaf_target_is_told(deaf: str) -> None:
    async with in_front(deaf, settings={"connect_timeout": SHORT}) as scene:
        client = await scene.client()
        await client.send(request(method=b"PUT", body=b"data") + request(b"/health/live"))
        assert status_of((await client.answer())[0]) == 504
        assert status_of((await client.answer())[0]) == 200


async def test_an_answer_that_does_not_begin_is_a_timeout() -> None:
    async with stage(timeout=SHORT) as scene:
        client = await scene.client()
        await client.send(GET)
        target = await scene.upstream.accept()
        await target.head()
        head, body = await client.answer()
        assert status_of(head) == 504
        assert b'"error":"gateway_timeout"' in body
        assert await target.rest() == b""
        await client.send(GET)  # the client's connection goes on
        await (await scene.upstream.accept()).head()


async def test_a_head_has_to_be_whole_in_time() -> None:
    async with stage(timeout=SHORT) as scene:
        client = await scene.client()
        await client.send(GET)
        target = await scene.upstream.accept()
        await target.head()

        async def trickle() -> None:
            await target.send(b"HTTP/1.1 200 OK\r\n")
            while True:
                await asyncio.sleep(SHORT / 10)
                await target.send(b"A: b\r\n")

        trickling = asyncio.create_task(trickle())
        assert status_of((await client.answer())[0]) == 504
        trickling.cancel()


async def test_a_routes_own_timeout_goes_before_the_general_one() -> None:
    async with stage(timeout=60, route={"timeout": SHORT}) as scene:
        assert status_of((await scene.ask(GET))[0]) == 504


async def test_a_long_answer_may_take_as_long_as_it_flows() -> None:
    async with stage(timeout=SHORT) as scene:
        client = await scene.client()
        await client.send(GET)
        target = await scene.upstream.accept()
        await target.head()
        await target.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        for _ in range(10):
            await asyncio.sleep(SHORT / 4)
            await target.send(b"x")
        await client.head()
        assert await client.exactly(10) == b"x" * 10


async def test_silence_within_an_answer_cuts_it() -> None:
    async with stage(timeout=SHORT) as scene:
        client = await scene.client()
        await client.send(GET)
        target = await scene.upstream.accept()
        await target.head()
        await target.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx")
        await client.head()
        await client.exactly(1)
        await is_cut(client)


async def test_an_upload_may_take_as_long_as_it_flows() -> None:
    async with stage(timeout=SHORT) as scene:
        client = await scene.client()
        await client.send(b"PUT /api/x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n")
        target = await scene.upstream.accept()
        await target.head()
        for _ in range(10):
            await asyncio.sleep(SHORT / 4)
            await client.send(b"x")
            await target.exactly(1)
        await target.send(OK)
        assert (await client.answer())[1] == b"ok"


async def test_a_client_that_pauses_its_upload_is_not_the_upstreams_silence() -> None:
    async with stage(timeout=SHORT) as scene:
        client = await scene.client()
        await client.send(b"PUT /api/x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx")
        target = await scene.upstream.accept()
        await target.head()
        await stays_open(client, 2 * SHORT)
        await client.send(b"y")
        assert await target.exactly(2) == b"xy"
        await target.send(OK)
        assert (await client.answer())[1] == b"ok"


async def test_time_counts_from_the_end_of_an_upload() -> None:
    async with stage(timeout=SHORT) as scene:
        client = await scene.client()
        await client.send(b"PUT /api/x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx")
        target = await scene.upstream.accept()
        await target.head()
        await stays_open(client, 2 * SHORT)
        await client.send(b"y")
        assert status_of((await client.answer())[0]) == 504


async def test_an_answer_that_began_early_may_wait_for_its_upload() -> None:
    async with stage(timeout=SHORT) as scene:
        client = await scene.client()
        await client.send(b"PUT /api/x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n")
        target = await scene.upstream.accept()
        await target.head()
        await target.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        await client.head()
        for _ in range(10):  # twice the time, and no silence: the client is speaking
            await asyncio.sleep(SHORT / 5)
            await client.send(b"x")
            await target.exactly(1)
        await target.send(b"ok")
        assert await client.exactly(2) == b"ok"


async def test_an_upstream_that_takes_no_more_of_an_upload_is_a_timeout() -> None:
    async with stage(timeout=SHORT, max_body_size=0) as scene:
        client = await scene.client()
        client.writer.write(b"PUT /api/x HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n")
        target = await scene.upstream.accept()
        await target.head()
        target.writer.transport.pause_reading()
        client.writer.write(bytes(50000000))
        assert status_of(await client.head()) == 504


async def test_a_slow_reader_is_not_the_upstreams_silence() -> None:
    async with stage(timeout=SHORT) as scene:
        client = await scene.client()
        client.writer.transport.pause_reading()
        await client.send(GET)
        target = await scene.upstream.accept()
        await target.head()
        size = 20000000
        target.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        target.writer.write(bytes(size))
        await asyncio.sleep(3 * SHORT)
        client.writer.transport.resume_reading()
        await client.head()
        assert await client.exactly(size) == bytes(size)


async def test_a_client_that_reads_nothing_is_let_go() -> None:
    async with stage(limits={"send_timeout": SHORT}) as scene:
        client = await scene.client()
        client.writer.transport.pause_reading()
        await client.send(GET)
        target = await scene.upstream.accept()
        await target.head()
        target.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n")
        target.writer.write(bytes(50000000))
        await closed(target)
        assert not scene.gateway.front.connections


async def test_an_idle_client_is_let_go_and_a_waiting_one_is_not() -> None:
    async with stage(limits={"keepalive_timeout": SHORT}) as scene:
        client = await scene.client()
        await client.send(GET)
        target = await scene.upstream.accept()
        await target.head()
        await stays_open(client, 2 * SHORT)
        await target.send(OK)
        assert (await client.answer())[1] == b"ok"
        assert await client.rest() == b""
