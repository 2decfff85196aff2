"""One contract for all that count: the host's memory, a Redis, and a Redis that has a standby."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Protocol

import pytest
import pytest_asyncio

from gateway.standby import Standby
from gateway.stores import Decision, Limiter
from gateway.stores.redis import Redis, RedisLimiter
from gateway.stores.shared import SharedLimiter, allocate
from gateway.units import Rate

HOURLY = Rate(10, 3600.0)


class Counting(Protocol):
    """A limiter, and time that the test has pass."""

    limiter: Limiter

    async def elapse(self, seconds: float) -> None: ...


class InMemory:
    def __init__(self, alone: bool) -> None:
        self._now = time.monotonic_ns()
        self.limiter = SharedLimiter(allocate(), alone=alone, clock=lambda: self._now)

    async def elapse(self, seconds: float) -> None:
        self._now += round(seconds * 10**9)


class InRedis:
    """Its clock is its own: time passes when what it keeps is moved into the past instead."""

    def __init__(self, redis: Redis, around: Callable[[RedisLimiter], Limiter]) -> None:
        self._redis = redis
        self.limiter = around(RedisLimiter(redis))

    async def elapse(self, seconds: float) -> None:
        async for key in self._redis.scan(RedisLimiter.PREFIX + b"*"):
            value = await self._redis.get(key)
            if value is not None:
                due, part = value.split()
                moved = b"%d %b" % (int(due) - round(seconds * 10**6), part)
                await self._redis.set(key, moved, 3600)


@pytest_asyncio.fixture(params=["alone", "workers", "redis", "standby"])
async def counting(request: pytest.FixtureRequest) -> AsyncIterator[Counting]:
    if request.param in ("alone", "workers"):
        yield InMemory(request.param == "alone")
        return
    redis = Redis(request.getfixturevalue("redis_url"))
    async for key in redis.scan(RedisLimiter.PREFIX + b"*"):
        await redis.delete(key)
    host = SharedLimiter(allocate(), alone=True)
    standby = request.param == "standby"
    yield InRedis(redis, lambda it: Standby(it, host, lambda: None) if standby else it)
    await redis.close()


async def take(counting: Counting, key: bytes, rate: Rate, cost: int = 1) -> Decision:
    decision = counting.limiter.take(key, rate, cost)
    return decision if isinstance(decision, Decision) else await decision


async def test_as_many_as_the_burst_are_let_in_at_once(counting: Counting) -> None:
    said = [await take(counting, b"k", HOURLY) for _ in range(12)]
    assert [decision.allowed for decision in said] == [True] * 10 + [False] * 2
    assert [decision.remaining for decision in said] == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 0]
    assert {decision.limit for decision in said} == {10}
    assert [decision.retry_after for decision in said[:10]] == [0] * 10
    assert said[0].reset == 360
    assert said[9].reset in (3599, 3600)
    assert said[11].retry_after in (359, 360)


async def test_what_was_taken_comes_back_at_the_rate(counting: Counting) -> None:
    for _ in range(10):
        await take(counting, b"k", HOURLY)
    await counting.elapse(360)
    assert (await take(counting, b"k", HOURLY)).allowed
    assert not (await take(counting, b"k", HOURLY)).allowed
    await counting.elapse(3 * 360)
    assert [(await take(counting, b"k", HOURLY)).allowed for _ in range(4)] == [True] * 3 + [False]


async def test_quiet_time_gives_no_more_than_the_burst(counting: Counting) -> None:
    await take(counting, b"k", HOURLY)
    await counting.elapse(1_000_000)
    said = [await take(counting, b"k", HOURLY) for _ in range(11)]
    assert sum(decision.allowed for decision in said) == 10


async def test_keys_are_counted_apart_and_case_matters(counting: Counting) -> None:
    once = Rate(1, 3600.0)
    for key in (b"key", b"Key", b"", b"\x00\xff", b"k" * 9000):
        assert (await take(counting, key, once)).allowed
        assert not (await take(counting, key, once)).allowed


async def test_cost_is_taken_whole_or_not_at_all(counting: Counting) -> None:
    assert (await take(counting, b"k", HOURLY, 7)).remaining == 3
    refused = await take(counting, b"k", HOURLY, 4)
    assert not refused.allowed
    assert refused.remaining == 3
    assert (await take(counting, b"k", HOURLY, 3)).remaining == 0


async def test_cost_of_nothing_only_looks(counting: Counting) -> None:
    assert (await take(counting, b"k", HOURLY, 0)) == Decision(True, 10, 10, 0, 0)
    await take(counting, b"k", HOURLY, 10)
    looked = await take(counting, b"k", HOURLY, 0)
    assert looked.allowed
    assert looked.remaining == 0


@pytest.mark.parametrize("rate", [Rate(7, 86400.0), Rate(999_983, 86400.0), Rate(10**9, 1.0)])
async def test_rates_without_whole_intervals_are_exact(counting: Counting, rate: Rate) -> None:
    assert (await take(counting, b"k", rate, rate.burst)).remaining == 0
    await counting.elapse(rate.period)
    assert (await take(counting, b"k", rate, rate.burst)).allowed


async def test_many_at_once_are_counted_exactly(counting: Counting) -> None:
    rate = Rate(100, 3600.0)
    said = await asyncio.gather(*(take(counting, b"k", rate) for _ in range(500)))
    assert sum(decision.allowed for decision in said) == 100
    assert sorted(decision.remaining for decision in said if decision.allowed) == [*range(100)]
