"""Where jobs are kept: each kind of state and of queue, empty, for one test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import nats
from nats.js.errors import NotFoundError
from redis.asyncio import Redis as Client

from gateway.jobs.job import Job, Jobs, Queue
from gateway.stores.job_queue import TableQueue
from gateway.stores.jobs import DatabaseJobs
from gateway.stores.nats import Nats
from gateway.stores.nats_jobs import LOST, STREAM, NatsQueue
from gateway.stores.postgres import Postgres
from gateway.stores.redis import Redis
from gateway.stores.redis_jobs import RedisJobs
from gateway.stores.sqlite import Sqlite

NOW = 1_800_000_000_000
TIMEOUT = 0.3  # s without a sign of life, in these tests
ATTEMPTS = 2
DEPTH = 3

Another = Callable[[], AbstractAsyncContextManager[Queue]]


def job(name: str = "a", **more: object) -> Job:
    fields = {"kind": "generate", "caller": "ann", "created_at": NOW, **more}
    return Job(name * 32 if len(name) == 1 else name, **fields)  # type: ignore[arg-type]


async def flush(url: str) -> None:
    """Forget everything in a Redis."""
    client = Client.from_url(url)
    await client.flushdb()
    await client.aclose()


async def remove_streams(url: str) -> None:
    """Have NATS know nothing of jobs."""
    client = await nats.connect(url)
    for name in (STREAM, LOST):
        try:
            await client.jetstream().delete_stream(name)
        except NotFoundError:
            continue
    await client.close()


@asynccontextmanager
async def state(kind: str, where: str) -> AsyncIterator[Jobs]:
    """`where` is a file or a URL."""
    if kind == "redis":
        server = Redis(where)
        yield RedisJobs(server)
        await server.close()
        return
    database = Sqlite(Path(where)) if kind == "sqlite" else Postgres(where)
    yield DatabaseJobs(database)
    await database.close()


@asynccontextmanager
async def queue(
    kind: str,
    where: str,
    *,
    timeout: float = TIMEOUT,
    attempts: int = ATTEMPTS,
    depth: int = DEPTH,
    patience: float = 300,
) -> AsyncIterator[Queue]:
    """With a connection of its own, as another process has."""
    if kind == "nats":
        server = Nats(where)
        yield NatsQueue(server, timeout=timeout, attempts=attempts, depth=depth, patience=patience)
        await server.close()
        return
    database = Sqlite(Path(where)) if kind == "sqlite" else Postgres(where)
    yield TableQueue(database, timeout=timeout, attempts=attempts, depth=depth, patience=patience)
    await database.close()
