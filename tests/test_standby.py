"""What decides while Redis is lost, and who finds out when it is back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from gateway import standby
from gateway.errors import StoreDown
from gateway.standby import Standby
from gateway.stores import Decision
from gateway.stores.shared import SharedLimiter, allocate
from gateway.units import Rate

HOURLY = Rate(2, 3600.0)
FROM_AFAR = Decision(True, 99, 98, 1, 0)


class Server:
    """Counters elsewhere, lost and found as the test says."""

    def __init__(self) -> None:
        self.lost = False
        self.asked: list[bytes] = []
        self.probed = asyncio.Event()
        self.closed = False

    async def take(self, key: bytes, rate: Rate, cost: int = 1) -> Decision:
        self.asked.append(key)
        await asyncio.sleep(0)
        if key == b"probe":
            self.probed.set()
        if self.lost:
            raise StoreDown
        return FROM_AFAR

    async def close(self) -> None:
        self.closed = True


class Scene:
    def __init__(self) -> None:
        self.server = Server()
        self.by_host = 0
        host = SharedLimiter(allocate(), alone=True)
        self.limiter = Standby(self.server, host, self._count)

    def _count(self) -> None:
        self.by_host += 1

    async def take(self, key: bytes = b"k") -> Decision:
        decision = self.limiter.take(key, HOURLY)
        return decision if isinstance(decision, Decision) else await decision

    async def probed(self) -> None:
        self.server.probed.clear()
        async with asyncio.timeout(5):
            await self.server.probed.wait()
        for _ in range(3):
            await asyncio.sleep(0)


@pytest_asyncio.fixture
async def scene(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    monkeypatch.setattr(standby, "PAUSE", 0.001)
    scene = Scene()
    yield scene
    await scene.limiter.close()
    assert scene.server.closed


async def test_server_decides_while_it_is_there(scene: Scene) -> None:
    assert await scene.take() == FROM_AFAR
    assert scene.by_host == 0
    assert not scene.limiter.lost


async def test_host_decides_for_the_request_that_finds_the_server_lost(scene: Scene) -> None:
    scene.server.lost = True
    assert await scene.take() == Decision(True, 2, 1, 1800, 0)
    assert scene.limiter.lost
    assert scene.by_host == 1


async def test_nobody_else_asks_a_server_that_is_lost(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standby, "PAUSE", 60)
    scene.server.lost = True
    await scene.take()
    for _ in range(3):
        assert isinstance(scene.limiter.take(b"k", HOURLY), Decision)  # at once
    assert scene.server.asked == [b"k"]
    assert scene.by_host == 4
    assert not (await scene.take()).allowed  # the host's limit holds


async def test_server_decides_again_when_it_is_back(scene: Scene) -> None:
    scene.server.lost = True
    await scene.take()
    await scene.probed()
    await scene.probed()
    assert scene.limiter.lost
    scene.server.lost = False
    await scene.probed()
    assert not scene.limiter.lost
    assert await scene.take() == FROM_AFAR


async def test_many_that_find_it_lost_at_once_start_one_search(scene: Scene) -> None:
    scene.server.lost = True
    said = await asyncio.gather(*(scene.take(b"%d" % number) for number in range(20)))
    assert all(decision.limit == 2 for decision in said)
    scene.server.asked.clear()
    await scene.probed()
    assert scene.server.asked == [b"probe"]


async def test_it_can_be_lost_again(scene: Scene) -> None:
    for _ in range(3):
        scene.server.lost = True
        await scene.take()
        assert scene.limiter.lost
        scene.server.lost = False
        await scene.probed()
        assert not scene.limiter.lost
