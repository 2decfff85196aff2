"""Those who are connected are asked for again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.errors import StoreDown
from gateway.exchange import Exchange
from gateway.realtime import rounds
from gateway.realtime.rounds import Rounds

Still = Callable[[Exchange], bool | Coroutine[Any, Any, bool]]


class Visitor:
    """One who is connected; `asked` counts how often it was asked for."""

    def __init__(self, still: Still | None, principal: object = "somebody") -> None:
        self.asked = 0
        self._asks = asyncio.Semaphore(0)
        self.dismissed = asyncio.Event()
        self._still = still
        route = SimpleNamespace(still=None if still is None else self._ask)
        self.exchange = cast("Exchange", SimpleNamespace(route=route, principal=principal))

    def _ask(self, exchange: Exchange) -> bool | Coroutine[Any, Any, bool]:
        self.asked += 1
        self._asks.release()
        assert self._still is not None
        return self._still(exchange)

    def dismiss(self) -> None:
        self.dismissed.set()

    async def has_been_asked(self, times: int) -> None:
        async with asyncio.timeout(5):
            for _ in range(times):
                await self._asks.acquire()


@pytest.fixture
async def going(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rounds]:
    monkeypatch.setattr(rounds, "EVERY", 0.01)
    made = Rounds(asyncio.get_running_loop())
    yield made
    made.cancel()


async def later(answer: bool | Exception) -> bool:
    await asyncio.sleep(0)
    if isinstance(answer, Exception):
        raise answer
    return answer


async def test_who_would_be_let_in_stays_and_is_asked_for_again(going: Rounds) -> None:
    guest = Visitor(lambda exchange: True)
    going.start(guest)
    await guest.has_been_asked(3)
    assert not guest.dismissed.is_set()


async def test_who_would_not_be_let_in_goes(going: Rounds) -> None:
    guest = Visitor(lambda exchange: False)
    going.start(guest)
    async with asyncio.timeout(5):
        await guest.dismissed.wait()
    assert guest.asked == 1


@pytest.mark.parametrize("answer", [True, StoreDown()])
async def test_who_has_to_be_looked_up_stays_if_it_is_known_or_nobody_can_tell(
    going: Rounds, answer: bool | Exception
) -> None:
    guest = Visitor(lambda exchange: later(answer))
    going.start(guest)
    await guest.has_been_asked(3)
    assert not guest.dismissed.is_set()


async def test_who_is_looked_up_and_refused_goes(going: Rounds) -> None:
    guest = Visitor(lambda exchange: later(answer=False))
    going.start(guest)
    async with asyncio.timeout(5):
        await guest.dismissed.wait()


async def test_who_left_is_not_asked_for(going: Rounds) -> None:
    ended = asyncio.Event()

    async def endless() -> bool:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return True

    waiting, gone = Visitor(lambda exchange: endless()), Visitor(lambda exchange: True)
    going.start(waiting)
    going.start(gone)
    going.stop(gone)
    await waiting.has_been_asked(1)
    await asyncio.sleep(0)
    going.stop(waiting)
    async with asyncio.timeout(5):
        await ended.wait()
    assert gone.asked == 0


async def test_an_end_of_all_ends_look_ups(going: Rounds) -> None:
    guest = Visitor(lambda exchange: later(answer=True))
    going.start(guest)
    await guest.has_been_asked(1)
    going.cancel()
    await asyncio.sleep(0.05)
    assert guest.asked == 1


@pytest.mark.parametrize(
    "guest",
    [lambda: Visitor(None), lambda: Visitor(lambda exchange: False, principal=None)],
    ids=["no guard", "nobody in particular"],
)
async def test_where_nobody_was_asked_who_it_is_nobody_is_asked_again(
    going: Rounds, guest: Callable[[], Visitor]
) -> None:
    one = guest()
    going.start(one)
    await asyncio.sleep(0.05)
    assert one.asked == 0
    assert not one.dismissed.is_set()
