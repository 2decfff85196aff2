"""Connections to a target: shared, limited, waited for, and never lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest

from gateway.proxy import dial
from tests.e2e.answering import (
    closed,
    deaf_target,
    eventually,
    in_front,
    nothing_open,
    pools,
    request,
    scripted,
    status_of,
    stays_open,
)
from tests.e2e.stage import GET, OK, Connection, Stage, Upstream, stage


async def asked(scene: Stage, upstream: Upstream) -> tuple[Connection, Connection]:
    """A client with a request on its way, and the new connection that it came by."""
    client = await scene.client()
    await client.send(GET)
    target = await upstream.accept()
    await target.head()
    return client, target


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with scripted() as made:
        yield made


async def test_requests_share_a_connection_whoever_sends_them() -> None:
    async with stage() as scene:
        client, target = await asked(scene, scene.upstream)
        await target.send(OK)
        await client.answer()
        for _ in range(2):
            another = await scene.client()
            await another.send(GET)
            await target.head()
            await target.send(OK)
            assert (await another.answer())[1] == b"ok"
        assert scene.upstream.idle


async def test_the_connection_used_last_is_used_next() -> None:
    async with stage() as scene:
        pairs = [await asked(scene, scene.upstream) for _ in range(3)]
        for at in (1, 2, 0):
            client, target = pairs[at]
            await target.send(OK)
            await client.answer()
        client = pairs[0][0]
        for _ in range(3):
            await client.send(GET)
            await pairs[0][1].head()  # no other sees anything: reading would time out
            await pairs[0][1].send(OK)
            await client.answer()
        await client.send(GET)
        await pairs[2][0].send(GET)
        await pairs[2][1].head()  # the one before it, as the first is busy


async def test_an_idle_connection_expires_and_a_busy_one_does_not(upstream: Upstream) -> None:
    async with in_front([upstream], pool={"idle_timeout": 0.05}) as scene:
        client, idle = await asked(scene, upstream)
        _, busy = await asked(scene, upstream)
        await idle.send(OK)
        await client.answer()
        scene.gateway.tick(0)
        await stays_open(idle, 0.06)
        scene.gateway.tick(0)
        assert await closed(idle) == b""
        await stays_open(busy)


async def test_requests_over_the_limit_wait_in_line(upstream: Upstream) -> None:
    async with in_front([upstream], pool={"connections": 1}) as scene:
        client, target = await asked(scene, upstream)
        waiting = [await scene.client() for _ in range(3)]
        for number, one in enumerate(waiting):
            await one.send(request(b"/%d" % number))
            await eventually(lambda number=number: pools(scene)[0].waiting == number + 1)
        await target.send(OK)
        await client.answer()
        for number, one in enumerate(waiting):
            assert (await target.head()).startswith(b"GET /%d " % number)
            await target.send(OK)
            await one.answer()
        assert upstream.idle


async def test_nobody_passes_those_who_wait(upstream: Upstream) -> None:
    async with in_front([upstream], pool={"connections": 1}) as scene:
        client, target = await asked(scene, upstream)
        waiting = await scene.client()
        await waiting.send(request(b"/patient"))
        await eventually(lambda: pools(scene)[0].waiting == 1)
        await client.send(request(b"/pushing"))  # asks again in the moment that it is answered
        await target.send(OK)
        assert (await target.head()).startswith(b"GET /patient ")
        await target.send(OK)
        assert (await target.head()).startswith(b"GET /pushing ")


async def test_who_waits_for_a_turn_is_served_by_what_comes_back(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dial, "OPENING", 1)
    async with in_front([upstream]) as scene:
        client, target = await asked(scene, upstream)
        [dialer] = scene.gateway.generation.behind["targets"].service.dialers.values()
        waiting = await scene.client()
        async with dialer._turns:  # as if another were being opened
            await waiting.send(request(b"/patient"))
            await eventually(lambda: pools(scene)[0].open == 2)
            await target.send(OK)
            await client.answer()
            await eventually(lambda: pools(scene)[0].idle == 1)
        assert (await target.head()).startswith(b"GET /patient ")
        await target.send(OK)
        assert (await waiting.answer())[1] == b"ok"
        assert upstream.idle
        assert pools(scene)[0].open == pools(scene)[0].idle == 1


async def test_a_turn_is_waited_for_no_longer_than_a_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dial, "OPENING", 1)
    loop = asyncio.get_running_loop()
    with deaf_target() as url:
        async with in_front(url, settings={"connect_timeout": 0.3}) as scene:
            began = loop.time()
            answers = await asyncio.gather(*(scene.ask(GET) for _ in range(5)))
            assert loop.time() - began < 0.6  # and not five times as long
            assert {status_of(head) for head, _ in answers} == {504}
            assert nothing_open(scene)
            assert pools(scene)[0].open == 0


async def test_the_library_keeps_nothing_of_a_connection(upstream: Upstream) -> None:
    async with in_front([upstream]) as scene:
        client, target = await asked(scene, upstream)
        connector = scene.gateway._dialing._connector
        assert connector._acquired == set()
        assert connector._conns == {}
        await target.send(OK)
        assert (await client.answer())[1] == b"ok"


async def test_waiting_takes_no_longer_than_was_set(upstream: Upstream) -> None:
    async with in_front([upstream], pool={"connections": 1, "wait_timeout": 0.1}) as scene:
        await asked(scene, upstream)
        head, body = await scene.ask(GET)
        assert status_of(head) == 503
        assert b'"error":"service_unavailable"' in body
        assert pools(scene)[0].waiting == 0


async def test_the_line_is_no_longer_than_was_set(upstream: Upstream) -> None:
    async with in_front([upstream], pool={"connections": 1, "waiting": 1}) as scene:
        await asked(scene, upstream)
        waiting = await scene.client()
        await waiting.send(GET)
        await eventually(lambda: pools(scene)[0].waiting == 1)
        assert status_of((await scene.ask(GET))[0]) == 503


async def test_who_waits_gets_a_new_connection_when_the_old_one_is_gone(
    upstream: Upstream,
) -> None:
    async with in_front([upstream], pool={"connections": 1}) as scene:
        client, target = await asked(scene, upstream)
        waiting = await scene.client()
        await waiting.send(GET)
        await eventually(lambda: pools(scene)[0].waiting == 1)
        await target.send(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        await client.answer()
        another = await upstream.accept()
        await another.head()
        await another.send(OK)
        assert (await waiting.answer())[1] == b"ok"


async def test_a_body_that_waited_in_line_goes_up_whole(upstream: Upstream) -> None:
    async with in_front([upstream], pool={"connections": 1}) as scene:
        client, target = await asked(scene, upstream)
        waiting = await scene.client()
        data = bytes(range(256)) * 1024
        waiting.writer.write(request(method=b"PUT", body=data))
        await eventually(lambda: pools(scene)[0].waiting == 1)
        await target.send(OK)
        await client.answer()
        await target.head()
        assert await target.exactly(len(data)) == data


# ---------------------------------------------------------------- a slot is given back always


async def client_leaves_while_waiting(scene: Stage, upstream: Upstream) -> None:
    client, _ = await asked(scene, upstream)
    await client.close()


async def client_leaves_in_mid_answer(scene: Stage, upstream: Upstream) -> None:
    client, target = await asked(scene, upstream)
    await target.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
    await client.head()
    client.reset()


async def client_leaves_while_connecting(scene: Stage, upstream: Upstream) -> None:
    client = await scene.client()
    await client.send(GET)
    client.reset()
    await eventually(lambda: not scene.gateway.front.connections)


async def client_leaves_the_line(scene: Stage, upstream: Upstream) -> None:
    client, target = await asked(scene, upstream)
    waiting = await scene.client()
    await waiting.send(GET)
    await eventually(lambda: pools(scene)[0].waiting == 1)
    waiting.reset()
    await eventually(lambda: pools(scene)[0].waiting == 0)
    await target.send(OK)
    await client.answer()


async def client_leaves_the_line_as_it_is_served(scene: Stage, upstream: Upstream) -> None:
    client, target = await asked(scene, upstream)
    waiting = await scene.client()
    await waiting.send(GET)
    await eventually(lambda: pools(scene)[0].waiting == 1)
    target.writer.write(OK)
    waiting.reset()
    await client.answer()


async def line_is_left_to_time(scene: Stage, upstream: Upstream) -> None:
    client, target = await asked(scene, upstream)
    assert status_of((await scene.ask(GET))[0]) == 503
    await target.send(OK)
    await client.answer()


async def upstream_hangs_up(scene: Stage, upstream: Upstream) -> None:
    client, target = await asked(scene, upstream)
    await target.close()
    assert status_of((await client.answer())[0]) == 502


async def upstream_dies_in_mid_answer(scene: Stage, upstream: Upstream) -> None:
    client, target = await asked(scene, upstream)
    await target.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
    await client.head()
    target.reset()
    await closed(client)


async def upstream_talks_nonsense(scene: Stage, upstream: Upstream) -> None:
    client, target = await asked(scene, upstream)
    await target.send(b"nonsense\r\n\r\n")
    assert status_of((await client.answer())[0]) == 502


async def upstream_says_too_much(scene: Stage, upstream: Upstream) -> None:
    client, target = await asked(scene, upstream)
    await target.send(OK + b"more")
    await client.answer()


async def upstream_talks_unasked(scene: Stage, upstream: Upstream) -> None:
    client, target = await asked(scene, upstream)
    await target.send(OK)
    await client.answer()
    await target.send(OK)
    await closed(target)


async def upstream_closes_an_idle_one(scene: Stage, upstream: Upstream) -> None:
    client, target = await asked(scene, upstream)
    await target.send(OK)
    await client.answer()
    await target.close()
    await eventually(lambda: pools(scene)[0].idle == 0)


async def upstream_is_silent(scene: Stage, upstream: Upstream) -> None:
    client, _ = await asked(scene, upstream)
    assert status_of((await client.answer())[0]) == 504


async def upstream_refuses(scene: Stage, upstream: Upstream) -> None:
    upstream._server.close()
    await upstream._server.wait_closed()
    assert status_of((await scene.ask(GET))[0]) == 503
    await upstream.start(upstream.port)


FAULTS = [
    client_leaves_while_waiting, client_leaves_in_mid_answer, client_leaves_while_connecting,
    client_leaves_the_line, client_leaves_the_line_as_it_is_served, line_is_left_to_time,
    upstream_hangs_up, upstream_dies_in_mid_answer, upstream_talks_nonsense,
    upstream_says_too_much, upstream_talks_unasked, upstream_closes_an_idle_one,
    upstream_is_silent, upstream_refuses,
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
async def test_no_slot_is_lost(
    fault: Callable[[Stage, Upstream], Awaitable[None]], upstream: Upstream
) -> None:
    settings = {"timeout": 0.3}
    pool = {"connections": 1, "wait_timeout": 0.1}
    async with in_front([upstream], pool=pool, settings=settings) as scene:
        await fault(scene, upstream)
        await eventually(lambda: nothing_open(scene))
        assert pools(scene)[0].open == pools(scene)[0].idle
        answering = asyncio.create_task(answer_whatever_comes(upstream))
        assert (await scene.ask(GET))[1] == b"ok"
        answering.cancel()


async def answer_whatever_comes(upstream: Upstream) -> None:
    """On the connections that there are, and on those that will be made."""

    async def answer(connection: Connection) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await connection.head()
            await connection.send(OK)

    known = list(upstream.connections)
    async with asyncio.TaskGroup() as group:
        for connection in known:
            group.create_task(answer(connection))
        while True:
            if (connection := await upstream.accept()) not in known:
                group.create_task(answer(connection))
