"""Predictions in Redis, where others write them, too.

One call is under way at a time, and what is asked meanwhile goes in the next one: who has written
something and asks after that gets it, and the busier it is the less a name costs. A call takes
200 µs of processor time, a further name in it one. From when a call fails until the server answers
a ping nobody waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from gateway.errors import StoreDown

TIMEOUT: Final = 0.5
"""s for a call: the database can answer instead."""

PAUSE: Final = 1.0
"""s between two tries to reach a server that is lost."""

BATCH: Final = 500  # names in a call

Kept = bytes | Mapping[bytes, bytes]
Answer = Callable[[Mapping[bytes, Kept]], None]


class Server(Protocol):
    """What is asked of Redis."""

    async def values(self, keys: Sequence[bytes], timeout: float) -> list[Kept | None]:
        """What these keys hold: strings and hashes. Raises StoreDown."""

    async def set_new(self, values: Mapping[bytes, bytes], seconds: float, timeout: float) -> None:
        """Set those that hold nothing, for so long. Raises StoreDown."""

    async def ping(self) -> None: ...


class RedisPredictions:
    """A `gateway.predictions.loader.Cache`."""

    def __init__(self, server: Server, pause: float = PAUSE) -> None:
        self._server = server
        self._pause = pause
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[Sequence[bytes], Answer]] = []
        self._call: asyncio.Task[None] | None = None
        self._probe: asyncio.Task[None] | None = None

    @property
    def lost(self) -> bool:
        return self._probe is not None

    def ask(self, names: Sequence[bytes], answer: Answer) -> None:
        if self.lost:
            answer({})
            return
        self._waiting.append((names, answer))
        if self._call is None:
            self._call = self._loop.create_task(self._ask())

    async def _ask(self) -> None:
        """Calls, until nobody waits. The first one has what is asked in this turn of the loop."""
        try:
            while self._waiting:
                asked, self._waiting = self._waiting, []
                names = list(dict.fromkeys(name for those, _ in asked for name in those))
                found: dict[bytes, Kept] = {}
                for at in range(0, len(names), BATCH):
                    found |= await self._read(names[at : at + BATCH])
                for _, answer in asked:
                    answer(found)
        finally:
            self._call = None

    async def _read(self, names: Sequence[bytes]) -> dict[bytes, Kept]:
        if self.lost:
            return {}
        try:
            values = await self._server.values(names, TIMEOUT)
        except StoreDown:
            self._lose()
            return {}
        return {name: value for name, value in zip(names, values, strict=True) if value is not None}

    async def keep(self, values: Mapping[bytes, bytes], seconds: float) -> None:
        """What somebody has written meanwhile is newer: it stays."""
        if self.lost:
            return
        try:
            await self._server.set_new(values, seconds, TIMEOUT)
        except StoreDown:
            self._lose()

    def _lose(self) -> None:
        if self._probe is None:
            self._probe = self._loop.create_task(self._wait())

    async def _wait(self) -> None:
        while True:
            await asyncio.sleep(self._pause)
            try:
                await self._server.ping()
            except StoreDown:
                continue
            self._probe = None
            return

    async def settle(self) -> None:
        if self._call is not None:
            await asyncio.wait([self._call])

    async def close(self) -> None:
        """Let the calls end, and wait for a lost server no longer."""
        await self.settle()
        if self._probe is not None:
            self._probe.cancel()
            await asyncio.wait([self._probe])
