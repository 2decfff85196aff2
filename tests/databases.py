"""An empty database of each kind, for one test: the fixtures `stores` and `database`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from gateway.stores import Database
from gateway.stores.postgres import Postgres
from gateway.stores.sqlite import Sqlite


@pytest.fixture(params=["sqlite", "postgres"])
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[dict[str, str]]:
    """The settings of a gateway that keeps its tables there."""
    if request.param == "sqlite":
        yield {"sqlite": str(tmp_path / "gateway.db")}
        return
    async with new_database(request.getfixturevalue("postgres_url")) as url:
        yield {"postgres": url}


@asynccontextmanager
async def new_database(url: str) -> AsyncIterator[str]:
    """The URL of an empty one on the server of this URL."""
    name = f"test_{uuid4().hex}"
    connection = await asyncpg.connect(url)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    yield url.rpartition("/")[0] + "/" + name
    connection = await asyncpg.connect(url)
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.close()


@pytest.fixture
async def database(stores: dict[str, str]) -> AsyncIterator[Database]:
    made = opened(stores)
    yield made
    await made.close()


def opened(stores: dict[str, str]) -> Database:
    """The database that these settings name."""
    if "sqlite" in stores:
        return Sqlite(Path(stores["sqlite"]))
    return Postgres(stores["postgres"])
