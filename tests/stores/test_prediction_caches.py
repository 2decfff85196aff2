"""What both caches of predictions do: the host's memory and Redis alike; then Redis alone."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from uuid import uuid4

import pytest
import pytest_asyncio

from gateway.errors import StoreDown
from gateway.predictions.loader import Cache
from gateway.stores.redis import Redis
from gateway.stores.redis_predictions import BATCH, RedisPredictions
from gateway.stores.shared_cache import Memory
from gateway.stores.shared_predictions import SharedPredictions
from tests import servers
from tests.servers import Server

Kept = bytes | Mapping[bytes, bytes]


async def got(cache: Cache, *names: bytes) -> Mapping[bytes, Kept]:
    """What there is of these names; others may be told with them."""
    answer: asyncio.Future[Mapping[bytes, Kept]] = asyncio.get_running_loop().create_future()
    cache.ask(names, lambda found: answer.set_result(dict(found)))
    async with asyncio.timeout(5):
        return await answer


@pytest.fixture
def name() -> bytes:
    """That no other test has: a server outlives it."""
    return b"pred:" + uuid4().hex.encode()


@pytest_asyncio.fixture(params=["memory", "redis"])
async def cache(request: pytest.FixtureRequest) -> AsyncIterator[Cache]:
    if request.param == "memory":
        yield SharedPredictions(Memory(1 << 20))
        return
    redis = Redis(request.getfixturevalue("redis_url"))
    made = RedisPredictions(redis)
    yield made
    await made.close()
    await redis.close()


async def test_what_is_kept_is_got(cache: Cache, name: bytes) -> None:
    await cache.keep({name + b"a": b"1", name + b"b": b"2"}, 60)
    names = [name + end for end in (b"a", b"b", b"c")]
    found = await got(cache, *names)
    assert [found.get(each) for each in names] == [b"1", b"2", None]


async def test_what_is_there_stays(cache: Cache, name: bytes) -> None:
    await cache.keep({name: b"newer"}, 60)
    await cache.keep({name: b"older"}, 60)
    assert (await got(cache, name))[name] == b"newer"


async def test_it_is_kept_for_its_time(cache: Cache, name: bytes) -> None:
    await cache.keep({name: b"1"}, 0.05)
    async with asyncio.timeout(5):
        while name in await got(cache, name):  # noqa: ASYNC110 - memory counts whole seconds
            await asyncio.sleep(0.02)


async def test_closing_answers_those_who_wait(cache: Cache, name: bytes) -> None:
    await cache.keep({name: b"1"}, 60)
    found: list[Mapping[bytes, Kept]] = []
    cache.ask([name], lambda answer: found.append(dict(answer)))
    await cache.close()
    assert [each[name] for each in found] == [b"1"]


async def test_host_has_what_another_worker_kept_in_the_next_turn() -> None:
    memory = Memory(1 << 20)
    one, other = SharedPredictions(memory), SharedPredictions(memory)
    assert await got(one, b"a") == {}
    await other.keep({b"a": b"1", b"b": b"2"}, 60)
    assert await got(one, b"a") == {b"a": b"1"}
    await asyncio.sleep(0)
    assert await got(one, b"b") == {b"b": b"2"}


async def test_memory_is_read_once_in_a_turn() -> None:
    memory = Memory(1 << 20)
    cache = SharedPredictions(memory)
    await cache.keep({b"a": b"1"}, 60)
    found: list[Kept] = []

    def answer(kept: Mapping[bytes, Kept]) -> None:
        found.append(kept[b"a"])

    cache.ask([b"a"], answer)
    memory.epochs.void(b"a")
    cache.ask([b"a"], answer)
    assert found == [b"1", b"1"]
    await asyncio.sleep(0)
    assert await got(cache, b"a") == {}


# -------------------------------------------------------------------------------------- redis


@pytest_asyncio.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    store = Redis(redis_url)
    yield store
    await store.close()


async def run(redis: Redis, *command: bytes | str) -> None:
    await redis._client.execute_command(*command)  # type: ignore[no-untyped-call]


async def test_strings_and_hashes_are_read_whichever_is_there(redis: Redis, name: bytes) -> None:
    await run(redis, "SET", name + b"s", "text")
    await run(redis, "HSET", name + b"h", "a", "1", "b", "2")
    await run(redis, "RPUSH", name + b"l", "x")
    await run(redis, "SET", name + b"e", "")
    keys = [name + end for end in (b"h", b"s", b"none", b"l", b"e")]
    assert await redis.values(keys) == [{b"a": b"1", b"b": b"2"}, b"text", None, None, None]


async def test_hash_of_somebody_else_is_not_written_over(redis: Redis, name: bytes) -> None:
    await run(redis, "HSET", name, "a", "1")
    await redis.set_new({name: b"x"}, 60)
    assert await redis.values([name]) == [{b"a": b"1"}]


class Asked:
    """A server that answers when it is let, with how often it was asked."""

    def __init__(self) -> None:
        self.calls: list[list[bytes]] = []
        self.go = asyncio.Event()
        self.lost = False
        self.pinged = asyncio.Event()
        self.kept: list[bytes] = []

    async def values(self, keys: Sequence[bytes], timeout: float) -> list[Kept | None]:
        self.calls.append(list(keys))
        await self.go.wait()
        if self.lost:
            raise StoreDown
        return list(keys)

    async def set_new(self, values: Mapping[bytes, bytes], seconds: float, timeout: float) -> None:
        await self.go.wait()
        if self.lost:
            raise StoreDown
        self.kept += values

    async def ping(self) -> None:
        self.pinged.set()
        if self.lost:
            raise StoreDown


def is_lost(cache: RedisPredictions) -> bool:
    """Asked anew each time, as a type checker does not."""
    return cache.lost


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_those_of_one_turn_share_a_call_and_the_next_go_in_the_next() -> None:
    server = Asked()
    cache = RedisPredictions(server)
    answers: list[Mapping[bytes, Kept]] = []
    for names in ([b"a"], [b"b", b"a"], [b"a"]):
        cache.ask(names, answers.append)
    await settled()
    assert server.calls == [[b"a", b"b"]]
    cache.ask([b"c"], answers.append)
    cache.ask([b"a"], answers.append)
    await settled()
    assert len(server.calls) == 1  # one at a time
    assert not answers
    server.go.set()
    await settled()
    assert server.calls == [[b"a", b"b"], [b"c", b"a"]]
    assert len(answers) == 5
    assert answers[3][b"c"] == b"c"


async def test_what_is_too_much_for_one_call_goes_in_several() -> None:
    server = Asked()
    server.go.set()
    names = [b"%d" % number for number in range(BATCH + 1)]
    assert len(await got(RedisPredictions(server), *names)) == BATCH + 1
    assert [len(call) for call in server.calls] == [BATCH, 1]


async def test_lost_server_is_not_waited_for_until_it_answers_a_ping() -> None:
    server = Asked()
    server.go.set()
    server.lost = True
    cache = RedisPredictions(server, pause=0.01)
    assert await got(cache, *[b"%d" % number for number in range(2 * BATCH)]) == {}
    assert is_lost(cache)
    assert len(server.calls) == 1
    assert await got(cache, b"a") == {}
    await cache.keep({b"a": b"1"}, 60)
    assert len(server.calls) == 1
    await server.pinged.wait()
    assert server.calls == [[b"%d" % number for number in range(BATCH)]]
    server.lost = False
    async with asyncio.timeout(5):
        while is_lost(cache):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    assert await got(cache, b"a") == {b"a": b"a"}
    assert server.kept == []


async def test_loss_is_noticed_when_something_is_kept() -> None:
    server = Asked()
    server.lost = True
    cache = RedisPredictions(server, pause=60)
    keeping = asyncio.gather(*(cache.keep({b"a": b"1"}, 60) for _ in range(2)))
    await settled()
    server.go.set()
    await keeping
    await cache.keep({b"a": b"1"}, 60)
    assert is_lost(cache)
    await cache.close()


@pytest.fixture
def own_server() -> Iterator[Server]:
    with servers.valkey() as server:
        yield server


async def test_server_that_was_killed_and_is_back_serves_again(own_server: Server) -> None:
    redis = Redis(own_server.url)
    cache = RedisPredictions(redis, pause=0.02)
    await cache.keep({b"a": b"1"}, 60)
    with own_server.down():
        assert await got(cache, b"a") == {}
    async with asyncio.timeout(10):
        while is_lost(cache):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await cache.keep({b"a": b"2"}, 60)
    assert await got(cache, b"a") == {b"a": b"2"}
    await cache.close()
    await redis.close()


async def test_server_that_is_silent_is_lost_in_time(own_server: Server) -> None:
    redis = Redis(own_server.url)
    cache = RedisPredictions(redis)
    await cache.keep({b"a": b"1"}, 60)
    os.kill(own_server.pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(2):
            assert await got(cache, b"a") == {}
    finally:
        os.kill(own_server.pid, signal.SIGCONT)
    await cache.close()
    await redis.close()
