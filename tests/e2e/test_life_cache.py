"""The cache across processes: a host's workers, and two gateways with one Redis."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.stores.redis import Redis
from gateway.stores.redis_cache import PREFIX
from tests import servers
from tests.e2e.caching import Origin, answer
from tests.e2e.life import LONG, Program, request, running
from tests.e2e.stage import Connection, field
from tests.e2e.test_keys import Site
from tests.e2e.test_life_workers import owner
from tests.servers import Server

PATH = "/api/x"


@pytest.fixture
def server() -> Iterator[Server]:
    with servers.valkey() as started:
        yield started


@asynccontextmanager
async def origin() -> AsyncIterator[Origin]:
    """Each of its answers is another one."""
    made = Origin()
    made.say = lambda _: answer(body=b"%d" % made.asked)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


def settings(source: Origin, **more: Any) -> dict[str, Any]:
    route = {"name": "api", "prefix": "/api", "target_url": source.url, "cache": True}
    return {"routes": [route], **more}


async def told(client: Connection, method: str = "GET", path: str = PATH) -> tuple[bytes, bytes]:
    await client.send(request(method, path, body=b"abc" if method == "POST" else b""))
    return await client.answer()


async def client_of_each(gateway: Program) -> list[Connection]:
    """A connection to each of two workers."""
    found: dict[int, Connection] = {}
    while len(found) < 2:
        client = await gateway.client()
        await client.send(request("GET", "/health/live"))
        await client.answer()
        found.setdefault(owner(gateway, client.writer.get_extra_info("sockname")[1]), client)
    return list(found.values())


async def test_workers_of_a_host_share_what_is_kept(tmp_path: Path) -> None:
    async with origin() as source, running(tmp_path, workers=2, **settings(source)) as gateway:
        one, two = await client_of_each(gateway)
        assert (await told(one))[1] == b"1"
        assert (await told(two))[1] == b"1"
        assert source.asked == 1


async def test_change_through_one_worker_is_seen_by_the_other_at_once(tmp_path: Path) -> None:
    async with origin() as source, running(tmp_path, workers=2, **settings(source)) as gateway:
        one, two = await client_of_each(gateway)
        for _ in range(2):
            before = (await told(one))[1]
            assert (await told(two))[1] == before
            await told(two, "POST")
            after = (await told(one))[1]
            assert after != before
            assert (await told(two))[1] == after


async def test_worker_that_dies_leaves_what_it_kept(tmp_path: Path) -> None:
    async with origin() as source, running(tmp_path, workers=2, **settings(source)) as gateway:
        one, _ = await client_of_each(gateway)
        await told(one)
        pid = owner(gateway, one.writer.get_extra_info("sockname")[1])
        os.kill(pid, signal.SIGKILL)
        await gateway.event("worker_started", count=3)
        for client in await client_of_each(gateway):
            assert (await told(client))[1] == b"1"


async def test_reload_keeps_what_is_stored(tmp_path: Path) -> None:
    async with origin() as source, running(tmp_path, **settings(source)) as gateway:
        client = await gateway.client()
        await told(client)
        await gateway.reload(**settings(source, timeout=7))
        assert (await told(client))[1] == b"1"


@asynccontextmanager
async def pair(
    folder: Path, source: Origin, server: Server
) -> AsyncIterator[tuple[Program, Program]]:
    """Two gateways, as on two hosts, with one Redis."""
    table = settings(source, stores={"redis": server.url})
    for name in ("one", "two"):
        (folder / name).mkdir()
    async with running(folder / "one", **table) as one, running(folder / "two", **table) as two:
        yield one, two


async def kept(server: Server, path: str = PATH) -> None:
    """When the answer has reached Redis, which the client did not wait for."""
    redis = Redis(server.url)
    async with asyncio.timeout(LONG):
        key = PREFIX + b"http://gateway.test" + path.encode()
        while await redis.get(key) is None:  # noqa: ASYNC110 - another process's doing
            await asyncio.sleep(0.01)
    await redis.close()


async def other_than(client: Connection, before: bytes) -> bytes:
    """What a client gets when it is no longer this."""
    async with asyncio.timeout(LONG):
        while (body := (await told(client))[1]) == before:  # noqa: ASYNC110 - likewise
            await asyncio.sleep(0.02)
    return body


async def test_hosts_share_through_redis(tmp_path: Path, server: Server) -> None:
    async with origin() as source, pair(tmp_path, source, server) as (one, two):
        first, second = await one.client(), await two.client()
        assert (await told(first))[1] == b"1"
        await kept(server)
        assert (await told(second))[1] == b"1"
        assert source.asked == 1
        await told(second, "POST")
        new = (await told(second))[1]
        assert new == b"3"
        await kept(server)
        # It hears of it within a second; and asks anew if the new answer is not there yet.
        assert await other_than(first, b"1") in (new, b"4")


async def test_redis_is_lost_and_comes_back(tmp_path: Path, server: Server) -> None:
    async with origin() as source, pair(tmp_path, source, server) as (one, two):
        first, second = await one.client(), await two.client()
        assert (await told(first))[1] == b"1"
        server.stop()
        assert (await told(first))[1] == b"1"  # what it has in front
        head, body = await told(second)
        assert body == b"2"
        assert field(head, b"cache-status") is not None
        assert (await told(second))[1] == b"2"
        await one.event("store_lost", store="redis")
        await two.event("store_lost", store="redis")
        server.start()
        await one.event("store_back", store="redis")
        await two.event("store_back", store="redis")
        assert len(two.found("store_lost", store="redis")) == 1
        body = (await told(first, path="/api/later"))[1]
        await kept(server, "/api/later")
        assert (await told(second, path="/api/later"))[1] == body


async def test_purge_by_an_administrator_reaches_every_worker(tmp_path: Path) -> None:
    table = {"stores": {"sqlite": str(tmp_path / "keys.db")}}
    async with (
        origin() as source,
        running(tmp_path, workers=2, **settings(source, **table)) as gateway,
    ):
        site = Site([gateway])
        _, key = await site.create("--scope", "admin")
        _, other = await site.create()
        one, two = await client_of_each(gateway)
        assert (await told(one))[1] == (await told(two))[1] == b"1"

        async def purge(key: str) -> tuple[bytes, bytes]:
            path = "/api/gateway/cache/purge"
            line = f"X-API-Key: {key}"
            await one.send(request("POST", path, line, body=b'{"prefix": "/api"}'))
            return await one.answer()

        assert b" 403 " in (await purge(other))[0]
        assert (await told(two))[1] == b"1"
        assert (await purge(key))[1] == b'{"purged":1}'
        assert (await told(two))[1] == b"2"
        assert (await told(one))[1] == b"2"
