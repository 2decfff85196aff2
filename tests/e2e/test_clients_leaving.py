"""A client that leaves takes its upstream request along, at once, wherever it has got to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.answering import (
    closed,
    deaf_target,
    eventually,
    in_front,
    nothing_open,
    pools,
    request,
    scripted,
)
from tests.e2e.stage import GET, OK, Connection, Stage, stage

PUT = b"PUT /api/x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf"
CHUNKED = b"PUT /api/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"
WHOLE = request(b"/api/x", method=b"POST", body=b"whole")

LEAVING = pytest.mark.parametrize("leave", ["close", "reset"])
PROMPT = 1.0
"""s: far from every timeout."""


async def go(client: Connection, leave: str) -> None:
    if leave == "close":
        await client.close()
    else:
        client.reset()


async def soon(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PROMPT):
        await eventually(condition)


async def is_over(target: Connection, scene: Stage) -> bytes:
    """The upstream's connection ends, and nothing of it is left; gives what it still got."""
    async with asyncio.timeout(PROMPT):
        data = await closed(target)
        await eventually(lambda: nothing_open(scene))
    return data


@LEAVING
@pytest.mark.parametrize("asked", [GET, WHOLE], ids=["without a body", "with one"])
async def test_while_waiting_for_the_answer(asked: bytes, leave: str) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(asked)
        target = await scene.upstream.accept()
        await target.head()
        await go(client, leave)
        await is_over(target, scene)


@LEAVING
async def test_during_the_answer(leave: str) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(GET)
        target = await scene.upstream.accept()
        await target.head()
        await target.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
        await client.head()
        await go(client, leave)
        await is_over(target, scene)


@LEAVING
async def test_during_an_endless_stream_of_events(leave: str) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(GET)
        target = await scene.upstream.accept()
        await target.head()
        await target.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await client.until(b"data: 1\n\n")
        await go(client, leave)
        await is_over(target, scene)


@LEAVING
@pytest.mark.parametrize("asked", [PUT, CHUNKED], ids=["length", "chunked"])
async def test_during_the_upload(asked: bytes, leave: str) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(asked)
        target = await scene.upstream.accept()
        await target.head()
        await target.until(b"half")
        await go(client, leave)
        rest = await is_over(target, scene)
        assert b"0\r\n\r\n" not in rest  # what came is no whole request


async def test_while_the_upstream_takes_no_more_of_the_upload_within_the_timeout() -> None:
    async with stage(max_body_size=0, timeout=0.3) as scene:
        client = await scene.client()
        client.writer.write(b"PUT /api/x HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n")
        target = await scene.upstream.accept()
        await target.head()
        target.writer.transport.pause_reading()
        await fill(client)
        client.reset()  # behind bytes that nobody reads: only the kernel knows of it
        await soon(lambda: nothing_open(scene) and not scene.gateway.front.connections)


async def fill(client: Connection) -> None:
    """Send until nothing more is taken."""
    client.writer.transport.set_write_buffer_limits(0)
    while True:
        client.writer.write(bytes(1 << 20))
        try:
            async with asyncio.timeout(0.1):
                await client.writer.drain()
        except TimeoutError:
            return


@LEAVING
async def test_while_it_reads_nothing_itself(leave: str) -> None:
    async with stage() as scene:
        client = await scene.client()
        client.writer.transport.pause_reading()
        await client.send(GET)
        target = await scene.upstream.accept()
        await target.head()
        target.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n")
        await fill(target)
        await go(client, leave) if leave == "reset" else client.writer.transport.abort()
        await soon(lambda: nothing_open(scene))


@LEAVING
@pytest.mark.parametrize("asked", [GET, WHOLE, PUT], ids=["without a body", "with one", "half"])
async def test_while_queued_for_a_connection(asked: bytes, leave: str) -> None:
    async with (
        scripted() as upstream,
        in_front([upstream], pool={"connections": 1, "wait_timeout": 30}) as scene,
    ):
        busy = await scene.client()
        await busy.send(GET)
        target = await upstream.accept()
        await target.head()
        client = await scene.client()
        await client.send(asked)
        await soon(lambda: pools(scene)[0].waiting == 1)
        await go(client, leave)
        await soon(lambda: pools(scene)[0].waiting == 0)
        await target.send(OK)
        assert (await busy.answer())[1] == b"ok"
        await busy.send(GET)
        assert (await target.head()).startswith(b"GET")  # the one that left is never heard of


@LEAVING
@pytest.mark.parametrize("asked", [GET, WHOLE, PUT], ids=["without a body", "with one", "half"])
async def test_while_a_connection_is_being_made(asked: bytes, leave: str) -> None:
    patient = {"connect_timeout": 30}
    with deaf_target() as deaf:
        async with in_front(deaf, settings=patient) as scene:
            client = await scene.client()
            await client.send(asked)
            await soon(lambda: pools(scene)[0].open == 1)
            await go(client, leave)
            await soon(lambda: pools(scene)[0].open == 0)


async def test_with_requests_pipelined_behind() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(GET * 3)
        target = await scene.upstream.accept()
        await target.head()
        await client.close()
        await is_over(target, scene)
        assert scene.upstream.idle


async def test_others_on_the_same_upstream_are_not_disturbed() -> None:
    async with stage() as scene:
        leaving, staying = await scene.client(), await scene.client()
        pairs: list[Any] = []
        for client in (leaving, staying):
            await client.send(GET)
            pairs.append((client, await scene.upstream.accept()))
            await pairs[-1][1].head()
        leaving.reset()
        await closed(pairs[0][1])
        await pairs[1][1].send(OK)
        assert (await staying.answer())[1] == b"ok"


async def test_a_client_that_leaves_behind_its_answer_leaves_the_connection() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(GET)
        target = await scene.upstream.accept()
        await target.head()
        await target.send(OK)
        await client.answer()
        await client.close()
        another = await scene.client()
        await another.send(GET)
        await target.head()


async def test_who_says_that_nothing_more_comes_counts_as_gone() -> None:
    """As nginx, Envoy and Go's server have it: half an end cannot be told from a whole one."""
    async with stage() as scene:
        client = await scene.client()
        await client.send(GET)
        target = await scene.upstream.accept()
        await target.head()
        client.writer.write_eof()
        await is_over(target, scene)
