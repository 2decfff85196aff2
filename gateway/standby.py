"""Limits that outlive their server: while it is lost, this host's own counters decide.

From when one request finds the server lost no other one asks it, so that none waits for what will
not come. A task asks instead, again and again, as a limiter would: a server that answers but takes
no writes is lost, too. When it is answered, the server counts again. The host's counters know
nothing of what the server counted before, and the other way round.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

from gateway.errors import StoreDown
from gateway.stores import Decision
from gateway.units import Rate

PAUSE: Final = 1.0
"""s between two tries to reach a server that is lost."""

_PROBE: Final = b"probe"
_ONCE: Final = Rate(1, 1.0)


class Remote(Protocol):
    """The server's counters."""

    async def take(self, key: bytes, rate: Rate, cost: int = 1) -> Decision: ...

    async def close(self) -> None: ...


class Local(Protocol):
    """The host's counters."""

    def take(self, key: bytes, rate: Rate, cost: int = 1) -> Decision: ...


class Standby:
    """A `Limiter` that asks the server, and the host when that is lost. Raises nothing."""

    def __init__(self, server: Remote, host: Local, counted: Callable[[], None]) -> None:
        """`counted` hears of each decision that the host made."""
        self._server = server
        self._host = host
        self._counted = counted
        self._probing: asyncio.Task[None] | None = None

    @property
    def lost(self) -> bool:
        """Whether the host decides at present."""
        return self._probing is not None

    def take(
        self, key: bytes, rate: Rate, cost: int = 1
    ) -> Decision | Coroutine[Any, Any, Decision]:
        """At once while the server is lost."""
        if self._probing is None:
            return self._ask(key, rate, cost)
        self._counted()
        return self._host.take(key, rate, cost)

    async def _ask(self, key: bytes, rate: Rate, cost: int) -> Decision:
        try:
            return await self._server.take(key, rate, cost)
        except StoreDown:
            if self._probing is None:
                self._probing = asyncio.create_task(self._probe())
            self._counted()
            return self._host.take(key, rate, cost)

    async def _probe(self) -> None:
        while True:
            await asyncio.sleep(PAUSE)
            try:
                await self._server.take(_PROBE, _ONCE, 1)
            except StoreDown:
                continue
            self._probing = None
            return

    async def close(self) -> None:
        """Stop asking, and have the server's counters close."""
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.wait([self._probing])
        await self._server.close()
