"""The stores behind an attacked gateway: built in, or PostgreSQL and Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from redis.asyncio import Redis


@pytest.fixture
def embedded(tmp_path: Path) -> dict[str, str]:
    return {"sqlite": str(tmp_path / "gateway.db")}


@pytest.fixture(params=["embedded", "servers"])
async def either(request: pytest.FixtureRequest) -> AsyncIterator[dict[str, str]]:
    """The settings of stores that are empty."""
    if request.param == "embedded":
        yield request.getfixturevalue("embedded")
        return
    url: str = request.getfixturevalue("postgres_url")
    redis_url = request.getfixturevalue("redis_url").rpartition("/")[0] + "/9"
    server = Redis.from_url(redis_url)
    await server.flushdb()
    await server.aclose()
    name = f"test_{uuid4().hex}"
    connection = await asyncpg.connect(url)
    await connection.execute(f"CREATE DATABASE {name}")
    yield {"postgres": url.rpartition("/")[0] + "/" + name, "redis": redis_url}
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.close()
