"""How a worker and its database are doing: for developers, on their own machine only.

No settings are shown, and so no URL and no password.
"""

from __future__ import annotations

import asyncio
import os
import platform
import resource
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import orjson
from aiohttp import web
from pydantic import BaseModel

from gateway.stores import Database
from gateway.tables.dialect import Dialect

LIBRARIES: Final = ("aiohttp", "pydantic", "uvloop", "asyncpg", "aiosqlite", "redis")
TICK: Final = 0.01  # s
MILLISECONDS: Final = 1000


class Memory(BaseModel):
    """Bytes of this worker's process."""

    resident: int
    peak: int


class Server(BaseModel):
    """One worker."""

    versions: Mapping[str, str]
    process: int
    event_loop_lag_ms: float
    tasks: int
    pools: Mapping[str, Mapping[str, int]]
    memory: Memory


class DatabaseState(BaseModel):
    """The database behind the tables."""

    server: str
    latency_ms: float
    tables: Mapping[str, Mapping[str, Any] | None]
    others: list[str]


class Health(BaseModel):
    """The gateway answers."""

    status: bool


class Diagnostics:
    """Handlers for one worker. `pools` tells of connections; `tables` of what was reflected."""

    def __init__(
        self,
        gateway: str,
        database: Database,
        dialect: Dialect,
        *,
        pools: Callable[[], Mapping[str, Mapping[str, int]]],
        tables: Callable[[], Mapping[str, Mapping[str, Any] | None]],
    ) -> None:
        self._gateway = gateway
        self._database = database
        self._dialect = dialect
        self._pools = pools
        self._tables = tables

    async def server(self, request: web.Request) -> web.Response:
        return _answer(
            Server(
                versions={
                    "gateway": self._gateway,
                    "python": platform.python_version(),
                    **{name: version(name) for name in LIBRARIES},
                },
                process=os.getpid(),
                event_loop_lag_ms=await lag() * MILLISECONDS,
                tasks=len(asyncio.all_tasks()),
                pools=self._pools(),
                memory=memory(),
            )
        )

    async def database(self, request: web.Request) -> web.Response:
        await self._database.ping()  # opens a connection, which would count as latency
        before = perf_counter()
        await self._database.ping()
        latency = perf_counter() - before
        tables = self._tables()
        names = await self._dialect.names(self._database)
        return _answer(
            DatabaseState(
                server=await self._dialect.version(self._database),
                latency_ms=latency * MILLISECONDS,
                tables=tables,
                others=[name for name in names if name not in tables],
            )
        )


async def health(request: web.Request) -> web.Response:
    """For those who ask no more than whether somebody is there."""
    return _answer(Health(status=True))


async def lag() -> float:
    """s by which the loop comes late to what it was told to do."""
    before = perf_counter()
    await asyncio.sleep(TICK)
    return max(perf_counter() - before - TICK, 0.0)


def memory() -> Memory:
    """Of this process (proc(5), getrusage(2))."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # KiB on Linux
    return Memory(resident=pages * resource.getpagesize(), peak=peak)


def _answer(body: BaseModel) -> web.Response:
    return web.Response(
        body=orjson.dumps(body.model_dump()),
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
