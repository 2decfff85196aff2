"""Redis: what is kept there, one round trip, and every way in which the server can be lost."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
import pytest_asyncio

from gateway.errors import StoreDown
from gateway.stores import redis as adapter
from gateway.stores.redis import TAKE, Redis, RedisLimiter
from gateway.stores.scripts import Script
from gateway.units import Rate
from tests import servers
from tests.servers import Server

HOURLY = Rate(10, 3600.0)


class Heard:
    """What the watch of a server heard."""

    def __init__(self) -> None:
        self.good = 0
        self.errors: list[str] = []

    def worked(self) -> None:
        self.good += 1

    def failed(self, error: BaseException) -> None:
        self.errors.append(type(error).__name__)


@pytest_asyncio.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    store = Redis(redis_url)
    yield store
    await store.close()


@pytest.fixture
def own_server() -> Iterator[Server]:
    with servers.valkey() as server:
        yield server


@contextmanager
def held(server: Server) -> Iterator[None]:
    """There, but silent."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


async def commands(redis: Redis) -> int:
    """How many the server has processed."""
    info = await redis._client.info("stats")
    return int(info["total_commands_processed"])


# ------------------------------------------------------------------------------- what is kept


async def test_values_are_bytes_and_come_back_as_they_were(redis: Redis) -> None:
    value = bytes(range(256))
    await redis.set(b"t:\x00\xff", value)
    assert await redis.get(b"t:\x00\xff") == value
    assert await redis.mget([b"t:none", b"t:\x00\xff"]) == [None, value]
    assert await redis.get(b"t:none") is None


async def test_what_is_deleted_is_gone(redis: Redis) -> None:
    await redis.set(b"t:a", b"1")
    assert await redis.delete(b"t:a", b"t:none") == 1
    assert await redis.get(b"t:a") is None
    assert await redis.delete() == 0


async def test_value_is_kept_as_long_as_was_said(redis: Redis) -> None:
    await redis.set(b"t:long", b"1", 100.5)
    await redis.set(b"t:short", b"1", 0)
    await redis.set(b"t:ever", b"1")
    assert 100_000 < await redis._client.pttl(b"t:long") <= 100_500
    assert await redis._client.pttl(b"t:short") <= 1
    assert await redis._client.pttl(b"t:ever") == -1


async def test_scan_finds_every_key_that_matches(redis: Redis) -> None:
    names = {b"scan:%d" % number for number in range(1200)}
    for name in names:
        await redis.set(name, b"", 60)
    assert {name async for name in redis.scan(b"scan:*")} == names
    assert [name async for name in redis.scan(b"scan:1199")] == [b"scan:1199"]
    assert [name async for name in redis.scan(b"scan:none*")] == []


async def test_script_runs_whether_the_server_knows_it_or_not(redis: Redis) -> None:
    script = Script("return {KEYS[1], ARGV[1], tonumber(ARGV[2])}")
    for _ in range(2):
        assert await redis.run(script, [b"k"], [b"\xff", 7]) == [b"k", b"\xff", 7]
        await redis._client.script_flush()
    assert await redis.run(Script("return 1"), []) == 1


# ------------------------------------------------------------------------------------- limits


async def test_limit_takes_one_command_and_its_key_expires(redis: Redis) -> None:
    limiter = RedisLimiter(redis)
    await limiter.take(b"warm", HOURLY)
    before = await commands(redis)
    await limiter.take(b"one trip", HOURLY)
    # The script's own three, INFO, and one more from outside.
    assert await commands(redis) - before == 1 + 3 + 1
    async for key in redis.scan(RedisLimiter.PREFIX + b"*"):
        assert 0 < await redis._client.pttl(key) <= 3_600_002


async def test_what_is_asked_at_once_goes_in_few_calls(redis: Redis) -> None:
    limiter = RedisLimiter(redis)
    await limiter.take(b"warm", HOURLY)
    before = await commands(redis)
    count = RedisLimiter.BATCH + 1
    said = await asyncio.gather(*(limiter.take(b"b %d" % n, HOURLY, 0) for n in range(count)))
    assert all(decision.remaining == 10 for decision in said)
    # A TIME each, a GET for each key; of connections that had to be opened first, the greeting.
    assert await commands(redis) - before < count + 20


async def test_one_who_leaves_does_not_disturb_the_others(redis: Redis) -> None:
    limiter = RedisLimiter(redis)
    leaving = asyncio.create_task(limiter.take(b"leaves", HOURLY))
    staying = asyncio.create_task(limiter.take(b"stays", HOURLY))
    await asyncio.sleep(0)
    leaving.cancel()
    assert (await staying).remaining == 9
    with pytest.raises(asyncio.CancelledError):
        await leaving


