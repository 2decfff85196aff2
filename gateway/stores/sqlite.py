"""SQLite through aiosqlite: the database that needs no server."""

from __future__ import annotations

from pathlib import Path

import aiosqlite


class Sqlite:
    """Opens its file for each question: it is asked seldom."""

    name = "sqlite"

    def __init__(self, path: Path) -> None:
        self._path = path

    async def ping(self) -> None:
        async with aiosqlite.connect(self._path) as connection:
            await connection.execute("SELECT 1")

    async def close(self) -> None:
        """Nothing is open."""
