"""Users who were disabled a short while ago: their access tokens are refused, too.

An access token is good without asking anybody, and so would outlive its user by some minutes. Each
worker therefore asks every few seconds who was disabled within a token's life: a handful of names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from gateway.errors import StoreDown
from gateway.stores.users import Users

PAUSE: Final = 4.0  # s between two looks
SLACK: Final = 60.0  # s that the clocks of two hosts may differ


class Disabled:
    """Who they are, looked up in the background."""

    def __init__(
        self,
        users: Users,
        *,
        lifetime: float,
        clock: Callable[[], float],
        changed: Callable[[], None],
        pause: float = PAUSE,
    ) -> None:
        """`lifetime`: s for which an access token is good; `changed` hears of further names."""
        self._users = users
        self._lifetime = lifetime
        self._clock = clock
        self._changed = changed
        self._pause = pause
        self._names: frozenset[str] = frozenset()

    def __contains__(self, name: object) -> bool:
        return name in self._names

    async def watch(self) -> None:
        """Look again and again; to be cancelled. A lost store leaves the names as they are."""
        while True:
            with suppress(StoreDown):  # it is told where it was noticed
                await self.look()
            await asyncio.sleep(self._pause)

    async def look(self) -> None:
        """Raises `StoreDown`."""
        since = int((self._clock() - self._lifetime - SLACK) * 1000)
        names = frozenset(await self._users.disabled_since(since))
        more = names - self._names
        self._names = names
        if more:
            self._changed()