@pytest.mark.parametrize("due", [b"%d 0" % 10**16, b"9000000000000000 9"])
async def test_clock_that_was_set_back_locks_nobody_out(redis: Redis, due: bytes) -> None:
    """A time further ahead than a used up limit is one: at the worst all of the burst is taken."""
    limiter = RedisLimiter(redis)
    await limiter.take(b"clock", HOURLY)
    async for key in redis.scan(RedisLimiter.PREFIX + b"*"):
        await redis.set(key, due)
    decision = await limiter.take(b"clock", HOURLY)
    assert not decision.allowed
    assert decision.retry_after == 360
    assert decision.reset == 3600
    for key in [key async for key in redis.scan(RedisLimiter.PREFIX + b"*")]:
        await redis.delete(key)


async def test_longest_limits_stay_exact(redis: Redis) -> None:
    """The numbers of a century, to the microsecond: beyond 2^53 Lua would round them."""
    limiter = RedisLimiter(redis)
    rate = Rate(999_983, 86400.0, 999_983 * 36_500)
    assert (await limiter.take(b"century", rate, rate.burst - 2)).remaining == 2
    assert (await limiter.take(b"century", rate, 2)).remaining == 0
    refused = await limiter.take(b"century", rate)
    assert not refused.allowed
    assert refused.reset in (36_500 * 86400, 36_500 * 86400 - 1)


# --------------------------------------------------------------------------------- lost servers


async def test_server_that_is_not_there_is_a_store_that_is_down() -> None:
    heard = Heard()
    store = Redis(f"redis://127.0.0.1:{servers.free_port()}/0", heard)
    calls = [store.ping(), store.get(b"k"), store.set(b"k", b""), store.run(TAKE, [])]
    for call in calls:
        with pytest.raises(StoreDown):
            await call
    assert heard.errors == ["ConnectionError"] * 4
    assert heard.good == 0
    await store.close()


async def test_server_that_is_silent_is_down_within_its_time(
    own_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Heard()
    store = Redis(own_server.url, heard)
    limiter = RedisLimiter(store)
    await store.set(b"k", b"v")
    with held(own_server):
        begin = time.monotonic()
        with pytest.raises(StoreDown):
            await store.get(b"k")
        assert adapter.TIMEOUT - 0.1 <= time.monotonic() - begin < adapter.TIMEOUT + 1
        begin = time.monotonic()
        with pytest.raises(StoreDown):
            await limiter.take(b"k", HOURLY)
        assert time.monotonic() - begin < adapter.LIMIT_TIMEOUT + 1
    assert heard.errors == ["TimeoutError"] * 2
    # Answers that came too late are nobody's: the next question gets its own.
    assert await store.get(b"k") == b"v"
    assert await store.get(b"none") is None
    await store.close()


async def test_server_that_went_and_came_back_is_used_again(own_server: Server) -> None:
    heard = Heard()
    store = Redis(own_server.url, heard)
    limiter = RedisLimiter(store)
    await asyncio.gather(*(store.ping() for _ in range(10)))
    with own_server.down():
        with pytest.raises(StoreDown):
            await store.ping()
        with pytest.raises(StoreDown):
            await limiter.take(b"k", HOURLY)
    for _ in range(10):  # whatever connections are left in the pool
        await store.ping()
    assert (await limiter.take(b"k", HOURLY)).remaining == 9
    await store.close()


async def test_server_that_takes_no_writes_is_down_for_limits(own_server: Server) -> None:
    store = Redis(own_server.url)
    limiter = RedisLimiter(store)
    await store._client.config_set("maxmemory", "1")
    with pytest.raises(StoreDown):
        await limiter.take(b"k", HOURLY)
    await store.ping()
    await store.close()


async def test_no_more_connections_than_allowed(own_server: Server) -> None:
    store = Redis(own_server.url)
    await asyncio.gather(*(store.get(b"k") for _ in range(5 * adapter.CONNECTIONS)))
    clients = (await store._client.info("clients"))["connected_clients"]
    assert clients <= adapter.CONNECTIONS
    await store.close()


async def test_limiter_that_closes_lets_nobody_wait(own_server: Server) -> None:
    store = Redis(own_server.url)
    limiter = RedisLimiter(store)
    await limiter.close()
    with held(own_server):
        waiting = [asyncio.create_task(limiter.take(b"%d" % n, HOURLY)) for n in range(3)]
        waiting[0].cancel()
        await asyncio.sleep(0)  # they ask
        await asyncio.sleep(0)  # it is sent
        await limiter.close()
        for one in waiting[1:]:
            with pytest.raises(StoreDown):
                await one
    await store.close()
