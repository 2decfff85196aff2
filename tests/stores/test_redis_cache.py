"""The cache in Redis: what one host voids others hear of, and a server that is lost and back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from gateway.caching.epochs import Epochs
from gateway.errors import StoreDown
from gateway.stores import redis_cache
from gateway.stores.redis import Redis
from gateway.stores.redis_cache import PREFIX, VOIDED, RedisCache
from gateway.stores.shared_cache import Memory
from tests import servers
from tests.servers import Server

KEY = b"http://a/x"


@pytest.fixture
def server() -> Iterator[Server]:
    with servers.valkey() as running:
        yield running


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_cache, "POLL", 0.01)


class Host:
    """One host's shelf, its cells and its client."""

    def __init__(self, url: str) -> None:
        self.redis = Redis(url)
        self.epochs: Epochs = Memory(1 << 16).epochs
        self.shelf = RedisCache(self.redis, self.epochs)

    async def put(self, key: bytes = KEY, data: bytes = b"data") -> None:
        work = self.shelf.put(key, data, 60, self.epochs.value(self.epochs.cell(key)))
        if work is not None:
            await work

    async def get(self, key: bytes = KEY) -> bytes | None:
        work = self.shelf.get(key)
        return None if work is None else await work

    async def changed(self, before: Any) -> None:
        """When this host's cells say something else of the key."""

        async def is_other() -> bool:
            return bool(self.epochs.stamp(KEY) != before)

        await until(is_other)

    async def forgotten(self) -> None:
        """When the server is asked again, and has nothing."""

        async def is_gone() -> bool:
            return self.shelf.waits and await self.get() is None

        await until(is_gone)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """What is waited for tells nobody when it comes."""
    async with asyncio.timeout(5):
        while not await holds():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@asynccontextmanager
async def host(url: str) -> AsyncIterator[Host]:
    made = Host(url)
    made.shelf.open()
    try:
        yield made
    finally:
        await made.shelf.close()
        await made.redis.close()


async def listening(one: Host) -> None:
    async def is_listening() -> bool:
        return one.shelf._seen is not None

    await until(is_listening)


async def test_other_hosts_hear_of_what_is_dropped(server: Server) -> None:
    async with host(server.url) as one, host(server.url) as two:
        await listening(two)
        await one.put()
        assert await two.get() == b"data"
        before = two.epochs.stamp(KEY)
        told = one.shelf.drop(KEY)
        assert told is not None
        await told
        await two.changed(before)
        assert two.epochs.stamp(KEY)[1] == before[1]
        assert await two.get() is None


async def test_other_hosts_hear_of_a_purge(server: Server) -> None:
    async with host(server.url) as one, host(server.url) as two:
        await listening(two)
        await one.put()
        before = two.epochs.stamp(KEY)
        assert await one.shelf.purge(lambda key: True) == {KEY}
        await two.changed(before)
        assert two.epochs.stamp(KEY)[1] != before[1]


async def test_what_was_voided_before_is_not_heard_again(server: Server) -> None:
    redis = Redis(server.url)
    await redis.append(VOIDED, [KEY], 10)
    await redis.close()
    async with host(server.url) as one:
        before = one.epochs.stamp(KEY)
        await listening(one)
        told = one.shelf.drop(b"another")
        assert told is not None
        await told
        assert one.epochs.stamp(KEY) == before


async def test_many_are_heard_in_batches(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_cache, "BATCH", 2)
    async with host(server.url) as one:
        await listening(one)
        before = one.epochs.stamp(KEY)
        await one.redis.append(VOIDED, [b"a", b"b", b"c", b"d", KEY], 100)
        await one.changed(before)


async def test_lost_server_is_not_asked_and_comes_back(server: Server) -> None:
    async with host(server.url) as one, host(server.url) as two:
        await listening(one)
        await one.put()
        await one.put(b"other")
        server.stop()
        with suppress(StoreDown):  # or the poll has noticed it already
            await one.get()
        assert one.shelf.get(KEY) is None
        assert one.shelf.put(KEY, b"x", 60, 0) is None
        assert one.shelf.drop(KEY) is None
        before = one.epochs.stamp(KEY)
        server.start()
        await one.changed(before)  # all copies are looked up again
        await one.forgotten()
        assert await two.redis.get(PREFIX + KEY) is None
        await one.put()
        assert await one.get() == b"data"


async def test_drop_that_finds_the_server_lost_is_told_later(server: Server) -> None:
    async with host(server.url) as one:
        await listening(one)
        await one.put()
        server.stop()
        told = one.shelf.drop(KEY)
        with suppress(StoreDown):  # or the poll has noticed it already
            if told is not None:
                await told
        server.start()
        await one.forgotten()


async def test_too_much_to_tell_voids_everything(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_cache, "UNSENT", 2)
    async with host(server.url) as one:
        await listening(one)
        await one.put()
        server.stop()
        with suppress(StoreDown):
            await one.get()
        for number in range(4):
            assert one.shelf.drop(b"%d" % number) is None
        server.start()
        await one.forgotten()


async def test_server_that_is_down_is_waited_for(server: Server) -> None:
    server.stop()
    async with host(server.url) as one:
        with suppress(StoreDown):
            await one.get()
        assert one.shelf._seen is None
        server.start()
        await listening(one)


async def test_what_was_asked_for_before_another_host_voided_it_is_not_kept(server: Server) -> None:
    async with host(server.url) as one, host(server.url) as two:
        assert await one.get() is None
        stamp = one.epochs.value(one.epochs.cell(KEY))
        told = two.shelf.drop(KEY)
        assert told is not None
        await told
        put = one.shelf.put(KEY, b"old", 60, stamp)  # whether one has heard of it or not
        assert put is not None
        await put
        assert await two.get() is None
        await two.put(data=b"new")
        assert await one.get() == b"new"


async def test_what_this_host_puts_after_its_own_change_stays(server: Server) -> None:
    async with host(server.url) as one:
        await listening(one)
        told = one.shelf.drop(KEY)
        assert told is not None
        await told
        before = one.epochs.stamp(KEY)
        await one.put(data=b"new")
        await one.changed(before)  # it has heard itself
        assert await one.get() == b"new"


async def test_counts_that_were_read_are_bounded(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_cache, "COUNTS", 2)
    async with host(server.url) as one:
        for key in (b"a", b"b", b"c"):
            assert await one.get(key) is None
        assert list(one.shelf._counts) == [b"c"]
