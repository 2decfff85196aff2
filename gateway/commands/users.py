"""`gateway users`: who may sign in at `/auth/login`.

Each function works on the configured database. Raises ValueError with what is wrong, and
`StoreDown`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import time
from typing import TypeVar

from gateway.config import Settings
from gateway.identity import directory
from gateway.storage import open_database
from gateway.stores.users import Users

T = TypeVar("T")


def add(settings: Settings, name: str, password: str, scopes: Sequence[str], tier: str) -> str:
    """Let somebody sign in; the name that this takes."""

    async def work(users: Users) -> str:
        return await directory.add(users, name, password, scopes=scopes, tier=tier, clock=time)

    return _run(settings, work)


def listed(settings: Settings) -> list[tuple[str, ...]]:
    """All users, below the names of the columns."""
    return [directory.COLUMNS, *_run(settings, directory.rows)]


def disable(settings: Settings, name: str) -> str:
    """Let somebody sign in no more, and end all sessions; the name."""

    async def work(users: Users) -> str:
        return await directory.disable(users, name, time)

    return _run(settings, work)


def _run(settings: Settings, work: Callable[[Users], Awaitable[T]]) -> T:
    async def run() -> T:
        database = open_database(settings.stores)
        try:
            return await work(Users(database))
        finally:
            await database.close()

    return asyncio.run(run())
