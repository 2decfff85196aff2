"""A hearer that remembers, for the tests of buses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Heard:
    """What was heard, in order: `begun` and `events`, and all of it in `story`."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, int]] = []
        self.events: list[tuple[int, bytes]] = []
        self.story: list[tuple[str, int, bytes]] = []  # the epoch, the number, an event's data
        self._changed = asyncio.Event()

    def begin(self, epoch: str, floor: int) -> None:
        self.begun.append((epoch, floor))
        self.story.append((epoch, floor, b"begin"))
        self._changed.set()

    def event(self, number: int, data: bytes) -> None:
        self.events.append((number, data))
        self.story.append((self.epoch, number, data))
        self._changed.set()

    @property
    def epoch(self) -> str:
        return self.begun[-1][0]

    @property
    def floor(self) -> int:
        return self.begun[-1][1]

    @property
    def numbers(self) -> list[int]:
        return [number for number, _ in self.events]

    @property
    def data(self) -> list[bytes]:
        return [data for _, data in self.events]

    async def until(self, there: Callable[[], bool], seconds: float = 15) -> None:
        async with asyncio.timeout(seconds):
            while not there():
                self._changed.clear()
                await self._changed.wait()

    async def count(self, count: int, seconds: float = 15) -> None:
        await self.until(lambda: len(self.events) >= count, seconds)


class Watched:
    """What the watch of a server heard: how it stood after each change, and all errors."""

    def __init__(self) -> None:
        self.turns: list[str] = []
        self.errors: list[str] = []
        self._changed = asyncio.Event()

    def worked(self) -> None:
        self._turn("good")

    def failed(self, error: BaseException) -> None:
        self.errors.append(type(error).__name__)
        self._turn("lost")

    def _turn(self, now: str) -> None:
        if self.turns[-1:] != [now]:
            self.turns.append(now)
            self._changed.set()

    async def until(self, turn: str, seconds: float = 15) -> None:
        async with asyncio.timeout(seconds):
            while self.turns[-1:] != [turn]:
                self._changed.clear()
                await self._changed.wait()
