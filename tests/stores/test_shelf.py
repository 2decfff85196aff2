"""What every shelf of the cache does: the host's memory and Redis alike."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from gateway.caching.epochs import Epochs
from gateway.stores import Shelf
from gateway.stores.redis import Redis
from gateway.stores.redis_cache import RedisCache
from gateway.stores.shared_cache import Memory, SharedCache

NAMES = (b"a", b"b", b"/a", b"/a/b", b"/c*")


class Kept:
    """A shelf, and its keys: a server outlives a test."""

    def __init__(self, shelf: Shelf, epochs: Epochs) -> None:
        self.shelf = shelf
        self.epochs = epochs
        cells = 0
        while cells < len(NAMES):  # keys that share a cell are voided together
            self._mark = uuid4().hex.encode()
            cells = len({epochs.cell(self.key(name)) for name in NAMES})

    def key(self, name: bytes) -> bytes:
        return self._mark + name

    async def put(self, name: bytes, data: bytes, seconds: float = 60) -> None:
        key = self.key(name)
        stamp = self.epochs.value(self.epochs.cell(key))
        await done(self.shelf.put(key, data, seconds, stamp))

    async def get(self, name: bytes) -> bytes | None:
        found: bytes | None = await done(self.shelf.get(self.key(name)))
        return found


async def done(result: Any) -> Any:
    return await result if isinstance(result, Coroutine) else result


@pytest_asyncio.fixture(params=["memory", "redis"])
async def kept(request: pytest.FixtureRequest) -> AsyncIterator[Kept]:
    memory = Memory(1 << 20)
    if request.param == "memory":
        yield Kept(SharedCache(memory), memory.epochs)
        return
    redis = Redis(request.getfixturevalue("redis_url"))
    yield Kept(RedisCache(redis, memory.epochs), memory.epochs)
    await redis.close()


async def test_what_is_put_is_got(kept: Kept) -> None:
    await kept.put(b"a", b"\0one")
    await kept.put(b"b", b"")
    assert await kept.get(b"a") == b"\0one"
    assert await kept.get(b"b") == b""
    assert await kept.get(b"c") is None


async def test_last_one_counts(kept: Kept) -> None:
    await kept.put(b"a", b"one")
    await kept.put(b"a", b"two, which is longer")
    assert await kept.get(b"a") == b"two, which is longer"


async def test_what_is_over_at_once_is_not_kept(kept: Kept) -> None:
    await kept.put(b"a", b"one", seconds=0)
    assert await kept.get(b"a") is None


async def test_dropped(kept: Kept) -> None:
    await kept.put(b"a", b"one")
    await kept.put(b"b", b"two")
    await done(kept.shelf.drop(kept.key(b"a")))
    assert await kept.get(b"a") is None
    assert await kept.get(b"b") == b"two"


async def test_what_was_voided_meanwhile_is_not_kept(kept: Kept) -> None:
    key = kept.key(b"a")
    stamp = kept.epochs.value(kept.epochs.cell(key))
    kept.epochs.void(key)
    await done(kept.shelf.put(key, b"old", 60, stamp))
    assert await kept.get(b"a") is None


async def test_purge_takes_what_is_wanted_and_names_it(kept: Kept) -> None:
    for name in (b"/a", b"/a/b", b"/c*"):
        await kept.put(name, name)
    wanted = kept.key(b"/a")
    assert await kept.shelf.purge(lambda key: key.startswith(wanted)) == {
        wanted,
        kept.key(b"/a/b"),
    }
    assert await kept.get(b"/a") is None
    assert await kept.get(b"/c*") == b"/c*"
