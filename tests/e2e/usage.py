"""A gateway as docs/API_USAGE.md and the example clients expect it: predictions, a key, a user."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from gateway.commands import keys, users
from gateway.config import Settings
from tests import servers
from tests.e2e.life import LONG, Program, running
from tests.e2e.stage import environ

NAME, PASSWORD = "ann", "sesame-open-sesame"
PRICES = {"AAPL": 231.07, "MSFT": 428.5}
TABLE = """
  CREATE TABLE predictions (symbol TEXT NOT NULL, predicted_at TEXT NOT NULL, predicted_price REAL)
"""


def fill(file: Path) -> None:
    with closing(sqlite3.connect(file)) as database, database:
        database.execute(TABLE)
        rows = [(symbol, "2026-01-31T12:00:00Z", price) for symbol, price in PRICES.items()]
        database.executemany("INSERT INTO predictions VALUES (?, ?, ?)", rows)


@asynccontextmanager
async def used(
    folder: Path, *, rate: str = "100/hour", **more: Any
) -> AsyncIterator[tuple[Program, str]]:
    """The gateway, and a key of tier pro with the scope admin."""
    file = folder / "gateway.db"
    settings = {
        "stores": {"sqlite": str(file)},
        "secret_key": "k" * 32,
        "auth": {"login": True},
        "apis": {"predictions": {"auth": "any", "rate_limit": {"rate": rate, "by": "key"}}},
        "realtime": {"auth": "any"},
        **more,
    }
    made = Settings.model_validate(settings)
    await asyncio.to_thread(fill, file)
    _, key = await asyncio.to_thread(keys.create, made, "root", "pro", ("admin",), None)
    await asyncio.to_thread(users.add, made, NAME, PASSWORD, (), "pro")
    async with running(folder, **settings) as program:
        yield program, key


async def ran(*command: str, **more: str) -> tuple[int, str, str]:
    """A program's exit code, and what it wrote on both of its outputs."""
    async with started(*command, **more) as process, asyncio.timeout(LONG):
        out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()


@asynccontextmanager
async def started(*command: str, **more: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *command,
        env=environ(**more),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=servers.end_with(os.getpid(), signal.SIGKILL),
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()
