"""The queue that needs no server: a table, of which workers claim rows for a time.

A row that is claimed is hidden until its lease ends; a sign of life makes the lease longer. Who
claims counts, and the count is the claim's: with an older one a row is neither kept nor removed.
Leases are on the system's clock, which a host's processes share; where several hosts share the
database they are as exact as their clocks agree.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from time import monotonic, time
from typing import Any, Final

import orjson

from gateway.jobs.job import Message, QueueFull
from gateway.stores import Database

MIGRATION: Final = "job_queue"
STEPS: Final = (
    """
    CREATE TABLE gateway_job_queue (
        id TEXT PRIMARY KEY,
        kind TEXT NOT NULL,
        data TEXT NOT NULL,
        headers TEXT NOT NULL,
        deliveries BIGINT NOT NULL,
        hidden_until BIGINT NOT NULL,
        created_at BIGINT NOT NULL
    )
    """,
    "CREATE INDEX gateway_job_queue_next ON gateway_job_queue (kind, hidden_until)",
)
POLL: Final = 0.1
"""s between two looks of a worker that waits."""

LOST_AT_ONCE: Final = 100


class TableQueue:
    """A `gateway.jobs.job.Queue`. The table is made when it is first needed."""

    def __init__(
        self,
        database: Database,
        *,
        timeout: float,
        attempts: int,
        depth: int,
        patience: float,
        now: Callable[[], float] = time,
    ) -> None:
        """`timeout` is a lease in s, `attempts` counts deliveries, `depth` jobs of a kind.

        `patience`: s for which a job waits for a worker.
        """
        self._opened = database
        self._timeout = timeout
        self._attempts = attempts
        self._depth = depth
        self._patience = patience
        self._clock = now
        self._migrated = False

    async def _database(self) -> Database:
        if not self._migrated:
            await self._opened.migrate(MIGRATION, STEPS)
            self._migrated = True
        return self._opened

    def _in(self, seconds: float) -> int:
        return round((self._clock() + seconds) * 1000)

    async def put(self, message: Message) -> None:
        database, now = await self._database(), self._in(0)
        await database.execute(
            "DELETE FROM gateway_job_queue WHERE created_at <= $1 AND hidden_until <= $2",
            self._in(-self._patience),
            now,
        )
        # One statement counts and adds: of two at once none gets in beyond the depth in SQLite; in
        # PostgreSQL as many as ask at the same moment may.
        added = await database.execute(
            "INSERT INTO gateway_job_queue "
            "(id, kind, data, headers, deliveries, hidden_until, created_at) "
            "SELECT $1, $2, $3, $4, 0, $5, $5 "
            "WHERE (SELECT COUNT(*) FROM gateway_job_queue WHERE kind = $2) < $6 "
            "ON CONFLICT DO NOTHING",
            message.id,
            message.kind,
            message.data.decode(),
            orjson.dumps(dict(message.headers)).decode(),
            now,
            self._depth,
        )
        if not added and not await self._there(message.id):
            raise QueueFull

    async def _there(self, name: str) -> bool:
        return bool(
            await (await self._database()).fetch(
                "SELECT id FROM gateway_job_queue WHERE id = $1", name
            )
        )

    async def take(self, kind: str, wait: float) -> Claim | None:
        ends = monotonic() + wait
        while True:
            row = await self._claim(kind)
            if row is not None:
                return Claim(self, row)
            if monotonic() >= ends:
                return None
            await asyncio.sleep(POLL)

    async def _claim(self, kind: str) -> Mapping[str, Any] | None:
        database, now = await self._database(), self._in(0)
        ready = await database.fetch(
            "SELECT id FROM gateway_job_queue "
            "WHERE kind = $1 AND hidden_until <= $2 AND deliveries < $3 "
            "ORDER BY hidden_until, created_at LIMIT 8",
            kind,
            now,
            self._attempts,
        )
        for row in ready:
            # Of several who found it one gets it: for the others it is hidden by now.
            claimed = await database.fetch(
                "UPDATE gateway_job_queue SET deliveries = deliveries + 1, hidden_until = $2 "
                "WHERE id = $1 AND hidden_until <= $3 AND deliveries < $4 "
                "RETURNING id, kind, data, headers, deliveries",
                row["id"],
                self._in(self._timeout),
                now,
                self._attempts,
            )
            if claimed:
                return claimed[0]
        return None

    async def hide(self, name: str, claim: int, seconds: float) -> bool:
        """Nobody gets it for so long. Says whether the claim, a count, is still good."""
        return bool(
            await (await self._database()).execute(
                "UPDATE gateway_job_queue SET hidden_until = $3 WHERE id = $1 AND deliveries = $2",
                name,
                claim,
                self._in(seconds),
            )
        )

    async def extend(self, name: str, claim: int) -> bool:
        return await self.hide(name, claim, self._timeout)

    async def remove(self, name: str) -> None:
        await (await self._database()).execute("DELETE FROM gateway_job_queue WHERE id = $1", name)

    async def lost(self) -> Sequence[Remains]:
        rows = await (await self._database()).fetch(
            "SELECT id FROM gateway_job_queue WHERE deliveries >= $1 AND hidden_until <= $2 "
            "LIMIT $3",
            self._attempts,
            self._in(0),
            LOST_AT_ONCE,
        )
        return [Remains(self, row["id"]) for row in rows]


class Claim:
    """A `gateway.jobs.job.Delivery`."""

    __slots__ = ("_queue", "message", "number")

    def __init__(self, queue: TableQueue, row: Mapping[str, Any]) -> None:
        self._queue = queue
        self.number: int = row["deliveries"]
        headers = orjson.loads(row["headers"])
        self.message = Message(row["id"], row["kind"], row["data"].encode(), headers)

    async def extend(self) -> bool:
        return await self._queue.extend(self.message.id, self.number)

    async def done(self) -> None:
        await self._queue.remove(self.message.id)

    async def again(self, delay: float) -> None:
        await self._queue.hide(self.message.id, self.number, delay)


class Remains:
    """A `gateway.jobs.job.Lost`."""

    __slots__ = ("_queue", "job")

    def __init__(self, queue: TableQueue, job: str) -> None:
        self._queue = queue
        self.job = job

    async def forget(self) -> None:
        await self._queue.remove(self.job)
